"""Accuracy laws that saturate: a sigmoid in loss up to a ceiling, and a power law of the errors beyond chance.

In: rows of the scores table, saturated ones included. Out: `Fit`s. Cuervo & Marxer 2024 model no saturation; these are
the alternatives that their laws are compared with, by what each predicted of the same held-out runs.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import product

import numpy as np
import pandas as pd
from scipy.special import expit

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.downstream import (
    ENVELOPE,
    at_chance,
    described,
    envelope,
    envelope_lines,
    envelope_spread,
    headline_metric,
    how_drawn,
    listed,
    measure,
    past,
    resampled,
    scored,
    shared_chance,
    with_loss,
)
from analysis.envelope import LEAST_POINTS, extreme, factor, lacking, line, span
from analysis.fit import Fit, identities, spread, unfitted
from analysis.minimise import Derivatives, Minima, flags, minimise, robust

LEAST_ERROR = 1e-4  # a choice
ENOUGH = 100  # steps of a search: measured, those that need more creep along a curve that says nothing
LAW_SIGMOID, LAW_ERROR = "accuracy_sigmoid", "accuracy_error"
FREE = ["ceiling", "steepness", "midpoint"]
LEAST_RUNS = 4  # one more than free constants
STEEPNESS = (0.05, 20.0)  # per standard deviation of the losses; less is a line, more a step: choices
FAR = 5.0  # standard deviations of the losses beyond their range in which a midpoint is searched: a choice
STARTS = (0.3, 0.6, 1.0), (0.5, 1.5, 5.0), (-3.0, -1.0, 0.0, 1.0)
"""Ceilings, as shares of what lies above chance, steepnesses and midpoints, in standard deviations: choices."""
AGAIN = ((0.3, 1.5, 0.0), (1.0, 0.5, -1.0), (0.6, 5.0, 1.0))
"""The starts of resamples, besides the fit of all runs: choices."""

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
    Unfitted where the largest run only guesses or accuracy does not fall as loss rises: no sigmoid says that.
    """
    everything = scored(scores, family, benchmark, subset)
    rows, lossless = with_loss(everything, column)
    conventions = described(rows) | {"loss": column, "floor": "chance", "residual": "Q̂ - Q"} | resampling.conventions
    conventions["chance"] = floor = shared_chance(everything)
    labels = {"law": LAW_SIGMOID, "family": family, "measure": measure(benchmark, subset), "conventions": conventions}
    notes = at_chance(everything, "midpoint") + lossless
    if any(note.startswith("at chance") for note in notes):
        return unfitted(rows, "the largest run only guesses, of which no curve can be told", notes, **labels)
    found, curve, best = _sigmoid(rows, column, floor, labels)
    if curve is None or best is None:
        return replace(found, flags=found.flags + notes)
    groups = resampling.groups(rows)
    counts = bootstrap.resamples(groups, resampling, curve.determined)
    draws = curve.minima(counts, best) if len(counts) else None
    samples = curve.values(draws.params) if draws else np.empty((0, len(found.params)))
    spreads = spread(found.params, samples, resampling.freedom(rows, len(FREE)))
    told = flags(FREE, best, draws, spreads.get("intervals", {}), positive=("steepness",))

    def smaller(small: pd.DataFrame) -> Fit:
        return _sigmoid(with_loss(small, column)[0], column, floor, labels)[0]

    return replace(
        found,
        **spreads,
        converged_fraction=float(draws.converged.mean()) if draws else None,
        flags=(*told, *notes, *bootstrap.flags(counts, resampling, groups)),
        hindcast=past(everything, smaller, predict_sigmoid, column) if resampling.count else {},
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
    rows, floor = everything[~perfect], shared_chance(everything)
    corrected = f"fraction, {headline_metric(everything)}, corrected for chance: errors (1 − Q)/(1 − chance)"
    conventions = described(rows) | {"accuracy": corrected, "chance": floor, "envelope": ENVELOPE}
    conventions |= resampling.conventions | how_drawn(rows, resampling)
    labels = {"law": LAW_ERROR, "family": family, "measure": measure(benchmark, subset), "conventions": conventions}
    notes = (f"left out, without an error: {listed(everything, perfect)}",) if perfect.any() else ()
    found, notes = _error(rows, floor, labels), at_chance(everything, "gamma") + notes
    if not found.params:
        return replace(found, flags=found.flags + notes)
    slope, intercept = envelope_lines(rows["flops_6n"], resampled(rows, resampling), lambda q: _log_error(q, floor))
    spreads, rough = envelope_spread(found, rows, resampling, intercept, -slope)

    def smaller(small: pd.DataFrame) -> Fit:
        return _error(small[small["value"] < 1], floor, labels)

    return replace(
        found,
        **spreads,
        flags=(*found.flags, *notes, *rough),
        hindcast=past(everything, smaller, lambda p, flops: predict_error(p, flops, floor), "flops_6n")
        if resampling.count
        else {},
    )


def predict_sigmoid(params: Constants, nats: np.ndarray) -> np.ndarray:
    """Q of losses under the sigmoid."""
    share = expit(params["steepness"] * (params["midpoint"] - np.asarray(nats, float)))
    return params["floor"] + (params["ceiling"] - params["floor"]) * share


def predict_error(params: Constants, flops: np.ndarray, floor: float) -> np.ndarray:
    """Q of training FLOPs under the power law of errors; `floor` is the benchmark's chance."""
    return 1 - (1 - floor) * params["K"] * np.asarray(flops, float) ** -params["gamma"]


class Curve:
    """The sigmoid of some runs, searched in θ = (ceiling, ln steepness, midpoint) of their standardised losses."""

    def __init__(self, nats: np.ndarray, accuracy: np.ndarray, floor: float) -> None:
        """`nats`, `accuracy`: (rows,), not all equal."""
        self.centre, self.scale = nats.mean(), nats.std()
        self.x, self.accuracy, self.floor = (nats - self.centre) / self.scale, accuracy, floor
        rates = np.log(STEEPNESS)
        self.lower = np.array([floor, rates[0], self.x.min() - FAR])
        self.upper = np.array([1.0, rates[1], self.x.max() + FAR])

    def best(self) -> Minima:
        """The fit of all runs, (1, 3), from all STARTS."""
        return self._searched(self._starts(product(*STARTS)), np.ones((1, len(self.x))))

    def minima(self, weights: np.ndarray, whole: Minima) -> Minima:
        """The fits of resamples: every row of `weights` (R, rows), given that of all runs."""
        return self._searched(np.concatenate([whole.params, self._starts(AGAIN)]), weights)

    def determined(self, counts: np.ndarray) -> np.ndarray:
        """(R,) whether the runs drawn (R, rows) are enough and differ in loss and accuracy."""
        drawn = counts > 0
        levels = np.unique(self.x, return_inverse=True)[1]
        seen = drawn.astype(float) @ np.eye(levels.max() + 1)[levels]
        return ((seen > 0).sum(1) >= LEAST_RUNS) & (span(self.accuracy, drawn) > 0)

    def _starts(self, grid: Iterable[tuple[float, float, float]]) -> np.ndarray:
        share, rate, midpoint = np.array(list(grid)).T
        return np.stack([self.floor + (1 - self.floor) * share, np.log(rate), midpoint], 1)

    def _searched(self, starts: np.ndarray, weights: np.ndarray) -> Minima:
        return minimise(robust(self.model, np.inf), starts, weights, self.lower, self.upper, ENOUGH)

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


def _unsuited(rows: pd.DataFrame, column: str, floor: float) -> str:
    """Why no sigmoid describes the rows; empty when one may."""
    nats, accuracy = rows[[column, "value"]].to_numpy(float).T
    if len(np.unique(nats)) < LEAST_RUNS or not np.ptp(accuracy):
        return f"{len(rows)} runs, at least {LEAST_RUNS} of different loss and accuracy wanted"
    if accuracy.max() <= floor:
        return f"no accuracy is above chance, {floor:g}"
    return "" if line(nats, accuracy, np.ones_like(nats))[0] < 0 else "accuracy does not fall as loss rises"


def _sigmoid(
    rows: pd.DataFrame, column: str, floor: float, labels: dict
) -> tuple[Fit, Curve, Minima] | tuple[Fit, None, None]:
    """The fit without its spread, with its curve and search."""
    if reason := _unsuited(rows, column, floor):
        return unfitted(rows, reason, **labels), None, None
    curve = Curve(*rows[[column, "value"]].to_numpy(float).T, floor)
    best = curve.best()
    found = Fit(
        **labels,
        params=dict(zip(["floor", *FREE], map(float, curve.values(best.params)[0]), strict=True)),
        constants=len(FREE),
        objective=float(best.objective[0]),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        rows=identities(rows),
    )
    return found, curve, best


def _error(rows: pd.DataFrame, floor: float, labels: dict) -> Fit:
    """The fit without its spread."""
    flops, value = rows["flops_6n"].to_numpy(float), rows["value"].to_numpy(float)
    kept = envelope(flops, value)
    if reason := lacking(flops[kept], LEAST_POINTS):
        return unfitted(rows, reason, **labels)
    x, y = np.log(flops[kept]), _log_error(value[kept], floor)
    slope, intercept, _ = map(float, line(x, y, np.ones_like(x)))
    return Fit(
        **labels,
        params={"K": float(factor(intercept)), "gamma": -slope},
        constants=2,
        objective=float(((intercept + slope * x - y) ** 2).mean() / 2),
        flags=extreme("K", intercept),
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
    )


def _log_error(accuracy: np.ndarray, floor: float) -> np.ndarray:
    """ln of the error beyond chance; a resample without an error counts as one of LEAST_ERROR."""
    return np.log(np.maximum(1 - accuracy, LEAST_ERROR) / (1 - floor))
