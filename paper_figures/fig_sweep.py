"""Question: what does one change of the tokenization do, to loss and to ability, at one size of model?

In: runs and scores of the studies tokenizers and scaling at the size and token counts that the sweep was trained at.
Out: a row per scheme; loss per token, per unit and per second of speech, and accuracy on each benchmark.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.results import Results

LOSSES = {"nats_per_token": "nats per token", "nats_per_unit": "nats per unit", "nats_per_second": "nats per second"}


def numbers(results: Results) -> pd.DataFrame:
    """One row per run and measure, of the runs at the sweep's size and token counts."""
    families = results.families("scaling", "tokenizers")
    runs = results.runs[results.runs["family"].isin(families) & (results.runs["seed"] == 0)]
    sizes = runs.groupby("family")["size"].nunique()
    swept = runs[runs["family"].isin(sizes.index[sizes == 1])]
    if swept.empty:
        raise results.nothing("no finished run of the sweep of schemes")
    runs = runs[runs["size"].isin(swept["size"]) & runs["budget"].isin(swept["budget"])]
    shared = ["family", "name", "size", "budget", "tokens", "unit_stream"]
    parts = [runs[shared].assign(measure=loss, value=runs[loss]) for loss in LOSSES]
    accuracy = results.accuracy(sorted(runs["family"].unique()))
    accuracy = accuracy[accuracy["name"].isin(runs["name"])]
    parts.append(accuracy[["family", "name", "size", "budget", "tokens", "measure", "value", "stderr", "chance"]])
    rows = pd.concat(parts)
    return rows[rows["value"].notna()].sort_values(["measure", "family", "tokens"]).reset_index(drop=True)


def draw(results: Results) -> Figure:
    """A panel per measure, a row per scheme, a dot per token count: the more tokens, the darker."""
    rows = numbers(results)
    families = _ordered(rows)
    measures = [measure for measure in [*LOSSES, *results.benchmarks(families)] if measure in set(rows["measure"])]
    figure, panels = style.wrapped(len(measures), 0.5 + 0.19 * len(families), sharey=True)
    for axes, measure in zip(panels, measures, strict=True):
        _panel(axes, rows[rows["measure"] == measure], families, measure)
    panels[0].set_yticks(range(len(families)), [style.label(family) for family in families])
    panels[0].set_ylim(len(families) - 0.5, -0.5)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, and what in it compares."""
    rows = numbers(results)
    counts = " and ".join(f"{count:,}" for count in sorted(rows["tokens"].unique()))
    (size, *_) = rows["size"].unique()
    return (
        f"One change of the tokenization at a time: models of size {size} after {counts} tokens (pale and full dots). "
        "Dots: chance. Equal counts of tokens are unequal amounts of speech. Accuracies compare: the items are the "
        "same. Losses per token compare within a row only; losses per unit compare over the same unit stream (units, "
        "unigram pieces and byte pairs of them), where that of one segmentation is an upper bound; losses per second "
        "of different unit streams say what each stream leaves to predict, not which model is better. Phones are the "
        "synthesiser's own."
    )


def _ordered(rows: pd.DataFrame) -> list[str]:
    """Plain units first, then what changes them, then pieces and what changes those, then the oracle."""
    first = ("units", "unigram", "bpe", "phones")

    def place(family: str) -> tuple[int, bool, str]:
        near = [i for i, stem in enumerate(first) if family.startswith(stem)]
        return (near[0] if near else len(first), family not in first, family)

    return sorted(rows["family"].unique(), key=place)


def _panel(axes: Axes, rows: pd.DataFrame, families: list[str], measure: str) -> None:
    counts = sorted(rows["tokens"].unique())
    for row in rows.itertuples():
        colour = style.shades(row.family, len(counts) + 1)[1 + counts.index(row.tokens)]
        spread = None if measure in LOSSES else row.stderr
        height = families.index(row.family) + 0.16 * (counts.index(row.tokens) - (len(counts) - 1) / 2)
        axes.errorbar(row.value, height, xerr=spread, fmt="o", color=colour, markersize=3.4, elinewidth=0.7)
    if measure in LOSSES:
        axes.set_title(LOSSES[measure])
    else:
        axes.axvline(rows["chance"].iloc[0], **style.CHANCE)
        style.per_cent(axes.xaxis)
        axes.set_title(style.label(measure))
