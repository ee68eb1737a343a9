"""The one minimiser: mean Huber loss of residuals whose Jacobian is given, from several starts, for many weightings.

In: residuals, starts (S, P), weights (R, n), one problem per row. Out: a `Minimum` per problem. The best of all starts
is taken by its value, never by what the optimiser says of itself; how far to trust it is reported beside it.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

Residuals = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""θ (P,) -> residuals (n,), their Jacobian (n, P)."""

STATIONARY = 1e-5  # projected gradient, in units of δ² per row and unit of θ, below which a start counts as converged
SAME = 1e-3  # distance in θ below which two converged starts are one basin; both thresholds are choices


@dataclass(frozen=True, kw_only=True)
class Minimum:
    """The best point found and how well its search went."""

    params: np.ndarray
    objective: float
    """Weighted mean of the Huber loss: r²/2 for |r| ≤ δ, δ(|r| − δ/2) beyond."""
    gradient_norm: float
    """Largest component of the projected gradient of objective / δ²."""
    starts: int
    basins: int
    """Distinct points that the converged starts ended at."""
    converged: float
    """Share of the starts that ended at a stationary point."""
    at_bound: np.ndarray
    """(P,) whether a parameter lies on a bound."""

    @property
    def search(self) -> dict[str, float]:
        """What a `Fit` records of it."""
        return {
            "gradient_norm": self.gradient_norm,
            "starts": self.starts,
            "basins": self.basins,
            "converged": self.converged,
        }


def minimise(
    residuals: Residuals,
    starts: np.ndarray,
    weights: np.ndarray,
    delta: float,
    lower: np.ndarray,
    upper: np.ndarray,
) -> list[Minimum]:
    """Minimise Σ w·huber_δ(r(θ)) / Σ w for every row w of `weights` (R, n), from every row of `starts` (S, P)."""
    assert delta > 0 and (lower < upper).all()
    inside = np.clip(starts, lower + 1e-9, upper - 1e-9)
    return [_best(residuals, inside, row / row.sum(), delta, lower, upper) for row in np.asarray(weights, float)]


def _best(
    residuals: Residuals, starts: np.ndarray, weights: np.ndarray, delta: float, lower: np.ndarray, upper: np.ndarray
) -> Minimum:
    rows = weights > 0
    scaled, root = weights[rows], np.sqrt(weights[rows])

    def loss(z: np.ndarray) -> np.ndarray:
        """Huber's ρ(z) and derivatives for z = w·(r/δ)², threshold at |r| = δ."""
        ratio = np.sqrt(z) / root
        far = ratio > 1
        safe = np.where(far, ratio, 1.0)
        value = np.where(far, scaled * (2 * ratio - 1), z)
        return np.stack([value, 1 / safe, np.where(far, -0.5 / (scaled * safe**3), 0.0)])

    ends = [
        least_squares(
            lambda theta: residuals(theta)[0][rows] * root / delta,
            start,
            jac=lambda theta: residuals(theta)[1][rows] * root[:, None] / delta,
            bounds=(lower, upper),
            loss=loss,
            ftol=1e-14,
            xtol=1e-12,
            gtol=1e-10,
            max_nfev=400,
        )
        for start in starts
    ]
    norms = np.array([np.abs(end.x - np.clip(end.x - end.grad, lower, upper)).max() for end in ends])
    best = min(range(len(ends)), key=lambda index: ends[index].cost)
    point, stationary = ends[best].x, [end.x for end, norm in zip(ends, norms, strict=True) if norm < STATIONARY]
    return Minimum(
        params=point,
        objective=float(ends[best].cost * delta**2),
        gradient_norm=float(norms[best]),
        starts=len(starts),
        basins=_distinct(stationary),
        converged=len(stationary) / len(starts),
        at_bound=(point - lower < SAME) | (upper - point < SAME),
    )


def _distinct(points: list[np.ndarray]) -> int:
    found: list[np.ndarray] = []
    for point in points:
        if all(np.abs(point - other).max() > SAME for other in found):
            found.append(point)
    return len(found)
