"""Hindcasts: a law fitted to the smaller budgets, held against the larger ones.

In: rows, a way to fit them and a way to predict. Out: what `Fit.hindcast` records. The rows of the upper third of the
decades of compute are held out: a choice, made before looking.
"""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from analysis.fit import Fit

UPPER = 1 / 3
"""Share of the decades of compute that is held out."""
LEAST_DECADES = 0.1  # of compute that a law in it takes: runs of less are of one budget; a choice
Predict = Callable[[Mapping[str, float], pd.DataFrame], np.ndarray]
"""Constants and rows -> predicted values of the rows."""


def cut_flops(flops: np.ndarray) -> float:
    """The compute above which rows are held out."""
    low, high = np.log(np.min(flops)), np.log(np.max(flops))
    return float(np.exp(high - UPPER * (high - low)))


def hindcast(
    rows: pd.DataFrame,
    value: str,
    fit: Callable[[pd.DataFrame], Fit],
    predict: Predict,
    relative: bool,
    judged: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows,
) -> dict:
    """Fit the rows below the cut, predict `value` of those above; empty where either is impossible, as it is with runs
    of one budget.

    `relative`: errors are of the natural logarithm (losses), otherwise of the value itself (accuracies as fractions).
    `judged`: which of the held-out rows count, given all rows (an envelope speaks of the best ones alone). Each point
    is name, FLOPs, observed, predicted.
    """
    if rows.empty or np.log10(rows["flops_6n"].max() / rows["flops_6n"].min()) < LEAST_DECADES:
        return {}
    cut = cut_flops(rows["flops_6n"].to_numpy(float))
    counted = judged(rows)
    small, large = rows[rows["flops_6n"] <= cut], counted[counted["flops_6n"] > cut]
    found = fit(small)
    if not found.params or large.empty:
        return {}
    predicted, observed = np.asarray(predict(found.params, large), float), large[value].to_numpy(float)
    with np.errstate(all="ignore"):  # what an extreme exponent promises may be no number
        errors = np.log(predicted / observed) if relative else predicted - observed
        mean_square = float((errors**2).mean())
    if not np.isfinite(mean_square):
        return {}
    columns = large["name"], large["flops_6n"].astype(float), observed.tolist(), predicted.tolist()
    return {
        "cut_flops": cut,
        "fitted": len(found.rows),
        "held_out": len(large),
        "unit": "natural logarithm" if relative else "fraction",
        "root_mean_square": mean_square**0.5,
        "bias": float(errors.mean()),
        "decades": float(np.log10(rows["flops_6n"].max() / small["flops_6n"].max())),
        "points": [list(point) for point in zip(*columns, strict=True)],
    }
