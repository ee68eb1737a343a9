"""Question: what are repeated tokens worth (Cuervo & Marxer 2024, Eq. 7, 8 and Table 5)?

In: runs that saw their tokens several times and fits of L(N′, D′); of published numbers, printed constants. Out: a
panel per family: loss against tokens, with what fresh tokens would give.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import evidence, parametric, repeats
from analysis.fit import Fit
from analysis.laws import one_seed
from paper_figures import marks, style
from paper_figures.results import Results

_FRESH = {"linestyle": (0, (1, 1.2)), "linewidth": 0.8}
_RUN = ["name", "params_total", "tokens", "unique_tokens"]


def numbers(results: Results) -> pd.DataFrame:
    """`value` is nats per token. `kind` run: a finished run; law: L(N′, D′) of a size when at most `unique_tokens`
    differ, with its band; fresh: L(N, D) of as many fresh tokens."""
    fits = [fit for fit in results.fits if fit.law == repeats.LAW and fit.params]
    parts = [_parts(fit, results) for fit in fits if (results.runs["family"] == fit.family).any()]
    if not parts:
        raise results.nothing("no law of repeated tokens")
    return pd.concat([rows for part in parts for rows in part], ignore_index=True)


def draw(results: Results) -> Figure:
    """A shade per size; beyond the vertical line tokens repeat, dots are what fresh ones would give."""
    rows = numbers(results)
    families = list(dict.fromkeys(rows["family"]))
    figure, panels = style.wrapped(len(families), 2.7)
    for axes, family in zip(panels, families, strict=True):
        _panel(axes, rows[rows["family"] == family], family)
        axes.set(title=style.label(family), xlabel=style.TOKENS, ylabel="loss (nats per token of its own)")
        if results.is_published:
            note = "curves from printed constants,\nno losses published"
            axes.text(0.03, 0.03, note, transform=axes.transAxes, fontsize=6.2)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    band = ", with the 95 % band of the largest size" if rows["low"].notna().any() else ""
    text = [
        "Loss against training tokens D when only so many of them are distinct (vertical line U). Lines: L(N′, D′)"
        f"{band}; dots: L(N, D), as if all tokens were fresh. Left of the line nothing repeats; the two differ there "
        "where N exceeds U_N, the size that suits so few tokens: N′ < N counts the parameters beyond it for less."
    ]
    if results.is_published:
        text.append("No losses of runs are published: these are curves of the constants printed in Table 5.")
    else:
        text.append("Markers: validation loss of finished runs.")
    for family in dict.fromkeys(rows["family"]):
        fit = results.fit(repeats.LAW, family)
        stars = {"RN_star": "R_N*", "RD_star": "R_D*"}
        said = ", ".join(f"{stars[name]} = {style.interval(fit, name)}" for name in stars if name in fit.params)
        text.append(f"{style.label(family)}: {said}.")
    return " ".join(text)


def _parts(fit: Fit, results: Results) -> list[pd.DataFrame]:
    """The rows of one family: its sizes that repeated tokens, their runs that have a loss, and their curves."""
    runs = one_seed(results.runs[results.runs["family"] == fit.family])
    repeated = runs[runs["epochs"] > parametric.MAX_EPOCHS]
    runs = runs[runs["params_total"].isin(repeated["params_total"])]
    unique = int(evidence.CORPUS_TOKENS) if results.is_published else int(repeated["unique_tokens"].max())
    d = np.geomspace(runs["tokens"].min(), runs["tokens"].max(), marks.POINTS)
    measured = runs[runs[fit.measure].notna()]
    points = measured[_RUN].assign(value=measured[fit.measure], kind="run", family=fit.family, status="own")
    parts = [points] if len(points) else []
    for n in sorted(runs["params_total"].unique()):
        labels = {"params_total": n, "unique_tokens": unique}
        labels |= {"status": "derived"} if results.is_published else {}
        parts += [
            marks.law(fit, "tokens", d, lambda p, n=n: repeats.predict(p, n, d, np.minimum(unique, d)), **labels),
            marks.law(fit, "tokens", d, lambda p, n=n: parametric.loss(p, n, d), **labels, kind="fresh"),
        ]
    return parts


def _panel(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    sizes = sorted(rows.loc[rows["kind"] == "law", "params_total"].unique())
    for size, shade in zip(sizes, style.shades(family, len(sizes)), strict=True):
        own = rows[rows["params_total"] == size]
        law, fresh, runs = (own[own["kind"] == kind] for kind in ("law", "fresh", "run"))
        banded = law if size == sizes[-1] else law.assign(low=np.nan)  # the bands of all would hide one another
        marks.line(axes, banded, "tokens", family, color=shade, linestyle="-", label=f"N = {style.amount(size)}")
        axes.plot(fresh["tokens"], fresh["value"], color=shade, **_FRESH)
        axes.plot(runs["tokens"], runs["value"], style.look(family).marker, color=shade, zorder=4)
    unique = rows.loc[rows["kind"] == "law", "unique_tokens"].max()
    axes.axvline(unique, color=style.GREY, linewidth=0.6)
    axes.set_xscale("log")
    style.loss_axis(axes)
    style.counts_axis(axes, "x")
    axes.legend(loc="upper right", labelspacing=0.3)
