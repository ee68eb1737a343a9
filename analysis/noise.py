"""The spread over seeds: how far apart runs of one recipe land.

In: the runs and scores tables. Out: one row per recipe and measure that was trained with several seeds.
"""

import pandas as pd

from analysis.downstream import METRIC

COLUMNS = ["family", "size", "budget", "measure", "seeds", "mean", "sd", "min", "max"]


def seed_spread(runs: pd.DataFrame, scores: pd.DataFrame) -> pd.DataFrame:
    """Mean, sample standard deviation (n - 1) and range over seeds; measures are nats per token and accuracies."""
    accuracy = scores[(scores["subset"] == "all") & (scores["metric"] == METRIC)]
    loss = runs.assign(measure="nats_per_token", value=runs["nats_per_token"])
    values = pd.concat([loss, accuracy.assign(measure=accuracy["eval"])])
    groups = values.groupby(["point", "family", "size", "budget", "measure"], sort=True)["value"]
    spread = groups.agg(seeds="count", mean="mean", sd="std", min="min", max="max").reset_index()
    several = spread[spread["seeds"] > 1].sort_values(["family", "size", "budget", "measure"])
    return several[COLUMNS].reset_index(drop=True)
