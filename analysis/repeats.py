"""L̂(N', D') = E + A/N'^α + B/D'^β of runs that see their tokens again; its fit, in two stages or jointly.

In: rows of the runs table. Out: a `Fit`; effective sizes and losses as functions of its constants. Source: Cuervo &
Marxer 2024, Eq. 7, 8, section 3.1; the clamps are those of Muennighoff et al. 2023, whose law it is.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import bootstrap, parametric
from analysis.bootstrap import Resampling
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import hindcast
from analysis.minimise import Derivatives, Minima, Objective, minimise, robust
from analysis.surface import EXPONENTS, SHRINKING

LAW, LAW_JOINT = "loss_repeats", "loss_repeats_joint"
NAMES = [*parametric.NAMES, "RN_star", "RD_star"]
LOGARITHMIC = [1, 2, 5, 6]  # of NAMES: A, B, RN_star, RD_star are searched by their logarithm
STARS = (1e-2, 1e4)  # bounds of R_N*, R_D*: below, repeats are worth nothing; above, as much as fresh tokens; choices
STARTS = (2.0, 20.0, 200.0)  # of R_N*, R_D*: choices
VANISHING = 14.0  # a term below e^-14 of the smallest loss counts as absent: a choice
LEAST_REPEATED = 3  # distinct points with repeated tokens, one more than constants of the second stage: a choice
WIDE = 10.0  # an interval of R_N* or R_D* that spans this factor says little: a choice

# S searches, R problems, n rows, P free constants.
Constants = Mapping[str, float | np.ndarray]


def effective(
    params: Constants, n: np.ndarray, d: np.ndarray, u: np.ndarray, clamp: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """(N', D') of N parameters, D tokens seen, U distinct ones (Eq. 8).

    U_N, the parameters that U tokens call for, is Eq. 6 solved for N. `clamp`: U = min(U, D) and U_N = min(N, U_N), so
    that R_N and R_D are never negative; without it, the letter of the paper, which shrinks N below U_N a little.
    Without RN_star among the constants, N' of N > U_N is NaN: no run has told it.
    """
    n, d, u = (np.asarray(values, float) for values in (n, d, u))
    u = np.minimum(u, d) if clamp else u
    ratio = np.log(params["alpha"] * params["A"]) - np.log(params["beta"] * params["B"])
    fitting = np.exp((ratio + params["beta"] * np.log(u)) / params["alpha"])
    fitting = np.minimum(fitting, n) if clamp else fitting
    return _decayed(fitting, n / fitting - 1, params.get("RN_star", np.nan)), _decayed(u, d / u - 1, params["RD_star"])


def predict(params: Constants, n: np.ndarray, d: np.ndarray, u: np.ndarray, clamp: bool = True) -> np.ndarray:
    """L̂ in nats of N parameters, D tokens seen, U distinct ones (Eq. 7)."""
    return parametric.loss(params, *effective(params, n, d, u, clamp))


def fit(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    delta: float = parametric.DELTA,
    joint: bool = False,
    clamp: bool = True,
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """Fit Eq. 7 to the runs of a family by Huber's loss of ln L̂ − ln L.

    In two stages, as the paper: E, A, B, α, β from the single-epoch runs, then R_N*, R_D* from the others; every
    resample goes through both. `joint`: all seven from all runs. Where no run has more parameters than its distinct
    tokens call for, R_N* has no effect on any loss: it is left out of the constants and flagged. Unfitted without
    LEAST_REPEATED distinct points with repeated tokens, or where the single-epoch runs do not determine Eq. 4. In two
    stages the objective, and what is said of the search, are the second's.
    """
    rows = runs[(runs["family"] == family) & runs[column].notna()].sort_values("name")
    settings = family, column, delta, joint, clamp

    def smaller(part: pd.DataFrame) -> Fit:
        found = _fit(part, *settings, Resampling(count=0))
        if found.params and not np.isfinite(_predicted(found.params, rows, clamp)).all():
            return unfitted(part, "RN_star is unidentified", law=found.law, family=family, measure=column)
        return found

    found = _fit(rows, *settings, resampling)
    if not found.params or not resampling.count:
        return found
    return replace(found, hindcast=hindcast(rows, column, smaller, lambda p, r: _predicted(p, r, clamp), relative=True))


class Repeated:
    """The runs of a fit, in the scale that it is made in: θ = (E, ln A, ln B, α, β, ln R_N*, ln R_D*), with A and B at
    the geometric means of N and D."""

    def __init__(self, n: np.ndarray, d: np.ndarray, u: np.ndarray, nats: np.ndarray, clamp: bool) -> None:
        """`n`, `d`, `u`, `nats`: (n,) positive."""
        u = np.minimum(u, d) if clamp else u
        self.clamp, self.log_nats = clamp, np.log(nats)
        self.log_means = np.log(n).mean(), np.log(d).mean()
        self.x, self.u, self.repeats = np.log(n) - self.log_means[0], np.log(u) - self.log_means[1], d / u - 1
        top, least = self.log_nats.max() + 1, self.log_nats.min() - VANISHING
        self.lower = np.array([0.0, least, least, EXPONENTS[0], EXPONENTS[0], *np.log([STARS[0]] * 2)])
        self.upper = np.array([np.exp(top), top, top, EXPONENTS[1], EXPONENTS[1], *np.log([STARS[1]] * 2)])

    def theta(self, constants: np.ndarray) -> np.ndarray:
        """(..., 7) θ of constants in the order of NAMES, moved within the bounds."""
        theta = np.array(constants, float)
        with np.errstate(divide="ignore"):  # a term of nothing goes to its bound
            theta[..., LOGARITHMIC] = np.log(theta[..., LOGARITHMIC])
        theta[..., 1:3] -= theta[..., 3:5] * self.log_means
        return np.clip(theta, self.lower, self.upper)

    def constants(self, theta: np.ndarray) -> np.ndarray:
        """(..., 7) constants of θ."""
        constants = np.array(theta)
        constants[..., 1:3] += constants[..., 3:5] * self.log_means
        constants[..., LOGARITHMIC] = np.exp(constants[..., LOGARITHMIC])
        return constants

    def excess(self, theta: np.ndarray) -> np.ndarray:
        """(S, n) whether N > U_N."""
        return self.x > self._fitting(theta)

    def residuals(self, theta: np.ndarray) -> Derivatives:
        """ln L̂ − ln L of θ (S, 7), with derivatives."""
        alpha, beta = theta[:, 3, None], theta[:, 4, None]
        size, size_1, size_2 = self._log_size(theta)
        decay, _, by_star, _, _, star_star = _log_decay(self.repeats, theta[:, 6, None])
        tokens = self.u + decay
        first, second = -alpha[..., None] * size_1, -alpha[..., None, None] * size_2  # of the logarithm of A's term
        first[..., 1] += 1
        first[..., 3] -= size
        second[..., 3, :] -= size_1
        second[..., :, 3] -= size_1
        other = np.zeros_like(first)  # of the logarithm of B's term
        other[..., 2], other[..., 4], other[..., 6] = 1, -tokens, -beta * by_star
        terms = np.exp(theta[:, 1, None] - alpha * size), np.exp(theta[:, 2, None] - beta * tokens)
        total = theta[:, 0, None] + terms[0] + terms[1]
        share, rest = (term[..., None] / total[..., None] for term in terms)
        slopes = share * first + rest * other
        slopes[..., 0] = 1 / total
        second += first[..., :, None] * first[..., None, :]
        second *= share[..., None]
        second += (rest * other)[..., :, None] * other[..., None, :]
        second[..., 4, 6] -= rest[..., 0] * by_star
        second[..., 6, 4] -= rest[..., 0] * by_star
        second[..., 6, 6] -= rest[..., 0] * beta * star_star
        second -= slopes[..., :, None] * slopes[..., None, :]
        return np.log(total) - self.log_nats, slopes, second

    def _log_size(self, theta: np.ndarray) -> Derivatives:
        """ln N' (S, n), less the mean of ln N, with derivatives; their second ones jump where N = U_N."""
        alpha, beta = theta[:, 3, None], theta[:, 4, None]
        fitting, tilt = self._fitting(theta), self.u - 1 / beta
        ratio = np.exp(np.minimum(self.x - fitting, 50.0))  # N/U_N; beyond e^50 more changes nothing
        decay, by_more, by_star, more_more, more_star, star_star = _log_decay(ratio - 1, theta[:, 5, None])
        over = (ratio > 1) | (not self.clamp)
        slope = np.where(over, 1 - ratio * by_more, 0.0)  # by ln U_N
        bend = np.where(over, ratio * by_more + ratio**2 * more_more, 0.0)
        first = np.zeros((*fitting.shape, 7))  # of ln U_N
        first[..., 1], first[..., 2] = 1 / alpha, -1 / alpha
        first[..., 3], first[..., 4] = (1 / alpha - fitting) / alpha, tilt / alpha
        second = (bend[..., None] * first)[..., :, None] * first[..., None, :]
        for row, column, value in ((3, 1, -1.0), (3, 2, 1.0), (3, 4, -tilt)):
            second[..., row, column] += slope * value / alpha**2
            second[..., column, row] = second[..., row, column]
        second[..., 3, 3] += slope * (2 * fitting - 3 / alpha) / alpha**2
        second[..., 4, 4] += slope / (alpha * beta**2)
        crossed = np.where(over, -ratio * more_star, 0.0)[..., None] * first
        second[..., 5, :], second[..., :, 5] = crossed, crossed
        second[..., 5, 5] = np.where(over, star_star, 0.0)
        first *= slope[..., None]
        first[..., 5] = np.where(over, by_star, 0.0)
        return np.where(over, fitting + decay, self.x), first, second

    def _fitting(self, theta: np.ndarray) -> np.ndarray:
        """ln U_N (S, n), less the mean of ln N: where αA/N^α = βB/U^β."""
        a, b, alpha, beta = (theta[:, index, None] for index in (1, 2, 3, 4))
        return (np.log(alpha) + a - np.log(beta) - b + beta * self.u) / alpha


def _decayed(fresh: np.ndarray, more: np.ndarray, star: float | np.ndarray) -> np.ndarray:
    """`fresh` and `more` times as much again, worth ever less (Eq. 8)."""
    return np.where(more == 0, fresh, fresh * (1 - star * np.expm1(-more / star)))


def _log_decay(more: np.ndarray, log_star: np.ndarray) -> tuple[np.ndarray, ...]:
    """ψ = ln(1 + R*(1 − e^(-R/R*))) and its derivatives by R, ln R*, R R, R ln R*, ln R* ln R*."""
    star = np.exp(log_star)
    x = more / star
    fresh, total = np.exp(-x), 1 - star * np.expm1(-x)
    with np.errstate(invalid="ignore", divide="ignore"):  # without clamps, a small R_N* leaves nothing of small models
        by_more, by_star = fresh / total, star * (-np.expm1(-x) - x * fresh) / total
        more_star, star_star = x * by_more - by_more * by_star, by_star - star * x**2 * by_more - by_star**2
        return np.log(total), by_more, by_star, -by_more / star - by_more**2, more_star, star_star


class _Stages:
    """Both stages of the fit, for any weighting of the same runs."""

    def __init__(self, rows: pd.DataFrame, column: str, delta: float, joint: bool, clamp: bool) -> None:
        names = ("params_total", "tokens", "unique_tokens", column)
        self.points = np.array([rows[name].to_numpy(float) for name in names])  # (4, n): N, D, U, L
        self.single = rows["epochs"].to_numpy(float) <= parametric.MAX_EPOCHS
        self.used = np.ones(len(rows), bool) if joint else ~self.single
        self.delta, self.joint = delta, joint
        self.surface = Repeated(*self.points[:, self.used], clamp) if self.used.any() else None

    def undetermined(self, counts: np.ndarray) -> str:
        """Why the runs with a count above zero cannot determine the constants; empty when they can."""
        n, d, u, _ = self.points[:, counts > 0]
        single = self.single[counts > 0]
        repeated = len(set(zip(n[~single], d[~single], u[~single], strict=True)))
        if repeated < LEAST_REPEATED:
            return f"{repeated} points with repeated tokens, at least {LEAST_REPEATED} wanted"
        points, sizes, budgets = len(set(zip(n[single], d[single], strict=True))), set(n[single]), set(d[single])
        if points < len(parametric.NAMES) or len(sizes) < 3 or len(budgets) < 3:
            return f"{points} single-epoch points of {len(sizes)} sizes and {len(budgets)} token counts; 5, 3, 3 wanted"
        return ""

    def starts(self, weights: np.ndarray, stars: np.ndarray) -> np.ndarray:
        """(R, K, 7) the first stage of weights (R, n), with every pair of R_N*, R_D* in `stars` (K, 2)."""
        n, d, _, nats = self.points[:, self.single]
        first = parametric.constants(n, d, nats, weights[:, self.single], self.delta)
        pairs = np.broadcast_to(stars, (len(weights), *stars.shape))
        return self.surface.theta(np.concatenate([np.repeat(first[:, None], len(stars), 1), pairs], 2))

    def minima(self, weights: np.ndarray, starts: np.ndarray, free: list[int]) -> tuple[np.ndarray, Minima]:
        """θ (R, 7) with the free constants at their best, from starts (R, K, 7) that share the others; the search.

        A problem's other constants travel behind its weights: a problem is nothing else to the minimiser.
        """
        others = starts[:, 0].copy()
        others[:, LOGARITHMIC] = np.exp(others[:, LOGARITHMIC])  # weights are never negative
        weights = weights[:, self.used] / weights[:, self.used].sum(1, keepdims=True)
        packed = np.concatenate([weights, others], 1)
        searched, lower, upper = starts[:, :, free], self.surface.lower[free], self.surface.upper[free]
        for width in SHRINKING if self.delta == 0 else (self.delta,):
            found = minimise(self._objective(free, width), searched, packed, lower, upper)
            searched = found.params[:, None]
        theta = starts[:, 0].copy()
        theta[:, free] = found.params
        return theta, found

    def solution(self) -> tuple[np.ndarray, Minima, list[int]]:
        """θ (1, 7) of all runs, the search, and the indices of the constants that it was for: without R_N* where no run
        tells it."""
        once, free = np.ones((1, len(self.single))), [*(range(5) if self.joint else ()), 5, 6]
        starts = self.starts(once, np.array([(first, second) for first in STARTS for second in STARTS]))
        theta, best = self.minima(once, starts, free)
        if self.surface.clamp and not self.surface.excess(theta).any():  # N' = N whatever R_N* is
            theta[:, 5] = self.surface.upper[5]
            free.remove(5)
            theta, best = self.minima(once, np.concatenate([theta[:, None], starts], 1), free)
        return theta, best, free

    def resamples(self, groups: np.ndarray, resampling: Resampling) -> np.ndarray:
        """(R, n) counts of resamples that determine the constants."""
        return bootstrap.resamples(groups, resampling, lambda counts: not self.undetermined(counts))

    def draws(self, counts: np.ndarray, theta: np.ndarray, free: list[int]) -> tuple[np.ndarray, Minima]:
        """Constants (≤ R, 7) of the resamples that tell of all free ones, and the search; `theta` (1, 7): of all."""
        stars = self.surface.constants(theta)[0, 5:]
        starts = self.starts(counts.astype(float), np.array([stars, [STARTS[1]] * 2]))
        if self.joint:
            starts[:, 1] = theta
        drawn, search = self.minima(counts.astype(float), starts, free)
        told = np.isfinite(search.objective)
        if self.surface.clamp and 5 in free:
            told = (self.surface.excess(drawn) & (counts[:, self.used] > 0)).any(1)
        return self.surface.constants(drawn[told]), search

    def _objective(self, free: list[int], delta: float) -> Objective:
        """The mean Huber loss in the free constants; infinite where Eq. 8 is not defined."""
        loss, rows = robust(self.surface.residuals, delta), self.used.sum()

        def objective(theta: np.ndarray, packed: np.ndarray) -> Derivatives:
            sums = packed[:, :rows].sum(1, keepdims=True)  # one, before the minimiser divided by its sum
            whole = packed[:, rows:] / sums
            whole[:, LOGARITHMIC] = np.log(whole[:, LOGARITHMIC])
            whole[:, free] = theta
            value, gradient, hessian = loss(whole, packed[:, :rows] / sums)
            gradient, hessian = gradient[:, free], hessian[:, free][:, :, free]
            defined = np.isfinite(value)
            value[~defined], gradient[~defined], hessian[~defined] = np.inf, 0.0, np.eye(len(free))
            return value, gradient, hessian

        return objective


def _fit(
    rows: pd.DataFrame, family: str, column: str, delta: float, joint: bool, clamp: bool, resampling: Resampling
) -> Fit:
    """`fit` without a hindcast."""
    labels = {"law": LAW_JOINT if joint else LAW, "family": family, "measure": column}
    labels["conventions"] = _conventions(rows, column, delta, joint, clamp) | resampling.conventions
    stages = _Stages(rows, column, delta, joint, clamp)
    if reason := stages.undetermined(np.ones(len(rows))):
        return unfitted(rows, reason, **labels)
    theta, best, free = stages.solution()
    if not np.isfinite(best.objective[0]):
        return unfitted(rows, "Eq. 8 is not defined for these runs without clamps", **labels)
    kept = [index for index in range(len(NAMES)) if index != 5 or index in free]
    point = stages.surface.constants(theta)[0]
    params = {NAMES[index]: float(point[index]) for index in kept}
    counts = stages.resamples(rows[resampling.by].to_numpy() if resampling.by else np.arange(len(rows)), resampling)
    draws, search = stages.draws(counts, theta, free) if len(counts) else (np.empty((0, len(NAMES))), None)
    found = spread(params, draws[:, kept], len(rows), len(params))
    flags = _flags(best, search, free, found.get("intervals", {})) + bootstrap.flags(counts, resampling.count)
    if len(draws) < len(counts):
        flags.append(f"{len(counts) - len(draws)} resamples left out: their runs do not tell RN_star")
    return Fit(
        **labels,
        params=params,
        constants=len(params),
        **found,
        objective=float(best.objective[0]) / (SHRINKING[-1] if delta == 0 else 1.0),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        converged_fraction=float(search.converged.mean()) if search else None,
        flags=tuple(flags),
        rows=identities(rows),
    )


def _flags(
    best: Minima, search: Minima | None, free: list[int], intervals: dict[str, tuple[float, float]]
) -> list[str]:
    """What keeps the constants that were searched from being taken at face value, as of the parametric law."""
    flags = []
    if 5 not in free:
        flags.append("unidentified: RN_star (no run has more parameters than its distinct tokens call for)")
    edges = search.at_bound.mean(0) if search else np.zeros(len(free))
    for index, bound, edge in zip(free, best.at_bound[0], edges, strict=True):
        name = NAMES[index]
        low, high = intervals.get(name, (1.0, 1.0))
        if bound:
            flags.append(f"at bound: {name}")
        elif edge > 0.025:
            flags.append(f"unidentified: {name} (on its bound in {edge:.0%} of the resamples)")
        elif name in NAMES[5:] and high > WIDE * low:
            flags.append(f"weakly identified: {name} (its interval spans a factor {high / low:.0f})")
    if not best.converged[0]:
        flags.append(f"not converged: gradient norm {best.gradient_norm[0]:.1e}")
    return flags


def _predicted(params: Constants, rows: pd.DataFrame, clamp: bool) -> np.ndarray:
    return predict(params, *(rows[name].to_numpy(float) for name in ("params_total", "tokens", "unique_tokens")), clamp)


def _conventions(rows: pd.DataFrame, column: str, delta: float, joint: bool, clamp: bool) -> dict:
    flops = rows["flops_6n"].to_numpy(float)
    return {
        "N": "params_total",
        "D": "tokens",
        "U": "unique_tokens",
        "C": "flops_6n",
        "loss": column,
        "residual": "ln L̂ - ln L",
        "huber_delta": delta if np.isfinite(delta) else "infinite: least squares",
        "stages": "joint" if joint else "E, A, B, alpha, beta of single-epoch runs; RN_star, RD_star of the others",
        "max_epochs": parametric.MAX_EPOCHS,
        "clamps": "U = min(U, D), U_N = min(N, U_N)" if clamp else "none",
        "flops_from": float(flops.min()) if len(rows) else None,
        "flops_to": float(flops.max()) if len(rows) else None,
    }
