"""Two families held against each other: how much more compute the slower one needs, and the compute to reach a score.

In: `accuracy_compute` fits. Out: the ratio of their exponents as a `Fit`, compute factors, FLOPs with intervals.
Source: Cuervo & Marxer 2024, section 4.3.1 and Table 4.
"""

from typing import NamedTuple

import numpy as np

from analysis import downstream
from analysis.bootstrap import Resampling
from analysis.downstream import Constants
from analysis.fit import Fit, band, spread

LAW = "compute_ratio"
FARTHEST = float(np.log(1e100))
"""ln FLOPs: what takes more is never reached, so that intervals of an exponent near zero stay numbers."""
MOST = 1e3  # a ratio beyond it is as good as infinite: a choice


class Reach(NamedTuple):
    """The compute that a law asks for a score."""

    flops: float
    """Infinite: never."""
    low: float | None
    high: float | None
    """The interval; None without draws."""
    decades: float | None
    """How far beyond the most compute of the law's rows, negative before the least, 0 among them; None without rows."""


def ratio(
    speech: Fit,
    text: Fit,
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """γ_text/γ_speech of two fits of `accuracy_compute`: for the gain that f times the compute brings text, speech
    needs f^ratio times its own (`compute_factor`). The two may be of different benchmarks, as sBLIMP and BLIMP.

    The interval pairs draws of both at random, for the two were fitted to different runs; an exponent without draws,
    as a printed one, is taken as exact, and a flag says so.
    """
    both = speech, text
    if others := [fit.identifier for fit in both if fit.law != downstream.LAW]:
        raise ValueError(f"{others[0]} is no {downstream.LAW}, of which alone exponents compare as compute factors")
    conventions = {"exponents": f"{text.identifier} over {speech.identifier}", "draws": "of both, paired at random"}
    conventions |= {"resamples": resampling.count, "seed": resampling.seed}
    labels = {"law": LAW, "family": f"{speech.family}-{text.family}", "measure": speech.measure}
    labels |= {"conventions": conventions, "rows": tuple(dict.fromkeys(speech.rows + text.rows))}
    labels |= {"status": "own" if {fit.status for fit in both} == {"own"} else "derived"}
    if flat := [fit.family for fit in both if fit.params.get("gamma", 0.0) <= 0]:
        return Fit(params={}, flags=(f"not fitted: {' and '.join(flat)} gains nothing by compute",), **labels)
    params = {"ratio": text.params["gamma"] / speech.params["gamma"]}
    flags = [f"the exponent of {fit.family} is taken as exact: it has no draws" for fit in both if not fit.draws]
    guessing = [fit.family for fit in both if any(flag.startswith("at chance") for flag in fit.flags)]
    flags += [f"at chance: {' and '.join(guessing)}; the ratio means nothing"] if guessing else []
    generator = np.random.default_rng(resampling.seed)
    slow, fast = (drawn(fit, resampling.count, generator)["gamma"] for fit in both)
    growing = slow * MOST > fast
    if not growing.all():
        flags.append(f"unidentified: ratio (beyond {MOST:g} in {1 - growing.mean():.0%} of the resamples)")
    draws = np.where(growing, fast / np.where(growing, slow, 1.0), MOST)
    rows = min((len(fit.rows) for fit in both if fit.draws), default=0)
    return Fit(
        **labels, params=params, constants=2, **(spread(params, draws, rows, 2) if rows else {}), flags=tuple(flags)
    )


def drawn(fit: Fit, count: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Constants (count,) of draws of a fit, picked at random; those of all rows, again and again, without draws."""
    rows = np.array(fit.draws or [list(fit.params.values())])
    return dict(zip(fit.params, rows[generator.integers(len(rows), size=count)].T, strict=True))


def compute_factor(ratio: float | np.ndarray, factor: float | np.ndarray) -> float | np.ndarray:
    """f' = f^ratio: the factor of compute that buys the slower family the gain that `factor` buys the faster one.

    No constant multiple: with a ratio of 3.14 doubling text's compute is matched by 8.8 times speech's, ten times by
    10^3.14 = 1,380 times; the "10^3.14" of the paper's text is the case f = 10.
    """
    return np.asarray(factor, float) ** ratio


def factor_to_reach(gamma: float, accuracy: float, target: float) -> float:
    """How many times its compute takes a model from `accuracy` to `target` under Q ∝ C^gamma."""
    return float((target / accuracy) ** (1 / gamma))


def log_flops(params: Constants, target: float) -> np.ndarray:
    """ln C at which Q0·C^γ is `target`; see `log_compute`."""
    return log_compute(1 / params["Q0"], params["gamma"], 1 / target)


def log_compute(factor: np.ndarray, exponent: np.ndarray, height: np.ndarray) -> np.ndarray:
    """ln C at which factor·C^-exponent falls to `height`, within ±FARTHEST; FARTHEST where it never does."""
    factor, exponent, height = (np.asarray(values, float) for values in (factor, exponent, height))
    falls = (exponent > 0) & (height > 0)
    logarithms = np.log(factor) - np.log(np.where(falls, height, 1.0))
    return np.where(falls, np.clip(logarithms / np.where(falls, exponent, 1.0), -FARTHEST, FARTHEST), FARTHEST)


def reach(fit: Fit, target: float) -> Reach:
    """The compute at which an `accuracy_compute` fit reaches `target`, a fraction."""
    if fit.law != downstream.LAW or "Q0" not in fit.params:
        raise ValueError(f"{fit.identifier} tells no compute for a score: that takes Q0 and gamma of {downstream.LAW}")
    found, ends = float(log_flops(fit.params, fraction(target))), band(fit, lambda p: log_flops(p, target))
    low, high = (float(flops_of(end[0])) for end in ends) if ends else (None, None)
    return Reach(float(flops_of(found)), low, high, decades_beyond(fit, found))


def flops_of(logarithm: float | np.ndarray) -> np.ndarray:
    """FLOPs of their logarithm; infinite from FARTHEST on."""
    logarithm = np.asarray(logarithm, float)
    return np.where(logarithm < FARTHEST, np.exp(np.minimum(logarithm, FARTHEST)), np.inf)


def decades_beyond(fit: Fit, logarithm: float) -> float | None:
    """How many decades ln FLOPs lie beyond the compute of a fit's rows; see `Reach.decades`."""
    low, high = (fit.conventions.get(name) for name in ("flops_from", "flops_to"))
    if low is None or high is None:
        return None
    ends = np.log([float(low), float(high)])
    return float((logarithm - np.clip(logarithm, *ends)) / np.log(10))


def fraction(target: float) -> float:
    """A score that a law can be asked for; `ValueError` where it is none."""
    if not 0 < target <= 1:
        raise ValueError(
            f"target {target:g} is no fraction between 0 and 1" + (": per cent? Divide by 100" * (target > 1))
        )
    return target
