"""What the report says of the papers' numbers: whose they are, where print and released runs agree, their tables.

In: `analysis.evidence`. Out: text and frames of strings; `report.py` turns them into HTML.
"""

import pandas as pd

from analysis import evidence, summary
from analysis.summary import Section
from paper_figures import style
from paper_figures.results import Results, published_fits

SHOWN = ("cuervo2024_table3", "cuervo2024_released_runs", "slam_table1", "slam_table2", "slam_interleaving")
SHOWN += ("spiritlm_table6", "sims_table1", "sims_table2", "zeng2024_interleaved_scaling")
"""Tables that no figure of ours draws in whole, or that readers compare with."""
MEANINGS = {
    "published": "as a paper prints it",
    "re-evaluated": "scored again by the paper's authors",
    "derived": "computed here from published numbers",
    "second-hand": "read from somebody who read the paper",
}


def opening(results: Results) -> list[str]:
    """Which marks there are, and what was never published."""
    marks = "; ".join(f"{status}: {meaning}" for status, meaning in MEANINGS.items())
    mixed = "" if results.is_published else " Our own numbers are marked own wherever they stand beside others'."
    return [
        f"Numbers that others measured, each marked: {marks}.{mixed}",
        "No losses of single runs, no intervals and none of the numbers behind the paper's figures are published. "
        "Figures of losses therefore show curves of printed constants, or another paper's numbers, and say so.",
    ]


def tables() -> list[Section]:
    """Printed constants and what follows from them, Table 4 redone, and the papers' tables."""
    found = [summary.frontier(evidence.frontier(evidence.fits()))]
    found.append(summary.agreement(evidence.agreement(evidence.redone())))
    found += summary.sections(published_fits())
    return [*map(_named, found), *map(_printed, SHOWN)]


def _named(section: Section) -> Section:
    """A section whose families and benchmarks are called as in the figures."""
    heading, rows, note = section
    called = {"family": style.label, "benchmark": style.label}
    return heading, rows.assign(**{name: rows[name].map(called[name]) for name in called if name in rows}), note


def _printed(name: str) -> Section:
    """A published table as it is, with its source and whose numbers these are."""
    printed = evidence.table(name)
    rows = printed.rows.map(_cell)
    rows.columns = [str(column).replace("_", " ") for column in rows.columns]
    note = " ".join(filter(None, (f"Source: {printed.source}.", printed.note)))
    return f"{printed.title} ({printed.status}; {printed.unit})", rows, note


def _cell(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if pd.isna(value):
        return ""
    if isinstance(value, int | float):
        return f"{value:,.0f}" if 1e3 <= value < 1e13 and float(value).is_integer() else f"{value:.4g}"
    return str(value)
