"""Every law that tables can bear, fitted family by family: `LAWS` at the bottom is the list.

In: tables, families, options. Out: `Fit`s. What is fitted is decided here; how, in each law's own file.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import pandas as pd

from analysis import compare, downstream, envelope, isoflop, parametric, repeats, saturation
from analysis.bootstrap import Resampling
from analysis.columns import LABELS
from analysis.fit import Fit
from analysis.frame import Tables
from analysis.table import Needs, checked, diverged

TEXT_TOKENIZERS = ("text", "pretrained")
"""Tokenizers of the families that speech is compared with."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """What a user may choose of all fits."""

    column: str = "nats_per_token"
    """The loss; one of the columns of runs."""
    delta: float = parametric.DELTA
    """Huber's, on log residuals, of every law that is searched so; 0: least absolute deviations; infinite: least
    squares."""
    tied: bool = False
    """One exponent for parameters and tokens in `loss_parametric`."""
    resampling: Resampling = Resampling()


Told = Callable[[str], None]
"""Hears the name of the law that is being fitted."""


def families(tables: Tables, only: list[str]) -> list[str]:
    """The families that were trained at several sizes on one mixture, or those of `only`; `ValueError` for one without
    a run. Families whose runs hold more and less of what is interleaved are no curve of one data."""
    found = sorted(tables.runs["family"].unique())
    if missing := sorted(set(only) - set(found)):
        raise ValueError(f"no finished run of family {', '.join(missing)}; the tables have {', '.join(found)}")
    mixed = tables.runs.reindex(columns=["interleaved_tokens", "tokens"]).fillna(0.0)  # of others' tables: nothing told
    share = (mixed["interleaved_tokens"] / mixed["tokens"].clip(lower=1)).round(2)
    told = tables.runs.assign(share=share).groupby("family")[["size", "share"]].nunique()
    curves = set(told.index[(told["size"] > 1) & (told["share"] == 1)])
    return [family for family in found if family in only or (not only and family in curves)]


def one_seed(runs: pd.DataFrame, column: str = "nats_per_token") -> pd.DataFrame:
    """The run of the lowest seed of every point, of those with a loss where any has one: more seeds of one point would
    weigh more, and the best of three would bend an envelope there."""
    ranked = runs.assign(lost=runs[column].isna()).sort_values(["lost", "seed", "name"]).drop(columns="lost")
    return ranked.drop_duplicates("point").sort_values("name")


def fit_all(
    tables: Tables,
    only: list[str],
    options: Options = Options(),  # noqa: B008 - frozen
    names: tuple[str, ...] = (),
    told: Told = lambda name: None,
) -> list[Fit]:
    """The laws `names` of the families `only`; empty: all that the tables bear, of all families of several sizes.

    `ValueError` for a law that does not exist or that no family's rows can be asked for, and for rows that do not
    belong together (`table.checked`). Runs without a positive loss (`table.diverged`) stay out of the laws of the
    loss, whose flags name them; rows that are given twice stay, and flags name them too.
    """
    known(names)
    if (by := options.resampling.by) and by not in (filled := _filled(tables.runs)):
        raise ValueError(f"runs cannot be resampled by {by!r}: a label is one of {', '.join(filled)}")
    if options.column not in tables.runs.columns:
        losses = [name for name in tables.runs.columns if name.startswith("nats_per_") or name == "loss"]
        raise ValueError(f"no loss column {options.column!r}; the tables have {', '.join(losses)}")
    chosen = families(tables, only)
    for family in chosen:
        checked(tables.runs, family)
    alone, lost = _usable(tables, options.column)
    twice = _given_twice(alone.runs, options.column)
    fits: list[Fit] = []
    for name in names or LAWS:
        told(name)
        found = LAWS[name](alone, chosen, options, fits)
        if names and not found:
            raise ValueError(f"law {name}: {_MISSING[name]} in any of {', '.join(chosen) or 'no family'}")
        fits += [fit for fit in found if names or fit.params or name != "isoflop"]  # few tables are IsoFLOP grids
    found = []
    for fit in fits:
        notes = [lost[fit.family]] if fit.family in lost and fit.law in OF_LOSS else []
        notes += [twice[fit.family]] if fit.family in twice else []
        found.append(replace(fit, flags=(*fit.flags, *notes)))
    return found


def known(names: tuple[str, ...]) -> None:
    """`ValueError` for a name that is none of LAWS."""
    if unknown := [name for name in names if name not in LAWS]:
        raise ValueError(f"no law {', '.join(unknown)}; there are {', '.join(LAWS)}")


def _filled(runs: pd.DataFrame) -> list[str]:
    """The labels that say something of any run."""
    return [name for name in LABELS if (runs[name].notna() & (runs[name].astype(str) != "")).any()]


def _given_twice(runs: pd.DataFrame, column: str) -> dict[str, str]:
    """Family -> the flag that names its rows of the same N, D, U and loss as one before."""
    there = runs[runs[column].notna()]
    again = there[there.duplicated(["family", "params_total", "tokens", "unique_tokens", column])]
    return {
        family: f"given twice, {len(rows)} of the rows: {downstream.listed(rows, rows['name'].notna())}"
        for family, rows in again.groupby("family")
    }


def _usable(tables: Tables, column: str) -> tuple[Tables, dict[str, str]]:
    """One seed of every point, losses that are none emptied; and, family by family, the flag that names their runs."""
    without = tables.runs[diverged(tables.runs, column)]
    runs, scores = (
        rows.assign(**{column: rows[column].where(~rows["name"].isin(without["name"]))})
        for rows in (tables.runs, tables.scores)
    )
    runs = one_seed(runs, column)
    named = {
        family: f"left out, without a positive {column}: {downstream.listed(rows, rows['name'].notna())}"
        for family, rows in without.groupby("family")
    }
    scores = scores[scores["name"].isin(runs["name"])]
    return Tables(runs=runs, scores=scores, curves=tables.curves, losses=tables.losses), named


def with_losses(runs: pd.DataFrame, chosen: list[str], column: str) -> list[str]:
    """The families that have this loss: text has none per second of speech, published runs none at all."""
    there = set(runs.loc[runs[column].notna(), "family"])
    return [family for family in chosen if family in there]


def subsets(scores: pd.DataFrame, family: str) -> list[tuple[str, str]]:
    """(benchmark, subset) that accuracy laws of a family describe: all questions, and of phenomena their mean as well
    unless it is the same number, as where every phenomenon has as many questions."""
    rows = scores[(scores["family"] == family) & scores["subset"].isin(["all", "macro"])]
    values = rows.pivot_table(index=["eval", "metric", "name"], columns="subset", values="value")
    unequal = (values["macro"] - values["all"]).abs() > 1e-9 if "macro" in values else pd.Series(dtype=bool)
    means = set(unequal[unequal].index.get_level_values("eval")) if len(unequal) else set()
    found = [(benchmark, "all") for benchmark in rows.loc[rows["subset"] == "all", "eval"].unique()]
    return sorted(found + [(benchmark, "macro") for benchmark in means & set(downstream.OF_PHENOMENA)])


def _parametric(tables: Tables, chosen: list[str], options: Options, _: list[Fit]) -> list[Fit]:
    settings = {"delta": options.delta, "tied": options.tied, "resampling": options.resampling}
    losses = with_losses(tables.runs, chosen, options.column)
    return [parametric.fit(tables.runs, family, options.column, **settings) for family in losses]


def _envelope(tables: Tables, chosen: list[str], options: Options, _: list[Fit]) -> list[Fit]:
    found = []
    for family in with_losses(tables.runs, chosen, options.column):
        asked = tables.runs, family, options.column
        found += [envelope.fit(*asked, rule, options.resampling) for rule in (envelope.LAW, envelope.LAW_BINS)]
        found.append(envelope.fit_offset(*asked, options.delta, options.resampling))
    return found


def _repeats(tables: Tables, chosen: list[str], options: Options, _: list[Fit]) -> list[Fit]:
    repeated = set(tables.runs.loc[tables.runs["epochs"] > parametric.MAX_EPOCHS, "family"])
    settings = {"delta": options.delta, "resampling": options.resampling}
    return [
        repeats.fit(tables.runs, family, options.column, joint=joint, **settings)
        for family in with_losses(tables.runs, chosen, options.column)
        if family in repeated
        for joint in (False, True)
    ]


def _isoflop(tables: Tables, chosen: list[str], options: Options, _: list[Fit]) -> list[Fit]:
    return [
        isoflop.fit(tables.runs, family, options.column, interpolator, resampling=options.resampling)
        for family in with_losses(tables.runs, chosen, options.column)
        for interpolator in isoflop.LAWS
    ]


def _exponents(tables: Tables, chosen: list[str], options: Options) -> list[Fit]:
    return [
        downstream.fit_compute(tables.scores, family, benchmark, subset=subset, resampling=options.resampling)
        for family in chosen
        for benchmark, subset in subsets(tables.scores, family)
    ]


def _downstream(tables: Tables, chosen: list[str], options: Options, _: list[Fit]) -> list[Fit]:
    settings = {"column": options.column, "resampling": options.resampling}
    return _exponents(tables, chosen, options) + [
        downstream.fit_loss(tables.scores, family, benchmark, subset=subset, **settings)
        for family in with_losses(tables.runs, chosen, options.column)
        for benchmark, subset in subsets(tables.scores, family)
    ]


def _saturation(tables: Tables, chosen: list[str], options: Options, _: list[Fit]) -> list[Fit]:
    losses = with_losses(tables.runs, chosen, options.column)
    found = []
    for family in chosen:
        for benchmark, subset in subsets(tables.scores, family):
            asked = {"subset": subset, "resampling": options.resampling}
            if family in losses:
                found.append(saturation.fit_sigmoid(tables.scores, family, benchmark, options.column, **asked))
            found.append(saturation.fit_error(tables.scores, family, benchmark, **asked))
    return found


def _compare(tables: Tables, chosen: list[str], options: Options, found: list[Fit]) -> list[Fit]:
    """Every family of speech against every family of text, on benchmarks that ask both for the same."""
    exponents = [fit for fit in found if fit.law == downstream.LAW] or _exponents(tables, chosen, options)
    tokenizers = tables.runs.set_index("family")["tokenizer"]
    of_text = set(tokenizers.index[tokenizers.isin(TEXT_TOKENIZERS)])
    speech = [fit for fit in exponents if fit.params and fit.family not in of_text]
    text = [fit for fit in exponents if fit.params and fit.family in of_text]
    return [compare.ratio(*both, options.resampling) for both in compare.pairs(speech, text)]


Law = Callable[[Tables, list[str], Options, list[Fit]], list[Fit]]
LAWS: dict[str, Law] = {
    "parametric": _parametric,
    "envelope": _envelope,
    "repeats": _repeats,
    "isoflop": _isoflop,
    "downstream": _downstream,
    "saturation": _saturation,
    "compare": _compare,
}
NEEDS = {
    "parametric": Needs(columns=("loss",), rows=5),
    "envelope": Needs(columns=("loss",), rows=envelope.LEAST_POINTS),
    "repeats": Needs(columns=("loss", "U"), rows=5 + repeats.LEAST_REPEATED),
    "isoflop": Needs(columns=("loss",), rows=isoflop.LEAST_BUDGETS * isoflop.SIZES["parabola"]),
    "downstream": Needs(columns=("metric",), rows=downstream.LEAST_POINTS),
    "saturation": Needs(columns=("metric",), rows=downstream.LEAST_POINTS),
    "compare": Needs(columns=("metric", "tokenizer"), rows=2 * downstream.LEAST_POINTS),
}
"""What a user's own table must bring for a law, named as in `table.NAMES`."""
IDENTIFIERS = {
    "parametric": (parametric.LAW,),
    "envelope": (envelope.LAW, envelope.LAW_BINS, envelope.LAW_OFFSET),
    "repeats": (repeats.LAW, repeats.LAW_JOINT),
    "isoflop": tuple(isoflop.LAWS.values()),
    "downstream": (downstream.LAW, downstream.LAW_LOSS),
    "saturation": (saturation.LAW_SIGMOID, saturation.LAW_ERROR),
    "compare": (compare.LAW,),
}
"""Name in LAWS -> `Fit.law`."""
OF_LOSS = {law for name in ("parametric", "envelope", "repeats", "isoflop") for law in IDENTIFIERS[name]}
"""`Fit.law` of the laws of the loss."""
_MISSING = dict.fromkeys(LAWS, "no loss") | {
    "repeats": f"no run that saw its tokens more than {parametric.MAX_EPOCHS} times",
    "downstream": "no score",
    "saturation": "no score",
    "compare": f"no exponents of both speech and text (tokenizer {' or '.join(TEXT_TOKENIZERS)}) on one benchmark",
}
