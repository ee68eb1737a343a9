"""Boundaries of tokens against boundaries of words.

In: sorted times on one line. Out: precision, recall, F1 and the R-value.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class BoundaryScores:
    """How found boundaries fit true ones; shares of 1, except the R-value, which is at most 1 and may be negative."""

    precision: float
    recall: float
    f1: float
    r_value: float


def boundary_scores(found: np.ndarray, true: np.ndarray, tolerance: int) -> BoundaryScores:
    """Scores of sorted integer times, at least one true one; each boundary matches at most one of the other kind.

    R-value: Räsänen, Laine & Altosaar 2009, "An improved speech segmentation quality measure", Interspeech. With the
    hit rate HR and the over-segmentation OS = found / true - 1, it is 1 - (|r1| + |r2|) / 2, where
    r1 = sqrt((1 - HR)^2 + OS^2) and r2 = (HR - 1 - OS) / sqrt(2).
    """
    hits = _matches(found.tolist(), true.tolist(), tolerance)
    recall, precision = hits / len(true), hits / len(found) if len(found) else 0.0
    over = len(found) / len(true) - 1
    r1, r2 = np.hypot(1 - recall, over), (recall - 1 - over) / np.sqrt(2)
    return BoundaryScores(
        precision=precision,
        recall=recall,
        f1=2 * hits / (len(found) + len(true)),
        r_value=float(1 - (abs(r1) + abs(r2)) / 2),
    )


def _matches(found: list[int], true: list[int], tolerance: int) -> int:
    """The most pairs within the tolerance: in order, each true boundary takes the first free one in its reach."""
    pairs = at = 0
    for time in true:
        while at < len(found) and found[at] < time - tolerance:
            at += 1
        if at < len(found) and found[at] <= time + tolerance:
            pairs += 1
            at += 1
    return pairs
