"""Claim: linguistic performance grows as a power of compute, more slowly for speech than for text (Fig. 2, Table 4).

In: scores and accuracy fits of the studies scaling and text, or the released runs and Table 4. Out: a panel per
benchmark and average.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from analysis import downstream, evidence
from analysis.fit import Fit
from paper_figures import marks, style
from paper_figures.fig_loss_envelope import RING
from paper_figures.results import CURVES, Results

STUDIES = ("scaling", "text", "baselines")
HOLLOW = {"markerfacecolor": "white"}
RINGED = {"markersize": 5.5, "markerfacecolor": "none", "markeredgecolor": RING, "markeredgewidth": 0.8, "zorder": 5}
PRINTED = {"linestyle": (0, (4, 2)), "color": style.GREY, "linewidth": 1.0}


def numbers(results: Results) -> pd.DataFrame:
    """`kind` run: headline accuracy of every run, whose `part` in the law is envelope, fitted or left out, empty
    without a law; law: Q0·C^γ of its envelope with the band; printed slope: C^γ of Table 4, of which no factor is
    printed, through the middle of the fitted law."""
    rows = results.accuracy(_families(results), ("macro", "all")).assign(kind="run", part="")
    laws = []
    for (measure, family), points in rows.groupby(["measure", "family"], sort=False):
        fit = _fit(results, family, measure)
        if fit and not results.at_chance(family, measure):
            laws.append(_law(fit, points))
            rows.loc[points.index, "part"] = points["name"].map(_parts(fit)).fillna("left out")
            printed = results.fit(downstream.LAW, evidence.SPEECH_PRINTED, measure)
            laws += [_printed(printed, laws[-1])] if printed else []
    return pd.concat([rows, *laws], ignore_index=True)


def draw(results: Results) -> Figure:
    """Accuracy against compute with one standard error, chance, and the power law of the envelope."""
    rows = numbers(results)
    measures = list(dict.fromkeys(rows["measure"]))
    figure, panels = style.wrapped(len(measures), 2.0)
    for axes, measure in zip(panels, measures, strict=True):
        chosen = rows[rows["measure"] == measure]
        families = list(chosen.loc[chosen["kind"] == "run", "family"].unique())
        for family in families:
            _family(axes, chosen[chosen["family"] == family], family)
        printed = chosen[chosen["kind"] == "printed slope"]
        axes.plot(printed["flops_6n"], printed["value"], zorder=4, **PRINTED)
        style.accuracy_axis(axes, chosen["chance"].dropna().iloc[0])
        style.compute_axis(axes, "C = 6ND (FLOPs)")
        axes.set_title(style.label(measure))
        marks.told(axes, [(family, _gamma(results, family, measure, short=True)) for family in families])
    figure.legend(handles=_entries(results, rows), loc="outside lower center", ncols=3)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    text = [
        "Accuracy (mean log-likelihood per token of the whole sequence) against training compute C = 6ND, N with the "
        "tied embedding once; one standard error over items. Lines with 95 % bands: Q ∝ C^γ on the unsaturated runs "
        "that beat all cheaper ones; γ is in the panels. "
        "Ringed: the runs on that envelope; hollow: runs that the law leaves out. Dots: chance."
    ]
    if results.is_published:
        text.append(
            "Runs: the released ones, evaluated again by the authors. Lines: derived here from the 29 that the paper's "
            "curves hold. Dashed: the slope that Table 4 prints; no factor is printed, so it passes through the middle "
            "of the derived line."
        )
    for measure in dict.fromkeys(rows["measure"]):
        said = [f"{style.label(family)} {_gamma(results, family, measure)}" for family in _families(results)]
        printed = results.fit(downstream.LAW, evidence.SPEECH_PRINTED, measure)
        said += [f"printed γ = {printed.params['gamma']}"] if printed else []
        text.append(f"{style.label(measure)}: {'; '.join(said)}.")
    return " ".join(text)


def _families(results: Results) -> list[str]:
    return [evidence.SPEECH] if results.is_published else results.families(*STUDIES)


def _fit(results: Results, family: str, measure: str) -> Fit | None:
    """Of the released runs, the fit of those that the paper's curves hold."""
    return results.fit(downstream.LAW, CURVES if results.is_published else family, measure)


def _parts(fit: Fit) -> dict[str, str]:
    """Name of a run -> what it is to a law."""
    return dict.fromkeys((name for name, _ in fit.rows), "fitted") | dict.fromkeys(fit.kept, "envelope")


def _law(fit: Fit, points: pd.DataFrame) -> pd.DataFrame:
    reached = points.loc[points["name"].isin(fit.kept), "flops_6n"]
    flops = np.geomspace(reached.min(), reached.max(), marks.POINTS)
    labels = {"family": points["family"].iloc[0], "measure": fit.measure}
    return marks.law(fit, "flops_6n", flops, lambda p: downstream.predict_compute(p, flops), **labels)


def _printed(fit: Fit, law: pd.DataFrame) -> pd.DataFrame:
    """The printed exponent as a line through the middle of a law's."""
    middle = np.exp(np.log(law[["flops_6n", "value"]]).mean())
    value = middle["value"] * (law["flops_6n"] / middle["flops_6n"]) ** fit.params["gamma"]
    labels = {"status": fit.status, "kind": "printed slope", "family": fit.family, "measure": fit.measure}
    return law[["flops_6n"]].assign(value=value, **labels)


def _gamma(results: Results, family: str, measure: str, short: bool = False) -> str:
    if results.at_chance(family, measure):
        return "at chance"
    fit = _fit(results, family, measure)
    shown = style.short_interval if short else style.interval
    return f"γ {shown(fit, 'gamma')}" if fit else "no envelope"


def _family(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    runs = rows[rows["kind"] == "run"]
    out = runs["part"] == "left out"
    marks.points(axes, runs[~out], "flops_6n", family)
    marks.points(axes, runs[out], "flops_6n", family, **HOLLOW)
    ringed = runs[runs["part"] == "envelope"]
    axes.plot(ringed["flops_6n"], ringed["value"], "o", **RINGED)
    law = rows[rows["kind"] == "law"]
    if len(law):
        marks.line(axes, law, "flops_6n", family)


def _entries(results: Results, rows: pd.DataFrame) -> list[Line2D]:
    ringed = Line2D([], [], linestyle="", marker="o", label="on the envelope", **RINGED)
    if not results.is_published:
        return [
            *(marks.entry(family) for family in _families(results)),
            ringed,
            *_left_out(rows, "left out of the law"),
        ]
    printed = Line2D([], [], label="slope printed in Table 4", **PRINTED)
    runs = marks.entry(evidence.SPEECH, label="released runs (re-evaluated), their power law (derived)")
    return [runs, printed, ringed, *_left_out(rows, "left out of the 29-run line")]


def _left_out(rows: pd.DataFrame, text: str) -> list[Line2D]:
    """The entry of hollow markers, where there are any."""
    out = rows[rows["part"] == "left out"]
    return [marks.entry(family, linestyle="", label=text, **HOLLOW) for family in out["family"].unique()[:1]]
