"""The models: the published ladder beside our own (Cuervo & Marxer 2024, Table 1).

In: printed shapes, counts derived from the released architecture, runs. Out: a table as figure and numbers.
"""

import pandas as pd
from matplotlib.figure import Figure

from analysis import evidence
from paper_figures import ruled, style
from paper_figures.results import Results

PRINTED, COUNTED = "cuervo2024_table1", "cuervo2024_parameter_counts"
HEADINGS = {
    "family": "models",
    "size": "size",
    "layers": "layers",
    "dim": "width",
    "heads": "heads",
    "swiglu_hidden": "SwiGLU\nhidden",
    "params_non_embedding": "N without\nembedding",
    "params_total": "N, embedding\nonce",
    "vocabulary": "vocabulary",
    "tokens": "training\ntokens D",
}


def numbers(results: Results) -> pd.DataFrame:
    """One row per size: the published ones, then ours family by family; empty: not recorded."""
    return pd.concat([_published(), _own(results)], ignore_index=True)


def draw(results: Results) -> Figure:
    """A ruled table."""
    rows = numbers(results)
    cells = pd.DataFrame(
        {heading: [_cell(name, row) for _, row in rows.iterrows()] for name, heading in HEADINGS.items()}
    )
    first = rows.drop_duplicates("family").index
    cells.loc[~cells.index.isin(first), HEADINGS["family"]] = ""
    return ruled.figure(ruled.Ruled(cells=cells, names=2, strong=frozenset(first)))


def caption(results: Results) -> str:
    """What the table holds."""
    text = (
        "Models. Published: shapes as printed; parameter counts derived from the released architecture with 502 tokens "
        "(the paper prints totals rounded, so its N includes the tied embedding)."
    )
    if results.is_published:
        return text
    return f"{text} Own: the sizes that were trained at scale {results.scale}, and the least and most tokens of each."


def _published() -> pd.DataFrame:
    """Table 1 with exact counts, and the released runs of every size."""
    released = evidence.tables().runs.groupby("params_total")["tokens"].agg(["count", "min", "max"])
    rows = (
        evidence.table(PRINTED)
        .rows.merge(evidence.table(COUNTED).rows, on="size")
        .merge(released, left_on="total", right_index=True)
    )
    named = {"non_embedding": "params_non_embedding", "total": "params_total", "count": "runs"}
    rows = rows.rename(columns=named | {"min": "tokens_from", "max": "tokens_to"})
    status = f"{evidence.table(PRINTED).status}; N {evidence.table(COUNTED).status}"
    return rows.drop(columns="tied_embedding").assign(family=evidence.SPEECH, vocabulary=502, status=status)


def _own(results: Results) -> pd.DataFrame:
    if results.is_published:
        return pd.DataFrame()
    keys = ["family", "size", "params_non_embedding", "params_total", "vocabulary"]
    sizes = results.runs.groupby(keys)["tokens"].agg(["count", "min", "max"]).reset_index()
    sizes = sizes.rename(columns={"count": "runs", "min": "tokens_from", "max": "tokens_to"})
    return sizes.sort_values(["family", "params_total"]).assign(status="own")


def _cell(name: str, row: pd.Series) -> str:
    if name == "family":
        whose = "Cuervo & Marxer" if row["family"] == evidence.SPEECH else style.label(row["family"])
        return f"{whose}, {row['status'].partition(';')[0]}"
    if name == "tokens":
        ends = dict.fromkeys((style.amount(row["tokens_from"]), style.amount(row["tokens_to"])))
        return " to ".join(ends)
    if pd.isna(row[name]):
        return ""
    return row[name] if name == "size" else f"{row[name]:,.0f}"
