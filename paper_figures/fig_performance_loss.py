"""Claim: before saturation, linguistic performance is linear in loss (Cuervo & Marxer 2024, Fig. 4).

In: scores and loss fits of the studies scaling and text; of the released runs, whose losses are unpublished, the loss
that Table 5 predicts. Out: a panel per family, benchmark and average.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import downstream, evidence
from analysis.fit import Fit
from analysis.summary import number
from paper_figures import marks, style
from paper_figures.results import Results

STUDIES = ("scaling", "text", "baselines")


def numbers(results: Results) -> pd.DataFrame:
    """`kind` run: headline accuracy and loss of every run that has both; law: the fitted line with its band."""
    families = [evidence.SPEECH] if results.is_published else results.families(*STUDIES)
    rows = results.accuracy(families, ("macro", "all"))
    rows = rows[rows["nats_per_token"].notna()].assign(kind="run")
    rows = rows.sort_values("family", key=lambda names: names.map(families.index), kind="stable")
    laws = []
    for (family, measure), points in rows.groupby(["family", "measure"], sort=False):
        fit = results.fit(downstream.LAW_LOSS, family, measure)
        if fit and not results.at_chance(family, measure):
            laws.append(_law(fit, points))
    return pd.concat([rows, *laws], ignore_index=True)


def draw(results: Results) -> Figure:
    """Accuracy against loss, one standard error, and the least-squares line."""
    rows = numbers(results)
    pairs = list(dict.fromkeys(zip(rows["family"], rows["measure"], strict=True)))
    figure, panels = style.wrapped(len(pairs), 1.9)
    for axes, (family, measure) in zip(panels, pairs, strict=True):
        chosen = rows[(rows["family"] == family) & (rows["measure"] == measure)]
        _panel(axes, chosen, family)
        style.accuracy_axis(axes, chosen["chance"].dropna().iloc[0])
        axes.set_title(style.label(measure))
        axes.set_xlabel(_loss(results, family))
        axes.invert_xaxis()
        marks.told(axes, [(family, _correlation(results, family, measure, short=True))])
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    text = [
        "Accuracy against validation loss, which falls to the right; one standard error over items; lines fitted to "
        "the runs before saturation, with 95 % bands. Dots: chance."
    ]
    if results.is_published:
        text = [
            "Accuracy of the released runs (evaluated again by the authors) against the loss that the constants "
            "printed in Table 5 predict for their N, D and repeats: the losses that were measured are not published, "
            "so how straight these lines are is no test of the claim. One standard error, 95 % bands. Dots: chance."
        ]
    for family, measure in dict.fromkeys(zip(rows["family"], rows["measure"], strict=True)):
        fit = results.fit(downstream.LAW_LOSS, family, measure)
        slope = f"{number(100 * fit.params['slope'])} points a nat, " if fit else ""
        said = _correlation(results, family, measure)
        where = f"{style.label(family)}, {style.label(measure)}"
        text.append(f"{where}: {said if said == 'at chance' else slope + said}.")
    return " ".join(text)


def _law(fit: Fit, points: pd.DataFrame) -> pd.DataFrame:
    fitted = points.loc[points["name"].isin([name for name, _ in fit.rows]), "nats_per_token"]
    nats = np.linspace(fitted.min(), fitted.max(), marks.POINTS)
    return marks.law(fit, "nats_per_token", nats, lambda p: downstream.predict_loss(p, nats), measure=fit.measure)


def _loss(results: Results, family: str) -> str:
    if results.is_published:
        return "loss that Table 5\npredicts (nats per token)"
    return f"loss, {style.label(family)}\n(nats per token)"


def _correlation(results: Results, family: str, measure: str, short: bool = False) -> str:
    if results.at_chance(family, measure):
        return "at chance"
    fit = results.fit(downstream.LAW_LOSS, family, measure)
    if not fit:
        return "no line"
    return f"r {style.short_interval(fit, 'r', 2)}" if short else f"r = {style.interval(fit, 'r')}"


def _panel(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    marks.points(axes, rows[rows["kind"] == "run"], "nats_per_token", family)
    law = rows[rows["kind"] == "law"]
    if len(law):
        marks.line(axes, law, "nats_per_token", family)
