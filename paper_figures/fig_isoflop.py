"""Question: which size is best at each compute budget, and how do the best N and D grow (IsoFLOP curves)?

In: single-epoch runs of families with several sizes at several budgets, and their parabola fits. Out: a row of panels
per family: loss against N, N*(C), D*(C).
"""

from collections.abc import Callable

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis import isoflop
from analysis.fit import Fit
from analysis.laws import one_seed
from paper_figures import marks, style
from paper_figures.results import Results

LAW = isoflop.LAWS["parabola"]
CURVE_POINTS = 40
_OF = {"N": ("params_total", style.PARAMETERS, isoflop.predict), "D": ("tokens", style.TOKENS, isoflop.tokens)}


def numbers(results: Results) -> pd.DataFrame:
    """`kind` run and minimum: N, D, C and `value`, nats per token; curve: the parabola through a budget's runs, over N;
    N and D: the law through the minima over C, with its band. `budget` is the mean compute of a budget's runs."""
    fits = [fit for fit in results.fits if fit.law == LAW and fit.params]
    if not fits:
        raise results.nothing("no IsoFLOP curves (several sizes at each of several budgets)")
    return pd.concat([part for fit in fits for part in _parts(fit, results.runs)], ignore_index=True)


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
        said = f"N* ∝ C^a, a = {style.interval(fit, 'a')}; D* ∝ C^b, b = {style.interval(fit, 'b')}"
        flags = f" ({'; '.join(fit.flags)})" if fit.flags else ""
        text.append(f"{style.label(family).capitalize()}: {said}{flags}.")
    return " ".join(text)


def _parts(fit: Fit, runs: pd.DataFrame) -> list[pd.DataFrame]:
    """The rows of one family."""
    chosen = one_seed(runs)
    chosen = chosen[chosen["name"].isin([name for name, _ in fit.rows]) & (chosen["family"] == fit.family)]
    found = isoflop.minima(chosen, fit.measure)
    found = found[found["usable"]]
    budgets = found["flops"].to_numpy()
    nearest = np.abs(np.log(chosen["flops_6n"].to_numpy(float)[:, None] / budgets)).argmin(1)
    points = chosen[["name", "params_total", "tokens", "flops_6n"]].assign(kind="run", budget=budgets[nearest])
    points["value"] = chosen[fit.measure]
    stars = {"budget": "flops", "flops_6n": "flops", "params_total": "N_star", "tokens": "D_star", "value": "loss_star"}
    minima = pd.DataFrame({name: found[column] for name, column in stars.items()}).assign(kind="minimum")
    flops = np.geomspace(budgets.min() / 2, budgets.max() * 2, marks.POINTS)
    laws = [_line(fit, letter, flops, predict) for letter, (_, _, predict) in _OF.items()]
    labels = {"status": fit.status, "family": fit.family}
    return [part.assign(**labels) for part in (points, _parabolas(found), minima, *laws)]


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
    budgets = sorted(rows.loc[rows["kind"] == "minimum", "budget"])
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
    axes.legend(loc="upper right")


def _law(axes: Axes, rows: pd.DataFrame, family: str, letter: str, fit: Fit) -> None:
    column, text, _ = _OF[letter]
    marks.line(axes, rows[rows["kind"] == letter], "flops_6n", family)
    lowest = rows[rows["kind"] == "minimum"]
    axes.plot(lowest["flops_6n"], lowest[column], "x", color="#000000", zorder=5)
    axes.set_yscale("log")
    style.counts_axis(axes, "y")
    style.compute_axis(axes, "C = 6ND (FLOPs)")
    exponent = {"N": "a", "D": "b"}[letter]
    axes.set(ylabel=text, title=f"{letter}* ∝ C^{exponent}, {exponent} = {style.short_interval(fit, exponent, 2)}")
