"""Question: what do more interleaved tokens buy (Zeng et al. 2024)?

In: second-hand numbers of that paper; accuracies of the runs in the study interleaved. Out: a panel for theirs, and one
per benchmark of ours, accuracy against tokens.
"""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from analysis import evidence
from paper_figures import marks, style
from paper_figures.results import Results

STUDY, TABLE = "interleaved", "zeng2024_interleaved_scaling"
THEIRS = "spoken QA, S→S"


def numbers(results: Results) -> pd.DataFrame:
    """One row per point: `tokens` are interleaved tokens of theirs, training tokens D of ours."""
    printed = evidence.table(TABLE)
    labels = {"status": printed.status, "family": "Zeng et al. 2024", "measure": THEIRS, "source": printed.source}
    theirs = pd.DataFrame({"tokens": printed.rows["interleaved_tokens"], "value": printed.rows["value_percent"] / 100})
    ours = results.study_accuracy(STUDY)
    return pd.concat([part for part in (theirs.assign(**labels), ours) if len(part)], ignore_index=True)


def draw(results: Results) -> Figure:
    """Accuracy against tokens; theirs on a linear axis, as it begins at none."""
    rows = numbers(results)
    panels_of = list(dict.fromkeys(zip(rows["status"], rows["measure"], strict=True)))
    figure, panels = style.wrapped(len(panels_of), 2.4)
    for axes, (status, measure) in zip(panels, panels_of, strict=True):
        chosen = rows[(rows["status"] == status) & (rows["measure"] == measure)]
        if status == "own":
            _ours(axes, chosen)
        else:
            _theirs(axes, chosen)
        axes.set_title(f"{style.label(measure)} ({status})")
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    theirs = rows[rows["measure"] == THEIRS]
    said = ", ".join(f"{style.amount(row.tokens)} {100 * row.value:.1f} %" for row in theirs.itertuples())
    text = [
        "Spoken question answering against interleaved tokens of pre-training, Zeng et al. 2024, second-hand: from a "
        f"third party's reading, not checked against the paper ({said}); probably the mean of three question sets, "
        "from speech to speech."
    ]
    if (rows["status"] == "own").any():
        return " ".join([*text, "Ours: accuracy of the runs of the study interleaved against their training tokens."])
    return " ".join([*text, f"No finished run of our own study {STUDY} yet."])


def _theirs(axes: Axes, rows: pd.DataFrame) -> None:
    axes.plot(rows["tokens"], rows["value"], "o-", color=style.INK, markerfacecolor="white", zorder=3)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: style.amount(value)))
    axes.set_xlabel("interleaved speech-text tokens")
    style.accuracy_axis(axes, None)
    axes.text(0.97, 0.05, "second-hand numbers", transform=axes.transAxes, ha="right", fontsize=6.2)


def _ours(axes: Axes, rows: pd.DataFrame) -> None:
    for family, points in rows.groupby("family", sort=False):
        marks.points(axes, points, "tokens", family, label=style.label(family))
    axes.set_xscale("log")
    axes.set_xlabel(style.TOKENS)
    style.accuracy_axis(axes, rows["chance"].iloc[0])
    axes.legend(loc="best")
