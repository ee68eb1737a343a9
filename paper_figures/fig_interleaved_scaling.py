"""Question: what do more interleaved tokens buy (Zeng et al. 2024)?

In: second-hand numbers of that paper; accuracies of the runs in the study interleaved. Out: a panel for theirs, and one
per benchmark of ours from speech to speech, accuracy against interleaved tokens.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis import evidence
from paper_figures import style
from paper_figures.fig_knowledge import (
    AMOUNTS,
    FACTS,
    INTERVALS,
    SCORED,
    STUDY,
    amounts_axis,
    asked,
    lines,
    members,
    size_lines,
    sized,
)
from paper_figures.results import Results

TABLE = "zeng2024_interleaved_scaling"
THEIRS = "spoken QA, S→S"
OURS = (FACTS, "topic_cloze", "story_cloze")


def numbers(results: Results) -> pd.DataFrame:
    """One row per point: `measure` of theirs, and of ours from speech to speech, against `interleaved_tokens`."""
    printed = evidence.table(TABLE)
    labels = {"status": printed.status, "family": "Zeng et al. 2024", "measure": THEIRS, "source": printed.source}
    theirs = printed.rows["interleaved_tokens"], printed.rows["value_percent"] / 100
    rows = pd.DataFrame(dict(zip(("interleaved_tokens", "value"), theirs, strict=True))).assign(**labels)
    runs = members(results)
    ours = asked(results, runs[runs["family"] == AMOUNTS], *OURS)
    ours = ours[ours["form"] == "SS"]
    ours = ours.sort_values("measure", key=lambda names: names.map(OURS.index), kind="stable")
    return pd.concat([part for part in (rows, ours) if len(part)], ignore_index=True)


def draw(results: Results) -> Figure:
    """Accuracy against interleaved tokens on linear axes, as they begin at none."""
    rows = numbers(results)
    ours = rows[rows["status"] == "own"]
    measures = list(dict.fromkeys(ours["measure"]))
    figure, panels = style.wrapped(1 + len(measures), 2.4)
    _theirs(panels[0], rows[rows["status"] != "own"])
    looks = size_lines(ours) if len(ours) else {}
    for axes, measure in zip(panels[1:], measures, strict=True):
        chosen = ours[ours["measure"] == measure]
        lines(axes, chosen, looks, most := max(chosen["interleaved_tokens"].max(), 1))
        amounts_axis(axes, most)
        style.accuracy_axis(axes, chosen["chance"].iloc[0])
        axes.set_title(f"{style.label(measure)}, S→S\n(own)")
    if len(ours):
        figure.legend(handles=sized(ours, looks), loc="outside lower center", ncols=4)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    theirs = rows[rows["measure"] == THEIRS]
    said = ", ".join(f"{style.amount(row.interleaved_tokens)} {100 * row.value:.1f} %" for row in theirs.itertuples())
    text = [
        "Spoken question answering against interleaved tokens of pre-training, Zeng et al. 2024, second-hand: from a "
        f"third party's reading, not checked against the paper ({said}); probably the mean of three question sets, "
        "from speech to speech."
    ]
    if (rows["status"] == "own").any():
        return " ".join([*text, f"Ours: the study {STUDY}, from speech to speech. {SCORED} Bars: {INTERVALS}."])
    return " ".join([*text, f"No finished run of our own study {STUDY} yet."])


def _theirs(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot(rows["interleaved_tokens"], rows["value"], "o-", color=style.INK, markerfacecolor="white", zorder=3)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.amount(value)))
    axes.set_xlabel("interleaved speech-text tokens")
    style.accuracy_axis(axes, None)
    axes.set_title(f"{THEIRS}\n({rows['status'].iloc[0]})")
    axes.text(0.97, 0.05, "second-hand numbers", transform=axes.transAxes, ha="right", fontsize=6.2)
