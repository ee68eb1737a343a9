"""Claim: unigram pieces of the units scale upstream and do worse downstream (Cuervo & Marxer 2024, Fig. 5).

In: runs and scores of the families in the studies tokenizers and scaling. Out: loss per second of speech, loss per
unit where the unit stream is the same, and accuracy, all against compute.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from paper_figures import style
from paper_figures.results import Results

RATES = {"nats_per_second": "Loss per second of speech", "nats_per_unit": "Loss per unit"}


def numbers(results: Results) -> pd.DataFrame:
    """One row per run and measure: `measure` is a loss rate or a benchmark; `stderr` is empty for losses."""
    families = _families(results)
    runs = results.runs[results.runs["family"].isin(families)].sort_values(["family", "flops_6n", "name"])
    shared = ["family", "name", "size", "budget", "seed", "flops_6n"]
    parts = []
    for rate in RATES:
        rows = runs[runs[rate].notna() & ((rate != "nats_per_unit") | runs["unit_stream"].isin(_shared_streams(runs)))]
        parts.append(rows[shared].assign(measure=rate, value=rows[rate]))
    accuracy = results.accuracy(families)
    parts.append(accuracy[shared].assign(measure=accuracy["eval"], value=accuracy["value"], stderr=accuracy["stderr"]))
    return pd.concat([part for part in parts if len(part)]).reset_index(drop=True)


def draw(results: Results) -> Figure:
    """A panel per measure, one line per family through its runs on the envelope so far."""
    rows = numbers(results)
    measures = list(dict.fromkeys(rows["measure"]))
    figure, panels = style.new(2, -(-(len(measures) + 1) // 2), 2.3)
    for axes, measure in zip(panels, measures, strict=False):
        for family, points in rows[rows["measure"] == measure].groupby("family"):
            _family(axes, family, measure, points, joined=not results.at_chance(family, measure))
        if measure in RATES:
            axes.set_title(RATES[measure])
            axes.set_ylabel("nats per second" if measure == "nats_per_second" else "nats per unit")
        else:
            style.accuracy_axis(axes, style.label(measure))
        style.compute_axis(axes)
        axes.set_xlabel("C = 6ND (FLOPs)")
    handles, labels = panels[0].get_legend_handles_labels()
    for axes in panels[len(measures) :]:
        axes.axis("off")
    panels[len(measures)].legend(handles, labels, loc="center left", fontsize=8, labelspacing=0.9)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    text = [
        "Tokenizers of the same speech against training compute; lines join the best run so far, except at chance. "
        "Losses per second compare over the same speech, losses per unit only over the same unit stream, and the "
        "likelihood of one segmentation into unigram pieces is an upper bound on the nats of the units. Phones come "
        "from the synthesiser's transcript and carry no acoustic detail, so fewer nats a second is expected of them."
    ]
    for measure in dict.fromkeys(rows["measure"]):
        best = rows[rows["measure"] == measure].groupby("family")["value"].agg("min" if measure in RATES else "max")
        said = "; ".join(f"{style.label(family)} {_shown(measure, value)}" for family, value in best.items())
        text.append(f"Best {RATES.get(measure, style.label(measure)).lower()}: {said}.")
    return " ".join(text)


def _families(results: Results) -> list[str]:
    """Families of both studies that were trained at several sizes; those of the sweep have a figure of their own."""
    results.families("tokenizers")
    sizes = results.runs.groupby("family")["size"].nunique()
    return [family for family in results.families("scaling", "tokenizers") if sizes[family] > 1]


def _shared_streams(runs: pd.DataFrame) -> list[str]:
    """Unit streams that more than one family is made of."""
    families = runs[(runs["unit_stream"] != "") & (runs["num_units"] > 0)].groupby("unit_stream")["family"].nunique()
    return list(families.index[families > 1])


def _shown(measure: str, value: float) -> str:
    return f"{value:.3g}" if measure in RATES else f"{100 * value:.1f} %"


def _family(axes: Axes, family: str, measure: str, points: pd.DataFrame, joined: bool) -> None:
    colour = style.colour(family)
    points = points.sort_values(["flops_6n", "name"])
    axes.errorbar(
        points["flops_6n"],
        points["value"],
        None if measure in RATES else points["stderr"],
        fmt=style.marker(family),
        color=colour,
        markersize=3.2,
        elinewidth=0.6,
        alpha=0.85,
        label=style.label(family),
    )
    if joined:
        best = points["value"].cummin() if measure in RATES else points["value"].cummax()
        front = points[best == points["value"]]
        axes.plot(front["flops_6n"], front["value"], color=colour, linewidth=0.9)
