"""What the fitted laws of a family promise: compute, N and D for a target score, and the scores that a budget buys.

In: `Fit`s. Out: estimates with 95 % intervals and plain warnings. A law of accuracy in loss is composed with every law
of the family's loss in compute. N and D are those of least loss under the parametric law.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analysis import bootstrap, downstream, envelope, parametric, saturation
from analysis.compare import FARTHEST, decades_beyond, flops_of, fraction, log_compute, log_flops
from analysis.downstream import Constants
from analysis.fit import Fit

NO_ALLOCATION = f"N and D unknown: no {parametric.LAW} of this family"
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
    flops: Estimate
    """Infinite: never reached."""
    params_total: Estimate | None
    tokens: Estimate | None
    tokens_per_param: float | None
    decades: float | None
    """Beyond the compute of the law's rows; see `compare.Reach`."""
    held_out_error: float | None
    """Root mean square error of accuracy on the held-out runs; see `held_out_error`."""
    warnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What training FLOPs buy."""

    flops: float
    params_total: Estimate | None
    tokens: Estimate | None
    tokens_per_param: float | None
    losses: dict[tuple[str, str], Estimate]
    """(law, loss column) -> nats, the least that the compute buys."""
    scores: dict[tuple[str, str, str], Estimate]
    """(law, law of its loss or empty, benchmark) -> accuracy as a fraction, cut at 0 and 1."""
    decades: float | None
    """Beyond the compute of the rows of the law whose rows end farthest away."""
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
IN_COMPUTE = (downstream.LAW, saturation.LAW_ERROR)
IN_LOSS = {downstream.LAW_LOSS: downstream.predict_loss, saturation.LAW_SIGMOID: saturation.predict_sigmoid}


def forecast(fits: Sequence[Fit], benchmark: str, target: float, family: str) -> list[Forecast]:
    """The compute for `target`, a fraction, on a benchmark (`Fit.measure`) under every law, the one that predicted the
    held-out runs best first; `ValueError` for a target that is no fraction or a benchmark without a law."""
    fraction(target)
    chains = [chain for chain in _chains(fits, family) if chain[0].measure == benchmark]
    if not chains:
        known = sorted({fit.measure for fit in fits if fit.family == family and fit.law in (*IN_COMPUTE, *IN_LOSS)})
        raise ValueError(f"no accuracy law of {family} on {benchmark!r}; there are {', '.join(known) or 'none at all'}")
    found = [_forecast(chain, target, _allocation(fits, family)) for chain in chains]
    return sorted(found, key=lambda row: np.inf if row.held_out_error is None else row.held_out_error)


def at_budget(fits: Sequence[Fit], family: str, flops: float) -> Budget:
    """N, D, least losses and scores of `flops` training FLOPs under every law of a family."""
    if not flops > 0:
        raise ValueError(f"{flops:g} training FLOPs: a budget is above 0")
    allocation, log_c = _allocation(fits, family), np.log(flops)
    losses = [fit for fit in fits if fit.family == family and fit.params and fit.law in LOSS_LAWS]
    chains = _chains(fits, family)
    used = list({id(fit): fit for fit in (*losses, *(fit for chain in chains for fit in chain))}.values())
    beyond = [decades for fit in used if (decades := decades_beyond(fit, log_c)) is not None]
    decades = max(beyond, key=abs, default=None)
    n, d, per_param = _optimum(allocation, lambda *_: log_c, ())
    return Budget(
        flops=float(flops),
        params_total=n,
        tokens=d,
        tokens_per_param=per_param,
        losses={(fit.law, fit.measure): estimate(lambda p, law=fit.law: _loss(law, p, log_c), fit) for fit in losses},
        scores={(*_laws(chain), chain[0].measure): _score(chain, log_c) for chain in chains},
        decades=decades,
        warnings=_warnings(used, decades, () if allocation else (NO_ALLOCATION,)),
    )


def device_hours(flops: float, peak_flops: float, utilisation: float) -> float:
    """Hours of one device that does at best `peak_flops` a second, and in training a share `utilisation` of that."""
    if not (peak_flops > 0 and 0 < utilisation <= 1):
        raise ValueError(f"a device of {peak_flops:g} FLOP/s at utilisation {utilisation:g}: above 0, and up to 1")
    return flops / (peak_flops * utilisation * 3600)


def estimate(function: Callable[..., np.ndarray], *fits: Fit) -> Estimate:
    """What `function` of the constants of fits gives, with its interval over their draws, paired at random.

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
    if len(draws) < 2:
        return Estimate(value, None, None)
    freedom = min(len(fit.rows) for fit in known), max(fit.constants for fit in known)
    return Estimate(value, *bootstrap.interval(value, draws, *freedom))


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


def _score(chain: Chain, log_c: float) -> Estimate:
    accuracy = chain[0]

    def predicted(params: Constants, *loss: Constants) -> np.ndarray:
        if accuracy.law == downstream.LAW:
            found = downstream.predict_compute(params, np.exp(log_c))
        elif accuracy.law == saturation.LAW_ERROR:
            found = saturation.predict_error(params, np.exp(log_c), accuracy.conventions["chance"])
        else:
            found = IN_LOSS[accuracy.law](params, _loss(chain[1].law, loss[0], log_c))
        return np.clip(found, 0.0, 1.0)

    return estimate(predicted, *chain)


def _needed(chain: Chain, target: float) -> Callable[..., np.ndarray]:
    """Constants of the chain's laws -> ln C at which they reach the target; FARTHEST where they never do."""
    accuracy = chain[0]

    def needed(params: Constants, *loss: Constants) -> np.ndarray:
        if accuracy.law == downstream.LAW:
            return log_flops(params, target)
        if accuracy.law == saturation.LAW_ERROR:
            return log_compute(params["K"], params["gamma"], (1 - target) / (1 - accuracy.conventions["chance"]))
        irreducible, factor, exponent = offset_power(chain[1].law, loss[0])
        return log_compute(factor, exponent, loss_for(accuracy.law, params, target) - irreducible)

    return needed


def _forecast(chain: Chain, target: float, allocation: Fit | None) -> Forecast:
    needed = _needed(chain, target)
    log_c = estimate(needed, *chain)
    never = log_c.value >= FARTHEST
    decades = None if never else decades_beyond(chain[0], log_c.value)
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
        flops=_exp(log_c),
        params_total=n,
        tokens=d,
        tokens_per_param=per_param,
        decades=decades,
        held_out_error=held_out_error(*chain),
        warnings=_warnings(chain, decades, notes),
    )


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
    return Estimate(*(None if end is None else float(flops_of(end)) for end in logarithm))


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
