"""Resampling of runs: how often each row enters each resample, and what an interval makes of the resampled fits.

In: the rows, a `Resampling`, a test of what can be fitted. Out: counts (R resamples, n rows); intervals of draws.
Laws fit all resamples through one call, so that the batched minimiser takes them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.special import ndtr, ndtri, stdtrit

LEVEL = 95  # per cent, of every interval
TRIES = 50  # draws per wanted resample before giving up: a choice
LEAST_GROUPS = 5  # below it, resamples hardly differ and an interval would look far too narrow: a choice
LEAST_DRAWS = 40  # below it, no draw lies beyond a percentile of 2.5
ROUGH_GROUPS = 10  # whole sizes, fewer than this: intervals are flagged as rough; a choice
TIED = 0.05  # share of draws equal to the point beyond which it lies on a bound: a choice


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How resamples are drawn: `count` of them, of rows, or of whole model sizes (`by` = a column of the rows)."""

    count: int = 1000
    seed: int = 0
    by: str = ""
    """Empty: rows. A column such as `size`: all rows that share its value are drawn together, which keeps intervals
    honest where runs of one size share part of their training."""

    @property
    def conventions(self) -> dict[str, str | int]:
        """What a `Fit` records of it."""
        return {"resampled": self.by or "runs", "resamples": self.count, "seed": self.seed}

    def groups(self, rows: pd.DataFrame) -> np.ndarray:
        """(n,) the number of each row's group; `ValueError` for a row without its label."""
        if not self.by:
            return np.arange(len(rows))
        if self.by not in rows or rows[self.by].isna().any():
            raise ValueError(f"runs cannot be resampled by {self.by!r}: some have no such label")
        return pd.factorize(rows[self.by], sort=True)[0]

    def freedom(self, rows: pd.DataFrame, constants: int) -> int:
        """Degrees of freedom of an interval: rows less constants, or groups less one; at least 1."""
        return max(1, int(self.groups(rows).max(initial=0)) if self.by else len(rows) - constants)


def resamples(
    groups: np.ndarray,
    resampling: Resampling,
    usable: Callable[[np.ndarray], np.ndarray] = lambda counts: np.ones(len(counts), bool),
) -> np.ndarray:
    """(R, n) counts of draws with replacement of the rows' groups, R = `count` unless usable ones are too rare or
    groups too few.

    Resamples that `usable` (counts (R, n) -> (R,)) refuses, for their rows do not determine the law, are drawn again:
    intervals are conditional on a law that can be fitted.
    """
    size = groups.max(initial=-1) + 1
    generator = np.random.default_rng(resampling.seed)
    found = np.empty((0, len(groups)), int)
    for _ in range(TRIES if size >= LEAST_GROUPS and resampling.count else 0):
        if len(found) == resampling.count:
            break
        drawn = generator.multinomial(size, np.full(size, 1 / size), resampling.count)[:, groups]
        found = np.concatenate([found, drawn[usable(drawn)]])[: resampling.count]
    return found


def flags(draws: np.ndarray, resampling: Resampling, groups: np.ndarray | None = None) -> list[str]:
    """What keeps the intervals of these resamples from being taken at face value."""
    wanted, found = resampling.count, len(draws)
    if not wanted:
        return []
    if found < LEAST_DRAWS:
        few = "too few runs to resample" if not found else f"{found} usable resamples, at least {LEAST_DRAWS} wanted"
        return [f"no interval: {few}"]
    notes = [f"only {found} usable resamples"] if found < wanted else []
    if resampling.by and groups is not None and (size := groups.max(initial=-1) + 1) < ROUGH_GROUPS:
        notes.append(f"rough interval: only {size} values of {resampling.by} to resample")
    return notes


def interval(point: float, draws: np.ndarray, freedom: int, reflected: bool = False) -> tuple[float, float]:
    """The bias-corrected 95 % percentile interval of draws around what all rows give, which it always holds.

    Percentiles move by how far the point lies from the draws' median (Efron 1987, bias correction), unless it lies on
    a bound, where draws pile up, or the draws were `reflected` already; and are those of Student's t.
    `tests/benchmarks/bench_coverage.py` shows what they hold of the parametric law: plain percentiles too little with
    few runs, and expanded by √(n / (n − p)) as well too much.
    """
    draws = np.asarray(draws, float)
    width, tied = -float(stdtrit(freedom, (100 - LEVEL) / 200)), float((draws == point).mean())
    below = float((draws < point).mean()) + tied / 2
    shift = 0.0 if tied > TIED or reflected else 2 * float(ndtri(np.clip(below, 0.025, 0.975)))
    low, high = np.quantile(draws, ndtr([shift - width, shift + width]))
    return min(float(low), point), max(float(high), point)
