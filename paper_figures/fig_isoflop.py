"""Question: which size is best at each compute budget, and how do the best N and D grow (IsoFLOP curves)?

In: single-epoch runs of families with several sizes at a budget, and their parabola fits. Out: a row of panels per
family: loss against N, N*(C), D*(C). Curves whose minimum is not among their sizes are shown as well: they say where to
train next.
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import isoflop
from analysis.fit import Fit
from analysis.laws import one_seed
from analysis.parametric import MAX_EPOCHS
from paper_figures import marks, style
from paper_figures.results import Results

LAW, MEASURE = isoflop.LAWS["parabola"], "nats_per_token"
CURVE_POINTS = 40
_OF = {"N": ("params_total", style.PARAMETERS, isoflop.predict), "D": ("tokens", style.TOKENS, isoflop.tokens)}


def numbers(results: Results) -> pd.DataFrame:
    """`kind` run and minimum: N, D, C and `value`, nats per token; curve: the parabola through a budget's runs, over N;
    N and D: the law through the minima over C, with its band. `budget` is the mean compute of a budget's runs."""
    parts = [part for family in sorted(results.runs["family"].unique()) for part in _parts(results, family)]
    if not parts:
        raise results.nothing("no IsoFLOP curves (several sizes at a budget of compute)")
    return pd.concat(parts, ignore_index=True)


def draw(results: Results) -> Figure:
    """Runs and parabolas of every budget, the darker the more compute; the minima and their laws."""
    rows = numbers(results)
    families = list(dict.fromkeys(rows["family"]))
    figure, panels = style.new(len(families), 3, 2.4)
    for place, family in enumerate(families):
        curves, *laws = panels[3 * place : 3 * place + 3]
        own = rows[rows["family"] == family]
        _curves(curves, own, family)
        for axes, letter in zip(laws, _OF, strict=True):
            _law(axes, own, family, letter, results.fit(LAW, family))
        figure.align_ylabels(laws)
    return figure


def caption(results: Results) -> str:
    """What the figure shows, in numbers."""
    text = [
        "Left: loss against parameters at equal compute C = 6ND, a parabola in ln N through ln L of every budget; "
        "crosses: minima. Middle and right: N and D at the minima and their power laws of C with 95 % bands; a + b = 1 "
        "is not assumed."
    ]
    for family in dict.fromkeys(numbers(results)["family"]):
        fit = results.fit(LAW, family)
        if not fit:
            text.append(f"{style.label(family).capitalize()}: too few minima among the sizes for a law.")
            continue
        said = f"N* ∝ C^a, a = {style.interval(fit, 'a')}; D* ∝ C^b, b = {style.interval(fit, 'b')}"
        flags = f" ({'; '.join(fit.flags)})" if fit.flags else ""
        text.append(f"{style.label(family).capitalize()}: {said}{flags}.")
    return " ".join(text)


def _parts(results: Results, family: str) -> list[pd.DataFrame]:
    """The rows of one family; none without a curve."""
    chosen = results.runs[(results.runs["family"] == family) & (results.runs["epochs"] <= MAX_EPOCHS)]
    chosen = one_seed(chosen.dropna(subset=MEASURE), MEASURE)
    found = isoflop.minima(chosen, MEASURE)
    found = found[found["level"].notna()]
    if found.empty:
        return []
    curves = chosen["flops_6n"].to_numpy(float)[:, None] / found["flops"].to_numpy()
    near = np.abs(np.log(curves)).argmin(1)
    on_curve = np.abs(np.log(curves)).min(1) <= np.log(isoflop.AGREE)
    points = chosen[["name", "params_total", "tokens", "flops_6n"]].assign(kind="run", value=chosen[MEASURE])
    points = points.assign(budget=found["flops"].to_numpy()[near])[on_curve]
    stars = {"budget": "flops", "flops_6n": "flops", "params_total": "N_star", "tokens": "D_star", "value": "loss_star"}
    usable = found[found["usable"]]
    minima = pd.DataFrame({name: usable[column] for name, column in stars.items()}).assign(kind="minimum")
    parts = [points, _parabolas(found), *([minima] if len(minima) else [])]
    if fit := results.fit(LAW, family):
        flops = np.geomspace(usable["flops"].min() / 2, usable["flops"].max() * 2, marks.POINTS)
        parts += [_line(fit, letter, flops, predict) for letter, (_, _, predict) in _OF.items()]
    return [part.assign(status="own", family=family) for part in parts]


def _line(fit: Fit, letter: str, flops: np.ndarray, predict: Callable) -> pd.DataFrame:
    return marks.law(fit, "flops_6n", flops, lambda params: predict(params, flops), kind=letter)


def _parabolas(found: pd.DataFrame) -> pd.DataFrame:
    parts = []
    for row in found.itertuples():
        n = np.geomspace(row.N_from, row.N_to, CURVE_POINTS)
        x = np.log(n / row.centre)
        value = np.exp(row.level + row.slope * x + row.curvature * x**2)
        parts.append(pd.DataFrame({"params_total": n, "value": value}).assign(kind="curve", budget=row.flops))
    return pd.concat(parts)


def _curves(axes: Axes, rows: pd.DataFrame, family: str) -> None:
    budgets = sorted(rows.loc[rows["kind"] == "curve", "budget"].unique())
    for budget, shade in zip(budgets, style.shades(family, len(budgets)), strict=True):
        own = rows[rows["budget"] == budget]
        curve, points = (own[own["kind"] == kind] for kind in ("curve", "run"))
        axes.plot(curve["params_total"], curve["value"], color=shade, zorder=2)
        look = {"color": shade, "markersize": 3, "label": f"C = {style.power(budget)}"}
        axes.plot(points["params_total"], points["value"], style.look(family).marker, **look)
    lowest = rows[rows["kind"] == "minimum"]
    axes.plot(lowest["params_total"], lowest["value"], "x", color="#000000", zorder=5)
    style.loss_axis(axes)
    style.counts_axis(axes, "x")
    axes.set(xlabel=style.PARAMETERS, ylabel="loss (nats per token)", title=style.label(family))
    axes.legend(loc="best")


def _law(axes: Axes, rows: pd.DataFrame, family: str, letter: str, fit: Fit | None) -> None:
    column, text, _ = _OF[letter]
    lowest, exponent = rows[rows["kind"] == "minimum"], {"N": "a", "D": "b"}[letter]
    if fit is None:
        axes.axis("off")
        axes.text(0, 0.5, f"no law of {letter}*: too few\nminima among the sizes", transform=axes.transAxes)
        return
    marks.line(axes, rows[rows["kind"] == letter], "flops_6n", family)
    axes.plot(lowest["flops_6n"], lowest[column], "x", color="#000000", zorder=5)
    axes.set_yscale("log")
    style.counts_axis(axes, "y")
    style.compute_axis(axes, "C = 6ND (FLOPs)")
    axes.set(ylabel=text, title=f"{letter}* ∝ C^{exponent}, {exponent} = {style.short_interval(fit, exponent, 2)}")
