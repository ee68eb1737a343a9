"""Results: the tables and fits of a scale, or the published ones; the only thing that a figure is drawn from.

In: `$SLM_ROOT/results/SCALE`, or `analysis.evidence`. Out: a frozen value and the questions that figures ask of it.
"""

from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from analysis import evidence, frame, laws, parametric, repeats
from analysis import fit as fits_of
from analysis.downstream import METRIC, chance, fit_loss, headline, measure
from analysis.fit import Fit
from analysis.folders import results_folder
from analysis.frame import Tables
from paper_figures import marks

PRINTED_FLOPS = (1e17, 1e21)
"""Compute over which curves of printed constants are drawn: about the paper's figures, and a decade beyond."""
CURVES = f"{evidence.SPEECH}-curves"
"""The released runs that the paper's curves hold, as a family of `evidence.redone`."""
_RUN = ["family", "name", "size", "budget", "seed", "params_total", "tokens", "flops_6n", "nats_per_token"]


class NothingToDraw(ValueError):
    """The tables hold no run of what a figure shows, or nobody published it."""


@dataclass(frozen=True, kw_only=True)
class Results:
    """Tables (columns: `analysis.columns`) and fits of one scale, or of the published evidence."""

    scale: str
    tables: Tables
    fits: list[Fit]
    schemes: pd.DataFrame | None = None
    """What `python -m data compare` measured, a row per scheme; None where it was not run."""

    @property
    def is_published(self) -> bool:
        return self.scale == evidence.SCALE

    @property
    def status(self) -> str:
        """Whose numbers the runs and scores are."""
        return evidence.table("cuervo2024_released_runs").status if self.is_published else "own"

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
            found |= dict.fromkeys(sorted(self.members(study)["family"]))
        if not found:
            raise self.nothing(f"no finished run of study {' or '.join(studies)}")
        return list(found)

    def nothing(self, text: str) -> NothingToDraw:
        """What to raise where there is none of something."""
        return NothingToDraw(f"not published: {text}" if self.is_published else f"{text} at scale {self.scale}")

    def members(self, study: str) -> pd.DataFrame:
        """The runs that a study lists."""
        return self.runs[self.runs["studies"].str.split(";").map(lambda names: study in names).astype(bool)]

    def benchmarks(self, families: list[str]) -> list[str]:
        """Benchmarks that runs of these families were scored on, easiest first; `NothingToDraw` if there are none."""
        rows = self.scores[self.scores["family"].isin(families) & (self.scores["metric"] == METRIC)]
        if rows.empty:
            raise NothingToDraw(f"no scores of {', '.join(families)} at scale {self.scale}: score the runs first")
        known = ["minimal_pairs", "topic_cloze", "story_cloze", "sblimp", "tstorycloze", "sstorycloze"]
        found = set(rows["eval"])
        return [name for name in known if name in found] + sorted(found - set(known))

    def accuracy(self, families: list[str], averages: tuple[str, ...] = ("all",)) -> pd.DataFrame:
        """Headline accuracy: one row per family, measure and run, by rising compute, with its chance.

        `measure` is the benchmark over all questions; with "macro" among the averages, of benchmarks of phenomena also
        the unweighted mean over these, of the families for which it is another number.
        """
        asked = {family: laws.subsets(self.scores, family) for family in families}
        parts = []
        for benchmark in self.benchmarks(families):
            for subset in averages:
                for family in families:
                    if (benchmark, subset) in asked[family]:
                        rows = headline(self.scores, family, benchmark, subset).sort_values(["flops_6n", "name"])
                        told = {"measure": measure(benchmark, subset), "chance": [chance(row) for row in _each(rows)]}
                        parts.append(rows.assign(**told))
        rows = pd.concat(parts).assign(status=self.status)
        return rows[["status", "measure", *_RUN, "value", "stderr", "n", "chance"]].reset_index(drop=True)

    def study_accuracy(self, study: str) -> pd.DataFrame:
        """`accuracy` of the runs of a study alone, one seed of each point; without rows where there are none."""
        runs = laws.one_seed(self.members(study))
        if self.is_published or not self.scores["name"].isin(runs["name"]).any():
            return pd.DataFrame()
        rows = self.accuracy(sorted(runs["family"].unique()))
        return rows[rows["name"].isin(runs["name"])].reset_index(drop=True)

    def fit(self, law: str, family: str, measure: str = "nats_per_token") -> Fit | None:
        """The fit of a law, None where it was not made or found no parameters."""
        wanted = (law, family, measure)
        found = [fit for fit in self.fits if (fit.law, fit.family, fit.measure) == wanted and fit.params]
        return found[0] if found else None

    def evidence_and_own(self) -> list[Fit]:
        """All fits, the published evidence first; each tells whose it is by its status."""
        return self.fits if self.is_published else [*published_fits(), *self.fits]

    def at_chance(self, family: str, measure: str) -> bool:
        """Whether a fit flags the family's largest run as at chance on a benchmark."""
        fits = [fit for fit in self.fits if (fit.family, fit.measure) == (family, measure)]
        return any(flag.startswith("at chance") for fit in fits for flag in fit.flags)

    def frontiers(self, families: tuple[str, ...]) -> pd.DataFrame:
        """The least loss that compute buys under each family's surface, as rows of a law with N_opt and D_opt.

        Of constants without resamples there is no band; of printed ones it is a curve that nobody measured, marked so.
        """
        flops = np.unique([*np.geomspace(*PRINTED_FLOPS, marks.POINTS), *evidence.BUDGETS])
        parts = []
        for family in families:
            if fit := self.fit(parametric.LAW, family):
                n, d = parametric.optimum(fit.params, flops)
                rows = marks.law(fit, "flops_6n", flops, lambda params: parametric.frontier(params, flops))
                parts.append(rows.assign(kind="frontier", status="derived", params_total=n, tokens=d))
        return pd.concat(parts, ignore_index=True)


def _each(rows: pd.DataFrame) -> list[pd.Series]:
    return [row for _, row in rows.iterrows()]


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


def load_published() -> Results:
    """The published evidence: the released runs, the printed constants, and the laws that the runs give again.

    The runs' losses are unpublished: `nats_per_token` of their scores is what the printed constants predict.
    """
    tables = evidence.tables()
    surface = next(fit for fit in evidence.fits() if (fit.law, fit.family) == (repeats.LAW, evidence.SPEECH))
    runs = tables.runs.set_index("name").loc[tables.scores["name"]]
    sizes = (runs[name].to_numpy() for name in ("params_total", "tokens", "unique_tokens"))
    nats = repeats.predict(surface.params, *sizes)
    scores = tables.scores.assign(nats_per_token=nats)
    lines = [
        replace(fit_loss(scores, evidence.SPEECH, benchmark, subset=subset), status="derived")
        for benchmark, subset, _ in evidence.BENCHMARKS.values()
    ]
    return Results(scale=evidence.SCALE, tables=replace(tables, scores=scores), fits=[*published_fits(), *lines])


@cache
def published_fits() -> list[Fit]:
    """`evidence.all_fits`, once."""
    return evidence.all_fits()
