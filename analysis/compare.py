"""Two families held against each other: how much more compute the slower one needs for the same gain.

In: `accuracy_compute` fits. Out: the ratio of their exponents as a `Fit`, compute factors. Source: Cuervo & Marxer
2024, section 4.3.1 and Table 4.
"""

from collections.abc import Sequence

import numpy as np

from analysis import downstream
from analysis.bootstrap import LEAST_DRAWS, Resampling
from analysis.fit import Fit, spread

LAW = "compute_ratio"
MOST = 1e3  # a ratio beyond it is as good as infinite: a choice
EQUIVALENT = {"sblimp": "blimp", "sblimp-macro": "blimp-macro"}
"""Measure of speech -> the one of text that asks for the same ability, where text was not asked the same questions."""


def pairs(speech: Sequence[Fit], text: Sequence[Fit]) -> list[tuple[Fit, Fit]]:
    """Every exponent of speech with every family's exponent of text of the same measure, or else an EQUIVALENT one."""
    known = {(fit.family, fit.measure): fit for fit in text}
    families = dict.fromkeys(fit.family for fit in text)
    found = []
    for fit in speech:
        for family in families:
            measures = fit.measure, EQUIVALENT.get(fit.measure)
            matches = [known[family, measure] for measure in measures if (family, measure) in known]
            found += [(fit, match) for match in matches[:1]]
    return found


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
    growing = (slow > 0) & (fast < MOST * slow)
    if not growing.all():
        flags.append(f"unidentified: ratio (beyond {MOST:g} in {1 - growing.mean():.0%} of the resamples)")
    draws = np.where(growing, fast / np.where(growing, slow, 1.0), MOST)
    uncertain = [fit for fit in both if fit.draws]
    few = [fit.family for fit in uncertain if len(fit.draws) < LEAST_DRAWS]
    flags += [f"no interval: {' and '.join(few)} has fewer than {LEAST_DRAWS} draws"] if few else []
    spreads = (
        spread(params, draws, min(fit.freedom for fit in uncertain), any(fit.reflected for fit in uncertain))
        if uncertain and not few
        else {}
    )
    return Fit(**labels, params=params, constants=2, **spreads, flags=tuple(flags))


def drawn(fit: Fit, count: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """Constants (count,) of draws of a fit, picked at random; those of all rows, again and again, without draws."""
    rows = np.array(fit.draws or [list(fit.params.values())])
    return dict(zip(fit.params, rows[generator.integers(len(rows), size=count)].T, strict=True))


def compute_factor(ratio: float | np.ndarray, factor: float | np.ndarray) -> float | np.ndarray:
    """f' = f^ratio: the factor of compute that buys the slower family the gain that `factor` buys the faster one.

    No constant multiple: with a ratio of 3.14 doubling text's compute is matched by 8.8 times speech's, ten times by
    10^3.14 = 1,380 times; the "10^3.14" of the paper's text is the case f = 10.
    """
    with np.errstate(over="ignore"):  # a ratio without end needs compute without end
        return np.asarray(factor, float) ** ratio
