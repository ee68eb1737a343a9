"""The envelope of minimal loss per FLOP and its power law, L = L0·C^-γ, also with an offset, L = E + K·C^-γ.

In: rows of the runs table. Out: `Fit`s. The envelope is the falling part of the lower convex hull of the runs' final
points in log-log (Cuervo & Marxer 2024, Fig. 1, says "envelope"; the hull is our reading of it).
"""

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.fit import Fit, identities, intervals, unfitted
from analysis.minimise import Minimum, Residuals, minimise

LAW, LAW_OFFSET = "loss_envelope", "loss_envelope_offset"
RESAMPLES = 1000
RESAMPLES_OFFSET = 200
LEAST_POINTS, LEAST_POINTS_OFFSET = 3, 5  # points on the hull: one more than constants, two more; choices
OFFSET_NAMES = ["E", "K", "gamma"]
DELTA = 0.03
"""As the parametric law's."""


def hull(flops: np.ndarray, nats: np.ndarray) -> np.ndarray:
    """Indices, by rising compute, of the falling lower convex hull of (ln C, ln L)."""
    x, y = np.log(np.asarray(flops, float)), np.log(np.asarray(nats, float))
    chain: list[int] = []
    for index in np.lexsort((y, x)):
        if chain and (x[index] == x[chain[-1]] or y[index] >= y[chain[-1]]):
            continue
        while len(chain) > 1 and _turn(x, y, chain[-2], chain[-1], index) <= 0:
            chain.pop()
        chain.append(index)
    return np.array(chain, dtype=int)


def _turn(x: np.ndarray, y: np.ndarray, first: int, middle: int, last: int) -> float:
    """Positive where the path bends upwards at `middle`."""
    return (x[middle] - x[first]) * (y[last] - y[first]) - (x[last] - x[first]) * (y[middle] - y[first])


def power_law(flops: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(factor, exponent) of values = factor·C^exponent: least squares of ln values on ln C."""
    x, y = np.log(np.asarray(flops, float)), np.log(np.asarray(values, float))
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return float(np.exp(y.mean() - exponent * x.mean())), exponent


def fit(
    runs: pd.DataFrame, family: str, column: str = "nats_per_token", resample_count: int = RESAMPLES, seed: int = 0
) -> Fit:
    """L = L0·C^-γ on the hull; every resample has its own hull."""
    rows, labels = _rows(runs, family, column, LAW)
    conventions = _conventions(rows, column, resample_count, seed)
    flops, nats = rows["flops_6n"].to_numpy(float), rows[column].to_numpy(float)
    kept = hull(flops, nats)
    if len(kept) < LEAST_POINTS:
        reason = f"{len(kept)} points on the envelope, at least {LEAST_POINTS} wanted"
        return unfitted(rows, reason, **labels, conventions=conventions)

    def on_hull(counts: np.ndarray) -> np.ndarray:
        drawn = np.flatnonzero(counts)
        return drawn[hull(flops[drawn], nats[drawn])]

    counts = bootstrap.resamples(len(rows), resample_count, seed, lambda c: len(on_hull(c)) >= LEAST_POINTS)
    samples = [power_law(flops[points], nats[points]) for points in map(on_hull, counts)]
    factor, exponent = power_law(flops[kept], nats[kept])
    errors = np.log(factor) + exponent * np.log(flops[kept]) - np.log(nats[kept])
    return Fit(
        **labels,
        params={"L0": factor, "gamma": -exponent},
        intervals=intervals(["L0", "gamma"], np.array(samples) * (1, -1) if samples else np.empty((0, 2))),
        objective=float((errors**2).mean() / 2),
        search={},
        flags=tuple(bootstrap.flags(counts, resample_count)),
        conventions=conventions,
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
    )


def fit_offset(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    resample_count: int = RESAMPLES_OFFSET,
    seed: int = 0,
) -> Fit:
    """L = E + K·C^-γ on the hull; every resample has its own hull."""
    rows, labels = _rows(runs, family, column, LAW_OFFSET)
    conventions = _conventions(rows, column, resample_count, seed) | {"huber_delta": DELTA}
    flops, nats = rows["flops_6n"].to_numpy(float), rows[column].to_numpy(float)
    kept = hull(flops, nats)
    if len(kept) < LEAST_POINTS_OFFSET:
        reason = f"{len(kept)} points on the envelope, at least {LEAST_POINTS_OFFSET} wanted"
        return unfitted(rows, reason, **labels, conventions=conventions)

    def on_hull(counts: np.ndarray) -> np.ndarray:
        drawn = np.flatnonzero(counts)
        return np.isin(np.arange(len(rows)), drawn[hull(flops[drawn], nats[drawn])])

    x, y = np.log(flops), np.log(nats)
    lower, upper = np.array([y.min() - 7.0, y.min() - 7.0, 0.005]), np.array([y.max() + 1.0, y.max() + 1.0, 3.0])
    starts = np.array([[y.min() + np.log(share), y.mean() + np.log(1 - share), 0.2] for share in (0.1, 0.5, 0.9)])
    residuals = _offset_residuals(x - x.mean(), y)
    best = minimise(residuals, starts, on_hull(np.ones(len(rows)))[None], DELTA, lower, upper)[0]
    counts = bootstrap.resamples(len(rows), resample_count, seed, lambda c: on_hull(c).sum() > LEAST_POINTS)
    draws = minimise(residuals, best.params[None], np.array([on_hull(c) for c in counts]), DELTA, lower, upper)
    return Fit(
        **labels,
        params=dict(zip(OFFSET_NAMES, _offset_values(best.params, x.mean()), strict=True)),
        intervals=intervals(OFFSET_NAMES, np.array([_offset_values(draw.params, x.mean()) for draw in draws])),
        objective=best.objective,
        search=best.search,
        flags=_offset_flags(best, draws) + tuple(bootstrap.flags(counts, resample_count)),
        conventions=conventions,
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
    )


def _offset_flags(best: Minimum, draws: list[Minimum]) -> tuple[str, ...]:
    """Constants that the fit, or more than a fortieth of the resamples, leaves on the edge of what is searched."""
    edge = np.mean([draw.at_bound for draw in draws], axis=0) if draws else np.zeros(len(OFFSET_NAMES))
    return tuple(
        f"at bound: {name}" if bound else f"unidentified: {name} (on its bound in {share:.0%} of the resamples)"
        for name, share, bound in zip(OFFSET_NAMES, edge, best.at_bound, strict=True)
        if share > 0.025 or bound
    )


def _rows(runs: pd.DataFrame, family: str, column: str, law: str) -> tuple[pd.DataFrame, dict[str, str]]:
    rows = runs[(runs["family"] == family) & runs[column].notna()].sort_values("name")
    return rows, {"law": law, "family": family, "measure": column}


def _conventions(rows: pd.DataFrame, column: str, count: int, seed: int) -> dict:
    return {
        "C": "flops_6n",
        "loss": column,
        "envelope": "falling lower convex hull of final points in log-log",
        "residual": "ln L̂ - ln L",
        "flops_from": float(rows["flops_6n"].min()) if len(rows) else None,
        "flops_to": float(rows["flops_6n"].max()) if len(rows) else None,
        "resampled": "runs",
        "resamples": count,
        "seed": seed,
    }


def _offset_residuals(x: np.ndarray, target: np.ndarray) -> Residuals:
    """Log residuals in θ = (ln E, ln K at the mean of ln C, γ)."""

    def residuals(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        terms = np.exp([theta[0] + 0 * x, theta[1] - theta[2] * x])
        total = terms.sum(0)
        first, second = terms / total
        return np.log(total) - target, np.stack([first, second, -x * second], 1)

    return residuals


def _offset_values(theta: np.ndarray, centre: float) -> tuple[float, float, float]:
    return float(np.exp(theta[0])), float(np.exp(theta[1] + theta[2] * centre)), float(theta[2])
