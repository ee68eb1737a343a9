"""The one minimiser: damped Newton steps with the exact Hessian, for many problems and starts at once.

In: an objective with its gradient and Hessian, starts, weights (a row per problem), bounds. Out: `Minima`, one per
problem. The best of all starts is taken by its value; whether it is a minimum is told by its gradient.
"""

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields

import numpy as np

# S searches, R problems, K starts of each, n rows, P parameters.
Derivatives = tuple[np.ndarray, np.ndarray, np.ndarray]
Objective = Callable[[np.ndarray, np.ndarray], Derivatives]
"""θ (S, P), weights (S, n), each row summing to one -> value (S,), gradient (S, P), Hessian (S, P, P)."""
Model = Callable[[np.ndarray], Derivatives]
"""θ (S, P) -> residuals (S, n), their Jacobian (S, n, P), their second derivatives (S, n, P, P)."""

BLOCK = 128  # searches that one thread takes at a time: measured, arrays of a block stay in a core's cache
STEPS = 1000  # a search that has not ended by then is not converged
DECREASE = 1e-13  # of the value: a Newton step that promises less ends the search
FLOOR = 1e-30  # a value below it is zero: residuals of 1e-15 are rounding
CURVED = 1e-13  # of the largest curvature: less counts as this much, so that steps stay finite
STATIONARY = 1e-5  # see `Minima.gradient_norm`
SAME = 1e-4  # distance of ends, in units of max(1, |θ|), below which they are one basin; both are choices
WORST_CONDITION = 1e16
ILL = 1e8  # condition beyond which a combination of constants is hardly determined: a choice
WIDE = 3.0  # an interval of a positive constant that spans this factor says little: a choice
NARROWER = 3  # factor between Huber widths: measured, with 10 a quarter of the searches ended at kinks
SMOOTH = 1e-3  # of the residuals' scale: a Huber width that is as good as 0 and still has curvature; a choice


@dataclass(frozen=True, kw_only=True)
class Minima:
    """The best point of every problem and how well its search went; arrays of length R."""

    params: np.ndarray
    """(R, P)."""
    objective: np.ndarray
    gradient_norm: np.ndarray
    """Largest |∂f/∂θ| / √(f·∂²f/∂θ²) over the parameters that a bound does not hold; 0 at a minimum."""
    condition: np.ndarray
    """Of the Hessian over these parameters, scaled to a unit diagonal; WORST_CONDITION where it is not positive."""
    converged: np.ndarray
    """Whether the gradient norm is below STATIONARY."""
    at_bound: np.ndarray
    """(R, P)."""
    basins: np.ndarray
    """Distinct points that the converged starts ended at."""


def minimise(
    objective: Objective,
    starts: np.ndarray,
    weights: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    steps: int = STEPS,
) -> Minima:
    """Minimise the objective for every row of `weights` (R, n), from starts (K, P) or (R, K, P), within the bounds and
    in at most so many steps."""
    weights = np.asarray(weights, float)
    assert (weights >= 0).all() and (np.asarray(lower) < np.asarray(upper)).all()
    weights = weights / weights.sum(1, keepdims=True)
    starts = np.broadcast_to(starts, (len(weights), *np.shape(starts)[-2:]))
    size = max(1, BLOCK // starts.shape[1])
    parts = [slice(begin, begin + size) for begin in range(0, len(weights), size)]

    def solved(part: slice) -> Minima:
        return _block(objective, starts[part], weights[part], lower, upper, steps)

    with ThreadPoolExecutor(_cores()) as threads:
        found = list(threads.map(solved, parts))
    names = [field.name for field in fields(Minima)]
    return Minima(**{name: np.concatenate([getattr(minima, name) for minima in found]) for name in names})


def narrowing(scale: float, delta: float, exact: bool = True) -> list[float]:
    """Huber widths whose minima start one another's search: from the scale of the residuals to δ.

    Within a band far narrower than the residuals the loss has hardly any curvature to go by. δ = 0, least absolute
    deviations: down to a millionth of the scale, or where not `exact` a thousandth.
    """
    scale = max(scale, 1e-12)
    if delta >= scale:
        return [delta]
    last = delta or scale * (1e-6 if exact else SMOOTH)
    return [*(w for step in range(14) if (w := scale / NARROWER**step) > 1.2 * last), last]


def flags(
    names: Sequence[str],
    best: Minima,
    draws: Minima | None,
    intervals: Mapping[str, tuple[float, float]],
    positive: Collection[str] = (),
) -> list[str]:
    """What keeps searched constants from being taken at face value; `positive`: those whose interval should not span a
    factor of WIDE.

    A constant is at bound when the fit, and unidentified when more than a fortieth of the resamples, ends on the
    edge of what is searched: its interval is then the search's, not the data's.
    """
    found = []
    edge = draws.at_bound.mean(0) if draws else np.zeros(len(names))
    for name, bound, share in zip(names, best.at_bound[0], edge, strict=True):
        low, high = intervals.get(name, (1.0, 1.0))
        if bound:
            found.append(f"at bound: {name}")
        elif share > 0.025:
            found.append(f"unidentified: {name} (on its bound in {share:.0%} of the resamples)")
        elif name in positive and high > WIDE * low:
            found.append(f"weakly identified: {name} (its interval spans a factor {high / max(low, 1e-9):.1f})")
    if best.condition[0] > ILL:
        found.append(f"ill-conditioned: {best.condition[0]:.0e}, some combination of the constants is not determined")
    if not best.converged[0]:
        found.append(f"not converged: gradient norm {best.gradient_norm[0]:.1e}")
    if draws is not None and (share := draws.converged.mean()) < 0.99:
        found.append(f"{1 - share:.0%} of the resamples did not converge")
    return found


def robust(model: Model, delta: float) -> Objective:
    """The weighted mean Huber loss of a model's residuals: r²/2 for |r| ≤ δ, δ(|r| − δ/2) beyond."""

    def objective(theta: np.ndarray, weights: np.ndarray) -> Derivatives:
        residuals, jacobian, second = model(theta)
        value, slope, curvature = huber(residuals, delta)
        gradient = np.einsum("sn,snp->sp", weights * slope, jacobian)
        hessian = np.einsum("sn,snp,snq->spq", weights * curvature, jacobian, jacobian, optimize=True)
        hessian += np.einsum("sn,snpq->spq", weights * slope, second)
        return (weights * value).sum(1), gradient, hessian

    return objective


def huber(residuals: np.ndarray, delta: float) -> Derivatives:
    """Huber's loss of residuals, its derivative and second derivative; δ infinite gives squares."""
    slope = np.clip(residuals, -delta, delta)
    return slope * (residuals - 0.5 * slope), slope, (slope == residuals).astype(float)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _block(
    objective: Objective, starts: np.ndarray, weights: np.ndarray, lower: np.ndarray, upper: np.ndarray, steps: int
) -> Minima:
    """All starts of a few problems; the best end of each."""
    problems, count, width = starts.shape
    ends = _search(objective, starts.reshape(-1, width), np.repeat(weights, count, 0), lower, upper, steps)
    values = ends.objective.reshape(problems, count)
    best = np.arange(problems) * count + np.argmin(np.where(np.isfinite(values), values, np.inf), 1)
    points, converged = ends.params.reshape(starts.shape), ends.converged.reshape(problems, count)
    chosen = {field.name: getattr(ends, field.name)[best] for field in fields(Minima)}
    basins = [_distinct(p[c]) if count > 1 else int(c[0]) for p, c in zip(points, converged, strict=True)]
    return Minima(**chosen | {"basins": np.array(basins)})


def _search(
    objective: Objective, starts: np.ndarray, weights: np.ndarray, lower: np.ndarray, upper: np.ndarray, steps: int
) -> Minima:
    theta = np.clip(starts, lower, upper)
    value, gradient, hessian = objective(theta, weights)
    damping, going = np.zeros(len(theta)), np.arange(len(theta))
    for _ in range(steps):
        step, promise, least = _newton(theta[going], gradient[going], hessian[going], damping[going], lower, upper)
        undamped = damping[going] == 0
        ended = (undamped & (promise <= DECREASE * value[going])) | (value[going] < FLOOR) | (damping[going] > 1e12)
        going, step, least = going[~ended], step[~ended], least[~ended]
        if not len(going):
            break
        trial = np.clip(theta[going] + step, lower, upper)
        found = objective(trial, weights[going])
        better = found[0] < value[going]
        kept, failed = going[better], going[~better]
        theta[kept] = trial[better]
        value[kept], gradient[kept], hessian[kept] = (part[better] for part in found)
        damping[kept] = np.where(damping[kept] > 0.3 * least[better], damping[kept] / 3, 0.0)
        damping[failed] = np.maximum(10 * damping[failed], least[~better])
    return _described(theta, value, gradient, hessian, lower, upper)


def _newton(
    theta: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    damping: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Steps (S, P) of the parameters that no bound holds, downhill along every eigenvector, what they promise (S,), and
    the least curvature (S,): damping starts there, so that it shortens the step along a curved valley and no other.
    """
    held, scale, scaled = _scaled(theta, gradient, hessian, lower, upper)
    curvature, axes = np.linalg.eigh(scaled)
    slope = np.einsum("spq,sp->sq", axes, np.where(held, 0.0, gradient / scale))
    floor = np.maximum(CURVED * np.abs(curvature).max(1, keepdims=True), CURVED)  # Huber's loss is flat far out
    curvature = np.maximum(np.abs(curvature), floor)
    least = curvature.min(1)
    curvature = curvature + damping[:, None]
    step = -np.einsum("spq,sq->sp", axes, slope / curvature) / scale
    return np.where(held, 0.0, step), 0.5 * (slope**2 / curvature).sum(1), least


def _scaled(
    theta: np.ndarray, gradient: np.ndarray, hessian: np.ndarray, lower: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which parameters a bound holds (S, P), the root of each curvature (S, P), the Hessian (S, P, P) scaled by it,
    with ones for the held."""
    held = ((theta <= lower) & (gradient >= 0)) | ((theta >= upper) & (gradient <= 0))
    diagonal = np.abs(np.einsum("spp->sp", hessian))
    most = diagonal.max(1, keepdims=True)
    scale = np.sqrt(np.maximum(diagonal, np.where(most > 1e-200, 1e-20 * most, 1.0)))
    free = ~held
    both = free[:, :, None] & free[:, None, :]
    scaled = np.where(both, hessian / (scale[:, :, None] * scale[:, None, :]), 0.0)
    return held, scale, scaled + np.eye(theta.shape[1]) * held[:, :, None]


def _described(
    theta: np.ndarray,
    value: np.ndarray,
    gradient: np.ndarray,
    hessian: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
) -> Minima:
    held, scale, scaled = _scaled(theta, gradient, hessian, lower, upper)
    curvature = np.linalg.eigvalsh(scaled)
    least, most = curvature.min(1), curvature.max(1)
    norm = np.abs(np.where(held, 0.0, gradient / scale)).max(1) / np.sqrt(np.maximum(value, 1e-18))
    positive = least > most / WORST_CONDITION
    return Minima(
        params=theta,
        objective=value,
        gradient_norm=norm,
        condition=np.where(positive, most / np.where(positive, least, 1.0), WORST_CONDITION),
        converged=norm < STATIONARY,
        at_bound=(theta <= lower) | (theta >= upper),
        basins=np.ones(len(theta), int),
    )


def _distinct(points: np.ndarray) -> int:
    found: list[np.ndarray] = []
    for point in points:
        if all((np.abs(point - other) / np.maximum(1, np.abs(other))).max() > SAME for other in found):
            found.append(point)
    return len(found)
