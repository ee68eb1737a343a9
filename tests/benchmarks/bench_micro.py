"""Runs per hour of the micro scaling study, against its points as separate cosine runs, one after another.

The suite: wsd runs that share trunks, one-thread processes side by side. Against it: what a loop over training scripts
does, with PyTorch's default of all cores in one process. Final losses are compared with the spread over 3 seeds.
`PYTHONPATH=. python tests/benchmarks/bench_micro.py ROOT`, where ROOT holds the micro stores of units; ten minutes.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from experiments.scales import SCALES
from experiments.studies import held_out_stores, runs_of
from slm.machine import usable_cores
from slm.runlog import RunLog
from tests.benchmarks.timing import show

MICRO = SCALES["micro"]
WAYS = {
    "scaling": ["--workers", str(usable_cores())],
    "cosine": ["--workers", "1", "--threads", str(usable_cores())],
}


def trained(study: str, root: Path) -> tuple[float, dict]:
    """Seconds to train a study from nothing, and the loss of each of its points in nats per token."""
    command = [sys.executable, "-m", "experiments", "train", study, "--scale", "micro", *WAYS[study]]
    before = time.perf_counter()
    subprocess.run(command, env=os.environ | {"SLM_ROOT": str(root)}, check=True)
    took, losses = time.perf_counter() - before, {}
    for run in runs_of(study, MICRO):
        own = held_out_stores(run, MICRO)[0]
        (row,) = (row for row in RunLog(root / "runs" / "micro" / run.name).rows("val") if row["store"] == own)
        losses[run.size, run.train.tokens, run.train.seed] = row["sum_nats"] / row["num_tokens"]
    return took, losses


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "stores").symlink_to(Path(sys.argv[1]).absolute() / "stores")
        (fast, mine), (slow, theirs) = (trained(study, Path(folder)) for study in WAYS)
    per_hour = len(mine) / fast * 3600, len(theirs) / slow * 3600
    seeded = [loss for key, loss in mine.items() if (*key[:2], 1) in mine]
    differences = sorted(mine[key] - theirs[key] for key in mine.keys() & theirs.keys())
    rows = [
        ("trunks and branches, side by side", f"{per_hour[0]:.0f} runs an hour ({len(mine)} in {fast:.0f} s)"),
        ("separate cosine runs, all cores each", f"{per_hour[1]:.0f} ({len(theirs)} in {slow:.0f} s)"),
        ("ratio", f"{per_hour[0] / per_hour[1]:.2f} times"),
        (
            "loss, wsd less cosine",
            f"median {differences[len(differences) // 2]:+.3f} nats/token, "
            f"from {differences[0]:+.3f} to {differences[-1]:+.3f}",
        ),
        ("spread of 3 seeds", f"{max(seeded) - min(seeded):.3f} nats/token"),
    ]
    show("the micro scaling study", rows)
