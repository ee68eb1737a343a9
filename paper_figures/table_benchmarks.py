"""Every benchmark of every family's largest run with its interval, chance and the text topline on the same items.

In: runs and scores. Out: a table as figure and numbers; where a benchmark has several subsets, both averages.
"""

import re

import pandas as pd
from matplotlib.figure import Figure

from analysis.downstream import OF_PHENOMENA, chance, headline_metric, is_at_chance, largest
from analysis.laws import TEXT_TOKENIZERS
from paper_figures import ruled, style
from paper_figures.results import NothingToDraw, Results

AVERAGES = {"all": "over questions", "macro": "macro"}
"""Subset -> what its mean is called; see `subset` in `analysis/columns.py`."""
_FORM = re.compile(r"(?P<eval>.+)-(?P<form>[ST]{1,2})")
_SCORE = ["eval", "subset", "metric", "value", "stderr", "low", "high", "n", "items", "chance", "dropped", "truncated"]


def numbers(results: Results) -> pd.DataFrame:
    """One row per family, benchmark and average: the headline of the run of most compute, and the text topline."""
    if results.is_published:
        raise NothingToDraw("not published: of most models a few benchmarks are, see comparison")
    found = reported(results)
    rows = found[(found["subset"] == "all") | (found["subset"] == "macro") & found["eval"].isin(OF_PHENOMENA)]
    if rows.empty:
        raise NothingToDraw(f"no scores at scale {results.scale}: score the runs first")
    return rows.reset_index(drop=True)


def reported(results: Results) -> pd.DataFrame:
    """The headline on every subset of every benchmark, of each family's run of most compute: choices first.

    `topline` is the value on the same subset of `topline_run`, of these runs the one of text that is best on the whole
    benchmark. The best of all text runs would be one that was lucky. A model of speech and text is as many families as
    it has ways to be asked (S: speech, T: text), each on the benchmark that all are asked.
    """
    parts = []
    for (family, _), group in results.scores.groupby(["family", "eval"], sort=True):
        own = group[(group["name"] == largest(group)["name"]) & (group["metric"] == headline_metric(group))]
        if len(own):  # word error rates are neither choices nor answers
            parts.append(_placed(own.sort_values("subset"), family))
    columns = ["family", "name", "flops_6n", "scored_as", *_SCORE, "transcriber", "topline", "topline_run"]
    if not parts:
        return pd.DataFrame(columns=columns)
    rows = pd.concat(parts)
    rows["chance"] = rows.apply(chance, axis=1)
    text_runs = results.runs.loc[results.runs["tokenizer"].isin(TEXT_TOKENIZERS), "name"]
    rows = rows.merge(_toplines(rows, text_runs), on=["eval", "subset", "metric"], how="left")
    return rows.sort_values(["metric", "eval", "subset", "family"], kind="stable")[columns].reset_index(drop=True)


def _placed(rows: pd.DataFrame, family: str) -> pd.DataFrame:
    """Rows of one benchmark under the family, or under the family and the form that is in the benchmark's name."""
    crossed, rows = _FORM.fullmatch(rows["eval"].iloc[0]), rows.assign(scored_as=rows["eval"])
    if not crossed:
        return rows.assign(family=family)
    return rows.assign(family=f"{family}-{crossed['form']}", eval=crossed["eval"])


def draw(results: Results) -> Figure:
    """A ruled table, families down and benchmarks across, chance and the topline below; grey is at chance."""
    rows = numbers(results)
    lines, found = ruled.crossed(rows.assign(column=_headings(rows)), ["family"], "column", _shown)
    order = sorted(range(len(lines)), key=lambda place: lines[place])
    cells = {"family": [*(style.label(lines[place][0]) for place in order), "text topline", "chance"]}
    looks = {(len(lines) + extra, "family"): {"style": "italic"} for extra in (0, 1)}
    for heading, texts in found.items():
        own = rows[_headings(rows) == heading]
        topline = "–" if pd.isna(own["topline"].iloc[0]) else f"{100 * own['topline'].iloc[0]:.1f}"
        cells[heading] = [*(texts[place] for place in order), topline, f"{100 * own['chance'].iloc[0]:.1f}"]
        guessing = set(own.loc[[is_at_chance(row) for _, row in own.iterrows()], "family"])
        looks |= {
            (line, heading): {"color": style.GREY} for line, place in enumerate(order) if lines[place][0] in guessing
        }
    strong = frozenset([len(lines)])
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(cells), looks=looks, strong=strong))


def caption(results: Results) -> str:
    """What the table holds, and which text runs are the toplines."""
    rows = numbers(results)
    best = rows.loc[rows["topline_run"].notna(), ["eval", "topline_run"]].drop_duplicates()
    text = [
        "Per cent on every benchmark, of each family's run of most compute, with 95 % bootstrap intervals over "
        "questions: accuracy by log-likelihood per token of the whole sequence, or how many answers contain a right "
        "one. Over questions: the mean over questions, voices averaged; macro: the unweighted mean over the subsets. "
        "Grey: not above chance by two standard errors."
    ]
    if len(best):
        said = "; ".join(f"{run} on {style.label(name)}" for name, run in best.itertuples(index=False))
        text.append(f"Text topline: of these runs, the one of text that is best on the same benchmark ({said}).")
    return " ".join(text)


def with_interval(row: pd.Series) -> str:
    """`61.3 [60.1, 62.5]` in per cent; the standard error where no interval was recorded."""
    if not pd.isna(row["low"]):
        return f"{100 * row['value']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
    return with_error(row)


def with_error(row: pd.Series) -> str:
    """`61.3 ± 0.6` in per cent."""
    return f"{100 * row['value']:.1f}" + ("" if pd.isna(row["stderr"]) else f" ± {100 * row['stderr']:.1f}")


def _toplines(rows: pd.DataFrame, text_runs: pd.Series) -> pd.DataFrame:
    """The scores of the text run that is best on all of a benchmark: eval, subset, metric, topline, topline_run."""
    text = rows[rows["name"].isin(text_runs)]
    whole = text[text["subset"] == "all"].sort_values(["value", "name"], ascending=[False, True])
    best = whole.drop_duplicates("eval")[["eval", "name"]]
    named = {"value": "topline", "name": "topline_run"}
    return text.merge(best, on=["eval", "name"])[["eval", "subset", "metric", *named]].rename(columns=named)


def _headings(rows: pd.DataFrame) -> pd.Series:
    """The heading of every row's column: benchmark, average where there are several, questions."""
    several = set(rows.loc[rows["subset"] == "macro", "eval"])
    questions = rows.groupby(["eval", "subset"])["n"].agg(["min", "max"])

    def heading(row: pd.Series) -> str:
        least, most = questions.loc[(row["eval"], row["subset"])]
        count = f"n = {least:,}" + ("" if least == most else f" to {most:,}")
        name = style.label(row["eval"]).replace(" (", "\n(")
        return "\n".join([name, *([AVERAGES[row["subset"]]] if row["eval"] in several else []), count])

    return rows.apply(heading, axis=1)


def _shown(row: pd.Series) -> str:
    return with_interval(row).replace(" [", "\n[")
