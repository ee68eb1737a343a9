"""Every law that a scale's tables can bear, fitted family by family.

In: tables. Out: `Fit`s. What is fitted is decided here; how, in each law's own file.
"""

import pandas as pd

from analysis import downstream, envelope, parametric
from analysis.fit import Fit
from analysis.frame import Tables


def families(tables: Tables, only: list[str]) -> list[str]:
    """The families that were trained at several sizes, or those of `only`; `ValueError` for one without a run."""
    found = sorted(tables.runs["family"].unique())
    if missing := sorted(set(only) - set(found)):
        raise ValueError(f"no finished run of family {', '.join(missing)}; the tables have {', '.join(found)}")
    sizes = tables.runs.groupby("family")["size"].nunique()
    return [family for family in found if family in only or (not only and sizes[family] > 1)]


def one_seed(runs: pd.DataFrame) -> pd.DataFrame:
    """The run of the lowest seed of every point: more seeds of one point would weigh more, and the best of three would
    bend an envelope there."""
    return runs.sort_values(["seed", "name"]).drop_duplicates("point").sort_values("name")


def fit_all(tables: Tables, only: list[str]) -> list[Fit]:
    """Loss laws and, for every benchmark scored, accuracy laws of each family."""
    fits: list[Fit] = []
    runs = one_seed(tables.runs)
    scores = tables.scores[tables.scores["name"].isin(runs["name"])]
    for family in families(tables, only):
        fits.append(parametric.fit(runs, family))
        fits.append(envelope.fit(runs, family))
        fits.append(envelope.fit_offset(runs, family))
        scored = scores[scores["family"] == family]
        for benchmark in sorted(scored["eval"].unique()):
            fits.append(downstream.fit_compute(scored, family, benchmark))
            fits.append(downstream.fit_loss(scored, family, benchmark))
    return fits
