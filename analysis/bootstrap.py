"""Resampling of runs: how often each row enters each resample.

In: the number of rows, of resamples, a seed and a test of what can be fitted. Out: counts (R resamples, n rows).
Laws fit all resamples through one call, so that a batched minimiser can take them at once.
"""

from collections.abc import Callable

import numpy as np

TRIES = 50  # draws per wanted resample before giving up: a choice
LEAST_ROWS = 5  # below it, resamples hardly differ and an interval would look far too narrow: a choice


def resamples(
    rows: int, count: int, seed: int, usable: Callable[[np.ndarray], bool] = lambda counts: True
) -> np.ndarray:
    """(R, rows) counts of draws with replacement, R = `count` unless usable resamples are too rare or rows too few.

    A resample that `usable` refuses (its rows do not determine the law) is drawn again: intervals are conditional on
    a law that can be fitted.
    """
    generator = np.random.default_rng(seed)
    found: list[np.ndarray] = []
    for _ in range(TRIES * count if rows >= LEAST_ROWS else 0):
        if len(found) == count:
            break
        counts = np.bincount(generator.integers(rows, size=rows), minlength=rows)
        if usable(counts):
            found.append(counts)
    return np.array(found, dtype=int).reshape(-1, rows)


def flags(counts: np.ndarray, wanted: int) -> list[str]:
    """What keeps the intervals of these resamples from being taken at face value."""
    if not len(counts):
        return ["no interval: too few runs to resample"]
    return [f"only {len(counts)} usable resamples"] if len(counts) < wanted else []
