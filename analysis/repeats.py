"""L̂(N', D') = E + A/N'^α + B/D'^β of runs that see their tokens again; its fit, in two stages or jointly.

In: rows of the runs table. Out: a `Fit`; effective sizes and losses as functions of its constants. Source: Cuervo &
Marxer 2024, Eq. 7, 8, section 3.1; the clamps are those of Muennighoff et al. 2023, whose law it is.
"""

from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import pandas as pd

from analysis import bootstrap, parametric
from analysis.bootstrap import Resampling
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import hindcast
from analysis.minimise import SMOOTH, Derivatives, Minima, Objective, flags, huber, minimise, narrowing
from analysis.surface import EXPONENTS, Surface, determined

LAW, LAW_JOINT = "loss_repeats", "loss_repeats_joint"
NAMES = [*parametric.NAMES, "RN_star", "RD_star"]
POINT = ["params_total", "tokens", "unique_tokens"]
POSITIVE = ["E", "alpha", "beta", "RN_star", "RD_star"]  # whose intervals should not span a factor of `minimise.WIDE`
LOGARITHMIC = [1, 2, 5, 6]  # of NAMES: A, B, RN_star, RD_star
STARS = (1e-2, 1e4)  # bounds of R_N*, R_D*: below, repeats are worth nothing; above, as much as fresh tokens; choices
STARTS = (2.0, 20.0, 200.0)  # of R_N*, R_D*: choices
VANISHING = 16.0  # a slope αA or βB below e^-16 of the smallest loss counts as none: a choice
LEAST_REPEATED = 3  # distinct points with repeated tokens, one more than constants of the second stage: a choice

# S searches, R problems, K starts of each, n rows.
Constants = Mapping[str, float | np.ndarray]
Pair = tuple[np.ndarray, np.ndarray]


def effective(params: Constants, n: np.ndarray, d: np.ndarray, u: np.ndarray, clamp: bool = True) -> Pair:
    """(N', D') of N parameters, D tokens seen, U distinct ones (Eq. 8).

    Without RN_star among the constants, N' of N > U_N is NaN: no run has told it.
    """
    fitting, u = fresh(params, n, d, u, clamp)
    return _decayed(fitting, n / fitting - 1, params.get("RN_star", np.nan)), _decayed(u, d / u - 1, params["RD_star"])


def fresh(params: Constants, n: np.ndarray, d: np.ndarray, u: np.ndarray, clamp: bool = True) -> Pair:
    """(U_N, U): the parameters that U tokens call for, Eq. 6 solved for N, and these tokens; R_N = N/U_N − 1 and
    R_D = D/U − 1.

    `clamp`: U = min(U, D) and U_N = min(N, U_N), so that R_N and R_D are never negative; without it, the letter of the
    paper, which shrinks N below U_N a little.
    """
    n, d, u = (np.asarray(values, float) for values in (n, d, u))
    u = np.minimum(u, d) if clamp else u
    ratio = np.log(params["alpha"] * params["A"]) - np.log(params["beta"] * params["B"])
    log_fitting = (ratio + params["beta"] * np.log(u)) / params["alpha"]
    fitting = np.exp(np.clip(log_fitting, -parametric.FARTHEST, parametric.FARTHEST))
    return np.minimum(fitting, n) if clamp else fitting, u


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
    stages the objective is the second's; gradient norm, condition, basins are the larger of both. `delta`: as there.
    """
    rows = runs[(runs["family"] == family) & runs[column].notna()].sort_values("name")
    if unknown := rows.loc[rows["epochs"].isna(), "name"].tolist():
        raise ValueError(f"family {family}: how often tokens were repeated is not known of {', '.join(unknown[:5])}")
    settings = family, column, delta, joint, clamp

    def smaller(part: pd.DataFrame) -> Fit:
        found = _fit(part, *settings, Resampling(count=0))
        told = found.params and np.isfinite(_predicted(found.params, rows, clamp)).all()  # not so without RN_star
        return found if told else replace(found, params={})

    found = _fit(rows, *settings, resampling)
    if not found.params or not resampling.count:
        return found
    return replace(found, hindcast=hindcast(rows, column, smaller, lambda p, r: _predicted(p, r, clamp), relative=True))


class Repeated:
    """The runs of a fit, in the scale that it is made in: θ = (E, ln αA, ln βB, 1/α, 1/β, ln R_N*, ln R_D*), with A and
    B at the geometric means of N and D. There the valley of E + B/D^β that is hardly curved in ln D is straight."""

    def __init__(self, points: np.ndarray, clamp: bool, delta: float) -> None:
        """`points`: N, D, U, L, each (n,) positive."""
        n, d, u, nats = points
        u = np.minimum(u, d) if clamp else u
        self.clamp, self.delta, self.log_nats = clamp, delta, np.log(nats)
        self.log_means = np.log(n).mean(), np.log(d).mean()
        self.x, self.u, self.repeats = np.log(n) - self.log_means[0], np.log(u) - self.log_means[1], d / u - 1
        self.powers_u = np.stack([np.ones_like(self.u), self.u, self.u**2], 1)
        top, least = self.log_nats.max() + 2, self.log_nats.min() - VANISHING
        flat, steep = 1 / np.array(EXPONENTS)
        self.lower = np.array([0.0, least, least, steep, steep, *np.log([STARS[0]] * 2)])
        self.upper = np.array([np.exp(top), top, top, flat, flat, *np.log([STARS[1]] * 2)])

    def theta(self, constants: np.ndarray) -> np.ndarray:
        """(..., 7) θ of constants in the order of NAMES, moved within the bounds."""
        theta = np.array(constants, float)
        with np.errstate(divide="ignore"):  # a term of nothing goes to its bound
            theta[..., LOGARITHMIC] = np.log(theta[..., LOGARITHMIC])
        theta[..., 1:3] += np.log(theta[..., 3:5]) - theta[..., 3:5] * self.log_means
        theta[..., 3:5] = 1 / theta[..., 3:5]
        return np.clip(theta, self.lower, self.upper)

    def constants(self, theta: np.ndarray) -> np.ndarray:
        """(..., 7) constants of θ."""
        constants = np.array(theta)
        constants[..., 3:5] = 1 / constants[..., 3:5]
        constants[..., 1:3] += constants[..., 3:5] * self.log_means - np.log(constants[..., 3:5])
        constants[..., LOGARITHMIC] = np.exp(constants[..., LOGARITHMIC])
        return constants

    def excess(self, theta: np.ndarray) -> np.ndarray:
        """(S, n) whether N > U_N, for θ (S, 7)."""
        return self.x > self._log_fitting(theta)

    def residuals(self, theta: np.ndarray) -> np.ndarray:
        """(S, n) ln L̂ − ln L of θ (S, 7); NaN where Eq. 8 is not defined."""
        e, a, b, g, h, _, log_star = theta.T[:, :, None]
        tokens = self.u + _log_decay(self.repeats, log_star)[0]
        total = e + g * np.exp(a - self._log_size(theta)[0] / g) + h * np.exp(b - tokens / h)
        return np.log(total) - self.log_nats

    def search(self, starts: np.ndarray, weights: np.ndarray, free: list[int], near: np.ndarray, exact: bool) -> Minima:
        """The best θ for every row of `weights` (R, n), from starts (R, K, 7) whose constants that are not free stay;
        `near` (K, 7) tells the scale of the residuals, `exact` how narrow the loss gets (see `narrowing`)."""
        medians = np.median(np.abs(self.residuals(near)), 1)
        widths = narrowing(max(1e-12, min(medians[np.isfinite(medians)], default=0.0)), self.delta, exact)
        first = smooth = found = minimise(self.objective(widths[0], free), starts, weights, self.lower, self.upper)
        for width in widths[1:]:
            objective = self.objective(width, free)
            found = minimise(objective, found.params[:, None], weights, self.lower, self.upper)
            smooth = found if self.delta or width >= SMOOTH * widths[0] else smooth  # kinks have no gradient to tell of
        told = {"gradient_norm": smooth.gradient_norm, "condition": smooth.condition, "converged": smooth.converged}
        return replace(found, **told, basins=first.basins)

    def objective(self, delta: float, free: list[int]) -> Objective:
        """The weighted mean Huber loss of the residuals, level along every constant that is not free; infinite where
        Eq. 8 is not defined."""
        held = np.setdiff1d(range(len(NAMES)), free)

        def objective(theta: np.ndarray, weights: np.ndarray) -> Derivatives:
            with np.errstate(invalid="ignore"):
                value, gradient, hessian = self._derivatives(theta, weights, delta)
                undefined = ~np.isfinite(value + gradient.sum(1) + hessian.sum((1, 2)))
            gradient[:, held], hessian[:, held], hessian[:, :, held] = 0.0, 0.0, 0.0
            hessian[:, held, held] = 1.0  # one among the eigenvalues of a unit diagonal: no condition is changed
            value[undefined], gradient[undefined], hessian[undefined] = np.inf, 0.0, np.eye(len(NAMES))
            return value, gradient, hessian

        return objective

    def _derivatives(self, theta: np.ndarray, weights: np.ndarray, delta: float) -> Derivatives:
        """By ζ = (E, ln αA, 1/α, ln R_N*, p, q, ln βB, 1/β, ln R_D*) first, ln U_N = p + q ln U: p and q follow from θ
        alone, so that rows are summed up before; the chain rule comes after."""
        e, a, b, g, h, _, log_star = theta.T[:, :, None]
        size, by_fitting, by_star, fitting_fitting, fitting_star, star_star = self._log_size(theta)
        decay, _, decay_star, _, _, decay_star_star = _log_decay(self.repeats, log_star)
        tokens, one, first = self.u + decay, np.ones_like(size), -by_fitting / g
        x, y = g * np.exp(a - size / g), h * np.exp(b - tokens / h)
        total = e + x + y
        share_x, share_y = x / total, y / total
        loss, slope, curvature = huber(np.log(total) - self.log_nats, delta)
        pull = weights * slope
        log_x = np.stack([one, 1 / g + size / g**2, -by_star / g, first, first * self.u], 1)  # (S, 5, n) of ln(A/N'^α)
        log_y = np.stack([one, 1 / h + tokens / h**2, -decay_star / h], 1)  # (S, 3, n) of ln(B/D'^β)
        slopes = np.concatenate([1 / total[:, None], share_x[:, None] * log_x, share_y[:, None] * log_y], 1)
        gradient = (slopes @ pull[:, :, None])[:, :, 0]
        hessian = (slopes * (weights * (curvature - slope))[:, None]) @ slopes.swapaxes(1, 2)
        pull_x, pull_y = pull * share_x, pull * share_y
        hessian[:, 1:6, 1:6] += (log_x * pull_x[:, None]) @ log_x.swapaxes(1, 2)
        hessian[:, 6:, 6:] += (log_y * pull_y[:, None]) @ log_y.swapaxes(1, 2)
        of_x = np.stack([one, size, by_star, by_fitting, star_star, fitting_star, fitting_fitting], 1)
        of_x = np.moveaxis((of_x * pull_x[:, None]) @ self.powers_u, 0, 2)  # (7, 3, S)
        of_y = ((pull_y * values).sum(1) for values in (one, tokens, decay_star, decay_star_star))
        second = _second(hessian, theta[:, 3], of_x, theta[:, 4], tuple(of_y))
        return (weights * loss).sum(1), *_chained(theta, gradient, second)

    def _log_size(self, theta: np.ndarray) -> tuple[np.ndarray, ...]:
        """ln N' (S, n), less the mean of ln N, and its derivatives by ln U_N, ln R_N*, twice ln U_N, both, twice
        ln R_N*; those by twice ln U_N jump where N = U_N."""
        fitting = self._log_fitting(theta)
        ratio = np.exp(np.minimum(self.x - fitting, 50.0))  # N/U_N; beyond e^50 more changes nothing
        decay, by_more, by_star, more_more, more_star, star_star = _log_decay(ratio - 1, theta[:, 5, None])
        found = fitting + decay, 1 - ratio * by_more, by_star, ratio * by_more + ratio**2 * more_more
        found = *found, -ratio * more_star, star_star
        if not self.clamp:
            return found
        over = ratio > 1
        return tuple(np.where(over, values, self.x if index == 0 else 0.0) for index, values in enumerate(found))

    def _log_fitting(self, theta: np.ndarray) -> np.ndarray:
        """ln U_N (S, n), less the mean of ln N: where αA/N^α = βB/U^β."""
        return (theta[:, 1:2] - theta[:, 2:3]) * theta[:, 3:4] + theta[:, 3:4] / theta[:, 4:5] * self.u


def _second(hessian: np.ndarray, g: np.ndarray, x: np.ndarray, h: np.ndarray, y: tuple[np.ndarray, ...]) -> np.ndarray:
    """The Hessian by ζ, with the second derivatives of both terms' logarithms from their sums over rows."""
    entries = [(2, 2, -(x[0, 0] + 2 * x[1, 0] / g) / g**2), (7, 7, -(y[0] + 2 * y[1] / h) / h**2)]
    entries += [(2, 3, x[2, 0] / g**2), (2, 4, x[3, 0] / g**2), (2, 5, x[3, 1] / g**2), (7, 8, y[2] / h**2)]
    entries += [(3, 3, -x[4, 0] / g), (3, 4, -x[5, 0] / g), (3, 5, -x[5, 1] / g), (8, 8, -y[3] / h)]
    return _added(hessian, [*entries, (4, 4, -x[6, 0] / g), (4, 5, -x[6, 1] / g), (5, 5, -x[6, 2] / g)])


def _chained(theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Gradient (S, 7) and Hessian (S, 7, 7) by θ of those by ζ; see `Repeated._derivatives`."""
    _, a, b, g, h, _, _ = theta.T
    chain = np.zeros((len(theta), 9, len(NAMES)))  # of ζ by θ
    chain[:, [0, 1, 2, 3, 6, 7, 8], [0, 1, 3, 5, 2, 4, 6]] = 1.0
    chain[:, 4, 1], chain[:, 4, 2], chain[:, 4, 3] = g, -g, a - b
    chain[:, 5, 3], chain[:, 5, 4] = 1 / h, -g / h**2
    p, q, found = gradient[:, 4], gradient[:, 5], chain.swapaxes(1, 2) @ hessian @ chain
    entries = [(1, 3, p), (2, 3, -p), (3, 4, -q / h**2), (4, 4, 2 * q * g / h**3)]
    return (gradient[:, None] @ chain)[:, 0], _added(found, entries)


def _added(hessian: np.ndarray, entries: list[tuple[int, int, np.ndarray]]) -> np.ndarray:
    """Symmetric matrices (S, P, P) with values (S,) added at (row, column), and at their mirror images."""
    for row, column, value in entries:
        hessian[:, row, column] += value
        hessian[:, column, row] = hessian[:, row, column]
    return hessian


def _decayed(fresh: np.ndarray, more: np.ndarray, star: float | np.ndarray) -> np.ndarray:
    """`fresh` and `more` times as much again, worth ever less (Eq. 8)."""
    return np.where(more == 0, fresh, fresh * (1 - star * np.expm1(-more / star)))


def _log_decay(more: np.ndarray, log_star: np.ndarray) -> tuple[np.ndarray, ...]:
    """ψ = ln(1 + R*(1 − e^(-R/R*))) and its derivatives by R, ln R*, R R, R ln R*, ln R* ln R*."""
    star = np.exp(log_star)
    x = more / star
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):  # without clamps, N' may be less than nothing
        lost = np.expm1(-x)
        kept, total = lost + 1, 1 - star * lost
        by_more, by_star = kept / total, star * (-lost - x * kept) / total
        more_star, star_star = x * by_more - by_more * by_star, by_star - star * x**2 * by_more - by_star**2
        return np.log(total), by_more, by_star, -by_more / star - by_more**2, more_star, star_star


class _Stages:
    """Both stages of the fit, for any weighting of the same runs, which determine it."""

    def __init__(self, rows: pd.DataFrame, column: str, delta: float, joint: bool, clamp: bool) -> None:
        self.points = np.array([rows[name].to_numpy(float) for name in (*POINT, column)])  # (4, n): N, D, U, L
        self.single = rows["epochs"].to_numpy(float) <= parametric.MAX_EPOCHS
        codes = rows[~self.single].groupby(POINT).ngroup().to_numpy()
        self.of_point = np.eye(codes.max() + 1)[codes]
        self.used = np.ones(len(rows), bool) if joint else ~self.single
        self.delta, self.joint = delta, joint
        self.free, self.kept = [*(range(5) if joint else ()), 5, 6], list(range(len(NAMES)))
        n, d, _, nats = self.points[:, self.single]
        self.first, self.second = Surface(n, d, nats), Repeated(self.points[:, self.used], clamp, delta)

    def determined(self, counts: np.ndarray, spare: int = 0) -> np.ndarray:
        """(R,) whether the runs with a count (R, n) above zero determine the constants, and have `spare` points
        besides in either stage."""
        n, d, _, _ = self.points[:, self.single]
        single = determined(n, d, counts[:, self.single] > 0, len(parametric.NAMES) + spare)
        return single & ((counts[:, ~self.single] @ self.of_point > 0).sum(1) >= LEAST_REPEATED + spare)

    def solution(self) -> Minima:
        """The fit of all runs; constants that are not in `free` or `kept` afterwards are not told by any run."""
        once, first = np.ones((1, self.used.sum())), self.first.best(self.delta)
        starts = self._starts(first, np.log([(one, other) for one in STARTS for other in STARTS]))
        second = self.second.search(starts, once, self.free, starts[0], True)
        if self.second.clamp and not self.second.excess(second.params).any():  # N' = N whatever R_N* is
            self.free, self.kept = [[index for index in part if index != 5] for part in (self.free, self.kept)]
            starts = np.concatenate([second.params[:, None], starts], 1)
            starts[:, :, 5] = self.second.upper[5]
            second = self.second.search(starts, once, self.free, starts[0], True)
        self.whole = first, second
        return self._described(first, second)

    def resampled(self, rows: pd.DataFrame, resampling: Resampling) -> tuple[Minima | None, np.ndarray, list[str]]:
        """The fits of resamples, None where there are none; their constants (R, kept); what is to be said of them."""
        groups, spare = resampling.groups(rows), self.determined(np.ones((1, len(rows))), parametric.SPARE_POINTS)[0]
        resampling = resampling if spare else replace(resampling, count=0)
        counts = bootstrap.resamples(groups, resampling, self.determined)
        draws = self.draws(counts) if len(counts) else None
        found = self.second.constants(draws.params)[:, self.kept] if draws else np.empty((0, len(self.kept)))
        notes = bootstrap.flags(found, resampling, groups)
        notes += [] if spare else ["no interval: hardly more distinct points than constants"]
        untold = len(counts) - len(found)
        notes += [f"{untold} resamples left out: their runs do not tell RN_star"] if untold else []
        return draws if len(found) else None, found, notes

    def draws(self, counts: np.ndarray) -> Minima:
        """The fits of those resamples (R, n) whose runs tell of all free constants, from R_N*, R_D* of all runs and
        from others; jointly, the other five start at those of all runs."""
        first, second = self.whole
        stars = second.params[0, 5:]
        stars = np.stack([stars, np.where(np.isin([5, 6], self.free), np.log(STARTS[1]), stars)])
        if self.joint:
            starts = np.concatenate([np.repeat(second.params[:, :5], 2, 0), stars], 1)[None]
        else:
            first = self.first.minima(counts[:, self.single], self.delta, first)
            starts = self._starts(first, stars)
        found = self.second.search(starts, counts[:, self.used], self.free, second.params, False)
        told = np.isfinite(found.objective)
        if self.second.clamp and 5 in self.free:
            told &= (self.second.excess(found.params) & (counts[:, self.used] > 0)).any(1)
        found = self._described(first, found)
        return Minima(**{field.name: getattr(found, field.name)[told] for field in fields(Minima)})

    def _starts(self, first: Minima, log_stars: np.ndarray) -> np.ndarray:
        """(R, K, 7) the first stage, with every pair of ln R_N*, ln R_D* (K, 2)."""
        constants = np.pad(self.first.constants(first.params), [(0, 0), (0, 2)], constant_values=1.0)
        starts = np.repeat(self.second.theta(constants)[:, None], len(log_stars), 1)
        starts[:, :, 5:] = log_stars
        return starts

    def _described(self, first: Minima, second: Minima) -> Minima:
        """What the searches say of the constants that are kept: of two stages the worse gradient norm and condition and
        the larger number of basins, converged where both are."""
        if self.joint:
            return replace(second, at_bound=second.at_bound[:, self.kept])
        names = ("gradient_norm", "condition", "basins")
        worse = {name: np.maximum(getattr(first, name), getattr(second, name)) for name in names}
        at_bound = np.concatenate([first.at_bound, second.at_bound[:, 5:]], 1)[:, self.kept]
        return replace(second, **worse, converged=first.converged & second.converged, at_bound=at_bound)


def _fit(
    rows: pd.DataFrame, family: str, column: str, delta: float, joint: bool, clamp: bool, resampling: Resampling
) -> Fit:
    """`fit` without a hindcast."""
    labels = {"law": LAW_JOINT if joint else LAW, "family": family, "measure": column}
    labels["conventions"] = _conventions(rows, column, delta, joint, clamp) | resampling.conventions
    if reason := _undetermined(rows):
        return unfitted(rows, reason, **labels)
    stages = _Stages(rows, column, delta, joint, clamp)
    best = stages.solution()
    if not np.isfinite(best.objective[0]):
        return unfitted(rows, "Eq. 8 is not defined for these runs without clamps", **labels)
    point = stages.second.constants(best.params)[0]
    params = {NAMES[index]: float(point[index]) for index in stages.kept}
    draws, sampled, notes = stages.resampled(rows, resampling)
    spreads = spread(params, sampled, resampling.freedom(rows, len(params)))
    untold = [] if 5 in stages.free else ["unidentified: RN_star (no run has more parameters than its tokens call for)"]
    searched = flags(list(params), best, draws, spreads.get("intervals", {}), POSITIVE)
    absolute = np.abs(stages.second.residuals(best.params)).mean()
    return Fit(
        **labels,
        params=params,
        constants=len(params),
        **spreads,
        objective=float(absolute if delta == 0 else best.objective[0]),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        converged_fraction=float(draws.converged.mean()) if draws else None,
        flags=(*untold, *searched, *notes),
        rows=identities(rows),
    )


def _undetermined(rows: pd.DataFrame) -> str:
    """Why the runs cannot determine the constants; empty when they can."""
    single = rows["epochs"] <= parametric.MAX_EPOCHS
    repeated, once = len(rows.loc[~single, POINT].drop_duplicates()), rows.loc[single, POINT[:2]].drop_duplicates()
    sizes, budgets = once.nunique()
    if repeated >= LEAST_REPEATED and len(once) >= len(parametric.NAMES) and sizes >= 3 and budgets >= 3:
        return ""
    found = f"{repeated} points with repeated tokens, {len(once)} without, of {sizes} sizes and {budgets} token counts"
    return f"{found}; {LEAST_REPEATED}, {len(parametric.NAMES)}, 3, 3 wanted"


def _predicted(params: Constants, rows: pd.DataFrame, clamp: bool) -> np.ndarray:
    return predict(params, *(rows[name].to_numpy(float) for name in POINT), clamp)


def _conventions(rows: pd.DataFrame, column: str, delta: float, joint: bool, clamp: bool) -> dict:
    flops = rows["flops_6n"].to_numpy(float)
    told = {"N": "params_total", "D": "tokens", "U": "unique_tokens", "C": "flops_6n", "loss": column}
    told |= {"residual": "ln L̂ - ln L", "huber_delta": delta if np.isfinite(delta) else "infinite: least squares"}
    stages = "E, A, B, alpha, beta of single-epoch runs; RN_star, RD_star of the others"
    told |= {"stages": "joint" if joint else stages, "max_epochs": parametric.MAX_EPOCHS}
    told |= {"clamps": "U = min(U, D), U_N = min(N, U_N)" if clamp else "none"}
    return told | {f"flops_{end}": float(f(flops)) if len(rows) else None for end, f in (("from", min), ("to", max))}
