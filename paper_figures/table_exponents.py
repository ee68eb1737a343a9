"""The exponents of every law with their intervals, one row per family (Cuervo & Marxer 2024, Tables 4 and 5).

In: fits. Out: a table as figure and numbers.
"""

import pandas as pd
from matplotlib.figure import Figure

from analysis import downstream, envelope, parametric
from analysis.fit import Fit
from paper_figures import style
from paper_figures.results import NothingToDraw, Results

_LOSS = [(parametric.LAW, "alpha", "α"), (parametric.LAW, "beta", "β"), (parametric.LAW, "a", "a")]
_LOSS += [(envelope.LAW, "gamma", "γ of loss")]


def numbers(results: Results) -> pd.DataFrame:
    """One row per family and exponent: value, interval, runs and flags; empty values were not fitted."""
    rows = [(fit, name, symbol) for law, name, symbol in _LOSS for fit in results.fits if fit.law == law]
    scored = [fit for fit in results.fits if fit.law == downstream.LAW]
    for benchmark in results.benchmarks([fit.family for fit in scored]) if scored else []:
        rows += [(fit, "gamma", f"γ of {style.label(benchmark)}") for fit in scored if fit.measure == benchmark]
    if not rows:
        raise NothingToDraw(f"no fits at scale {results.scale}")
    return pd.DataFrame([_row(*row) for row in rows])


def draw(results: Results) -> Figure:
    """A ruled table, families down and exponents across."""
    rows = numbers(results)
    families, symbols = sorted(rows["family"].unique()), list(dict.fromkeys(rows["exponent"]))
    figure, (axes,) = style.new(1, 1, 0.55 + 0.36 * len(families))
    axes.axis("off")
    axes.set(xlim=(0, len(symbols) + 1.3), ylim=(-len(families) - 0.1, 1.0))
    for column, symbol in enumerate(symbols):
        heading = symbol.replace("of ", "of\n")
        axes.text(column + 1.8, 0.4, heading, ha="center", va="center", weight="bold", fontsize=6.5)
    cells = rows.set_index(["family", "exponent"])
    for line, family in enumerate(families):
        axes.text(0, -line - 0.5, style.label(family), va="center", color=style.colour(family), fontsize=6.5)
        for column, symbol in enumerate(symbols):
            if (family, symbol) in cells.index:
                text = _cell(cells.loc[(family, symbol)])
                axes.text(column + 1.8, -line - 0.5, text, ha="center", va="center", fontsize=5.8, linespacing=1.3)
        axes.axhline(-line, color="#222222" if line == 0 else "#DDDDDD", linewidth=0.7 if line == 0 else 0.4)
    return figure


def caption(results: Results) -> str:
    """What the table holds."""
    rows = numbers(results)
    chance = int(rows["flags"].str.contains("at chance").sum())
    return (
        "Exponents with 95 % bootstrap intervals over runs: L = E + A/N^α + B/D^β, N_opt ∝ C^a, least loss ∝ C^−γ, "
        f"best accuracy ∝ C^γ. {int(rows['value'].isna().sum())} of {len(rows)} lack points (–), "
        f"{chance} belong to a benchmark at chance, where γ means nothing. A dagger marks other flags, listed under "
        "the fitted laws."
    )


def _row(fit: Fit, name: str, symbol: str) -> dict:
    low, high = fit.intervals.get(name, (float("nan"), float("nan")))
    values = {"value": fit.params.get(name, float("nan")), "low": low, "high": high}
    labels = {"family": fit.family, "exponent": symbol, "law": fit.law, "measure": fit.measure}
    return labels | values | {"runs": len(fit.rows), "flags": "; ".join(fit.flags)}


def _cell(row: pd.Series) -> str:
    if "at chance" in row["flags"]:
        return "at chance"
    if pd.isna(row["value"]):
        return "–"
    mark = "†" if row["flags"] else ""
    interval = "" if pd.isna(row["low"]) else f"\n[{row['low']:.3f}, {row['high']:.3f}]"
    return f"{row['value']:.3f}{mark}{interval}"
