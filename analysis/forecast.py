"""What the fitted laws of a family promise: compute, N and D for a target score.

In: `Fit`s. Out: estimates with 95 % intervals and plain warnings. A law of accuracy in loss is composed with the laws
of the family's least loss in compute (LOSS_LAWS). N and D are those of least loss under the parametric law.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis import bootstrap, downstream, envelope, parametric, saturation
from analysis.downstream import Constants
from analysis.fit import Fit

NO_ALLOCATION = f"N and D unknown: no {parametric.LAW} of this family"
FARTHEST = float(np.log(1e100))
"""ln FLOPs: what takes more is never reached, so that intervals of an exponent near zero stay numbers."""
GRAVE = ("extrapolates", "unreachable", "no more than chance", "at chance", "below chance")
"""In warnings that a forecast is not to be told without."""
SLACK = 0.05  # decades beyond the data that are not worth a warning: a choice


class Estimate(NamedTuple):
    """What a law says, with its interval; the ends are None where no fit behind it has draws."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """The compute at which one law, or a law of accuracy in loss with one of loss in compute, reaches a target."""

    law: str
    loss_law: str
    """Empty for a law in compute."""
    family: str
    measure: str
    target: float
    flops: Estimate | None
    """Infinite: never reached; None: the target is no more than chance."""
    params_total: Estimate | None
    tokens: Estimate | None
    tokens_per_param: float | None
    decades: float | None
    """How far beyond the compute of the rows of that law, behind it or of the allocation, whose rows end farthest away:
    negative below all they have, 0 among them; None where no law has rows."""
    held_out_error: float | None
    """Root mean square error of accuracy on the held-out runs; see `held_out_error`."""
    warnings: tuple[str, ...]


def offset_power(law: str, params: Constants) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(E, K, γ) of the least loss that compute buys under a loss law: E + K·C^-γ.

    On the frontier of the parametric law both terms fall as (C/6)^-γ with γ = αβ/(α + β) (from Cuervo & Marxer 2024,
    Eq. 4 and 6).
    """
    if law == envelope.LAW:
        return np.zeros_like(params["gamma"]), params["L0"], params["gamma"]
    if law == envelope.LAW_OFFSET:
        return params["E"], params["K"], params["gamma"]
    alpha, beta, g = params["alpha"], params["beta"], params["G"]
    gamma = alpha * beta / (alpha + beta)
    return params["E"], (params["A"] * g**-alpha + params["B"] * g**beta) * 6**gamma, gamma


def loss_for(law: str, params: Constants, target: float) -> np.ndarray:
    """Nats at which a law of accuracy in loss gives `target`; -inf where no loss does, inf where any loss does."""
    if law == downstream.LAW_LOSS:
        falls = np.asarray(params["slope"]) < 0
        return np.where(falls, (target - params["intercept"]) / np.where(falls, params["slope"], -1.0), -np.inf)
    share = (target - params["floor"]) / np.maximum(params["ceiling"] - params["floor"], 1e-12)
    inside = np.clip(share, 1e-12, 1 - 1e-12)
    nats = params["midpoint"] + np.log(1 / inside - 1) / params["steepness"]
    return np.where(share >= 1, -np.inf, np.where(share <= 0, np.inf, nats))


LOSS_LAWS = (envelope.LAW, envelope.LAW_OFFSET, parametric.LAW)
"""What least loss compute buys; `envelope.LAW_BINS` is but a check on the first."""
IN_COMPUTE = (downstream.LAW, saturation.LAW_ERROR)
IN_LOSS = {downstream.LAW_LOSS: downstream.predict_loss, saturation.LAW_SIGMOID: saturation.predict_sigmoid}


def forecast(fits: Sequence[Fit], benchmark: str, target: float, family: str) -> list[Forecast]:
    """The compute for `target`, a fraction, on a benchmark (`Fit.measure`) under every law, the one that predicted the
    held-out runs best first; `ValueError` for a target that is no fraction or a benchmark without a law.

    All accuracy laws of a benchmark were judged by the same held-out runs (`downstream.past`).
    """
    if not 0 < target <= 1:
        raise ValueError(
            f"target {target:g} is no fraction between 0 and 1" + (": per cent? Divide by 100" * (target > 1))
        )
    chains = [chain for chain in _chains(fits, family) if chain[0].measure == benchmark]
    if not chains:
        known = sorted({fit.measure for fit in fits if fit.family == family and fit.law in (*IN_COMPUTE, *IN_LOSS)})
        asked = {fit.law for fit in fits if (fit.family, fit.measure) == (family, benchmark) and len(fit.params) > 1}
        if asked & set(IN_LOSS):
            raise ValueError(
                f"the laws of {family} on {benchmark!r} are laws in loss and there is none of loss in compute: fit "
                f"parametric or envelope, too"
            )
        raise ValueError(f"no accuracy law of {family} on {benchmark!r}; there are {', '.join(known) or 'none at all'}")
    chances = [fit.conventions.get("chance") for fit in fits if (fit.family, fit.measure) == (family, benchmark)]
    chance = max((float(value) for value in chances if value is not None), default=0.0)
    allocation = _allocation(fits, family)
    found = [
        _forecast(chain, target, allocation) if target > chance else _guessed(chain, target, chance) for chain in chains
    ]
    return sorted(found, key=lambda row: np.inf if row.held_out_error is None else row.held_out_error)


def estimate(function: Callable[..., np.ndarray], *fits: Fit) -> Estimate:
    """What `function` of the constants of fits gives, with its interval over their draws, paired at random, of which
    `bootstrap.LEAST_DRAWS` are wanted.

    Fits without draws are taken as exact; a fit that is named twice is drawn once.
    """
    value = float(function(*(fit.params for fit in fits)))
    known = list({id(fit): fit for fit in fits if fit.draws}.values())
    if not known:
        return Estimate(value, None, None)
    count, generator = min(len(fit.draws) for fit in known), np.random.default_rng(0)
    rows = {id(fit): np.array(fit.draws)[generator.permutation(len(fit.draws))[:count]] for fit in known}
    columns = [dict(zip(fit.params, rows[id(fit)].T, strict=True)) if fit.draws else fit.params for fit in fits]
    with np.errstate(all="ignore"):  # constants of a few draws are extreme; what they give is left out
        draws = np.broadcast_to(function(*columns), count)
    draws = draws[np.isfinite(draws)]
    if len(draws) < bootstrap.LEAST_DRAWS:
        return Estimate(value, None, None)
    freedom = min(fit.freedom for fit in known)
    return Estimate(value, *bootstrap.interval(value, draws, freedom, any(fit.reflected for fit in known)))


def held_out_error(accuracy: Fit, loss: Fit | None = None) -> float | None:
    """Root mean square error of a law's hindcast, as a fraction; None without one.

    A law in loss was given the held-out runs' losses: what the error of its loss law would have moved its prediction
    at the rows' largest compute is added in squares.
    """
    own = accuracy.hindcast.get("root_mean_square")
    if loss is None or own is None:
        return own
    relative, top = loss.hindcast.get("root_mean_square"), accuracy.conventions.get("flops_to")
    if relative is None or top is None:
        return None
    nats, predict = _loss(loss.law, loss.params, np.log(top)), IN_LOSS[accuracy.law]
    moved = predict(accuracy.params, nats * np.exp(relative)) - predict(accuracy.params, nats)
    return float(np.hypot(own, moved))


def log_compute(factor: np.ndarray, exponent: np.ndarray, height: np.ndarray) -> np.ndarray:
    """ln C at which factor·C^-exponent falls to `height`, within ±FARTHEST; FARTHEST where it never does."""
    factor, exponent, height = (np.asarray(values, float) for values in (factor, exponent, height))
    falls = (exponent > 0) & (height > 0)
    logarithms = np.log(factor) - np.log(np.where(falls, height, 1.0))
    return np.where(falls, np.clip(logarithms / np.where(falls, exponent, 1.0), -FARTHEST, FARTHEST), FARTHEST)


def decades_beyond(fit: Fit, logarithm: float) -> float | None:
    """How many decades ln FLOPs lie beyond the compute of a fit's rows; see `Forecast.decades`."""
    low, high = (fit.conventions.get(name) for name in ("flops_from", "flops_to"))
    if low is None or high is None:
        return None
    ends = np.log([float(low), float(high)])
    return float((logarithm - np.clip(logarithm, *ends)) / np.log(10))


Chain = tuple[Fit] | tuple[Fit, Fit]
"""A law of accuracy in compute; or one in loss, then one of that loss in compute."""


def _chains(fits: Sequence[Fit], family: str) -> list[Chain]:
    own = [fit for fit in fits if fit.family == family and len(fit.params) > 1]  # an exponent alone promises nothing
    chains: list[Chain] = [(fit,) for fit in own if fit.law in IN_COMPUTE]
    for fit in (fit for fit in own if fit.law in IN_LOSS):
        column = fit.conventions["loss"]
        chains += [(fit, loss) for loss in own if loss.law in LOSS_LAWS and loss.measure == column]
    return chains


def _allocation(fits: Sequence[Fit], family: str) -> Fit | None:
    found = [fit for fit in fits if fit.family == family and fit.law == parametric.LAW and fit.params]
    return found[0] if found else None


def _laws(chain: Chain) -> tuple[str, str]:
    return chain[0].law, chain[1].law if len(chain) > 1 else ""


def _loss(law: str, params: Constants, log_c: np.ndarray) -> np.ndarray:
    irreducible, factor, exponent = offset_power(law, params)
    return irreducible + factor * np.exp(-exponent * log_c)


def _needed(chain: Chain, target: float) -> Callable[..., np.ndarray]:
    """Constants of the chain's laws -> ln C at which they reach the target; FARTHEST where they never do."""
    accuracy = chain[0]

    def needed(params: Constants, *loss: Constants) -> np.ndarray:
        if accuracy.law == downstream.LAW:
            return log_compute(1 / params["Q0"], params["gamma"], 1 / target)
        if accuracy.law == saturation.LAW_ERROR:
            return log_compute(params["K"], params["gamma"], (1 - target) / (1 - accuracy.conventions["chance"]))
        irreducible, factor, exponent = offset_power(chain[1].law, loss[0])
        return log_compute(factor, exponent, loss_for(accuracy.law, params, target) - irreducible)

    return needed


def _forecast(chain: Chain, target: float, allocation: Fit | None) -> Forecast:
    needed = _needed(chain, target)
    log_c = estimate(needed, *chain)
    never = log_c.value >= FARTHEST
    used = [*chain, *([allocation] if allocation and allocation not in chain else [])]
    beyond = [decades for fit in used if not never and (decades := decades_beyond(fit, log_c.value)) is not None]
    decades = max(beyond, key=abs, default=None)
    flops = _exp(log_c)
    n, d, per_param = (None, None, None) if never else _optimum(allocation, needed, chain)
    notes = [_unreachable(chain, target)] if never else []
    notes += [] if allocation else [NO_ALLOCATION]
    law, loss_law = _laws(chain)
    return Forecast(
        law=law,
        loss_law=loss_law,
        family=chain[0].family,
        measure=chain[0].measure,
        target=target,
        flops=flops,
        params_total=_open(n, flops),
        tokens=_open(d, flops),
        tokens_per_param=per_param,
        decades=decades,
        held_out_error=held_out_error(*chain),
        warnings=_warnings(used, decades, notes),
    )


def _guessed(chain: Chain, target: float, chance: float) -> Forecast:
    """The forecast of a target that takes no model."""
    law, loss_law = _laws(chain)
    nothing = dict.fromkeys(("flops", "params_total", "tokens", "tokens_per_param", "decades"))
    labels = {"law": law, "loss_law": loss_law, "family": chain[0].family, "measure": chain[0].measure}
    warnings = (f"no more than chance: guessing gets {chance:.1%}",)
    return Forecast(**labels, **nothing, target=target, held_out_error=held_out_error(*chain), warnings=warnings)


def _open(found: Estimate | None, flops: Estimate) -> Estimate | None:
    """N or D with the ends open that those of its compute are."""
    if found is None:
        return None
    ends = zip(found, flops, strict=True)
    return Estimate(*(np.inf if end is not None and compute == np.inf else end for end, compute in ends))


def _optimum(
    allocation: Fit | None, log_c: Callable[..., np.ndarray], chain: Sequence[Fit]
) -> tuple[Estimate | None, Estimate | None, float | None]:
    """N, D and D/N of least loss at a compute that follows from a chain's constants."""
    if allocation is None:
        return None, None, None

    def log_n(*params: Constants) -> np.ndarray:
        share = params[-1]
        return np.log(share["G"]) + share["a"] * (log_c(*params[:-1]) - np.log(6))

    def log_d(*params: Constants) -> np.ndarray:
        return log_c(*params[:-1]) - np.log(6) - log_n(*params)

    n, d = (_exp(estimate(function, *chain, allocation)) for function in (log_n, log_d))
    return n, d, d.value / n.value


def _exp(logarithm: Estimate) -> Estimate:
    """FLOPs, N or D of their logarithms; infinite from FARTHEST on."""
    return Estimate(*(None if end is None else np.inf if end >= FARTHEST else float(np.exp(end)) for end in logarithm))


def _unreachable(chain: Chain, target: float) -> str:
    """Why no compute reaches the target."""
    accuracy = chain[0]
    if accuracy.params.get("ceiling", np.inf) <= target:
        return f"unreachable: the ceiling is {accuracy.params['ceiling']:.3f}"
    if len(chain) == 1:
        return "unreachable: accuracy does not grow that far with compute"
    nats = float(loss_for(accuracy.law, accuracy.params, target))
    if not np.isfinite(nats):
        return "unreachable: accuracy does not grow as loss falls"
    least = float(offset_power(chain[1].law, chain[1].params)[0])
    return f"unreachable: it takes a loss of {nats:.3f}, and {least:.3f} is irreducible"


def _warnings(fits: Sequence[Fit], decades: float | None, notes: Sequence[str]) -> tuple[str, ...]:
    """What keeps a promise from being taken at face value: its own notes, then those of the fits behind it."""
    found = list(notes)
    if decades is not None and abs(decades) > SLACK:
        found.insert(0, f"extrapolates {abs(decades):.1f} decades " + ("beyond the data" if decades > 0 else "below"))
    for fit in fits:
        named = f"{fit.law} of {fit.measure}"
        found += [f"{named}: {fit.status} constants"] if fit.status != "own" else []
        found += [f"{named}: no draws, so taken as exact"] if not fit.draws else []
        found += [f"{named}: {flag}" for flag in fit.flags]
    return tuple(dict.fromkeys(found))
