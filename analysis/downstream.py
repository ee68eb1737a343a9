"""Benchmark accuracy Q against compute, Q = Q0·C^γ on the envelope of best accuracy per FLOP, and against loss.

In: rows of the scores table. Out: `Fit`s. Q is raw accuracy without chance correction, as in Cuervo & Marxer 2024,
section 4.3.1; which rows count as saturated is not stated there, so the cut is explicit here.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pandas as pd

from analysis import bootstrap
from analysis.bootstrap import Resampling
from analysis.envelope import LEAST_POINTS, ROUGH, bears, extreme, factor, freedom, lacking, line, span
from analysis.fit import Fit, identities, spread, unfitted
from analysis.hindcast import hindcast

LAW, LAW_LOSS = "accuracy_compute", "accuracy_loss"
METRIC = "accuracy_mean"
MATCH = "containment"
"""Headline of question answering, which has no options to choose from."""
OF_PHENOMENA = ("minimal_pairs", "blimp", "zorro", "sblimp", "sblimp-test")
"""Benchmarks that are parted into phenomena, where both averages are in use; topics of stories are no such parts."""
CHANCE = 0.5  # of two options, as all benchmarks had them before scores recorded their chance
SATURATION = 0.95
"""Accuracy that counts as saturated: a choice, the paper gives none."""
ENVELOPE = "rows whose accuracy exceeds all cheaper rows"
SPARE = 2  # resamples drawn per wanted one, as some leave too few points on the envelope: a choice
NAMED = 5  # names that a flag or a message lists: a choice

Constants = Mapping[str, float | np.ndarray]


def on_envelope(flops: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Which rows have an accuracy above that of every cheaper row, and above zero: `accuracy` (..., n) -> (..., n).

    Of rows that cost the same, only the best one counts. A row that a resample lacks has accuracy 0 in it.
    """
    accuracy = np.asarray(accuracy, float)
    order = np.lexsort((-accuracy, np.broadcast_to(np.asarray(flops, float), accuracy.shape)))
    rising = np.take_along_axis(accuracy, order, -1)
    cheaper = np.maximum.accumulate(np.concatenate([np.zeros_like(rising[..., :1]), rising[..., :-1]], -1), -1)
    found = np.empty(accuracy.shape, bool)
    np.put_along_axis(found, order, rising > cheaper, -1)
    return found


def envelope(flops: np.ndarray, accuracy: np.ndarray) -> np.ndarray:
    """Indices of the rows `on_envelope`, by rising compute."""
    kept = np.flatnonzero(on_envelope(flops, accuracy))
    return kept[np.argsort(np.asarray(flops, float)[kept])]


def saturation_flops(flops: np.ndarray, accuracy: np.ndarray, ceiling: float = SATURATION) -> float:
    """Compute of the cheapest row at or above `ceiling`, the default cut; infinite if there is none."""
    saturated = np.asarray(flops, float)[np.asarray(accuracy, float) >= ceiling]
    return float(saturated.min()) if len(saturated) else float("inf")


def headline_metric(rows: pd.DataFrame) -> str:
    """The metric that a benchmark is reported by: `METRIC`, or `MATCH` where the rows have answers and no choices."""
    return METRIC if (rows["metric"] == METRIC).any() else MATCH


def headline(scores: pd.DataFrame, family: str, benchmark: str, subset: str = "all") -> pd.DataFrame:
    """One row per run: the headline metric of a benchmark, over all questions or another subset."""
    rows = scores[(scores["family"] == family) & (scores["eval"] == benchmark)]
    return rows[(rows["subset"] == subset) & (rows["metric"] == headline_metric(rows))].sort_values("name")


def scored(scores: pd.DataFrame, family: str, benchmark: str, subset: str = "all") -> pd.DataFrame:
    """The headline rows that a law is fitted to; `ValueError` naming rows without a number or not as a fraction."""
    rows = headline(scores, family, benchmark, subset)
    where, value = f"{family} on {benchmark}", rows["value"].to_numpy(float)
    numbers = np.isfinite(value) & np.isfinite(rows["flops_6n"].to_numpy(float))
    if not numbers.all():
        raise ValueError(f"{where}: no accuracy or no compute of {listed(rows, ~numbers)}; complete or drop these rows")
    if (above := value > 1).any():
        what = "accuracies in per cent" if above.all() else "accuracies in per cent among fractions"
        raise ValueError(f"{where}: {what} ({listed(rows, above)}); divide these by 100")
    if (below := value < 0).any():
        raise ValueError(f"{where}: accuracies below 0 ({listed(rows, below)}); they are fractions from 0 to 1")
    return rows


def listed(rows: pd.DataFrame, which: np.ndarray) -> str:
    """Names of the rows for a message, the first few of many."""
    names = [str(name) for name in rows.loc[which, "name"]]
    return ", ".join(names[:NAMED]) + (f" and {len(names) - NAMED} more" if len(names) > NAMED else "")


def measure(benchmark: str, subset: str) -> str:
    """`Fit.measure` of a benchmark's subset."""
    return benchmark if subset == "all" else f"{benchmark}-{subset}"


def largest(rows: pd.DataFrame) -> pd.Series:
    """The row of the most compute; of several seeds, the lowest."""
    return rows.sort_values(["flops_6n", "seed"], ascending=[False, True]).iloc[0]


def chance(row: pd.Series) -> float:
    """What guessing gets on the benchmark of a score; `CHANCE` where that was not recorded yet."""
    known = row.get("chance", np.nan)
    return CHANCE if pd.isna(known) else float(known)


def shared_chance(rows: pd.DataFrame) -> float:
    """What guessing gets on the benchmark of some scores, where any of them records it; `ValueError` where they record
    different chances."""
    found = sorted({float(value) for value in rows.get("chance", []) if pd.notna(value)})
    if len(found) > 1:
        raise ValueError(
            f"{rows['eval'].iloc[0]}: chance is recorded as {found}; one benchmark has one, score it again"
        )
    return found[0] if found else CHANCE


def is_at_chance(row: pd.Series) -> bool:
    """Whether a score is not above chance by more than two standard errors; one below it is no ability either."""
    return row["value"] - chance(row) <= 2 * row["stderr"]


def fit_compute(
    scores: pd.DataFrame,
    family: str,
    benchmark: str,
    cut_flops: float | None = None,
    subset: str = "all",
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """Q = Q0·C^γ on the envelope of the rows below `cut_flops` (None: `saturation_flops`); what intervals vary is said
    at `resampled`."""
    everything = scored(scores, family, benchmark, subset)
    rows, conventions, cut = _before_saturation(everything, cut_flops)
    conventions |= {"envelope": ENVELOPE} | resampling.conventions | how_drawn(rows, resampling)
    labels = {"law": LAW, "family": family, "measure": measure(benchmark, subset), "conventions": conventions}
    found = _power_law(rows, labels)
    notes = at_chance(everything, "gamma") + cut
    if not found.params:
        return replace(found, flags=found.flags + notes)
    slope, intercept = envelope_lines(rows["flops_6n"], resampled(rows, resampling), np.log)
    spreads, rough = envelope_spread(found, rows, resampling, intercept, slope)
    return replace(
        found,
        **spreads,
        flags=(*found.flags, *notes, *rough),
        hindcast=past(
            everything,
            lambda small: _power_law(_before_saturation(small, cut_flops)[0], labels),
            predict_compute,
            "flops_6n",
        )
        if resampling.count
        else {},
    )


def fit_loss(
    scores: pd.DataFrame,
    family: str,
    benchmark: str,
    column: str = "nats_per_token",
    cut_flops: float | None = None,
    subset: str = "all",
    resampling: Resampling = Resampling(),  # noqa: B008 - frozen
) -> Fit:
    """Q = intercept + slope·L over the rows below `cut_flops`, with Pearson's r (Cuervo & Marxer 2024, Fig. 4)."""
    everything = scored(scores, family, benchmark, subset)
    before, conventions, cut = _before_saturation(everything, cut_flops)
    rows, lossless = with_loss(before, column)
    conventions |= {"loss": column} | resampling.conventions
    labels = {"law": LAW_LOSS, "family": family, "measure": measure(benchmark, subset), "conventions": conventions}
    found = _linear(rows, column, labels)
    notes = at_chance(everything, "slope") + cut + lossless
    if not found.params:
        return replace(found, flags=found.flags + notes)
    nats, value = rows[column].to_numpy(float), rows["value"].to_numpy(float)

    def varied(counts: np.ndarray) -> np.ndarray:
        drawn = counts > 0
        return (drawn.sum(1) >= LEAST_POINTS) & (span(nats, drawn) > 0) & (span(value, drawn) > 0)

    def smaller(small: pd.DataFrame) -> Fit:
        return _linear(with_loss(_before_saturation(small, cut_flops)[0], column)[0], column, labels)

    groups = resampling.groups(rows)
    counts = bootstrap.resamples(groups, resampling, varied)
    draws = np.stack(line(nats, value, counts), 1)
    return replace(
        found,
        **spread(found.params, draws, resampling.freedom(rows, found.constants)),
        flags=(*notes, *bootstrap.flags(counts, resampling, groups)),
        hindcast=past(everything, smaller, predict_loss, column) if resampling.count else {},
    )


def predict_compute(params: Constants, flops: np.ndarray) -> np.ndarray:
    """Q of training FLOPs under the power law; nothing keeps it below 1."""
    return params["Q0"] * np.asarray(flops, float) ** params["gamma"]


def predict_loss(params: Constants, nats: np.ndarray) -> np.ndarray:
    """Q of losses under the linear law; nothing keeps it between chance and 1."""
    return params["intercept"] + params["slope"] * np.asarray(nats, float)


def what_is_drawn(rows: pd.DataFrame, resampling: Resampling) -> str:
    """Answers, where it is known of every row how many there were and no groups are asked for; else groups or runs."""
    return resampling.by or ("answers" if (_questions(rows) > 0).all() else "runs")


def how_drawn(rows: pd.DataFrame, resampling: Resampling) -> dict[str, str]:
    """Conventions of the intervals of a law over an envelope of accuracies."""
    drawn = what_is_drawn(rows, resampling)
    return {"resampled": drawn} | ({"interval": "draws mirrored at the fit"} if drawn == "answers" else ROUGH)


def envelope_spread(
    found: Fit, rows: pd.DataFrame, resampling: Resampling, intercept: np.ndarray, exponent: np.ndarray
) -> tuple[dict, list[str]]:
    """`fit.spread` and flags of a power law over an envelope, from ln factors and exponents (R,) of its resamples.

    An envelope is of the luckiest answers. Where answers are drawn anew, that of the draws lies about as far above the
    fitted one as that lies above the truth: draws are mirrored at the fit in both constants (the basic bootstrap,
    Davison & Hinkley 1997, section 5.2). In synthetic studies like the released runs the intervals then held the true
    exponent in 89 to 98 %, the accuracy at a given compute in 71 to 97 %; not mirrored, in 61 to 99 and 0 to 75 %.
    """
    answers = what_is_drawn(rows, resampling) == "answers"
    drawn = np.stack([intercept, exponent], 1)[: resampling.count]
    if answers:
        first, second = found.params.values()
        drawn = 2 * np.array([np.log(first), second]) - drawn
    drawn[:, 0] = factor(drawn[:, 0])
    degrees = freedom(rows, len(found.kept), found.constants, resampling)
    groups = resampling.groups(rows)
    return spread(found.params, drawn, degrees, answers), bootstrap.flags(drawn, resampling, groups)


def resampled(rows: pd.DataFrame, resampling: Resampling) -> np.ndarray:
    """Accuracies (R, n) of resamples, SPARE for each wanted one; 0 for a row that a resample lacks.

    Answers: every row, its accuracy drawn anew from a binomial over its questions. Runs, where questions were not
    counted or groups are asked for: rows drawn with replacement.
    """
    value, wanted = rows["value"].to_numpy(float), SPARE * resampling.count
    if what_is_drawn(rows, resampling) != "answers":
        return np.where(bootstrap.resamples(resampling.groups(rows), replace(resampling, count=wanted)), value, 0.0)
    questions = _questions(rows)
    return np.random.default_rng(resampling.seed).binomial(questions, value, (wanted, len(rows))) / questions


def _questions(rows: pd.DataFrame) -> np.ndarray:
    """As many questions as each row's standard error speaks for, or all `n` where none is known; 0: neither is."""
    value, error, count = rows.reindex(columns=["value", "stderr", "n"]).to_numpy(float).T
    known = error > 0
    spoken = np.where(known, value * (1 - value) / np.where(known, error**2, 1.0), count)
    return np.where(spoken > 0, np.maximum(np.round(np.nan_to_num(spoken)), 1), 0).astype(int)


def envelope_lines(
    flops: np.ndarray, accuracy: np.ndarray, height: Callable[[np.ndarray], np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Slopes and intercepts of `height` of the accuracies on ln C over the envelopes of accuracies (R, n); those that
    bear no law are left out."""
    flops, kept = np.asarray(flops, float), on_envelope(flops, accuracy)
    usable = bears(flops, kept, LEAST_POINTS)
    kept, accuracy = kept[usable], accuracy[usable]
    return line(np.log(flops), height(np.where(kept, accuracy, 0.5)), kept.astype(float))[:2]


def past(everything: pd.DataFrame, fit: Callable[[pd.DataFrame], Fit], predict: Callable, column: str) -> dict:
    """The hindcast of a law that predicts from `column`, given all scored rows.

    All laws of a benchmark share the cut and are judged by the same rows, those on the envelope of all that `column`
    is known of: so they compare. What is saturated is for `fit` to say, from the rows that it is given.
    """

    def judged(rows: pd.DataFrame) -> pd.DataFrame:
        best = rows.iloc[envelope(rows["flops_6n"], rows["value"])]
        return best[best[column].notna()]

    def predicted(params: Constants, large: pd.DataFrame) -> np.ndarray:
        return predict(params, large[column].to_numpy(float))

    return hindcast(everything, "value", fit, predicted, relative=False, judged=judged)


def with_loss(rows: pd.DataFrame, column: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """The rows that have a loss, and a flag naming those that have none."""
    lacking = rows[column].isna().to_numpy()
    return rows[~lacking], (f"left out, without {column}: {listed(rows, lacking)}",) if lacking.any() else ()


def at_chance(rows: pd.DataFrame, name: str) -> tuple[str, ...]:
    """The flag of a constant of rows whose largest run only guesses."""
    known = rows.assign(chance=shared_chance(rows))
    return (f"at chance: {name} means nothing",) if len(known) and is_at_chance(largest(known)) else ()


def described(rows: pd.DataFrame) -> dict[str, str | float | None]:
    """Conventions of every accuracy law."""
    flops = rows["flops_6n"].to_numpy(float)
    return {
        "C": "flops_6n",
        "accuracy": f"raw fraction, {headline_metric(rows)}, no chance correction",
        "flops_from": float(flops.min()) if len(rows) else None,
        "flops_to": float(flops.max()) if len(rows) else None,
    }


def _power_law(rows: pd.DataFrame, labels: dict) -> Fit:
    flops, value = rows["flops_6n"].to_numpy(float), rows["value"].to_numpy(float)
    kept = envelope(flops, value)
    if reason := lacking(flops[kept], LEAST_POINTS):
        return unfitted(rows, reason, **labels)
    x, y = np.log(flops[kept]), np.log(value[kept])
    slope, intercept, _ = map(float, line(x, y, np.ones_like(x)))
    return Fit(
        **labels,
        params={"Q0": float(factor(intercept)), "gamma": slope},
        constants=2,
        objective=float(((intercept + slope * x - y) ** 2).mean() / 2),
        flags=extreme("Q0", intercept),
        rows=identities(rows),
        kept=tuple(rows["name"].iloc[kept]),
    )


def _linear(rows: pd.DataFrame, column: str, labels: dict) -> Fit:
    nats, value = rows[column].to_numpy(float), rows["value"].to_numpy(float)
    if len(rows) < LEAST_POINTS or not np.ptp(nats) or not np.ptp(value):
        reason = f"{len(rows)} runs, at least {LEAST_POINTS} of different loss and accuracy wanted"
        return unfitted(rows, reason, **labels)
    slope, intercept, correlation = map(float, line(nats, value, np.ones_like(nats)))
    return Fit(
        **labels,
        params={"slope": slope, "intercept": intercept, "r": correlation},
        constants=2,
        objective=float(((intercept + slope * nats - value) ** 2).mean() / 2),
        rows=identities(rows),
    )


def _before_saturation(rows: pd.DataFrame, cut_flops: float | None) -> tuple[pd.DataFrame, dict, tuple[str, ...]]:
    """The rows below the cut, their conventions, a flag that counts the others."""
    rule, begin = f"the compute of the cheapest with accuracy >= {SATURATION}", "the first saturated one"
    if cut_flops is None:
        cut = saturation_flops(rows["flops_6n"], rows["value"])
    else:
        cut, rule, begin = float(cut_flops), "a given compute", "the given compute"
    kept = rows[rows["flops_6n"] < cut]
    cuts = {"cut_rule": f"runs below {rule}", "cut_flops": cut if np.isfinite(cut) else None}
    out = len(rows) - len(kept)
    cuts |= {"chance": shared_chance(rows)}
    return kept, described(kept) | cuts, (f"{out} runs from {begin} on left out",) if out else ()
