"""Claim: unigram pieces of the units scale upstream and do worse downstream (Cuervo & Marxer 2024, Fig. 5).

In: runs and scores of the families in the studies tokenizers and scaling; of published numbers, Table 5. Out: loss per
second of speech, loss per unit where the unit stream is the same, and accuracy, all against compute.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import evidence, parametric
from paper_figures import marks, style
from paper_figures.results import Results

RATES = {"nats_per_second": "Loss per second of speech", "nats_per_unit": "Loss per unit"}
SHOWN = (evidence.SPEECH, evidence.UNIGRAM)


def numbers(results: Results) -> pd.DataFrame:
    """One row per run and measure: `measure` is a loss rate or a benchmark; `stderr` is empty for losses.

    Of published numbers: the frontiers of printed constants, in nats per token of each."""
    if results.is_published:
        return results.frontiers(SHOWN).assign(measure="nats_per_token")
    families = _families(results)
    runs = results.runs[results.runs["family"].isin(families)].sort_values(["family", "flops_6n", "name"])
    shared = ["family", "name", "size", "budget", "seed", "flops_6n"]
    parts = []
    for rate in RATES:
        rows = runs[runs[rate].notna() & ((rate != "nats_per_unit") | runs["unit_stream"].isin(_shared_streams(runs)))]
        parts.append(rows[shared].assign(measure=rate, value=rows[rate]))
    parts.append(results.accuracy(families)[[*shared, "measure", "value", "stderr", "chance"]])
    return pd.concat([part for part in parts if len(part)]).reset_index(drop=True).assign(status="own")


def draw(results: Results) -> Figure:
    """A panel per measure, one line per family through its runs on the envelope so far."""
    if results.is_published:
        return _frontiers(results)
    rows = numbers(results)
    measures = list(dict.fromkeys(rows["measure"]))
    figure, panels = style.wrapped(len(measures), 2.0)
    for axes, measure in zip(panels, measures, strict=True):
        chosen = rows[rows["measure"] == measure]
        for family, points in chosen.groupby("family"):
            _family(axes, family, measure, points, joined=not results.at_chance(family, measure))
        axes.set_title(RATES.get(measure, style.label(measure)))
        if measure in RATES:
            axes.set_ylabel(measure.replace("_", " "))
        else:
            style.accuracy_axis(axes, chosen["chance"].iloc[0])
        style.compute_axis(axes, "C = 6ND (FLOPs)")
    entries = [marks.entry(family) for family in dict.fromkeys(rows["family"])]
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    if results.is_published:
        return (
            "Not published as numbers. In their stead the frontiers of the constants printed in Table 5, "
            "L(N_opt(C), D_opt(C)) with C = 6ND. In which unit the losses of unigram pieces were taken is not stated, "
            "so each curve has axes of its own: heights must not be compared, only how they fall. No "
            "accuracies or exponents of unigram models are published."
        )
    text = [
        "Tokenizers of the same speech against training compute C = 6ND; lines join the best run so far, except at "
        "chance. Dots: chance. Losses per second compare over the same speech, losses per unit only over the same unit "
        "stream, and the likelihood of one segmentation into unigram pieces is an upper bound on the nats of the "
        "units. Phones come from the synthesiser's transcript and carry no acoustic detail, so fewer nats a second is "
        "expected of them."
    ]
    for measure in dict.fromkeys(rows["measure"]):
        best = rows[rows["measure"] == measure].groupby("family")["value"].agg("min" if measure in RATES else "max")
        said = "; ".join(f"{style.label(family)} {_shown(measure, value)}" for family, value in best.items())
        text.append(f"Best {RATES.get(measure, style.label(measure)).lower()}: {said}.")
    return " ".join(text)


def _frontiers(results: Results) -> Figure:
    rows = numbers(results)
    figure, panels = style.wrapped(len(SHOWN), 2.4)
    for axes, (family, points) in zip(panels, rows.groupby("family", sort=False), strict=True):
        marks.line(axes, points, "flops_6n", family)
        decades = points[np.isclose(np.log10(points["flops_6n"]) % 1, 0)]
        axes.plot(decades["flops_6n"], decades["value"], style.look(family).marker, color=style.look(family).colour)
        style.loss_axis(axes)
        unit = results.fit(parametric.LAW, family).conventions["loss"]
        axes.set(title=style.label(family), ylabel=f"loss ({unit.replace('not', 'unit not')})")
        note = "curve from printed constants,\nno losses published"
        axes.text(0.03, 0.03, note, transform=axes.transAxes, fontsize=6.2)
        style.compute_axis(axes)
    return figure


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
    look = style.look(family)
    points = points.sort_values(["flops_6n", "name"])
    marks.points(axes, points, "flops_6n", family)
    if joined:
        best = points["value"].cummin() if measure in RATES else points["value"].cummax()
        front = points[best == points["value"]]
        axes.plot(front["flops_6n"], front["value"], color=look.colour, linestyle=look.dash, linewidth=0.9)
