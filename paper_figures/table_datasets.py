"""The data: hours and tokens of the published corpora beside what our own models learnt from (Table 2).

In: the printed table, runs and losses. Out: a table as figure and numbers.
"""

import pandas as pd
from matplotlib.figure import Figure

from analysis import evidence
from paper_figures import ruled, style
from paper_figures.results import Results

PRINTED = "cuervo2024_table2"
HEADINGS = {
    "dataset": "data",
    "hours": "hours",
    "hubert_tokens": "speech units",
    "unigram_tokens": "unigram pieces",
    "tokens": "tokens of\nthe family",
    "whose": "whose number",
}


def numbers(results: Results) -> pd.DataFrame:
    """Published: a row per corpus with hours and tokens. Own: a row per held-out store of a family's runs with hours
    and tokens, and the most distinct training tokens that a run of the family was given."""
    printed = evidence.table(PRINTED)
    rows = printed.rows.assign(status=printed.status, use="training and test")
    return pd.concat([rows, _own(results)], ignore_index=True)


def draw(results: Results) -> Figure:
    """A ruled table; the published total and our first row begin after a strong rule."""
    rows = numbers(results).assign(whose=lambda found: found["status"])
    headings = {name: text for name, text in HEADINGS.items() if name in rows and rows[name].notna().any()}
    cells = {heading: [_cell(name, value) for value in rows[name]] for name, heading in headings.items()}
    strong = {int(rows.index[rows["dataset"] == "TOTAL"][0]), int((rows["status"] != "own").sum())}
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(cells), strong=frozenset(strong)))


def caption(results: Results) -> str:
    """What the table holds."""
    text = (
        "Data. Published: as printed, rounded; the counts are of units after repeats are collapsed (about 19 a "
        "second), and of unigram pieces of these."
    )
    if results.is_published:
        return text
    return (
        f"{text} Own, at scale {results.scale}: the most distinct tokens that a run of each family was given (tokens "
        "of its own kind), and the held-out stores that losses are measured on; hours are empty where nothing was "
        "spoken."
    )


def _own(results: Results) -> pd.DataFrame:
    if results.is_published:
        return pd.DataFrame()
    trained = results.runs.groupby("family")["unique_tokens"].max().reset_index()
    trained = pd.DataFrame(
        {"dataset": trained["family"].map(style.label) + ", training", "tokens": trained["unique_tokens"]}
    )
    held = results.tables.losses.drop_duplicates("store").sort_values("store")
    hours = held["seconds"].where(held["seconds"] > 0) / 3600
    held = pd.DataFrame({"dataset": held["store"] + ", held out", "hours": hours, "tokens": held["num_tokens"]})
    uses = [trained.assign(use="training"), held.assign(use="validation")]
    return pd.concat([part for part in uses if len(part)]).assign(status="own")


def _cell(name: str, value: object) -> str:
    if pd.isna(value):
        return ""
    if name == "hours":
        return f"{value:,.0f}" if value >= 10 else f"{value:.2f}"
    return style.amount(value) if isinstance(value, int | float) else str(value)
