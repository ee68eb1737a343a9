"""Claim: the least loss per FLOP is a power law of training compute (Cuervo & Marxer 2024, Fig. 1).

In: curves, runs and envelope fits of the studies scaling and text; of published numbers, Table 5, as no losses were
printed. Out: a panel per family.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import envelope, evidence
from analysis.fit import Fit
from paper_figures import marks, style
from paper_figures.results import Results

STUDIES = ("scaling", "text")
SHOWN = (evidence.SPEECH, evidence.UNIGRAM, evidence.TEXT)
RING = "#D55E00"
_COLUMNS = ["status", "kind", "family", "name", "size", "params_total", "tokens", "flops_6n", "value", "low", "high"]


def numbers(results: Results) -> pd.DataFrame:
    """`value` is nats per token. `kind`: curve (training), final (validation), envelope (a final on it), law (with its
    band); frontier: the loss at N_opt, D_opt of printed constants, `params_total` and `tokens` being those."""
    if results.is_published:
        return results.frontiers(SHOWN).reindex(columns=_COLUMNS)
    families = results.families(*STUDIES)
    fits = [fit for family in families if (fit := _fit(results, family))]
    on_envelope = {name for fit in fits for name in fit.kept}
    finals = results.runs.assign(kind=results.runs["name"].map(lambda name: _kind(name in on_envelope)))
    curves = results.tables.curves.assign(kind="curve")
    points = pd.concat([curves, finals]) if len(curves) else finals
    points = points[points["family"].isin(families)].assign(status="own", value=lambda rows: rows["nats_per_token"])
    rows = pd.concat([points, *(_law(fit) for fit in fits)]).reindex(columns=_COLUMNS)
    rows = rows.sort_values(["kind", "params_total", "name", "tokens", "flops_6n"])
    return rows.sort_values("family", key=lambda names: names.map(families.index), kind="stable").reset_index(drop=True)


def draw(results: Results) -> Figure:
    """Training curves thin, final points, the envelope and its power law; of published numbers the frontiers."""
    rows = numbers(results)
    families = list(dict.fromkeys(rows["family"]))
    figure, panels = style.wrapped(len(families), 2.6 if results.is_published else 3.1)
    for axes, family in zip(panels, families, strict=True):
        chosen = rows[rows["family"] == family]
        if results.is_published:
            _frontier(axes, chosen, family)
        else:
            _runs(axes, chosen, family)
            _envelope(axes, chosen, _fit(results, family))
            axes.legend(loc="lower left", borderaxespad=0.2, labelspacing=0.3)
        axes.set_title(style.label(family))
        axes.set_ylabel("loss (nats per token of its own)")
        style.compute_axis(axes)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    if results.is_published:
        return _published_caption(results)
    text = [
        "Loss against training compute. Thin lines: training loss; markers: validation loss of each finished run, the "
        "larger the model, the darker; ringed: the runs on the envelope (falling lower convex hull in log-log); "
        "dashed: its power law with a 95 % band."
    ]
    for family in results.families(*STUDIES):
        if fit := _fit(results, family):
            text.append(
                f"{style.label(family).capitalize()}: {len(fit.kept)} of {len(fit.rows)} runs lie on the envelope, "
                f"and loss falls as C^−{style.interval(fit, 'gamma')}."
            )
    return " ".join(text + ["Losses per token of different tokens must not be compared across panels."])


def _published_caption(results: Results) -> str:
    rows = numbers(results)
    text = [
        "No losses of runs are published. Curves from printed constants (Cuervo & Marxer 2024, Table 5): the loss at "
        "the compute-optimal N and D, L(N_opt(C), D_opt(C)) with C = 6ND; dots: every tenfold compute, with N_opt and "
        "D_opt."
    ]
    for family in dict.fromkeys(rows["family"]):
        own = rows[rows["family"] == family]
        gamma = -envelope.power_law(own["flops_6n"], own["value"])[1]
        text.append(f"{style.label(family)}: between the ends falls as C^−{gamma:.4f}.")
    return " ".join(text + ["Losses per token of different tokens must not be compared across panels."])


def _kind(is_on_envelope: bool) -> str:
    return "envelope" if is_on_envelope else "final"


def _fit(results: Results, family: str) -> Fit | None:
    return results.fit(envelope.LAW, family)


def _law(fit: Fit) -> pd.DataFrame:
    flops = np.geomspace(fit.conventions["flops_from"] / 1.5, fit.conventions["flops_to"] * 1.5, marks.POINTS)
    return marks.law(fit, "flops_6n", flops, lambda params: envelope.predict(params, flops))


def _runs(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    finals = rows[rows["kind"].isin(["final", "envelope"])]
    sizes = sorted(finals["params_total"].unique())
    for size, shade in zip(sizes, style.shades(family, len(sizes)), strict=True):
        curves = rows[(rows["params_total"] == size) & (rows["kind"] == "curve")]
        for _, curve in curves.groupby("name"):
            axes.plot(curve["flops_6n"], curve["value"], color=shade, linewidth=0.5, alpha=0.55, zorder=2)
        points = finals[finals["params_total"] == size]
        options = {"color": shade, "label": f"N = {style.amount(size)}", "zorder": 4}
        axes.plot(points["flops_6n"], points["value"], style.look(family).marker, **options)
    low, span = finals["value"].min(), np.ptp(np.log(finals["value"])) + 1e-3
    style.loss_axis(axes)
    above = 2.0 if (rows["kind"] == "curve").any() else 1.2
    axes.set_ylim(low * np.exp(-0.75 * span), low * np.exp(above * span))
    axes.set_xlim(finals["flops_6n"].min() / 6, finals["flops_6n"].max() * 2)


def _envelope(axes: Axes, rows: pd.DataFrame, fit: Fit | None) -> None:
    """The ringed runs and, where it was fitted, their law."""
    ringed = rows[rows["kind"] == "envelope"]
    ring = {"markersize": 7, "markerfacecolor": "none", "markeredgecolor": RING, "markeredgewidth": 0.9, "zorder": 5}
    axes.plot(ringed["flops_6n"], ringed["value"], "o", label="on the envelope", **ring)
    law = rows[rows["kind"] == "law"]
    if fit:
        text = f"∝ C^−γ, γ = {style.interval(fit, 'gamma')}"
        marks.line(axes, law, "flops_6n", fit.family, color=RING, linestyle=(0, (5, 2)), label=text)


def _frontier(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    """The curve of printed constants; every tenfold compute with its allocation."""
    look = style.look(family)
    axes.plot(rows["flops_6n"], rows["value"], color=look.colour, linestyle=look.dash)
    decades = rows[np.isclose(np.log10(rows["flops_6n"]) % 1, 0)]
    axes.plot(decades["flops_6n"], decades["value"], look.marker, color=look.colour)
    for row in decades.iloc[1:-1].itertuples():
        text = f"N {style.amount(row.params_total)}\nD {style.amount(row.tokens)}"
        axes.annotate(text, (row.flops_6n, row.value), (3, 3), textcoords="offset points", fontsize=6)
    style.loss_axis(axes)
    axes.text(0.03, 0.03, "curve from printed constants,\nno losses published", transform=axes.transAxes, fontsize=6.2)
