"""Every law that a scale's tables can bear, fitted family by family.

In: tables. Out: `Fit`s. What is fitted is decided here; how, in each law's own file.
"""

from analysis import downstream, envelope, parametric
from analysis.fit import Fit
from analysis.frame import Tables


def families(tables: Tables, only: list[str]) -> list[str]:
    """The families of the tables, or those of `only`; `ValueError` for one that has no finished run."""
    found = sorted(tables.runs["family"].unique())
    if missing := sorted(set(only) - set(found)):
        raise ValueError(f"no finished run of family {', '.join(missing)}; the tables have {', '.join(found)}")
    return [family for family in found if not only or family in only]


def fit_all(tables: Tables, only: list[str]) -> list[Fit]:
    """Loss laws and, for every benchmark scored, accuracy laws of each family."""
    fits: list[Fit] = []
    for family in families(tables, only):
        fits.append(parametric.fit(tables.runs, family))
        fits.append(envelope.fit(tables.runs, family))
        fits.append(envelope.fit_offset(tables.runs, family))
        scored = tables.scores[tables.scores["family"] == family]
        for benchmark in sorted(scored["eval"].unique()):
            fits.append(downstream.fit_compute(scored, family, benchmark))
            fits.append(downstream.fit_loss(scored, family, benchmark))
    return fits
