"""The constants of L(N, D) and L(N′, D′) and the allocation that follows (Cuervo & Marxer 2024, Table 5).

In: printed constants, our own fits. Out: a table as figure and numbers.
"""

import math

import pandas as pd
from matplotlib.figure import Figure

from analysis import parametric, repeats
from analysis.fit import Fit
from analysis.summary import number
from paper_figures import ruled, style
from paper_figures.results import Results

SYMBOLS = {"E": "E", "A": "A", "B": "B", "alpha": "α", "beta": "β"}
SYMBOLS |= {"G": "G", "a": "a", "b": "b", "RN_star": "R_N*", "RD_star": "R_D*"}
_REPEATED = ("RN_star", "RD_star")


def numbers(results: Results) -> pd.DataFrame:
    """One row per family and constant: value, interval, law, flags; empty values were not fitted or not printed."""
    fits = results.evidence_and_own()
    surfaces = [fit for fit in fits if fit.law == parametric.LAW]
    if not surfaces:
        raise results.nothing("no fits of L(N, D)")
    repeated = {(fit.family, fit.measure): fit for fit in fits if fit.law == repeats.LAW}
    rows = []
    for fit in surfaces:
        rows += [_row(fit, name) for name in SYMBOLS if name not in _REPEATED]
        if other := repeated.get((fit.family, fit.measure)):
            rows += [_row(other, name) for name in _REPEATED]
    return pd.DataFrame(rows)


def draw(results: Results) -> Figure:
    """A ruled table: families down, constants across."""
    lines, columns = ruled.crossed(
        numbers(results), ["status", "family"], "constant", lambda row: ruled.fitted(row, number)
    )
    table = {"whose": [status for status, _ in lines], "family": [style.label(family) for _, family in lines]}
    table |= {symbol: columns[name] for name, symbol in SYMBOLS.items() if name in columns}
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(table), names=2, strong=ruled.breaks(lines, 1)))


def caption(results: Results) -> str:
    """What the table holds."""
    text = (
        "L = E + A/N^α + B/D^β in nats per token of its own, N with the tied embedding once; N_opt = G (C/6)^a, "
        "D_opt = (C/6)^b / G; R_N*, R_D*: how far repeats are worth fresh parameters and tokens. Published: as "
        "printed, G, a and b derived from it; in which unit the losses of unigram pieces were taken is not stated. "
        "E, A and B of different tokens must not be compared."
    )
    if results.is_published:
        return text
    rows = numbers(results)
    lacking = rows.loc[rows["value"].isna() & (rows["status"] == "own"), "family"].unique()
    said = f" Not fitted (–): {', '.join(map(style.label, lacking))}." if len(lacking) else ""
    return f"{text} Own: 95 % bootstrap intervals over runs; a dagger marks flags, which are in the numbers.{said}"


def _row(fit: Fit, name: str) -> dict:
    low, high = fit.intervals.get(name, (math.nan, math.nan))
    labels = {"status": fit.status, "family": fit.family, "constant": name, "law": fit.law, "measure": fit.measure}
    values = {"value": fit.params.get(name, math.nan), "low": low, "high": high}
    return labels | values | {"runs": len(fit.rows), "flags": "; ".join(fit.flags)}
