"""Accuracy laws that saturate: a sigmoid in loss up to a ceiling, and a power law of the errors beyond chance.

In: rows of the scores table, saturated ones included. Out: `Fit`s, and which law predicts the held-out runs best.
Cuervo & Marxer 2024 model no saturation; these are the alternatives that their laws are compared with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import expit

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.downstream import (
    CHANCE,
    ENVELOPE,
    LEAST_POINTS,
    at_chance,
    described,
    envelope,
    envelope_lines,
    groups,
    line,
    listed,
    measure,
    past,
    resampled,
    scored,
    what_is_drawn,
    with_loss,
)
from analysis.fit import Fit, identities, spread, unfitted
from analysis.minimise import Derivatives, Minima, minimise, robust

LEAST_ERROR = 1e-4  # a choice
LAW_SIGMOID, LAW_ERROR = "accuracy_sigmoid", "accuracy_error"
FREE = ["ceiling", "steepness", "midpoint"]
LEAST_RUNS = 4  # one more than free constants
STEEPNESS = (0.05, 20.0)  # per standard deviation of the losses; less is a line, more a step: choices
FAR = 5.0  # standard deviations of the losses beyond their range in which a midpoint is searched: a choice
STARTS = (0.3, 0.6, 1.0), (0.5, 1.5, 5.0), (-3.0, -1.0, 0.0, 1.0)
"""Ceilings, as shares of what lies above chance, steepnesses and midpoints, in standard deviations: choices."""

Constants = Mapping[str, float | np.ndarray]


def fit_sigmoid(
    scores: pd.DataFrame,
    family: str,
    benchmark: str,
    column: str = "nats_per_token",
    subset: str = "all",
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """Q = floor + (ceiling − floor)/(1 + exp(steepness·(L − midpoint))) by least squares over all scored runs.

    The floor is the benchmark's chance, the ceiling free between it and 1. Steepness is per nat, midpoint in nats.
    """
    everything = scored(scores, family, benchmark, subset)
    rows, lossless = with_loss(everything, column)
    conventions = described(rows) | {"loss": column, "floor": "chance", "residual": "Q̂ - Q"} | resampling.conventions
    labels = {"law": LAW_SIGMOID, "family": family, "measure": measure(benchmark, subset), "conventions": conventions}
    found, notes = _sigmoid(rows, column, labels), at_chance(everything, "midpoint") + lossless
    if not found.params:
        return replace(found, flags=found.flags + notes)
    curve = _curve(rows, column)

    def usable(counts: np.ndarray) -> bool:
        return _determined(curve.x[counts > 0], curve.accuracy[counts > 0])

    counts = bootstrap.resamples(groups(rows, resampling), resampling, usable)
    minima = curve.minima(counts, curve.theta(found.params)) if len(counts) else None
    draws = curve.values(minima.params) if minima else np.empty((0, len(found.params)))
    return replace(
        found,
        **spread(found.params, draws, len(rows), found.constants),
        converged_fraction=float(minima.converged.mean()) if minima else None,
        flags=(*found.flags, *_unidentified(found, minima), *notes, *bootstrap.flags(counts, resampling.count)),
        hindcast=past(rows, lambda small: _sigmoid(small, column, labels), predict_sigmoid, column),
    )


def fit_error(
    scores: pd.DataFrame,
    family: str,
    benchmark: str,
    subset: str = "all",
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """(1 − Q)/(1 − chance) = K·C^-γ by least squares in log-log over the envelope of best accuracy of all scored runs,
    which is the envelope of least error; every resample has its own."""
    everything = scored(scores, family, benchmark, subset)
    perfect = (everything["value"] >= 1).to_numpy()
    rows, floor = everything[~perfect], _floor(everything)
    conventions = described(rows) | {"envelope": ENVELOPE, "chance": floor} | resampling.conventions
    conventions |= {"resampled": what_is_drawn(rows, resampling)}
    labels = {"law": LAW_ERROR, "family": family, "measure": measure(benchmark, subset), "conventions": conventions}
    notes = (f"left out, without an error: {listed(everything, perfect)}",) if perfect.any() else ()
    found, notes = _error(rows, floor, labels), at_chance(everything, "gamma") + notes
    if not found.params:
        return replace(found, flags=found.flags + notes)
    slope, intercept = envelope_lines(rows["flops_6n"], resampled(rows, resampling), lambda q: _log_error(q, floor))
    draws = np.stack([np.exp(intercept), -slope], 1)[: resampling.count]
    return replace(
        found,
        **spread(found.params, draws, len(rows), found.constants),
        flags=notes + tuple(bootstrap.flags(draws, resampling.count)),
        hindcast=past(rows, lambda r: _error(r, floor, labels), lambda p, c: predict_error(p, c, floor), "flops_6n"),
    )


def predict_sigmoid(params: Constants, nats: np.ndarray) -> np.ndarray:
    """Q of losses under the sigmoid."""
    share = expit(params["steepness"] * (params["midpoint"] - np.asarray(nats, float)))
    return params["floor"] + (params["ceiling"] - params["floor"]) * share


def predict_error(params: Constants, flops: np.ndarray, floor: float) -> np.ndarray:
    """Q of training FLOPs under the power law of errors; `floor` is the benchmark's chance."""
    return 1 - (1 - floor) * params["K"] * np.asarray(flops, float) ** -params["gamma"]


def better(fits: Sequence[Fit]) -> list[tuple[Fit, float]]:
    """Accuracy laws with the root mean square of their held-out errors, the smallest first.

    All are judged by the runs that every hindcast held out; a law without one comes last, with NaN, and so do all
    where they share none. Laws in loss are given the held-out runs' losses, laws in compute are not.
    """
    points = [{point[0]: point[3] - point[2] for point in fit.hindcast.get("points", [])} for fit in fits]
    shared = set.intersection(*(set(found) for found in points if found)) if any(points) else set()
    errors = [np.sqrt(np.mean([p[name] ** 2 for name in shared])) if p and shared else np.nan for p in points]
    order = np.argsort(errors, kind="stable")  # NaN last
    return [(fits[place], float(errors[place])) for place in order]


class Curve:
    """The sigmoid of some runs, searched in θ = (ceiling, ln steepness, midpoint) of their standardised losses."""

    def __init__(self, nats: np.ndarray, accuracy: np.ndarray, floor: float) -> None:
        """`nats`, `accuracy`: (rows,), not all equal."""
        self.centre, self.scale = nats.mean(), nats.std()
        self.x, self.accuracy, self.floor = (nats - self.centre) / self.scale, accuracy, floor
        rates = np.log(STEEPNESS)
        self.lower = np.array([floor, rates[0], self.x.min() - FAR])
        self.upper = np.array([1.0, rates[1], self.x.max() + FAR])

    def minima(self, weights: np.ndarray, *first: np.ndarray) -> Minima:
        """The best fit of every row of `weights` (R, rows), from `first` and, where none is given, from all STARTS."""
        shares, rates, midpoints = (np.array(values) for values in STARTS)
        grid = product(self.floor + (1 - self.floor) * shares, np.log(rates), midpoints)
        return minimise(robust(self.model, np.inf), np.array(first or list(grid)), weights, self.lower, self.upper)

    def theta(self, params: Mapping[str, float]) -> np.ndarray:
        """(3,) θ of a law's constants."""
        rate, midpoint = params["steepness"] * self.scale, (params["midpoint"] - self.centre) / self.scale
        return np.array([params["ceiling"], np.log(rate), midpoint])

    def values(self, theta: np.ndarray) -> np.ndarray:
        """(R, 4) floor, ceiling, steepness, midpoint of θ (R, 3)."""
        ceiling, rate, midpoint = theta.T
        found = [np.full_like(ceiling, self.floor), ceiling, np.exp(rate) / self.scale]
        return np.stack([*found, self.centre + self.scale * midpoint], 1)

    def model(self, theta: np.ndarray) -> Derivatives:
        """Q̂ − Q (S, rows) of θ (S, 3), with its first and second derivatives."""
        height, rate = theta[:, :1] - self.floor, np.exp(theta[:, 1:2])
        drop = rate * (self.x - theta[:, 2:])  # (S, rows)
        share = expit(-drop)
        first = -share * (1 - share)  # derivatives of the share with respect to the drop
        second = -first * (1 - 2 * share)
        to_rate, to_midpoint = first * drop, -first * rate  # derivatives of the share with respect to θ
        both = -height * rate * (second * drop + first)
        rows = [
            [np.zeros_like(share), to_rate, to_midpoint],
            [to_rate, height * (second * drop**2 + to_rate), both],
            [to_midpoint, both, height * second * rate**2],
        ]
        jacobian = np.stack([share, height * to_rate, height * to_midpoint], -1)
        return self.floor + height * share - self.accuracy, jacobian, np.moveaxis(np.array(rows), (0, 1), (2, 3))


def _curve(rows: pd.DataFrame, column: str) -> Curve:
    return Curve(rows[column].to_numpy(float), rows["value"].to_numpy(float), _floor(rows))


def _sigmoid(rows: pd.DataFrame, column: str, labels: dict) -> Fit:
    """The fit without its spread."""
    if not _determined(rows[column].to_numpy(float), rows["value"].to_numpy(float)):
        reason = f"{len(rows)} runs, at least {LEAST_RUNS} of different loss and accuracy wanted"
        return unfitted(rows, reason, **labels)
    curve = _curve(rows, column)
    best = curve.minima(np.ones((1, len(rows))))
    flags = [f"at bound: {name}" for name, bound in zip(FREE, best.at_bound[0], strict=True) if bound]
    if not best.converged[0]:
        flags.append(f"not converged: gradient norm {best.gradient_norm[0]:.1e}")
    return Fit(
        **labels,
        params=dict(zip(["floor", *FREE], map(float, curve.values(best.params)[0]), strict=True)),
        constants=len(FREE),
        objective=float(best.objective[0]),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        flags=tuple(flags),
        rows=identities(rows),
    )


def _determined(nats: np.ndarray, accuracy: np.ndarray) -> bool:
    """Whether runs are enough and differ in loss and accuracy."""
    return len(np.unique(nats)) >= LEAST_RUNS and np.ptp(accuracy) > 0


def _unidentified(found: Fit, minima: Minima | None) -> list[str]:
    """Constants, not at a bound themselves, that more than a fortieth of the resamples leave on one."""
    shares = minima.at_bound.mean(0) if minima else np.zeros(len(FREE))
    return [
        f"unidentified: {name} (on its bound in {share:.0%} of the resamples)"
        for name, share in zip(FREE, shares, strict=True)
        if share > 0.025 and f"at bound: {name}" not in found.flags
    ]


def _error(rows: pd.DataFrame, floor: float, labels: dict) -> Fit:
    """The fit without its spread."""
    flops, value = rows["flops_6n"].to_numpy(float), rows["value"].to_numpy(float)
    kept = envelope(flops, value)
    if len(kept) < LEAST_POINTS:
        return unfitted(rows, f"{len(kept)} points on the envelope, at least {LEAST_POINTS} wanted", **labels)
    x, y = np.log(flops[kept]), _log_error(value[kept], floor)
    slope, intercept, _ = map(float, line(x, y, np.ones_like(x)))
    return Fit(
        **labels,
        params={"K": float(np.exp(intercept)), "gamma": -slope},
        constants=2,
        objective=float(((intercept + slope * x - y) ** 2).mean() / 2),
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
    )


def _log_error(accuracy: np.ndarray, floor: float) -> np.ndarray:
    """ln of the error beyond chance; a resample without an error counts as one of LEAST_ERROR."""
    return np.log(np.maximum(1 - accuracy, LEAST_ERROR) / (1 - floor))


def _floor(rows: pd.DataFrame) -> float:
    """What guessing gets; `ValueError` where rows of one benchmark record different chances."""
    found = sorted({CHANCE if pd.isna(value) else float(value) for value in rows.get("chance", [CHANCE])})
    if len(found) > 1:
        raise ValueError(
            f"{rows['eval'].iloc[0]}: chance is recorded as {found}; one benchmark has one, score it again"
        )
    return found[0] if found else CHANCE
