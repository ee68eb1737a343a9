"""Results: the tables and fits of a scale, loaded; the only thing that a figure is drawn from.

In: `$SLM_ROOT/results/SCALE`. Out: a frozen value and the few questions that several figures ask of it.
"""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from analysis import fit as fits_of
from analysis import frame
from analysis.downstream import METRIC, headline
from analysis.fit import Fit
from analysis.folders import results_folder
from analysis.frame import Tables


class NothingToDraw(ValueError):
    """The tables hold no run of what a figure shows."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Tables (columns: `analysis.columns`) and fits of one scale."""

    scale: str
    tables: Tables
    fits: list[Fit]
    schemes: pd.DataFrame | None = None
    """What `python -m data compare` measured, a row per scheme; None where it was not run."""

    @property
    def runs(self) -> pd.DataFrame:
        return self.tables.runs

    @property
    def scores(self) -> pd.DataFrame:
        return self.tables.scores

    def families(self, *studies: str) -> list[str]:
        """Families with a finished run in any of the studies, in the studies' order; `NothingToDraw` if none has."""
        found: dict[str, None] = {}
        for study in studies:
            member = self.runs["studies"].str.split(";").map(lambda names, study=study: study in names)
            found |= dict.fromkeys(sorted(self.runs.loc[member, "family"]))
        if not found:
            raise NothingToDraw(f"no finished run of study {' or '.join(studies)} at scale {self.scale}")
        return list(found)

    def benchmarks(self, families: list[str]) -> list[str]:
        """Benchmarks that runs of these families were scored on, easiest first; `NothingToDraw` if there are none."""
        rows = self.scores[self.scores["family"].isin(families) & (self.scores["metric"] == METRIC)]
        if rows.empty:
            raise NothingToDraw(f"no scores of {', '.join(families)} at scale {self.scale}: score the runs first")
        known = ["minimal_pairs", "topic_cloze", "story_cloze"]
        found = set(rows["eval"])
        return [name for name in known if name in found] + sorted(found - set(known))

    def accuracy(self, families: list[str]) -> pd.DataFrame:
        """Headline accuracy over all items: one row per family, benchmark and run, by rising compute."""
        pairs = [(family, name) for name in self.benchmarks(families) for family in families]
        columns = ["eval", "family", "name", "size", "budget", "seed", "params_total", "tokens", "flops_6n"]
        columns += ["nats_per_token", "value", "stderr", "n"]
        rows = pd.concat([headline(self.scores, *pair).sort_values(["flops_6n", "name"]) for pair in pairs])
        return rows[columns].reset_index(drop=True)

    def fit(self, law: str, family: str, measure: str = "nats_per_token") -> Fit | None:
        """The fit of a law, None where it was not made or found no parameters."""
        wanted = (law, family, measure)
        found = [fit for fit in self.fits if (fit.law, fit.family, fit.measure) == wanted and fit.params]
        return found[0] if found else None

    def at_chance(self, family: str, benchmark: str) -> bool:
        """Whether a fit flags the family's largest run as at chance on a benchmark."""
        fits = [fit for fit in self.fits if (fit.family, fit.measure) == (family, benchmark)]
        return any(flag.startswith("at chance") for fit in fits for flag in fit.flags)


def load(root: Path, scale: str) -> Results:
    """The results that `python -m analysis collect` and `fit` wrote."""
    tables, fits = frame.read(root, scale), fits_of.read(root, scale)
    known = set(zip(tables.runs["name"], tables.runs["fingerprint"], strict=True))
    for fit in fits:
        if unknown := sorted(set(fit.rows) - known):
            raise ValueError(
                f"fit {fit.identifier} rests on {unknown[0][0]}, which the tables no longer hold: "
                f"run `python -m analysis fit --scale {scale}` again"
            )
    schemes = results_folder(root, scale) / "schemes.csv"
    compared = pd.read_csv(schemes) if schemes.exists() else None
    return Results(scale=scale, tables=tables, fits=fits, schemes=compared)
