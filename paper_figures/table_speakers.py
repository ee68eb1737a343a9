"""Question: how well do small models say text in speech tokens, and read them back?

In: scores of the study text-to-token on held-out pairs. Out: a table as figure and numbers: a row per model, its word
error rate beside that of the transcriber on real units, and how long what it says is.
"""

import pandas as pd
from matplotlib.figure import Figure

from analysis import laws
from paper_figures import ruled, style
from paper_figures.results import Results

STUDY = "text-to-token"
METRICS = {
    "wer": "word\nerror rate",
    "wer_of_real": "of the real\nsecond half",
    "length": "length, sampled\nto real tokens",
}
"""Metric -> heading."""
SAYS = "text-to-token"
"""Family of the models that say text; the others read units."""
_LABELS = ["status", "family", "name", "size", "params_total", "tokens", "units_per_second", "eval", "store"]
_SCORE = ["metric", "value", "low", "high", "stderr", "n"]


def numbers(results: Results) -> pd.DataFrame:
    """One row per model, held-out corpus and metric; `units_per_second` of the held-out speech."""
    runs = results.runs.iloc[:0] if results.is_published else laws.one_seed(results.members(STUDY))
    scores = results.scores[results.scores["name"].isin(runs["name"]) & results.scores["metric"].isin(list(METRICS))]
    if scores.empty:
        raise results.nothing(f"no scores of study {STUDY}")
    speech = runs.assign(units_per_second=runs["num_units"] / runs["val_seconds"])
    rows = scores.merge(speech[["name", "units_per_second"]], on="name").assign(status=results.status)
    rows = rows.sort_values(["family", "units_per_second", "name", "eval"], ascending=[True, False, True, True])
    return rows[[*_LABELS, *_SCORE]].reset_index(drop=True)


def draw(results: Results) -> Figure:
    """A ruled table, models down."""
    rows = numbers(results)
    keys = ["family", "store", "units_per_second", "params_total", "tokens", "n"]
    lines, found = ruled.crossed(rows, keys, "metric", _cell)
    named = [dict(zip(keys, line, strict=True)) for line in lines]
    cells = {
        "model": [style.label(line["family"]) for line in named],
        "held-out pairs": [line["store"] for line in named],
        "units\na second": [f"{line['units_per_second']:.1f}" for line in named],
        "N": [style.amount(line["params_total"]) for line in named],
        "D": [style.amount(line["tokens"]) for line in named],
        "pairs": [f"{line['n']:,.0f}" for line in named],
    } | {METRICS[metric]: found[metric] for metric in METRICS if metric in found}
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(cells), names=2, strong=ruled.breaks(lines, 1)))


def caption(results: Results) -> str:
    """What the numbers are, and how far the models are from the floor."""
    rows = numbers(results)
    text = [
        "Held-out pairs of spans, their second half sampled after the first. Word error rates in per cent, of what the "
        "suite's own transcriber of units, or the text itself, makes of the sample; beside it the same of the real "
        "second half: what no speaker gets below but by luck. 95 % bootstraps over pairs, of one run."
    ]
    told = rows[rows["family"] == SAYS].pivot_table(index="store", columns="metric", values="value", sort=False)
    for store, row in told.iterrows():
        if {"wer", "wer_of_real"} <= set(told.columns):
            gap = 100 * (row["wer"] - row["wer_of_real"])
            text.append(f"{store}: {gap:+.1f} points to the transcriber's own errors.")
    return " ".join(text)


def _cell(row: pd.Series) -> str:
    scale, places = (1, 2) if row["metric"] == "length" else (100, 1)
    interval = "" if pd.isna(row["low"]) else f"\n[{scale * row['low']:.{places}f}, {scale * row['high']:.{places}f}]"
    return f"{scale * row['value']:.{places}f}{interval}"
