"""What several figures draw alike: points with their error, a fitted law with its band.

In: axes and rows of a figure's numbers. Out: marks on the axes; the rows of a law, which are numbers as the points are.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from analysis.fit import Fit, Function, band
from paper_figures import style

POINTS = 25  # of a law's line


def law(fit: Fit, column: str, grid: np.ndarray, values: Function, **labels: object) -> pd.DataFrame:
    """Rows of `kind` law: `column` = grid, `value`, and `low` and `high` of its 95 % band (empty without resamples)."""
    grid = np.asarray(grid, float)
    edges = band(fit, values)
    low, high = edges if edges else (np.full(len(grid), np.nan), np.full(len(grid), np.nan))
    shared = {"status": fit.status, "kind": "law", "family": fit.family} | labels
    return pd.DataFrame({column: grid, "value": values(fit.params), "low": low, "high": high}).assign(**shared)


def points(axes: Axes, rows: pd.DataFrame, x: str, family: str, **options: object) -> None:
    """`value` of the rows against column `x`, with `stderr` where they have one, in the family's look."""
    look = style.look(family)
    error = rows["stderr"] if "stderr" in rows and rows["stderr"].notna().any() else None
    chosen = {"fmt": look.marker, "color": look.colour, "markersize": 3.2, "elinewidth": 0.6, "alpha": 0.85}
    axes.errorbar(rows[x], rows["value"], error, **chosen | options)


def line(axes: Axes, rows: pd.DataFrame, x: str, family: str, **options: object) -> None:
    """The rows of a law as a line over its band, in the family's colour and dash; limits are left to the line."""
    look = style.look(family)
    chosen = {"color": look.colour, "linestyle": look.dash, "zorder": 3} | options
    axes.plot(rows[x], rows["value"], **chosen)
    limits = axes.dataLim.get_points().copy()
    if rows["low"].notna().any():
        shade = {"color": chosen["color"], "alpha": 0.18, "linewidth": 0, "zorder": 1.5}
        axes.fill_between(rows[x], rows["low"], rows["high"], **shade)
    axes.dataLim.set_points(limits)
    axes.autoscale_view()


def told(axes: Axes, lines: Sequence[tuple[str, str]]) -> None:
    """Lines of (family, text) in the upper left, each behind its family's marker; a linear axis makes room for them."""
    low, high = axes.get_ylim()
    ticks = [tick for tick in axes.get_yticks() if low <= tick <= high]
    axes.set_ylim(low, high + (0.05 + 0.13 * len(lines)) * (high - low))
    axes.set_yticks(ticks)
    shared = {"linestyle": "", "markersize": 3.2}
    entries = [entry(family, label=text, **shared) for family, text in lines]
    place = {"loc": "upper left", "borderaxespad": 0.0, "borderpad": 0.2, "labelspacing": 0.25}
    legend = axes.legend(handles=entries, handlelength=0.8, handletextpad=0.3, **place)
    legend.set_in_layout(False)


def entry(family: str, **options: object) -> Line2D:
    """A legend's entry of a family: its marker on its line."""
    look = style.look(family)
    chosen = {"marker": look.marker, "color": look.colour, "linestyle": look.dash, "label": style.label(family)}
    return Line2D([], [], **chosen | options)
