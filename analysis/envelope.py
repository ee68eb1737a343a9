"""The envelope of minimal loss per FLOP and its power law, L = L0·C^-γ, also with an offset, L = E + K·C^-γ.

In: rows of the runs table. Out: `Fit`s. Cuervo & Marxer 2024, Fig. 1, says "envelope" and no more: here it is the
falling part of the lower convex hull of the runs' final points in log-log, or the least loss of each bin of compute.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import hindcast
from analysis.minimise import Derivatives, Minima, Model, minimise, robust

LAW, LAW_BINS, LAW_OFFSET = "loss_envelope", "loss_envelope_bins", "loss_envelope_offset"
LEAST_POINTS, LEAST_POINTS_OFFSET = 3, 5  # points on the envelope: one more than constants, two more; choices
BINS_PER_DECADE = 3  # of compute: a choice
OFFSET_NAMES = ["E", "K", "gamma"]
EXPONENTS = (0.001, 3.0)  # bounds of γ with an offset: choices
DELTA = 0.03
"""As the parametric law's."""
Envelope = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""FLOPs, losses -> indices of the points on the envelope, by rising compute."""


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


def least_of_bins(flops: np.ndarray, nats: np.ndarray) -> np.ndarray:
    """Indices, by rising compute, of the run of least loss in each third of a decade of compute that has runs."""
    flops, nats = np.asarray(flops, float), np.asarray(nats, float)
    bins = np.floor(BINS_PER_DECADE * np.log10(flops) + 1e-9).astype(int)
    order = np.lexsort((nats, bins))
    return order[np.unique(bins[order], return_index=True)[1]]


def power_law(flops: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(factor, exponent) of values = factor·C^exponent: least squares of ln values on ln C."""
    x, y = np.log(np.asarray(flops, float)), np.log(np.asarray(values, float))
    exponent = float(((x - x.mean()) * (y - y.mean())).sum() / ((x - x.mean()) ** 2).sum())
    return float(np.exp(y.mean() - exponent * x.mean())), exponent


def fit(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    rule: str = LAW,
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """L = L0·C^-γ on the hull, or with `rule` = LAW_BINS on the least of each bin; every resample has its own."""
    envelope = hull if rule == LAW else least_of_bins
    rows, labels = _rows(runs, family, column, rule, resampling)
    flops, nats = rows["flops_6n"].to_numpy(float), rows[column].to_numpy(float)
    kept = envelope(flops, nats)
    if len(kept) < LEAST_POINTS:
        return unfitted(rows, f"{len(kept)} points on the envelope, at least {LEAST_POINTS} wanted", **labels)
    counts, chosen = _resampled(rows, flops, nats, envelope, LEAST_POINTS, resampling)
    factor, exponent = power_law(flops[kept], nats[kept])
    errors = np.log(factor) + exponent * np.log(flops[kept]) - np.log(nats[kept])
    params = {"L0": factor, "gamma": -exponent}
    samples = [power_law(flops[points], nats[points]) for points in map(np.flatnonzero, chosen)]
    alone = Resampling(count=0)
    return Fit(
        **labels,
        params=params,
        constants=len(params),
        **spread(params, np.array(samples).reshape(-1, 2) * (1, -1), len(rows), len(params)),
        objective=float((errors**2).mean() / 2),
        flags=tuple(bootstrap.flags(counts, resampling.count)),
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
        hindcast=_hindcast(rows, column, envelope, lambda small: fit(small, family, column, rule, alone))
        if resampling.count
        else {},
    )


def fit_offset(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """L = E + K·C^-γ on the hull, E ≥ 0; every resample has its own hull."""
    rows, labels = _rows(runs, family, column, LAW_OFFSET, resampling)
    labels["conventions"] |= {"huber_delta": DELTA}
    flops, nats = rows["flops_6n"].to_numpy(float), rows[column].to_numpy(float)
    kept = hull(flops, nats)
    if len(kept) < LEAST_POINTS_OFFSET:
        return unfitted(rows, f"{len(kept)} points on the envelope, at least {LEAST_POINTS_OFFSET} wanted", **labels)
    counts, chosen = _resampled(rows, flops, nats, hull, LEAST_POINTS + 1, resampling)
    best, draws, params, samples = _offset(flops, nats, kept, chosen)
    alone = Resampling(count=0)
    return Fit(
        **labels,
        params=params,
        constants=len(params),
        **spread(params, samples, len(rows), len(params)),
        objective=float(best.objective[0]),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        converged_fraction=float(draws.converged.mean()) if draws else None,
        flags=_offset_flags(best, draws) + tuple(bootstrap.flags(counts, resampling.count)),
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
        hindcast=_hindcast(rows, column, hull, lambda small: fit_offset(small, family, column, alone))
        if resampling.count
        else {},
    )


def predict(params: Mapping[str, float | np.ndarray], flops: np.ndarray) -> np.ndarray:
    """L̂ of either law at C training FLOPs."""
    c = np.asarray(flops, float)
    return params["E"] + params["K"] * c ** -params["gamma"] if "K" in params else params["L0"] * c ** -params["gamma"]


def _resampled(
    rows: pd.DataFrame, flops: np.ndarray, nats: np.ndarray, envelope: Envelope, least: int, resampling: Resampling
) -> tuple[np.ndarray, np.ndarray]:
    """Counts (R, n), and which rows lie on the envelope of those drawn (R, n)."""

    def drawn(counts: np.ndarray) -> np.ndarray:
        present = np.flatnonzero(counts)
        return present[envelope(flops[present], nats[present])]

    groups = rows[resampling.by].to_numpy() if resampling.by else np.arange(len(rows))
    counts = bootstrap.resamples(groups, resampling, lambda counts: len(drawn(counts)) >= least)
    chosen = np.zeros(counts.shape, bool)
    for mask, row in zip(chosen, counts, strict=True):
        mask[drawn(row)] = True
    return counts, chosen


def _hindcast(rows: pd.DataFrame, column: str, envelope: Envelope, again: Callable[[pd.DataFrame], Fit]) -> dict:
    def judged(table: pd.DataFrame) -> pd.DataFrame:
        return table.iloc[envelope(table["flops_6n"].to_numpy(float), table[column].to_numpy(float))]

    return hindcast(rows, column, again, lambda p, large: predict(p, large["flops_6n"]), relative=True, judged=judged)


def _offset(
    flops: np.ndarray, nats: np.ndarray, kept: np.ndarray, chosen: np.ndarray
) -> tuple[Minima, Minima | None, dict[str, float], np.ndarray]:
    """The fit of the kept rows, those of the chosen rows of resamples, and their constants."""
    x, centre = np.log(flops) - np.log(flops).mean(), np.log(flops).mean()
    low, high = nats.min(), nats.max()
    lower, upper = np.array([0.0, 0.0, EXPONENTS[0]]), np.array([low, np.e * high, EXPONENTS[1]])
    starts = np.array([[e * low, (1 - e) * nats.mean(), g] for e in (0.0, 0.5, 0.9) for g in (0.03, 0.1, 0.3, 0.9)])
    objective = robust(_offset_model(x, np.log(nats)), DELTA)
    weights = np.isin(np.arange(len(nats)), kept)[None]
    best = minimise(objective, starts, weights, lower, upper)
    again = np.concatenate([best.params, starts[::5]])
    draws = minimise(objective, again, chosen, lower, upper) if len(chosen) else None
    values = _offset_values(best.params, centre)[0]
    samples = _offset_values(draws.params, centre) if draws else np.empty((0, 3))
    return best, draws, dict(zip(OFFSET_NAMES, map(float, values), strict=True)), samples


def _offset_model(x: np.ndarray, log_nats: np.ndarray) -> Model:
    """Log residuals in θ = (E, K at the mean of ln C, γ) and their derivatives: ∇² ln S = ∇²S/S − ∇lnS ∇lnSᵀ."""

    def model(theta: np.ndarray) -> Derivatives:
        e, k, gamma = theta.T[:, :, None]
        u = np.exp(-gamma * x)  # (S, n)
        total = np.maximum(e + k * u, 1e-12)
        jacobian = np.stack([np.ones_like(u), u, -x * k * u], 2) / total[:, :, None]
        second = -jacobian[:, :, :, None] * jacobian[:, :, None, :]
        second[:, :, 1, 2] -= x * u / total
        second[:, :, 2, 1] -= x * u / total
        second[:, :, 2, 2] += x * x * k * u / total
        return np.log(total) - log_nats, jacobian, second

    return model


def _offset_values(theta: np.ndarray, centre: float) -> np.ndarray:
    """(R, 3) E, K at one FLOP, γ."""
    return np.stack([theta[:, 0], theta[:, 1] * np.exp(theta[:, 2] * centre), theta[:, 2]], 1)


def _offset_flags(best: Minima, draws: Minima | None) -> tuple[str, ...]:
    """Constants that the fit, or more than a fortieth of the resamples, leaves on the edge of what is searched."""
    edge = draws.at_bound.mean(0) if draws else np.zeros(len(OFFSET_NAMES))
    return tuple(
        f"at bound: {name}" if bound else f"unidentified: {name} (on its bound in {share:.0%} of the resamples)"
        for name, share, bound in zip(OFFSET_NAMES, edge, best.at_bound[0], strict=True)
        if share > 0.025 or bound
    )


def _rows(runs: pd.DataFrame, family: str, column: str, law: str, resampling: Resampling) -> tuple[pd.DataFrame, dict]:
    rows = runs[(runs["family"] == family) & runs[column].notna()].sort_values("name")
    flops = rows["flops_6n"].astype(float)
    conventions = {
        "C": "flops_6n",
        "loss": column,
        "envelope": f"least loss of each 1/{BINS_PER_DECADE} decade of compute"
        if law == LAW_BINS
        else "falling lower convex hull of final points in log-log",
        "residual": "ln L̂ - ln L",
        "flops_from": float(flops.min()) if len(rows) else None,
        "flops_to": float(flops.max()) if len(rows) else None,
    }
    labels = {"law": law, "family": family, "measure": column}
    return rows, labels | {"conventions": conventions | resampling.conventions}
