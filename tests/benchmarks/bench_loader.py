"""Tokens per second that batches come at, from a warm store, without training: the need is 50 million.

Against a `DataLoader` over single windows with its default collation, the usual way. `PYTHONPATH=. python …`, seconds.
"""

import tempfile
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from slm.batches import MicroBatches, Updates
from slm.spec import ModelConfig
from tests.benchmarks.bench_train import random_store, run_of
from tests.benchmarks.timing import medians, show


class _Single(Dataset):
    """Window by window, as map-style data sets are mostly written."""

    def __init__(self, updates: Updates) -> None:
        self.updates = updates

    def __len__(self) -> int:
        return self.updates.steps * self.updates.rows

    def __getitem__(self, i: int):
        return self.updates.read(i, i + 1)[0]


def compare(context: int, windows: int, updates: int) -> None:
    """Seconds to read so many updates, both ways."""
    shape = ModelConfig(layers=1, width=16, heads=1, hidden=16, vocabulary=502, context=context)
    with tempfile.TemporaryDirectory() as folder:
        store = random_store(Path(folder) / "store", 502, 20_000_000)
        run = run_of(shape, store, updates, windows, "32-true")
        plan = Updates(run, [store])
        batches = MicroBatches(plan)
        took = medians(
            5,
            ours=lambda: [batch for batch in DataLoader(batches, batch_size=None)],
            single=lambda: [batch for batch in DataLoader(_Single(plan), batch_size=windows)],
        )
    speed = {name: run.train.tokens / seconds / 1e6 for name, seconds in took.items()}
    rows = [("step-addressed batches", f"{speed['ours']:.0f} M tokens/s")]
    rows += [("single windows, collated", f"{speed['single']:.0f} M: {speed['ours'] / speed['single']:.1f} times")]
    show(f"{windows} windows of {context} tokens", rows)


if __name__ == "__main__":
    compare(512, 4, 2000)
    compare(2050, 64, 100)
