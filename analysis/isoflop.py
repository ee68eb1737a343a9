"""IsoFLOP curves: the best size of every compute budget, and the power laws N* = N0·C^a, D* = D0·C^b through them.

In: rows of the runs table. Out: a `Fit`, and the curves' minima for a figure. A check on the parametric law, which is
what to allocate by: minima of parabolas are biased where curves are wide, skewed or off centre (arXiv 2603.22339).
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import hindcast
from analysis.parametric import FARTHEST, MAX_EPOCHS

LAWS = {"parabola": "isoflop_parabola", "akima": "isoflop_akima"}
NAMES = ["N0", "a", "D0", "b"]
SIZES = {"parabola": 3, "akima": 4}
"""Distinct sizes that a budget needs: what determines a parabola; one more for Akima's slopes: a choice."""
AGREE = 1.1  # runs whose compute lies within this factor of the least of theirs are one budget: a choice
LEAST_BUDGETS = 2
FLAT = 1e-9  # of ln L over half the range of sizes: less curvature is rounding
OFF_CENTRE = 0.25  # of half the range of ln N, between its middle and the minimum: a choice
NARROW = 0.3  # decades of compute, that budgets should at least span: a choice
WIDE = 1.0  # an interval of the exponent a that is wider says little: a choice
UNITY = 1e-3  # distance of a + b from 1 worth a flag: a choice
REASONS = ("too few sizes", "not convex", "minimum outside the sizes")

# R resamples, B budgets, m runs of a budget, K sizes of it, n runs.


def predict(params: Mapping[str, float | np.ndarray], flops: np.ndarray) -> np.ndarray:
    """N*, the best number of parameters for C training FLOPs."""
    return _power(params["N0"], params["a"], flops)


def tokens(params: Mapping[str, float | np.ndarray], flops: np.ndarray) -> np.ndarray:
    """D*, the best number of training tokens for C training FLOPs."""
    return _power(params["D0"], params["b"], flops)


def minima(rows: pd.DataFrame, column: str = "nats_per_token", interpolator: str = "parabola") -> pd.DataFrame:
    """The curve of every budget among a family's single-epoch rows, by rising compute.

    Columns: `flops` (geometric mean of the budget), `runs`, `sizes` (distinct), `N_from`, `N_to`, `reason` (one of
    REASONS, or empty), `usable` (no reason against it), `N_star`, `D_star`, `loss_star` (NaN unless usable), `offset`
    (of the minimum from the middle of the sizes, in halves of the range of ln N); of a parabola `level`, `slope`,
    `curvature`: ln L = level + slope·x + curvature·x², x = ln(N/centre), and the root mean square `residual` of ln L.

    D* is interpolated between the runs' own D at N*, ln D along ln N: C/(6 N*) would make a + b = 1 by definition.
    """
    names = "flops runs sizes N_from N_to reason usable N_star D_star loss_star offset centre level slope curvature"
    found = [curve.described() for curve in _curves(_single(rows, column), column, interpolator)]
    return pd.DataFrame(found, columns=[*names.split(), "residual"]).astype({"usable": bool})


def fit(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    interpolator: str = "parabola",
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """Power laws, by least squares of logarithms, through the minima of a family's IsoFLOP curves.

    `interpolator`: ln L as a parabola in ln N by least squares (approach 2 of Hoffmann et al. 2022), or Akima's spline
    through the means of every size. Runs are drawn again within their budget; a budget whose drawn runs have no minimum
    within their sizes is missing from that resample. Unfitted below LEAST_BUDGETS usable budgets. The hindcast's values
    are N*.
    """
    if interpolator not in LAWS:
        raise ValueError(f"interpolator {interpolator!r}; choose one of {', '.join(LAWS)}")
    own = runs[(runs["family"] == family) & runs[column].notna()].sort_values("name")
    rows = _single(own, column)
    table, curves = minima(own, column, interpolator), _curves(rows, column, interpolator)
    usable = table[table["usable"]]
    labels = {"law": LAWS[interpolator], "family": family, "measure": column}
    labels["conventions"] = _conventions(rows, column, interpolator, resampling)
    left_out = _left_out(table, len(own) - len(rows), SIZES[interpolator])
    if len(usable) < LEAST_BUDGETS:
        reason = f"{len(usable)} budgets with a minimum within their sizes, at least {LEAST_BUDGETS} wanted"
        return unfitted(rows, reason, tuple(left_out), **labels)
    params = _params(usable)
    draws, missing = _draws(rows, curves, resampling)
    entered = rows.iloc[np.sort(np.concatenate([curves[index].members for index in usable.index]))]
    spreads = spread(params, draws, resampling.freedom(entered, len(NAMES)))
    labels["conventions"]["a_plus_b"] = params["a"] + params["b"]
    flags = _unidentified(usable, spreads.get("intervals", {})) + _flags(usable, params, interpolator) + left_out
    squares = (usable["runs"] * usable["residual"] ** 2).sum() / len(entered)
    return Fit(
        **labels,
        params=params,
        constants=len(NAMES),
        **spreads,
        objective=float(squares / 2) if interpolator == "parabola" else None,
        flags=(*flags, *missing, *bootstrap.flags(draws, resampling, resampling.groups(entered))),
        rows=identities(entered),
        hindcast=_hindcast(usable, labels) if resampling.count else {},
    )


class _Found(NamedTuple):
    """Minima of one curve under R weightings of its runs."""

    log_n: np.ndarray
    """(R,); NaN where there is none."""
    log_nats: np.ndarray
    reason: np.ndarray
    """(R,) of REASONS, or empty."""
    coefficients: np.ndarray
    """(R, 3) level, slope, curvature of a parabola in (ln N − centre)/half; NaN otherwise."""


class _Curve:
    """The runs of one budget: ln L against ln N."""

    def __init__(self, members: np.ndarray, rows: pd.DataFrame, column: str, interpolator: str) -> None:
        names = ("params_total", "tokens", "flops_6n", column)
        log_n, log_d, log_c, self.log_nats = (np.log(rows[name].to_numpy(float)[members]) for name in names)
        self.members, self.log_flops, self.interpolator = members, log_c.mean(), interpolator
        self.sizes, codes = np.unique(log_n, return_inverse=True)  # (K,)
        self.of_size = np.eye(len(self.sizes))[codes]  # (m, K)
        self.log_tokens = log_d @ self.of_size / self.of_size.sum(0)
        self.centre, self.half = (self.sizes[0] + self.sizes[-1]) / 2, max(np.ptp(self.sizes) / 2, 1e-9)
        self.x = (self.sizes - self.centre) / self.half

    def found(self, weights: np.ndarray) -> _Found:
        """The minima under weights (R, m)."""
        drawn = weights @ self.of_size > 0  # (R, K)
        enough = drawn.sum(1) >= SIZES[self.interpolator]
        if self.interpolator == "parabola":
            coefficients = self._parabolas(weights, enough)
            level, slope, curvature = coefficients.T
            convex = curvature > FLAT
            star = -slope / np.where(convex, 2 * curvature, np.nan)
            value = level + slope * star / 2
        else:
            convex, coefficients = np.ones(len(weights), bool), np.full((len(weights), 3), np.nan)
            star, value = self._splines(weights, drawn, enough)
        low, high = (limit(np.where(drawn, self.x, fill), 1) for limit, fill in ((np.min, np.inf), (np.max, -np.inf)))
        reason = np.select([~enough, ~convex, ~((low < star) & (star < high))], REASONS, "")
        star, value = (np.where(reason == "", values, np.nan) for values in (star, value))
        return _Found(self.centre + self.half * star, value, reason, coefficients)

    def _parabolas(self, weights: np.ndarray, enough: np.ndarray) -> np.ndarray:
        """(R, 3) coefficients by least squares, NaN without `enough` sizes."""
        powers = (self.of_size @ self.x)[:, None] ** np.arange(5)  # (m, 5)
        gram = (weights @ powers)[:, np.add.outer(range(3), range(3))]  # (R, 3, 3)
        middle = self.log_nats.mean()
        sums = weights @ (powers[:, :3] * (self.log_nats - middle)[:, None])
        found = np.linalg.solve(np.where(enough[:, None, None], gram, np.eye(3)), sums[..., None])[..., 0]
        found[:, 0] += middle
        return np.where(enough[:, None], found, np.nan)

    def _splines(self, weights: np.ndarray, drawn: np.ndarray, enough: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(R,) where Akima's spline through the sizes' means is least and how much, NaN where an end is; every distinct
        set of means once."""
        counts = np.maximum(weights @ self.of_size, 1e-300)
        means = np.where(drawn & enough[:, None], weights @ (self.of_size * self.log_nats[:, None]) / counts, np.inf)
        distinct, inverse = np.unique(means, axis=0, return_inverse=True)
        points = np.full((len(distinct), 2), np.nan)
        for row, nats in enumerate(distinct):
            kept = np.isfinite(nats)
            if kept.any():
                points[row] = _spline_minimum(self.x[kept], nats[kept])
        return tuple(points[inverse.ravel()].T)

    def log_d(self, log_n: np.ndarray) -> np.ndarray:
        """ln D at ln N, between the runs' own."""
        return np.interp(log_n, self.sizes, self.log_tokens)

    def described(self) -> dict:
        """The row of `minima`, without its empty columns."""
        found = self.found(np.ones((1, len(self.members))))
        level, slope, curvature = found.coefficients[0]
        x = self.of_size @ self.x
        residual = level + slope * x + curvature * x**2 - self.log_nats
        return {
            "flops": np.exp(self.log_flops),
            "runs": len(self.members),
            "sizes": len(self.sizes),
            "N_from": np.exp(self.sizes[0]),
            "N_to": np.exp(self.sizes[-1]),
            "reason": str(found.reason[0]),
            "usable": found.reason[0] == "",
            "N_star": np.exp(found.log_n[0]),
            "D_star": np.exp(self.log_d(found.log_n[0])),
            "loss_star": np.exp(found.log_nats[0]),
            "offset": (found.log_n[0] - self.centre) / self.half,
            "centre": np.exp(self.centre),
            "level": level,
            "slope": slope / self.half,
            "curvature": curvature / self.half**2,
            "residual": np.sqrt((residual**2).mean()),
        }


def _spline_minimum(x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
    from scipy.interpolate import Akima1DInterpolator  # a third of a second, which every other command is spared

    spline = Akima1DInterpolator(x, y)
    turns = spline.derivative().roots(extrapolate=False)
    turns = turns[np.isfinite(turns)]  # a level piece has no root of its own
    values = spline(turns)
    if not len(turns) or values.min() > min(y[0], y[-1]) - FLAT:
        return np.nan, np.nan
    return float(turns[values.argmin()]), float(values.min())


def _power(factor: float | np.ndarray, exponent: float | np.ndarray, flops: np.ndarray) -> np.ndarray:
    """factor · flops^exponent, cut at e^±FARTHEST: finite even where two near budgets make a wild exponent."""
    return np.exp(np.clip(np.log(factor) + exponent * np.log(np.asarray(flops, float)), -FARTHEST, FARTHEST))


def _single(rows: pd.DataFrame, column: str) -> pd.DataFrame:
    own = rows[rows[column].notna()]
    if unknown := own.loc[own["epochs"].isna(), "name"].tolist():
        raise ValueError(f"how often tokens were repeated is not known of {', '.join(unknown[:5])}")
    return own[own["epochs"] <= MAX_EPOCHS]


def _curves(rows: pd.DataFrame, column: str, interpolator: str) -> list[_Curve]:
    """The budgets, by rising compute: each begins at the least run that the one before does not reach."""
    flops = rows["flops_6n"].to_numpy(float)
    groups: list[list[int]] = []
    for index in np.argsort(flops, kind="stable"):
        if not groups or flops[index] > AGREE * flops[groups[-1][0]]:
            groups.append([])
        groups[-1].append(index)
    return [_Curve(np.array(group), rows, column, interpolator) for group in groups]


def _params(usable: pd.DataFrame) -> dict[str, float]:
    flops, n_star, d_star = (np.log(usable[name].to_numpy(float)) for name in ("flops", "N_star", "D_star"))
    return dict(zip(NAMES, map(float, _laws(flops, n_star, d_star)), strict=True))


def _laws(log_flops: np.ndarray, log_n: np.ndarray, log_d: np.ndarray) -> np.ndarray:
    """(..., 4) N0, a, D0, b by least squares over the budgets (..., B) that have a minimum."""
    told = np.isfinite(log_n)
    share = told / told.sum(-1, keepdims=True)
    x = log_flops - (share * log_flops).sum(-1, keepdims=True)
    laws = []
    for values in (log_n, log_d):
        values = np.where(told, values, 0.0)
        exponent = (share * x * values).sum(-1) / (share * x**2).sum(-1)
        factor = (share * (values - exponent[..., None] * log_flops)).sum(-1)
        laws += [np.exp(np.clip(factor, -FARTHEST, FARTHEST)), exponent]
    return np.stack(laws, -1)


def _draws(rows: pd.DataFrame, curves: list[_Curve], resampling: Resampling) -> tuple[np.ndarray, list[str]]:
    """(≤ R, 4) laws of resamples with LEAST_BUDGETS minima, and a flag of the curves that they lack.

    None where no budget has more runs than a parabola has constants, or `by` has few groups: little would vary.
    """
    curves = [curve for curve in curves if len(curve.sizes) >= SIZES[curve.interpolator]]
    log_flops = np.array([curve.log_flops for curve in curves])
    found, reasons = np.empty((0, len(NAMES))), np.empty((0, len(curves)), object)
    draw = _drawer(rows, curves, resampling)
    varied = max(len(curve.members) for curve in curves) > 3
    if resampling.by:
        varied = varied and resampling.groups(rows).max() >= bootstrap.LEAST_GROUPS - 1
    for _ in range(bootstrap.TRIES if varied else 0):
        if len(found) == resampling.count:
            break
        counts = draw(resampling.count - len(found))
        each = [curve.found(counts[:, curve.members]) for curve in curves]
        log_n = np.stack([one.log_n for one in each], 1)  # (R, B)
        log_d = np.stack([curve.log_d(one.log_n) for curve, one in zip(curves, each, strict=True)], 1)
        usable = np.isfinite(log_n).sum(1) >= LEAST_BUDGETS
        found = np.concatenate([found, _laws(log_flops, log_n[usable], log_d[usable])])
        reasons = np.concatenate([reasons, np.stack([one.reason for one in each], 1)])
    shares = {reason: (reasons == reason).mean() for reason in REASONS if (reasons == reason).any()}
    told = ", ".join(f"{reason} {share:.1%}" for reason, share in shares.items())
    return found, [f"{sum(shares.values()):.1%} of the resampled curves left out: {told}"] if shares else []


def _drawer(rows: pd.DataFrame, curves: list[_Curve], resampling: Resampling) -> Callable[[int], np.ndarray]:
    """A function of R that draws counts (R, n): of runs within their budget; of groups, `by`, over all budgets."""
    strata, groups = [curve.members for curve in curves], resampling.groups(rows)
    strata = [np.concatenate(strata)] if resampling.by else strata
    codes = [np.unique(groups[stratum], return_inverse=True)[1] for stratum in strata]
    generator = np.random.default_rng(resampling.seed)

    def draw(wanted: int) -> np.ndarray:
        counts = np.zeros((wanted, len(rows)))
        for stratum, code in zip(strata, codes, strict=True):
            size = code.max() + 1
            counts[:, stratum] = generator.multinomial(size, np.full(size, 1 / size), wanted)[:, code]
        return counts

    return draw


def _left_out(table: pd.DataFrame, repeated: int, wanted: int) -> list[str]:
    """Flags of the runs and budgets that do not enter."""
    few = table["reason"] == REASONS[0]
    flags = [f"{table['runs'][few].sum()} runs at budgets of fewer than {wanted} sizes left out"] if few.any() else []
    for budget in table[~few & ~table["usable"]].itertuples():
        flags.append(f"budget {budget.flops:.2g} left out: {budget.reason}")
    return [*flags, *([f"{repeated} runs with repeated tokens left out"] if repeated else [])]


def _unidentified(usable: pd.DataFrame, intervals: Mapping[str, tuple[float, float]]) -> list[str]:
    span = float(np.ptp(np.log10(usable["flops"])))
    if span < NARROW:
        return [f"unidentified: a (budgets span {span:.2f} decades of compute)"]
    low, high = intervals.get("a", (0.0, 0.0))
    return [f"unidentified: a (its interval is {high - low:.1f} wide)"] if high - low > WIDE else []


def _flags(usable: pd.DataFrame, params: dict[str, float], interpolator: str) -> list[str]:
    """What keeps the laws from being taken at face value."""
    flags, off = [], int((usable["offset"].abs() > OFF_CENTRE).sum())
    if off:
        bias = "their minima are biased (arXiv 2603.22339), prefer the parametric law"
        flags.append(f"off centre: the sizes of {off} of {len(usable)} budgets; {bias}")
    if abs(total := params["a"] + params["b"] - 1) > UNITY:
        flags.append(f"a + b = {1 + total:.4f}: 6 N* D* does not grow as the budgets do")
    if (
        interpolator == "akima"
    ):  # in simulated studies they held the true a in 65 to 98 %, those of parabolas in 95 to 99
        flags.append("rough interval: a spline passes through the noise of single runs")
    return flags


def _hindcast(usable: pd.DataFrame, labels: dict[str, str]) -> dict:
    """N* of the larger budgets, from the smaller."""
    points = pd.DataFrame({"name": [f"{flops:.3g} FLOPs" for flops in usable["flops"]], "fingerprint": ""})
    points = points.assign(flops_6n=usable["flops"].to_numpy(), **usable[["N_star"]].reset_index(drop=True))

    def smaller(part: pd.DataFrame) -> Fit:
        if len(part) < LEAST_BUDGETS:
            return unfitted(part, f"{len(part)} budgets", **labels)
        return Fit(**labels, params=_params(usable.iloc[part.index]), rows=identities(part))

    return hindcast(points, "N_star", smaller, lambda found, part: predict(found, part["flops_6n"]), relative=True)


def _conventions(rows: pd.DataFrame, column: str, interpolator: str, resampling: Resampling) -> dict:
    flops = rows["flops_6n"].to_numpy(float)
    curve = "parabola in ln N, least squares" if interpolator == "parabola" else "Akima spline in ln N, means of sizes"
    return {
        "N": "params_total",
        "D": "tokens, interpolated at N*",
        "C": "flops_6n, geometric mean of the budget",
        "loss": column,
        "curve": f"ln L, {curve}",
        "budgets_within_factor": AGREE,
        "max_epochs": MAX_EPOCHS,
        "flops_from": float(flops.min()) if len(rows) else None,
        "flops_to": float(flops.max()) if len(rows) else None,
        **resampling.conventions,
        "resampled": resampling.by or "runs within each budget",
    }
