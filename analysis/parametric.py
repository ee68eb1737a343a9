"""L̂(N, D) = E + A/N^α + B/D^β, its fit to single-epoch runs, and what follows from it.

In: rows of the runs table. Out: a `Fit`; losses, exponents and optimal allocations as functions of its constants.
Source: Cuervo & Marxer 2024, Eq. 4-6 and section 3.1 (Huber on log residuals, δ = 0.03; the paper names δ only).
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import hindcast
from analysis.minimise import STATIONARY, Minima
from analysis.surface import SHRINKING, Surface

LAW = "loss_parametric"
NAMES = ["E", "A", "B", "alpha", "beta"]
DERIVED = ["G", "a", "b"]
DELTA = 0.03
"""Cuervo & Marxer 2024, section 3.1; Hoffmann et al. 2022 and Muennighoff et al. 2023 use 1e-3."""
MAX_EPOCHS = 1.1  # single epoch, with slack for stores that end a little before the budget: a choice
WIDE = 3.0  # an interval of E, α or β that spans this factor says little: a choice
ILL = 1e8  # condition beyond which a combination of constants is hardly determined: a choice

Constants = Mapping[str, float | np.ndarray]


def loss(constants: Constants, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """L̂ in nats for N parameters and D tokens (Eq. 4)."""
    n, d = np.asarray(params, float), np.asarray(tokens, float)
    return constants["E"] + constants["A"] * n ** -constants["alpha"] + constants["B"] * d ** -constants["beta"]


def allocation(constants: Constants) -> dict[str, float | np.ndarray]:
    """G, a, b of N_opt = G (C/6)^a and D_opt = (C/6)^b / G (Eq. 6)."""
    alpha, beta = constants["alpha"], constants["beta"]
    log_ratio = np.log(alpha) + np.log(constants["A"]) - np.log(beta) - np.log(constants["B"])
    return {"G": np.exp(log_ratio / (alpha + beta)), "a": beta / (alpha + beta), "b": alpha / (alpha + beta)}


def optimum(constants: Constants, flops: float | np.ndarray) -> tuple[float | np.ndarray, float | np.ndarray]:
    """(N_opt, D_opt) for C = 6 N D training FLOPs (Eq. 5, 6)."""
    share = allocation(constants)
    per_six = np.asarray(flops, float) / 6.0
    return share["G"] * per_six ** share["a"], per_six ** share["b"] / share["G"]


def frontier(constants: Constants, flops: float | np.ndarray) -> float | np.ndarray:
    """Least L̂ that C = 6 N D training FLOPs buy."""
    return loss(constants, *optimum(constants, flops))


def training_flops(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """C = 6 N D in floats: the product overflows 64-bit integers at the published sizes."""
    return 6.0 * np.asarray(params, float) * np.asarray(tokens, float)


def constants(n: np.ndarray, d: np.ndarray, nats: np.ndarray, weights: np.ndarray, delta: float = DELTA) -> np.ndarray:
    """(R, 5) E, A, B, α, β of the runs under every row of `weights` (R, runs), without any judgement of them."""
    surface = Surface(n, d, nats)
    return surface.constants(surface.minima(weights, delta, resampled=True).params)


def fit(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    delta: float = DELTA,
    tied: bool = False,
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """Fit Eq. 4 to the single-epoch runs of a family, with α = β where `tied`.

    `delta`: Huber's on log residuals; 0: least absolute deviations; infinite: least squares. Unfitted, with the
    reason, below as many points as constants, or three sizes or token counts: fewer cannot separate the terms.
    """
    own = runs[(runs["family"] == family) & runs[column].notna()]
    rows = own[own["epochs"] <= MAX_EPOCHS].sort_values("name")
    repeated = len(own) - len(rows)
    conventions = _conventions(rows, column, delta, tied, repeated) | resampling.conventions
    labels = {"law": LAW, "family": family, "measure": column, "conventions": conventions}
    if reason := _undetermined(rows, 4 if tied else 5):
        return unfitted(rows, reason, **labels)
    surface = Surface(*(rows[name].to_numpy(float) for name in ("params_total", "tokens", column)), tied)
    best = surface.minima(np.ones((1, len(rows))), delta)
    counts = bootstrap.resamples(_groups(rows, resampling), resampling, _identifies(rows, 4 if tied else 5))
    draws = surface.minima(counts, delta, resampled=True) if len(counts) else None
    params = dict(zip(NAMES + DERIVED, map(float, _values(surface, best.params)[0]), strict=True))
    samples = _values(surface, draws.params) if draws else np.empty((0, len(params)))
    spreads = spread(params, samples, len(rows), len(surface.lower))
    flags = [*_flags(best, draws, spreads.get("intervals", {})), *bootstrap.flags(counts, resampling.count)]
    return Fit(
        **labels,
        params=params,
        constants=len(surface.lower),
        **spreads,
        objective=float(best.objective[0]) / (SHRINKING[-1] if delta == 0 else 1.0),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        converged_fraction=float(draws.converged.mean()) if draws else None,
        flags=(*flags, *([f"{repeated} runs with repeated tokens left out"] if repeated else [])),
        rows=identities(rows),
        hindcast=_hindcast(rows, family, column, delta, tied) if resampling.count else {},
    )


def predict(params: Constants, rows: pd.DataFrame) -> np.ndarray:
    """L̂ of rows of the runs table."""
    return loss(params, rows["params_total"].to_numpy(float), rows["tokens"].to_numpy(float))


def _hindcast(rows: pd.DataFrame, family: str, column: str, delta: float, tied: bool) -> dict:
    alone = Resampling(count=0)
    return hindcast(rows, column, lambda small: fit(small, family, column, delta, tied, alone), predict, relative=True)


def _conventions(rows: pd.DataFrame, column: str, delta: float, tied: bool, repeated: int) -> dict:
    flops = rows["flops_6n"].astype(float)
    return {
        "N": "params_total",
        "D": "tokens",
        "C": "flops_6n",
        "loss": column,
        "residual": "ln L̂ - ln L",
        "huber_delta": delta if np.isfinite(delta) else "infinite: least squares",
        "exponents": "tied" if tied else "free",
        "max_epochs": MAX_EPOCHS,
        "runs_left_out_for_repeats": repeated,
        "flops_from": float(flops.min()) if len(rows) else None,
        "flops_to": float(flops.max()) if len(rows) else None,
    }


def _groups(rows: pd.DataFrame, resampling: Resampling) -> np.ndarray:
    return rows[resampling.by].to_numpy() if resampling.by else np.arange(len(rows))


def _undetermined(rows: pd.DataFrame, wanted: int) -> str:
    """Why rows cannot determine the constants; empty when they can."""
    points = len(rows[["params_total", "tokens"]].drop_duplicates())
    sizes, budgets = rows["params_total"].nunique(), rows["tokens"].nunique()
    if points < wanted:
        return f"{points} single-epoch points for {wanted} constants"
    if sizes < 3:
        return f"{sizes} model sizes, at least 3 separate E, A and alpha"
    return f"{budgets} token counts, at least 3 separate E, B and beta" if budgets < 3 else ""


def _identifies(rows: pd.DataFrame, wanted: int):
    """Whether the drawn rows can determine the constants, as `_undetermined` says of all."""
    sizes, budgets = (np.unique(rows[name], return_inverse=True)[1] for name in ("params_total", "tokens"))
    points = np.unique(sizes * (budgets.max() + 1) + budgets, return_inverse=True)[1]

    def usable(counts: np.ndarray) -> bool:
        drawn = counts > 0
        distinct = [np.count_nonzero(np.bincount(codes[drawn])) for codes in (points, sizes, budgets)]
        return distinct[0] >= wanted and distinct[1] >= 3 and distinct[2] >= 3

    return usable


def _values(surface: Surface, theta: np.ndarray) -> np.ndarray:
    """(R, 8) E, A, B, α, β, then G, a, b. Where a term vanishes, A or B is taken as 1e-300 for a finite G."""
    found = surface.constants(theta)
    positive = dict(zip(NAMES, np.maximum(found, 1e-300).T, strict=True))
    return np.concatenate([found, np.stack(list(allocation(positive).values()), 1)], 1)


def _flags(best: Minima, draws: Minima | None, found: dict[str, tuple[float, float]]) -> list[str]:
    """What keeps the constants from being taken at face value.

    A constant is at bound when the fit, and unidentified when more than a fortieth of the resamples, ends on the
    edge of what is searched: its interval is then the search's, not the data's.
    """
    flags = []
    edge = draws.at_bound.mean(0) if draws else np.zeros(best.at_bound.shape[1])
    for name, bound, share in zip(NAMES, best.at_bound[0], edge, strict=False):
        low, high = found.get(name, (1.0, 1.0))
        if bound:
            flags.append(f"at bound: {name}")
        elif share > 0.025:
            flags.append(f"unidentified: {name} (on its bound in {share:.0%} of the resamples)")
        elif name not in ("A", "B") and high > WIDE * low:
            flags.append(f"weakly identified: {name} (its interval spans a factor {high / max(low, 1e-9):.1f})")
    if best.condition[0] > ILL:
        flags.append(f"ill-conditioned: {best.condition[0]:.0e}, some combination of the constants is not determined")
    if best.gradient_norm[0] > STATIONARY:
        flags.append(f"not converged: gradient norm {best.gradient_norm[0]:.1e}")
    if draws is not None and (share := draws.converged.mean()) < 0.99:
        flags.append(f"{1 - share:.0%} of the resamples did not converge")
    return flags
