"""L̂(N, D) = E + A/N^α + B/D^β, its fit to single-epoch runs, and what follows from it.

In: rows of the runs table. Out: a `Fit`; losses, exponents and optimal allocations as functions of its constants.
Source: Cuervo & Marxer 2024, Eq. 4-6 and section 3.1 (Huber on log residuals, δ = 0.03; the paper names δ only).
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import LEAST_DECADES, hindcast
from analysis.minimise import flags
from analysis.surface import Surface, determined

LAW = "loss_parametric"
NAMES = ["E", "A", "B", "alpha", "beta"]
DERIVED = ["G", "a", "b"]
DELTA = 0.03
"""Cuervo & Marxer 2024, section 3.1; Hoffmann et al. 2022 and Muennighoff et al. 2023 use 1e-3."""
MAX_EPOCHS = 1.1  # single epoch, with slack for stores that end a little before the budget: a choice
FARTHEST = 300.0  # of |ln G|: beyond any allocation, and still a number
SPARE_POINTS = 2  # beyond the constants, that an interval takes: with fewer, most resamples are the same: a choice

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
    if unknown := own.loc[own["epochs"].isna(), "name"].tolist():
        raise ValueError(f"family {family}: how often tokens were repeated is not known of {', '.join(unknown[:5])}")
    conventions = _conventions(rows, column, delta, tied, repeated) | resampling.conventions
    labels = {"law": LAW, "family": family, "measure": column, "conventions": conventions}
    wanted = len(NAMES) - tied
    if reason := _undetermined(rows, column, wanted):
        return unfitted(rows, reason, **labels)
    n, d, nats = (rows[name].to_numpy(float) for name in ("params_total", "tokens", column))
    surface = Surface(n, d, nats, tied)
    best = surface.best(delta)
    spare = determined(n, d, np.ones((1, len(rows)), bool), wanted + SPARE_POINTS)[0]
    drawn = resampling if spare else replace(resampling, count=0)
    groups = resampling.groups(rows)
    counts = bootstrap.resamples(groups, drawn, lambda counts: determined(n, d, counts > 0, wanted))
    draws = surface.minima(counts, delta, best) if len(counts) else None
    params = dict(zip(NAMES + DERIVED, map(float, _values(surface, best.params)[0]), strict=True))
    samples = _values(surface, draws.params) if draws else np.empty((0, len(params)))
    spreads = spread(params, samples, resampling.freedom(rows, wanted))
    notes = flags(NAMES[:wanted], best, draws, spreads.get("intervals", {}), positive=("E", "alpha", "beta"))
    notes += bootstrap.flags(counts, drawn, groups)
    notes += _one_budget(rows)
    notes += [] if spare else [f"no interval: hardly more distinct points than the {wanted} constants"]
    notes += [f"{repeated} runs with repeated tokens left out"] if repeated else []
    return Fit(
        **labels,
        params=params,
        constants=wanted,
        **spreads,
        objective=surface.absolute(best.params[0]) if delta == 0 else float(best.objective[0]),
        gradient_norm=float(best.gradient_norm[0]),
        condition=float(best.condition[0]),
        basins=int(best.basins[0]),
        converged_fraction=float(draws.converged.mean()) if draws else None,
        flags=tuple(notes),
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


def _undetermined(rows: pd.DataFrame, column: str, wanted: int) -> str:
    """Why rows cannot determine the constants; empty when they can."""
    points = len(rows[["params_total", "tokens"]].drop_duplicates())
    sizes, budgets = rows["params_total"].nunique(), rows["tokens"].nunique()
    if np.ptp(rows[column].to_numpy(float)) == 0:
        return "all losses are the same"
    if points < wanted:
        return f"{points} single-epoch points for {wanted} constants"
    if sizes < 3:
        return f"{sizes} model sizes, at least 3 separate E, A and alpha"
    return f"{budgets} token counts, at least 3 separate E, B and beta" if budgets < 3 else ""


def _one_budget(rows: pd.DataFrame) -> list[str]:
    """The flag of runs that all cost about the same."""
    flops = rows["flops_6n"].to_numpy(float)
    alone = np.log10(flops.max() / flops.min()) < LEAST_DECADES
    return [f"one budget, {flops.mean():.1e} FLOPs: what more compute brings is not determined"] if alone else []


def _values(surface: Surface, theta: np.ndarray) -> np.ndarray:
    """(R, 8) E, A, B, α, β, then G, a, b. Where a term vanishes, so does G, or it grows without end: both are cut."""
    found = surface.constants(theta)
    alpha, beta = found[:, 3], found[:, 4]
    ratio = np.log(alpha * np.maximum(found[:, 1], 1e-300)) - np.log(beta * np.maximum(found[:, 2], 1e-300))
    g = np.exp(np.clip(ratio / (alpha + beta), -FARTHEST, FARTHEST))
    return np.column_stack([found, g, beta / (alpha + beta), alpha / (alpha + beta)])
