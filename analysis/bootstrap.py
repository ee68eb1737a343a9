"""Resampling of runs: how often each row enters each resample, and what an interval makes of the resampled fits.

In: the rows, a `Resampling`, a test of what can be fitted. Out: counts (R resamples, n rows); intervals of draws.
Laws fit all resamples through one call, so that the batched minimiser takes them at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri, stdtrit

LEVEL = 95  # per cent, of every interval
TRIES = 50  # draws per wanted resample before giving up: a choice
LEAST_ROWS = 5  # below it, resamples hardly differ and an interval would look far too narrow: a choice


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


def resamples(
    groups: np.ndarray, resampling: Resampling, usable: Callable[[np.ndarray], bool] = lambda counts: True
) -> np.ndarray:
    """(R, n) counts of draws with replacement of the rows' groups, R = `count` unless usable ones are too rare or
    groups too few.

    A resample that `usable` refuses (its rows do not determine the law) is drawn again: intervals are conditional on
    a law that can be fitted.
    """
    members = np.unique(np.asarray(groups), return_inverse=True)[1]
    size = members.max(initial=-1) + 1
    generator = np.random.default_rng(resampling.seed)
    found: list[np.ndarray] = []
    for _ in range(TRIES * resampling.count if size >= LEAST_ROWS else 0):
        if len(found) == resampling.count:
            break
        counts = np.bincount(generator.integers(size, size=size), minlength=size)[members]
        if usable(counts):
            found.append(counts)
    return np.array(found, dtype=int).reshape(-1, len(members))


def flags(counts: np.ndarray, wanted: int) -> list[str]:
    """What keeps the intervals of these resamples from being taken at face value."""
    if not len(counts) and wanted:
        return ["no interval: too few runs to resample"]
    return [f"only {len(counts)} usable resamples"] if len(counts) < wanted else []


def interval(point: float, draws: np.ndarray, rows: int, constants: int) -> tuple[float, float]:
    """The bias-corrected 95 % percentile interval of draws around what all rows give.

    Percentiles move by how far the point lies from the draws' median (Efron 1987, bias correction), and are those of
    Student's t with `rows` − `constants` degrees of freedom. `tests/benchmarks/bench_coverage.py` shows what it holds:
    plain percentiles hold too little with few runs, expanding them by √(n / (n − p)) as well holds too much.
    """
    draws = np.asarray(draws, float)
    width = -float(stdtrit(max(rows - constants, 1), (100 - LEVEL) / 200))
    below = ((draws < point).sum() + 0.5 * (draws == point).sum()) / len(draws)
    shift = 2 * float(ndtri(np.clip(below, 0.02, 0.98)))
    low, high = np.quantile(draws, ndtr([shift - width, shift + width]))
    return float(low), float(high)
