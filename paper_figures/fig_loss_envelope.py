"""Claim: the least loss per FLOP is a power law of training compute (Cuervo & Marxer 2024, Fig. 1).

In: curves, runs and envelope fits of the studies scaling and text. Out: a panel per family.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullLocator, StrMethodFormatter

from analysis import envelope
from paper_figures import style
from paper_figures.results import Results

STUDIES = ("scaling", "text")


def numbers(results: Results) -> pd.DataFrame:
    """Training curves (`kind` = curve) and final validation losses (final; envelope where they lie on it)."""
    families = results.families(*STUDIES)
    columns = ["kind", "family", "name", "size", "params_total", "tokens", "flops_6n", "nats_per_token"]
    curves = results.tables.curves.assign(kind="curve")
    finals = results.runs.assign(kind="final")
    on_envelope = {name for family in families if (fit := _fit(results, family)) for name in fit.kept}
    finals.loc[finals["name"].isin(on_envelope), "kind"] = "envelope"
    rows = pd.concat([curves[columns], finals[columns]])
    rows = rows[rows["family"].isin(families)].sort_values(["kind", "params_total", "name", "tokens"])
    return rows.sort_values("family", key=lambda names: names.map(families.index), kind="stable").reset_index(drop=True)


def draw(results: Results) -> Figure:
    """Training curves thin, final points, the envelope and its power law."""
    rows = numbers(results)
    families = list(dict.fromkeys(rows["family"]))
    figure, panels = style.new(1, len(families), 3.1)
    for axes, family in zip(panels, families, strict=True):
        _panel(axes, rows[rows["family"] == family], family)
        _law(axes, results, family)
        axes.set_title(style.label(family))
        axes.legend(loc="lower left", borderaxespad=0.2, labelspacing=0.3)
    panels[0].set_ylabel("loss (nats per token)")
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    text = [
        "Loss against training compute. Thin lines: training loss; dots: validation loss of each finished run; "
        "ringed: the runs on the envelope (falling lower convex hull in log-log); dashed: its power law."
    ]
    for family in results.families(*STUDIES):
        if fit := _fit(results, family):
            text.append(
                f"{style.label(family).capitalize()}: {len(fit.kept)} of {len(fit.rows)} runs lie on the envelope, "
                f"and loss falls as C to the power −{style.interval(fit, 'gamma')}."
            )
    return " ".join(text + ["Losses per token of different tokens must not be compared across panels."])


def _fit(results: Results, family: str):
    return results.fit(envelope.LAW, family)


def _panel(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    finals = rows[rows["kind"] != "curve"]
    sizes = sorted(finals["params_total"].unique())
    for size, shade in zip(sizes, style.shades(family, len(sizes)), strict=True):
        curves = rows[(rows["params_total"] == size) & (rows["kind"] == "curve")]
        for _, curve in curves.groupby("name"):
            axes.plot(curve["flops_6n"], curve["nats_per_token"], color=shade, linewidth=0.5, alpha=0.55, zorder=2)
        points = finals[finals["params_total"] == size]
        text = f"N = {size / 1e6:.3g}M" if size >= 1e6 else f"N = {size / 1e3:.0f}k"
        axes.plot(points["flops_6n"], points["nats_per_token"], style.marker(family), color=shade, label=text, zorder=4)
    ringed = rows[rows["kind"] == "envelope"].sort_values("flops_6n")
    axes.plot(
        ringed["flops_6n"],
        ringed["nats_per_token"],
        "o",
        markersize=7,
        markerfacecolor="none",
        markeredgecolor="#D55E00",
        markeredgewidth=0.9,
        label="on the envelope",
        zorder=5,
    )
    low, span = finals["nats_per_token"].min(), np.ptp(np.log(finals["nats_per_token"])) + 1e-3
    axes.set_yscale("log")
    axes.set_ylim(low * np.exp(-0.75 * span), low * np.exp(2.0 * span))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlim(finals["flops_6n"].min() / 6, finals["flops_6n"].max() * 2)
    style.compute_axis(axes)


def _law(axes: Axes, results: Results, family: str) -> None:
    if fit := _fit(results, family):
        flops = np.geomspace(fit.conventions["flops_from"] / 1.5, fit.conventions["flops_to"] * 1.5, 50)
        text = f"$C^{{-\\gamma}}$, γ = {style.interval(fit, 'gamma')}"
        nats = fit.params["L0"] * flops ** -fit.params["gamma"]
        axes.plot(flops, nats, color="#D55E00", linestyle=(0, (5, 2)), linewidth=1.1, label=text, zorder=3)
