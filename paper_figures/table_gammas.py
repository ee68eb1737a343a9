"""Exponents of accuracy against compute and how much more compute speech needs (Cuervo & Marxer 2024, Table 4).

In: printed exponents, those that the released runs give again, our own fits. Out: a table as figure and numbers.
"""

import math

import pandas as pd
from matplotlib.figure import Figure

from analysis import compare, downstream, evidence
from analysis.fit import STATUSES, Fit
from paper_figures import ruled, style
from paper_figures.results import Results

PRINTED = "cuervo2024_table4"
RATIO = "ratio_text_over_speech"
_ORDER = [downstream.LAW, compare.LAW, *STATUSES[1:], "own"]


def numbers(results: Results) -> pd.DataFrame:
    """One row per law, family and measure: `value` is γ (law accuracy_compute) or the ratio of text's to speech's
    (compute_ratio), empty where it could not be fitted; of a ratio, `family` is both."""
    laws = (downstream.LAW, compare.LAW)
    again = f"{evidence.SPEECH_PRINTED}-{evidence.TEXT_PRINTED}"  # the ratio of printed exponents is printed itself
    fits = [fit for fit in results.evidence_and_own() if fit.law in laws and fit.family != again]
    if not fits:
        raise results.nothing("no accuracy laws")
    guesses = [(fit.family, fit.measure) for fit in fits if any(flag.startswith("at chance") for flag in fit.flags)]
    rows = pd.DataFrame([*(_row(fit, guesses) for fit in fits), *_printed_ratios()])
    by = ["law", "status"]
    return rows.sort_values(by, key=lambda names: names.map(_ORDER.index), kind="stable").reset_index(drop=True)


def draw(results: Results) -> Figure:
    """A ruled table: whose number and families down, benchmarks across."""
    rows = numbers(results)
    rows = rows[~rows["measure"].isin(_without_numbers(rows))]
    lines, columns = ruled.crossed(rows, ["law", "status", "family"], "measure", _cell)
    table = {
        "exponent": ["γ" if law == downstream.LAW else "ratio" for law, _, _ in lines],
        "whose": [status for _, status, _ in lines],
        "runs of": [style.label(family).replace(" to ", " to\n") for _, _, family in lines],
    }
    for measure, cells in columns.items():
        table[style.label(measure).replace(", macro", "\n(macro)").replace(" (", "\n(")] = cells
    return ruled.figure(ruled.Ruled(cells=pd.DataFrame(table), names=3, strong=ruled.breaks(lines, 2)))


def caption(results: Results) -> str:
    """What the table holds, and where print and rows agree."""
    rows = numbers(results)
    text = [
        "γ of Q ∝ C^γ, and the ratio of text's γ to speech's: for the gain that a factor f of compute brings text, "
        "speech needs f to that power. Published: as printed, without intervals. Derived: fitted again to the released "
        "runs, and its ratio to the printed exponent of text. Intervals: 95 %."
    ]
    if not results.is_published:
        text.append("A dagger marks flags, which are in the numbers.")
    for measure, column in evidence.PRINTED.items():
        again = rows[(rows["family"] == f"{evidence.SPEECH}-curves") & (rows["measure"] == measure)]
        printed = evidence.table(PRINTED).rows.set_index("modality").loc["speech", column]
        for row in again.itertuples():
            agrees = "agrees" if abs(row.value - printed) <= evidence.LAST_DIGIT else "does not agree"
            shown = f"{row.value:.4f} [{row.low:.4f}, {row.high:.4f}]"
            text.append(f"{style.label(measure)}: printed {printed}, again {shown}: {agrees}.")
    return " ".join(text)


def _row(fit: Fit, guesses: list[tuple[str, str]]) -> dict:
    """`guesses`: families at chance on a measure; of an exponent that means nothing a ratio means nothing either."""
    name, flags = "gamma" if fit.law == downstream.LAW else "ratio", list(fit.flags)
    of_both = [family for family, measure in guesses if measure == fit.measure and fit.law == compare.LAW]
    if any(fit.family.startswith(f"{family}-") or fit.family.endswith(f"-{family}") for family in of_both):
        flags.insert(0, "at chance: the ratio means nothing")
    low, high = fit.intervals.get(name, (math.nan, math.nan))
    values = {"value": fit.params.get(name, math.nan), "low": low, "high": high, "runs": len(fit.rows)}
    labels = {"status": fit.status, "law": fit.law, "family": fit.family, "measure": fit.measure}
    return labels | values | {"flags": "; ".join(flags)}


def _printed_ratios() -> list[dict]:
    printed = evidence.table(PRINTED)
    row = printed.rows.set_index("modality").loc[RATIO]
    labels = {"status": printed.status, "law": compare.LAW, "runs": 0, "flags": ""}
    labels["family"] = f"{evidence.SPEECH_PRINTED}-{evidence.TEXT_PRINTED}"
    return [labels | {"measure": measure, "value": row[column]} for measure, column in evidence.PRINTED.items()]


def _without_numbers(rows: pd.DataFrame) -> set[str]:
    """Measures of which no exponent could be fitted, or at chance alone."""
    told = rows["value"].notna() & ~rows["flags"].str.contains("at chance")
    return set(rows["measure"]) - set(rows.loc[told, "measure"])


def _cell(row: pd.Series) -> str:
    places = 3 if row["law"] == downstream.LAW else 2
    return ruled.fitted(row, lambda value: f"{value:.{places}f}".replace("-", "−"))
