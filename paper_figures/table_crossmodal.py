"""Question: what crosses between speech and text, from a prompt in one to an answer in the other?

In: scores of Topic Cloze, Story Cloze and the facts of the studies interleaved and crossmodal. Out: a table as figure
and numbers: benchmarks and runs down, the four directions across, with 95 % intervals; grey is at chance.
"""

import pandas as pd
from matplotlib.figure import Figure

from analysis import laws
from analysis.downstream import is_at_chance
from paper_figures import ruled, style
from paper_figures.fig_knowledge import (
    AMOUNTS,
    DIRECTIONS,
    FACTS,
    INTERVALS,
    SCORED,
    SPEAKER,
    STUDY,
    asked,
    at_last_size,
    members,
)
from paper_figures.results import Results
from paper_figures.table_benchmarks import with_interval

OTHER = "crossmodal"
"""The study of the same question without interleaved documents, on other units."""
FAMILIES = (AMOUNTS, SPEAKER, "from-text-lm", "text-lm")
MEASURES = (FACTS, "topic_cloze", "story_cloze")
SHOWN = ("TT", "ST", "TS", "SS")
_KEYS = ["measure", "study", "family", "name", "interleaved_tokens"]


def numbers(results: Results) -> pd.DataFrame:
    """One row per run, benchmark and direction: the amounts at the last size, the run from a text LM and that LM, the
    runs from the text-to-token model, in its size, and the runs of the study crossmodal."""
    runs = members(results)
    own = runs[(runs["family"] == SPEAKER) | runs["name"].isin(at_last_size(runs)["name"])]
    own = own[own["family"].isin(FAMILIES)]
    own = own.sort_values("family", key=lambda names: names.map(FAMILIES.index), kind="stable")
    others = laws.one_seed(results.members(OTHER)) if not results.is_published else own.iloc[:0]
    asking = {STUDY: own, OTHER: others}
    parts = [asked(results, runs, *MEASURES).assign(study=study) for study, runs in asking.items()]
    rows = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    rows = rows[rows["form"].isin(list(DIRECTIONS))]
    if set(rows["family"]) <= {"text-lm"}:
        raise results.nothing(f"no run of study {STUDY} or {OTHER} that was asked across modalities")
    rows = rows.sort_values("measure", key=lambda names: names.map(MEASURES.index), kind="stable")
    return rows.reset_index(drop=True)


def draw(results: Results) -> Figure:
    """A ruled table; grey is not above chance by two standard errors."""
    rows = numbers(results)
    lines, found = ruled.crossed(rows, _KEYS, "form", with_interval)
    headings = {form: f"{DIRECTIONS[form]}" for form in SHOWN if form in found}
    cells = {
        "benchmark": [style.label(line[0]) if first else "" for line, first in zip(lines, _firsts(lines), strict=True)],
        "run": [_called(results, *line[1:]) for line in lines],
        "inter-\nleaved": [style.amount(line[-1]) for line in lines],
    } | {heading: found[form] for form, heading in headings.items()}
    places = {line: place for place, line in enumerate(lines)}
    looks = {
        (places[tuple(row[key] for key in _KEYS)], headings[row["form"]]): {"color": style.GREY}
        for _, row in rows.iterrows()
        if is_at_chance(row)
    }
    table = ruled.Ruled(cells=pd.DataFrame(cells), names=2, strong=ruled.breaks(lines, 1), looks=looks)
    return ruled.figure(table)


def caption(results: Results) -> str:
    """What the table holds, chance, and what the intervals are over."""
    rows = numbers(results)
    chances = rows.groupby("measure", sort=False)[["chance", "n"]].max()
    told = [f"{style.label(row.Index)} {100 * row.chance:.1f} % (n = {row.n:,.0f})" for row in chances.itertuples()]
    text = [
        f"Per cent right from prompts in text (T) or speech (S) to answers in text or speech, with {INTERVALS}; a run "
        f"each, of the largest size. {SCORED} Chance: {', '.join(told)}; grey: not above it by two standard errors."
    ]
    sizes = rows.loc[rows["family"] == SPEAKER, "params_total"].unique()
    text += [f"Runs from the text-to-token model have its size, N = {style.amount(size)}." for size in sizes]
    if OTHER in set(rows["study"]):
        text.append(f"Runs of the study {OTHER} have other units and sizes.")
    return " ".join(text)


def _firsts(lines: list[tuple]) -> list[bool]:
    return [place == 0 or line[0] != lines[place - 1][0] for place, line in enumerate(lines)]


def _called(results: Results, study: str, family: str, name: str, _: float) -> str:
    if study == OTHER:
        tokens = results.runs.set_index("name")["tokens"][name]
        return f"{OTHER}, {style.amount(tokens)} tokens"
    return style.label(family)
