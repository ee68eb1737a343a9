"""The envelope of minimal loss per FLOP and its power law, L = L0·C^-γ, also with an offset, L = E + K·C^-γ.

In: rows of the runs table. Out: `Fit`s. Cuervo & Marxer 2024, Fig. 1, says "envelope" and no more: here it is the
falling part of the lower convex hull of the runs' final points in log-log, or the least loss of each bin of compute.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import LEAST_DECADES, hindcast
from analysis.minimise import SMOOTH, Derivatives, Minima, Model, flags, minimise, narrowing, robust

LAW, LAW_BINS, LAW_OFFSET = "loss_envelope", "loss_envelope_bins", "loss_envelope_offset"
LEAST_POINTS, LEAST_POINTS_OFFSET = 3, 5  # points on the envelope: one more than constants, two more; choices
BINS_PER_DECADE = 3  # of compute: a choice
OFFSET_NAMES = ["E", "K", "gamma"]
EXPONENTS = (0.001, 3.0)  # bounds of γ with an offset: choices
DELTA = 0.03
"""As the parametric law's."""
FARTHEST = 300.0  # of |ln| of a factor: beyond any compute, and still a number
EXACT = 1e-12  # residuals below it are rounding
COLLINEAR = 1e-9  # of a slope: points this near to a side of the hull lie on it
ROUGH = {"interval": "rough: of the luckiest runs"}
"""What every law of an envelope records: it is made of the luckiest runs, and no resample undoes that."""
LUCKY = "rough interval: an envelope is made of the luckiest runs"
"""Flag of the bins, each of which picks one: with noise of 0.3 and 1 % of the loss on the released grid their intervals
held the exponent of the noise-free runs in 77 and 43 % of 250 studies, those of the hull in 97 and 94 %."""
Envelope = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]
"""FLOPs (n,), losses (n,), which runs are present (R, n) -> which of them lie on the envelope (R, n)."""


def hull(flops: np.ndarray, nats: np.ndarray) -> np.ndarray:
    """Indices, by rising compute, of the runs on the falling lower convex hull of (ln C, ln L)."""
    return _indices(_on_hull, flops, nats)


def least_of_bins(flops: np.ndarray, nats: np.ndarray) -> np.ndarray:
    """Indices, by rising compute, of the run of least loss in each third of a decade of compute that has runs."""
    return _indices(_least_of_bins, flops, nats)


def power_law(flops: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """(factor, exponent) of values = factor·C^exponent: least squares of ln values on ln C."""
    x, y = np.log(np.asarray(flops, float)), np.log(np.asarray(values, float))
    exponent, intercept, _ = line(x, y, np.ones_like(x))
    return float(factor(intercept)), float(exponent)


def line(x: np.ndarray, y: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Slope, intercept and Pearson's r of weighted least-squares lines: x (n,), y (n,) or (R, n), weights (R, n) ->
    (R,) each. Where weights are 0, y must be finite all the same."""
    share = weights / weights.sum(-1, keepdims=True)
    mean_x, mean_y = (share * x).sum(-1), (share * y).sum(-1)
    dx, dy = x - mean_x[..., None], y - mean_y[..., None]
    both, squares = (share * dx * dy).sum(-1), (share * dx**2).sum(-1)
    with np.errstate(invalid="ignore", divide="ignore"):  # equal y have no correlation
        correlation = both / np.sqrt(squares * (share * dy**2).sum(-1))
    return both / squares, mean_y - both / squares * mean_x, correlation


def factor(logarithm: np.ndarray) -> np.ndarray:
    """The factor of a power law from its logarithm, finite however steep the law is."""
    return np.exp(np.clip(logarithm, -FARTHEST, FARTHEST))


def span(values: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(R,) largest less smallest of the values (n,) that are present (R, n); -inf where none is."""
    highest = np.where(present, values, -np.inf).max(1, initial=-np.inf)
    return highest - np.where(present, values, np.inf).min(1, initial=np.inf)


def bears(flops: np.ndarray, kept: np.ndarray, least: int) -> np.ndarray:
    """(R,) whether the runs kept on an envelope (R, n) bear a law in compute; `lacking` says why not."""
    return (kept.sum(1) >= least) & (span(np.log10(flops), kept) >= LEAST_DECADES)


def lacking(flops: np.ndarray, least: int) -> str:
    """Why the points on an envelope, at this compute, bear no law in it: too few, or all of one budget; else empty."""
    if len(flops) < least:
        return f"{len(flops)} points on the envelope, at least {least} wanted"
    decades = np.log10(np.max(flops) / np.min(flops))
    if decades < LEAST_DECADES:
        return f"the envelope spans {decades:.2g} decades of compute, at least {LEAST_DECADES} wanted"
    return ""


def freedom(rows: pd.DataFrame, kept: int, constants: int, resampling: Resampling) -> int:
    """Degrees of freedom of the intervals of an envelope's law: of the runs kept on it, for the others say nothing."""
    return resampling.freedom(rows, constants) if resampling.by else max(1, kept - constants)


def fit(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    rule: str = LAW,
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """L = L0·C^-γ on the hull, or with `rule` = LAW_BINS on the least of each bin; every resample has its own."""
    envelope = _on_hull if rule == LAW else _least_of_bins
    rows, labels = _rows(runs, family, column, rule, resampling)
    flops, nats = rows["flops_6n"].to_numpy(float), rows[column].to_numpy(float)
    kept = hull(flops, nats) if rule == LAW else least_of_bins(flops, nats)
    if reason := lacking(flops[kept], LEAST_POINTS):
        return unfitted(rows, reason, **labels)
    counts, chosen = _resampled(rows, flops, nats, envelope, LEAST_POINTS, resampling)
    slope, intercept, _ = line(np.log(flops), np.log(nats), np.vstack([np.isin(np.arange(len(rows)), kept), chosen]))
    params = {"L0": float(factor(intercept[0])), "gamma": -float(slope[0])}
    errors = intercept[0] + slope[0] * np.log(flops[kept]) - np.log(nats[kept])
    draws = np.stack([factor(intercept[1:]), -slope[1:]], 1)
    doubt = (LUCKY,) if rule == LAW_BINS and resampling.count else ()
    alone = Resampling(count=0)
    return Fit(
        **labels,
        params=params,
        constants=len(params),
        **spread(params, draws, freedom(rows, len(kept), len(params), resampling)),
        objective=float((errors**2).mean() / 2),
        flags=(*doubt, *extreme("L0", intercept[0]), *bootstrap.flags(counts, resampling, resampling.groups(rows))),
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
    delta: float = DELTA,
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """L = E + K·C^-γ on the hull, E ≥ 0, by Huber's loss of log residuals; every resample has its own hull.

    `delta`: as `parametric.fit` has it; 0: least absolute deviations, infinite: least squares.
    """
    rows, labels = _rows(runs, family, column, LAW_OFFSET, resampling)
    labels["conventions"] |= {"huber_delta": delta if np.isfinite(delta) else "infinite: least squares"}
    flops, nats = rows["flops_6n"].to_numpy(float), rows[column].to_numpy(float)
    kept = hull(flops, nats)
    if reason := lacking(flops[kept], LEAST_POINTS_OFFSET):
        return unfitted(rows, reason, **labels)
    counts, chosen = _resampled(rows, flops, nats, _on_hull, LEAST_POINTS + 1, resampling)
    best, draws, values, samples = _offset(flops, nats, kept, chosen, delta)
    params = dict(zip(OFFSET_NAMES, map(float, values), strict=True))
    spreads = spread(params, samples, freedom(rows, len(kept), len(params), resampling))
    notes = flags(OFFSET_NAMES, best, draws, spreads.get("intervals", {}), positive=("E", "gamma"))
    alone = Resampling(count=0)
    return Fit(
        **labels,
        params=params,
        constants=len(params),
        **spreads,
        objective=float(best.objective[0]),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        converged_fraction=float(draws.converged.mean()) if draws else None,
        flags=(*notes, *bootstrap.flags(counts, resampling, resampling.groups(rows))),
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
        hindcast=_hindcast(rows, column, _on_hull, lambda small: fit_offset(small, family, column, delta, alone))
        if resampling.count
        else {},
    )


def predict(params: Mapping[str, float | np.ndarray], flops: np.ndarray) -> np.ndarray:
    """L̂ of either law at C training FLOPs."""
    c = np.asarray(flops, float)
    return params["E"] + params["K"] * c ** -params["gamma"] if "K" in params else params["L0"] * c ** -params["gamma"]


def extreme(name: str, logarithm: float) -> tuple[str, ...]:
    """The flag of a factor that is too large or small for a number; see `factor`."""
    return (f"at bound: {name}",) if abs(logarithm) > FARTHEST else ()


def _indices(envelope: Envelope, flops: np.ndarray, nats: np.ndarray) -> np.ndarray:
    flops, nats = np.asarray(flops, float), np.asarray(nats, float)
    kept = np.flatnonzero(envelope(flops, nats, np.ones((1, len(flops)), bool))[0])
    return kept[np.argsort(flops[kept])]


def _on_hull(flops: np.ndarray, nats: np.ndarray, present: np.ndarray) -> np.ndarray:
    """From the cheapest run on, the next is that of the steepest fall, and of several on one line the nearest."""
    x, y = np.log(flops), np.log(nats)
    order = np.lexsort((y, x))
    x, y, there = x[order], y[order], present[:, order]
    found, going = np.zeros(there.shape, bool), np.flatnonzero(there.any(1))
    last = there[going].argmax(1)
    while len(going):
        found[going, last] = True
        right = there[going] & (x > x[last][:, None])
        slopes = np.where(right, y - y[last][:, None], 0.0) / np.where(right, x - x[last][:, None], 1.0)
        steepest = slopes.min(1)  # 0 where nothing cheaper in loss lies to the right
        nearest = (slopes <= steepest[:, None] * (1 - COLLINEAR)).argmax(1)
        going, last = going[steepest < 0], nearest[steepest < 0]
    on = np.empty(there.shape, bool)
    on[:, order] = found
    return on


def _least_of_bins(flops: np.ndarray, nats: np.ndarray, present: np.ndarray) -> np.ndarray:
    bins = np.floor(BINS_PER_DECADE * np.log10(flops) + 1e-9).astype(int)
    order, found = np.lexsort((nats, bins)), np.zeros(present.shape, bool)
    for number in np.unique(bins):
        members = order[bins[order] == number]
        there = np.flatnonzero(present[:, members].any(1))
        found[there, members[present[there][:, members].argmax(1)]] = True
    return found


def _resampled(
    rows: pd.DataFrame, flops: np.ndarray, nats: np.ndarray, envelope: Envelope, least: int, resampling: Resampling
) -> tuple[np.ndarray, np.ndarray]:
    """Counts (R, n), and which rows lie on the envelope of those drawn (R, n)."""

    def usable(counts: np.ndarray) -> np.ndarray:
        return bears(flops, envelope(flops, nats, counts > 0), least)

    counts = bootstrap.resamples(resampling.groups(rows), resampling, usable)
    return counts, envelope(flops, nats, counts > 0)


def _hindcast(rows: pd.DataFrame, column: str, envelope: Envelope, again: Callable[[pd.DataFrame], Fit]) -> dict:
    def judged(table: pd.DataFrame) -> pd.DataFrame:
        return table.iloc[_indices(envelope, table["flops_6n"].to_numpy(float), table[column].to_numpy(float))]

    return hindcast(rows, column, again, lambda p, large: predict(p, large["flops_6n"]), relative=True, judged=judged)


def _offset(
    flops: np.ndarray, nats: np.ndarray, kept: np.ndarray, chosen: np.ndarray, delta: float
) -> tuple[Minima, Minima | None, np.ndarray, np.ndarray]:
    """The fit of the kept rows, those of the chosen rows of resamples, the constants (3,) and (R, 3) of both."""
    centre = np.log(flops).mean()
    model = _offset_model(np.log(flops) - centre, np.log(nats))
    low, high = nats.min(), nats.max()
    lower, upper = np.array([0.0, 0.0, EXPONENTS[0]]), np.array([low, np.e * high, EXPONENTS[1]])
    starts = np.array([[e * low, (1 - e) * nats.mean(), g] for e in (0.0, 0.5, 0.9) for g in (0.03, 0.1, 0.3, 0.9)])
    weights = np.isin(np.arange(len(nats)), kept)[None]

    def searched(width: float, begin: np.ndarray, weights: np.ndarray) -> Minima:
        return minimise(robust(model, width), begin, weights, lower, upper)

    squares = searched(np.inf, starts, weights)
    scale = max(float(np.median(np.abs(model(squares.params)[0][0][kept]))), EXACT)
    first = best = smooth = searched(narrowing(scale, delta)[0], np.concatenate([squares.params, starts]), weights)
    for width in narrowing(scale, delta)[1:]:
        best = searched(width, best.params[:, None], weights)
        smooth = best if delta or width >= SMOOTH * scale else smooth  # at kinks there is no gradient to tell of
    told = {"gradient_norm": smooth.gradient_norm, "condition": smooth.condition, "converged": smooth.converged}
    if delta == 0:
        told["objective"] = np.abs(model(best.params)[0][:, kept]).mean(1)
    draws, begin = None, np.concatenate([best.params, starts[::5]])
    for width in narrowing(scale, delta, exact=False) if len(chosen) else ():
        draws = searched(width, begin, chosen)
        begin = draws.params[:, None]
    samples = _offset_values(draws.params, centre) if draws else np.empty((0, 3))
    return replace(best, **told, basins=first.basins), draws, _offset_values(best.params, centre)[0], samples


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
    return np.stack([theta[:, 0], theta[:, 1] * factor(theta[:, 2] * centre), theta[:, 2]], 1)


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
    return rows, labels | {"conventions": conventions | ROUGH | resampling.conventions}
