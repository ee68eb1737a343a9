"""L̂(N, D) = E + A/N^α + B/D^β, its fit to single-epoch runs, and what follows from it.

In: rows of the runs table. Out: a `Fit`; losses, exponents and optimal allocations as functions of its constants.
Source: Cuervo & Marxer 2024, Eq. 4-6 and section 3.1 (Huber on log residuals, δ = 0.03; the paper names δ only).
"""

import numpy as np
import pandas as pd
from scipy.optimize import nnls

from analysis import bootstrap
from analysis.fit import Fit, identities, intervals, unfitted
from analysis.minimise import Minimum, Residuals, minimise

LAW = "loss_parametric"
NAMES = ["E", "A", "B", "alpha", "beta"]
DERIVED = ["G", "a", "b"]
DELTA = 0.03
"""Cuervo & Marxer 2024, section 3.1; the method they cite uses 1e-3."""
MAX_EPOCHS = 1.1  # single epoch, with slack for stores that end a little before the budget: a choice
RESAMPLES = 200
EXPONENTS = (0.01, 3.0)  # bounds of α and β: choices
VANISHING = 7.0  # a term below e^-7 of the smallest loss counts as absent: a choice
WIDE = 3.0  # an interval of E, α or β that spans this factor says little: a choice
GRID = (0.05, 0.15, 0.3, 0.6, 1.2)  # starting exponents: a choice

Constants = dict[str, float]


def loss(constants: Constants, params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """L̂ in nats for N parameters and D tokens (Eq. 4)."""
    n, d = np.asarray(params, float), np.asarray(tokens, float)
    return constants["E"] + constants["A"] * n ** -constants["alpha"] + constants["B"] * d ** -constants["beta"]


def allocation(constants: Constants) -> Constants:
    """G, a, b of N_opt = G (C/6)^a and D_opt = (C/6)^b / G (Eq. 6)."""
    alpha, beta = constants["alpha"], constants["beta"]
    log_ratio = np.log(alpha) + np.log(constants["A"]) - np.log(beta) - np.log(constants["B"])
    return {"G": float(np.exp(log_ratio / (alpha + beta))), "a": beta / (alpha + beta), "b": alpha / (alpha + beta)}


def optimum(constants: Constants, flops: float) -> tuple[float, float]:
    """(N_opt, D_opt) for C = 6 N D training FLOPs (Eq. 5, 6)."""
    share = allocation(constants)
    per_six = float(flops) / 6.0
    return share["G"] * per_six ** share["a"], per_six ** share["b"] / share["G"]


def training_flops(params: np.ndarray, tokens: np.ndarray) -> np.ndarray:
    """C = 6 N D in floats: the product overflows 64-bit integers at the published sizes."""
    return 6.0 * np.asarray(params, float) * np.asarray(tokens, float)


def fit(
    runs: pd.DataFrame,
    family: str,
    column: str = "nats_per_token",
    delta: float = DELTA,
    resample_count: int = RESAMPLES,
    seed: int = 0,
) -> Fit:
    """Fit Eq. 4 to the single-epoch runs of a family; intervals are percentiles over resampled runs.

    Unfitted, with the reason, below five runs, three sizes or three token counts: fewer cannot separate the terms.
    """
    rows = runs[(runs["family"] == family) & (runs["epochs"] <= MAX_EPOCHS)].sort_values("name")
    repeated = int((runs["family"] == family).sum()) - len(rows)
    labels = {"law": LAW, "family": family, "measure": column}
    conventions = _conventions(column, delta, resample_count, seed, repeated)
    if reason := _undetermined(rows):
        return unfitted(rows, reason, **labels, conventions=conventions)
    n, d, nats = (rows[name].to_numpy(float) for name in ("params_total", "tokens", column))
    bounds = _bounds(nats)
    starts = np.array([_start(n, d, nats, alpha, beta) for alpha in GRID for beta in GRID])
    residuals = log_residuals(n, d, nats)
    best = minimise(residuals, starts, np.ones((1, len(rows))), delta, *bounds)[0]
    counts = bootstrap.resamples(len(rows), resample_count, seed, lambda kept: not _undetermined(rows[kept > 0]))
    draws = minimise(residuals, best.params[None], counts, delta, *bounds)
    samples = np.array([_values(draw.params, n, d) for draw in draws])
    found = intervals(NAMES + DERIVED, samples)
    return Fit(
        **labels,
        params=dict(zip(NAMES + DERIVED, _values(best.params, n, d), strict=True)),
        intervals=found,
        objective=best.objective,
        search=best.search,
        flags=_flags(best, draws, found, repeated, bootstrap.flags(counts, resample_count)),
        conventions=conventions,
        rows=identities(rows),
    )


def log_residuals(n: np.ndarray, d: np.ndarray, nats: np.ndarray) -> Residuals:
    """Log residuals in θ = (ln E, ln A-term, ln B-term, α, β), the terms taken at the geometric means of N and D."""
    x, y, target = np.log(n) - np.log(n).mean(), np.log(d) - np.log(d).mean(), np.log(nats)

    def residuals(theta: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        terms = np.exp([theta[0] + 0 * x, theta[1] - theta[3] * x, theta[2] - theta[4] * y])
        total = terms.sum(0)
        first, second, third = terms / total
        return np.log(total) - target, np.stack([first, second, third, -x * second, -y * third], 1)

    return residuals


def _conventions(column: str, delta: float, count: int, seed: int, repeated: int) -> dict:
    return {
        "N": "params_total",
        "D": "tokens",
        "C": "flops_6n",
        "loss": column,
        "residual": "ln L̂ - ln L",
        "huber_delta": delta,
        "max_epochs": MAX_EPOCHS,
        "runs_left_out_for_repeats": repeated,
        "resampled": "runs",
        "resamples": count,
        "seed": seed,
    }


def _undetermined(rows: pd.DataFrame) -> str:
    """Why rows cannot determine five constants; empty when they can."""
    points = len(rows[["params_total", "tokens"]].drop_duplicates())
    sizes, budgets = rows["params_total"].nunique(), rows["tokens"].nunique()
    if points < len(NAMES):
        return f"{points} single-epoch points for {len(NAMES)} constants"
    if sizes < 3:
        return f"{sizes} model sizes, at least 3 separate E, A and alpha"
    return f"{budgets} token counts, at least 3 separate E, B and beta" if budgets < 3 else ""


def _values(theta: np.ndarray, n: np.ndarray, d: np.ndarray) -> list[float]:
    """E, A, B, α, β, then G, a, b of a θ."""
    alpha, beta = float(theta[3]), float(theta[4])
    log_a, log_b = theta[1] + alpha * np.log(n).mean(), theta[2] + beta * np.log(d).mean()
    constants = [float(np.exp(theta[0])), float(np.exp(log_a)), float(np.exp(log_b)), alpha, beta]
    return constants + list(allocation(dict(zip(NAMES, constants, strict=True))).values())


def _start(n: np.ndarray, d: np.ndarray, nats: np.ndarray, alpha: float, beta: float) -> np.ndarray:
    """θ whose E, A, B are the non-negative least squares of relative errors at fixed exponents."""
    x, y = n / np.exp(np.log(n).mean()), d / np.exp(np.log(d).mean())
    terms = np.stack([np.ones(len(n)), x**-alpha, y**-beta], 1) / nats[:, None]
    amounts = nnls(terms, np.ones(len(n)))[0]
    return np.array([*np.log(np.maximum(amounts, 1e-2 * nats.min())), alpha, beta])


def _bounds(nats: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each term between e^-VANISHING of the smallest loss and e times the largest; exponents within EXPONENTS."""
    low, high = np.log(nats.min()) - VANISHING, np.log(nats.max()) + 1.0
    return np.array([low] * 3 + [EXPONENTS[0]] * 2), np.array([high] * 3 + [EXPONENTS[1]] * 2)


def _flags(best: Minimum, draws: list[Minimum], found: dict, repeated: int, resampling: list[str]) -> tuple[str, ...]:
    """What keeps the constants from being taken at face value.

    A constant is at bound when the fit, and unidentified when more than a fortieth of the resamples, ends on the
    edge of what is searched: its interval is then the search's, not the data's.
    """
    edge = np.mean([draw.at_bound for draw in draws], axis=0) if draws else np.zeros(len(NAMES))
    flags = []
    for name, bound, share in zip(NAMES, best.at_bound, edge, strict=True):
        low, high = found.get(name, (1.0, 1.0))
        if bound:
            flags.append(f"at bound: {name}")
        elif share > 0.025:
            flags.append(f"unidentified: {name} (on its bound in {share:.0%} of the resamples)")
        elif name not in ("A", "B") and high > WIDE * low:
            flags.append(f"weakly identified: {name} (its interval spans a factor {high / low:.1f})")
    if best.gradient_norm > 1e-3:
        flags.append(f"not converged: gradient norm {best.gradient_norm:.1e}")
    if repeated:
        flags.append(f"{repeated} runs with repeated tokens left out")
    return tuple(flags + resampling)
