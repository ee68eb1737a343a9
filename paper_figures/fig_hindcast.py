"""Question: how well does each law, fitted to the smaller budgets, predict the larger ones?

In: the hindcasts of all fits. Out: a panel per law, predicted against observed, a mark per held-out run.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import downstream, envelope, isoflop, parametric, repeats, saturation
from paper_figures import marks, style
from paper_figures.results import CURVES, Results

LAWS = {
    parametric.LAW: "L(N, D)",
    repeats.LAW: "L(N′, D′)",
    repeats.LAW_JOINT: "L(N′, D′), jointly",
    envelope.LAW: "L(C), hull",
    envelope.LAW_BINS: "L(C), bins",
    envelope.LAW_OFFSET: "L(C), offset",
    isoflop.LAWS["parabola"]: "N*(C), parabolas",
    isoflop.LAWS["akima"]: "N*(C), Akima",
    downstream.LAW: "Q(C)",
    downstream.LAW_LOSS: "Q(L), line",
    saturation.LAW_SIGMOID: "Q(L), sigmoid",
    saturation.LAW_ERROR: "Q(C), by its errors",
}
"""Law -> title of its panel; L: loss in nats per token, Q: accuracy."""


def numbers(results: Results) -> pd.DataFrame:
    """One row per law, family, measure and held-out run; `error` in the `unit` that the fit reports."""
    parts = []
    for fit in results.fits:
        told_twice = results.is_published and fit.family == CURVES  # the other laws are of all released runs
        if fit.law in LAWS and fit.hindcast and not told_twice:
            points = pd.DataFrame(fit.hindcast["points"], columns=["name", "flops_6n", "observed", "predicted"])
            labels = {"status": fit.status, "law": fit.law, "family": fit.family, "measure": fit.measure}
            kept = {key: fit.hindcast[key] for key in ("unit", "cut_flops", "decades", "fitted")}
            parts.append(points.assign(**labels, **kept))
    if not parts:
        raise results.nothing("no law could be fitted to the smaller budgets and held against the larger ones")
    rows = pd.concat(parts, ignore_index=True)
    ratio = np.log(rows["predicted"] / rows["observed"])
    return rows.assign(error=ratio.where(rows["unit"] != "fraction", rows["predicted"] - rows["observed"]))


def draw(results: Results) -> Figure:
    """Predicted against observed; on the line the prediction came true."""
    rows = numbers(results)
    laws = [law for law in LAWS if (rows["law"] == law).any()]
    figure, panels = style.wrapped(len(laws), 2.1)
    for axes, law in zip(panels, laws, strict=True):
        _panel(axes, rows[rows["law"] == law])
        axes.set_title(LAWS[law])
    alike = {style.look(family): family for family in reversed(rows["family"].unique())}  # one entry for a look
    entries = [marks.entry(family, linestyle="") for family in reversed(alike.values())]
    figure.legend(handles=entries, loc="outside lower center", ncols=4)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    rows = numbers(results)
    text = [
        "Laws fitted below a cut of compute and held against the runs above it, the upper third of the decades: "
        "predicted against observed, nothing tuned on what is held out. L: loss in nats per token; Q: accuracy; N*: "
        "parameters; by its errors: as a power law of what is left of a perfect score, chance taken out."
    ]
    if results.is_published:
        text.append(
            "Runs: the released ones, evaluated again by the authors; laws: derived here from them. "
            "Losses of the released runs are what the printed constants predict."
        )
    for law, group in rows.groupby("law", sort=False):
        text.append(f"{LAWS[law]}: {_spread(group)} over {len(group)} held-out points.")
    return " ".join(text)


def _panel(axes: Axes, rows: pd.DataFrame) -> None:
    for family, points in rows.groupby("family", sort=False):
        look = style.look(family)
        options = {"color": look.colour, "alpha": 0.75, "markersize": 3.2}
        axes.plot(points["observed"], points["predicted"], look.marker, **options)
    ends = rows[["observed", "predicted"]].to_numpy()
    if rows["unit"].iloc[0] == "fraction":
        edges = ends.min() - 0.03, ends.max() + 0.03
        style.per_cent(axes.xaxis, ticks=4)
        style.per_cent(axes.yaxis, ticks=4)
    else:
        margin = (ends.max() / ends.min()) ** 0.08
        edges = ends.min() / margin, ends.max() * margin
    quantity = _quantity(rows)
    axes.set(xlim=edges, ylim=edges, xlabel=f"observed {quantity}", ylabel=f"predicted {quantity}")
    axes.axline((edges[0], edges[0]), (edges[1], edges[1]), color=style.GREY, linewidth=0.8)
    if rows["law"].iloc[0] in isoflop.LAWS.values():
        style.counts_axis(axes, "x")
        style.counts_axis(axes, "y")
    axes.text(0.04, 0.96, _spread(rows), transform=axes.transAxes, va="top", fontsize=6.2)


def _quantity(rows: pd.DataFrame) -> str:
    """What a panel predicts, with its unit."""
    if rows["unit"].iloc[0] == "fraction":
        return "accuracy (%)"
    if rows["law"].iloc[0] in isoflop.LAWS.values():
        return "N* (parameters)"
    return f"loss ({rows['measure'].iloc[0].replace('_', ' ')})"


def _spread(rows: pd.DataFrame) -> str:
    """Root mean square of the errors, relative or in points of accuracy."""
    size = 100 * float(np.sqrt((rows["error"] ** 2).mean()))
    return f"rms {size:.2g} " + ("points" if rows["unit"].iloc[0] == "fraction" else "%")
