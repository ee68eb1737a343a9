"""S(N, D) = E + A·x^-α + B·y^-β fitted to many weightings of the same runs at once; x, y are N, D over their means.

In: N, D, losses, weights (a row per problem), Huber's δ. Out: `Minima` in θ = (E, A, B, α, β), or (E, A, B, α) with
one exponent for both. Starts come from variable projection: at given exponents the best E, A, B are a linear problem.
"""

from dataclasses import replace

import numpy as np

from analysis.minimise import BLOCK, SMOOTH, Derivatives, Minima, Objective, huber, minimise, narrowing

# S searches, R problems, G grid points, n rows.
EXPONENTS = (0.01, 3.0)  # bounds of α and β: choices
GRID = (0.03, 0.08, 0.15, 0.25, 0.4, 0.65, 1.0, 1.6)  # exponents of the starts: a choice
SUITABLE = 12  # grid points that resamples choose from: a choice
FEW = 100  # runs; resamples of no more may have valleys of their own, and are searched from several starts: a choice
CONSTANTS = 5


class Surface:
    """The runs of a fit, in the scale that it is made in."""

    def __init__(self, n: np.ndarray, d: np.ndarray, nats: np.ndarray, tied: bool = False) -> None:
        """`n`, `d`, `nats`: (rows,) positive; `tied`: α = β."""
        self.log_means = np.log(n).mean(), np.log(d).mean()
        self.x, self.y = np.log(n) - self.log_means[0], np.log(d) - self.log_means[1]
        self.log_nats, self.least = np.log(nats), 1e-6 * np.min(nats)
        one = np.ones_like(self.x)
        self.powers_x = np.stack([one, self.x, self.x**2], 1)
        self.powers_y = np.stack([one, self.y, self.y**2], 1)
        self.powers_both = np.stack([one, self.x, self.y, self.x * self.y], 1)
        self.expand = np.eye(CONSTANTS)[:, :4] if tied else np.eye(CONSTANTS)
        self.expand[4, 3] = float(tied)
        top = np.exp(self.log_nats.max()) * np.e
        self.lower = np.array([0.0, 0.0, 0.0, EXPONENTS[0], EXPONENTS[0]])[: self.expand.shape[1]]
        self.upper = np.array([top, top, top, EXPONENTS[1], EXPONENTS[1]])[: self.expand.shape[1]]

    def best(self, delta: float) -> Minima:
        """The fit of all runs, (1, P), from every point of the grid."""
        every = np.ones((1, len(self.x)))
        starts = self.starts(every, self._grid())
        widths = narrowing(self._scale(starts[0, 0]), delta)
        first = smooth = found = minimise(self.objective(widths[0]), starts, every, self.lower, self.upper)
        for width in widths[1:]:
            found = minimise(self.objective(width), found.params[:, None], every, self.lower, self.upper)
            smooth = (
                found if delta or width >= SMOOTH * widths[0] else smooth
            )  # at kinks there is no gradient to tell of
        told = {"gradient_norm": smooth.gradient_norm, "condition": smooth.condition, "converged": smooth.converged}
        return replace(found, **told, basins=first.basins)

    def minima(self, weights: np.ndarray, delta: float, whole: Minima) -> Minima:
        """The fits of resamples: every row of `weights` (R, n), given that of all runs.

        Starts are the fit of all runs and each resample's own best of the grid points that suit all runs best: the
        better of the two where there are many runs, both and the next best where there are FEW.
        """
        every = np.ones((1, len(self.x)))
        suitable = self.starts(every, self._grid())[0, :SUITABLE, [3, -1]].T
        own = np.clip(self.starts(weights, suitable), self.lower, self.upper)
        widths = narrowing(self._scale(whole.params[0]), delta, exact=False)
        first = np.broadcast_to(whole.params, own[:, 0].shape)
        if len(self.x) <= FEW:
            starts = np.concatenate([first[:, None], own[:, :2]], 1)
        else:
            starts = self._better(own[:, 0], first, weights, widths[0])[:, None]
        for width in widths:
            found = minimise(self.objective(width), starts, weights, self.lower, self.upper)
            starts = found.params[:, None]
        return found

    def absolute(self, theta: np.ndarray) -> float:
        """Mean |ln S − ln L| of θ (P,) over the runs."""
        return float(np.abs(self._residuals(theta)).mean())

    def _residuals(self, theta: np.ndarray) -> np.ndarray:
        e, a, b, alpha, beta = self.expand @ theta
        total = e + a * np.exp(-alpha * self.x) + b * np.exp(-beta * self.y)
        return np.log(np.maximum(total, self.least)) - self.log_nats

    def _scale(self, theta: np.ndarray) -> float:
        return float(np.median(np.abs(self._residuals(np.clip(theta, self.lower, self.upper)))))

    def _grid(self) -> np.ndarray:
        return np.array([(a, b) for a in GRID for b in GRID if self.expand.shape[1] == CONSTANTS or a == b])

    def _better(self, own: np.ndarray, first: np.ndarray, weights: np.ndarray, delta: float) -> np.ndarray:
        """(R, P) `own` where its objective is lower than that of `first`, else `first`."""
        objective, lower = self.objective(delta), np.empty(len(own), bool)
        for begin in range(0, len(own), BLOCK):
            part = slice(begin, begin + BLOCK)
            lower[part] = objective(own[part], weights[part])[0] < objective(first[part], weights[part])[0]
        return np.where(lower[:, None], own, first)

    def objective(self, delta: float) -> Objective:
        """Weighted mean Huber loss of ln S − ln L, with its derivatives."""

        def objective(theta: np.ndarray, weights: np.ndarray) -> Derivatives:
            value, gradient, hessian = self._derivatives(theta @ self.expand.T, weights, delta)
            return value, gradient @ self.expand, self.expand.T @ hessian @ self.expand

        return objective

    def _derivatives(self, theta: np.ndarray, weights: np.ndarray, delta: float) -> Derivatives:
        """∇² of ln S is ∇²S/S − ∇lnS ∇lnSᵀ; every sum over rows is a product with powers of ln x and ln y."""
        _, a, b, alpha, beta = theta.T
        u, v = np.exp(-alpha[:, None] * self.x), np.exp(-beta[:, None] * self.y)  # (S, n)
        total = np.maximum(theta[:, :1] + a[:, None] * u + b[:, None] * v, self.least)  # no logarithm of nothing
        loss, slope, curvature = huber(np.log(total) - self.log_nats, delta)
        q = weights * slope / total
        c = weights * (curvature - slope) / total**2
        qu, qv, cu, cv = q * u, q * v, c * u, c * v
        q1, (qu0, qu1, qu2), (qv0, qv1, qv2) = q.sum(1), (qu @ self.powers_x).T, (qv @ self.powers_y).T
        (u0, u1, _), (v0, v1, _) = (cu @ self.powers_x).T, (cv @ self.powers_y).T
        (uu0, uu1, uu2), (vv0, vv1, vv2) = ((cu * u) @ self.powers_x).T, ((cv * v) @ self.powers_y).T
        uv0, uvx, uvy, uvxy = ((cu * v) @ self.powers_both).T
        gradient = np.stack([q1, qu0, qv0, -a * qu1, -b * qv1], 1)
        rows = [
            [c.sum(1), u0, v0, -a * u1, -b * v1],
            [u0, uu0, uv0, -a * uu1 - qu1, -b * uvy],
            [v0, uv0, vv0, -a * uvx, -b * vv1 - qv1],
            [-a * u1, -a * uu1 - qu1, -a * uvx, a * a * uu2 + a * qu2, a * b * uvxy],
            [-b * v1, -b * uvy, -b * vv1 - qv1, a * b * uvxy, b * b * vv2 + b * qv2],
        ]
        return (weights * loss).sum(1), gradient, np.moveaxis(np.array(rows), 2, 0)

    def starts(self, weights: np.ndarray, grid: np.ndarray) -> np.ndarray:
        """(R, G, constants) of every grid point (G, 2) of exponents, the least relative squares first."""
        weights = weights / weights.sum(1, keepdims=True)
        alpha, beta = grid.T[:, :, None]
        terms = np.stack([np.ones((len(grid), len(self.x))), np.exp(-alpha * self.x), np.exp(-beta * self.y)])
        terms = terms / np.exp(self.log_nats)  # (3, G, n), so that 1 is a perfect prediction
        products = np.einsum("ign,jgn->gijn", terms, terms).reshape(-1, len(self.x))
        gram = (weights @ products.T).reshape(-1, len(grid), 3, 3)  # (R, G, 3, 3)
        sums = np.moveaxis((weights @ terms.reshape(-1, len(self.x)).T).reshape(-1, 3, len(grid)), 1, 2)
        amounts, error = _amounts(gram, sums)
        exponents = np.broadcast_to(grid[:, : self.expand.shape[1] - 3], (*error.shape, len(self.lower) - 3))
        order = np.argsort(error, 1, kind="stable")[:, :, None]
        return np.take_along_axis(np.concatenate([amounts, exponents], 2), order, 1)

    def constants(self, theta: np.ndarray) -> np.ndarray:
        """(..., 5) E, A, B, α, β of θ: A and B no longer at the means but at one parameter and one token."""
        e, a, b, alpha, beta = np.moveaxis(theta @ self.expand.T, -1, 0)
        a, b = a * np.exp(alpha * self.log_means[0]), b * np.exp(beta * self.log_means[1])
        return np.stack([e, a, b, alpha, beta], -1)


def _amounts(gram: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R, G, 3) non-negative amounts near the least squares, with E or without it, and their squared error (R, G)."""
    ridge = 1e-12 * np.trace(gram, axis1=2, axis2=3)[..., None, None] * np.eye(3)
    whole = np.linalg.solve(gram + ridge, sums[..., None])[..., 0]
    bare = np.zeros_like(whole)
    bare[..., 1:] = np.linalg.solve((gram + ridge)[..., 1:, 1:], sums[..., 1:, None])[..., 0]
    candidates = np.maximum(np.stack([whole, bare]), [0.0, 1e-6, 1e-6])
    errors = 1 - 2 * (candidates * sums).sum(-1) + np.einsum("crgi,rgij,crgj->crg", candidates, gram, candidates)
    best = errors.argmin(0)
    return np.take_along_axis(candidates, best[None, ..., None], 0)[0], errors.min(0)


def determined(n: np.ndarray, d: np.ndarray, present: np.ndarray, points: int = CONSTANTS) -> np.ndarray:
    """(R,) whether the runs that are present (R, n) have as many distinct points as wanted, and three sizes and token
    counts: fewer cannot separate E, A, α and E, B, β."""
    sizes, budgets = (np.unique(values, return_inverse=True)[1] for values in (n, d))
    both = np.unique(sizes * (budgets.max(initial=0) + 1) + budgets, return_inverse=True)[1]
    return (_distinct(both, present) >= points) & (_distinct(sizes, present) >= 3) & (_distinct(budgets, present) >= 3)


def _distinct(codes: np.ndarray, present: np.ndarray) -> np.ndarray:
    """(R,) how many codes (n,) occur among the present."""
    table = np.zeros((len(present), codes.max(initial=-1) + 1), bool)
    rows, columns = np.nonzero(present)
    table[rows, codes[columns]] = True
    return table.sum(1)
