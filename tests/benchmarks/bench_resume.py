"""What continuing a run costs beyond imports and reading its checkpoint, and what writing checkpoints costs.

`PYTHONPATH=. python tests/benchmarks/bench_resume.py`, half a minute on a CPU. The need: 2 s, and 1 % of the time at
the default interval.
"""

import tempfile
import time
from pathlib import Path

import torch

from slm.checkpoint import AtomicCheckpointIO, read_checkpoint
from slm.machine import Machine
from slm.model import from_scratch
from slm.recorder import STALL, Leave, Wish
from slm.runlog import RunLog
from slm.spec import ModelConfig
from slm.train import train
from tests.benchmarks.bench_train import SHAPES, random_store, run_of
from tests.benchmarks.timing import show

MODELS = SHAPES | {"20M": ModelConfig(layers=6, width=512, heads=8, hidden=1536, vocabulary=51, context=128)}


def measure(name: str, model: ModelConfig, updates: int) -> None:
    """Leave a run halfway, continue it, and time the way to its first update."""
    with tempfile.TemporaryDirectory() as folder:
        store = random_store(Path(folder) / "store", model.vocabulary, 100_000)
        run, wish, clock = run_of(model, store, updates, 2, "32-true"), Wish(), []

        def report(flops: float) -> None:
            clock.append(time.perf_counter())
            wish.value = len(clock) == updates // 2

        given = run, [store], {"same": store}, Path(folder) / "runs"
        try:
            train(*given, Machine(accelerator="cpu"), {}, report, wish)
        except Leave:
            pass
        update = (clock[-1] - clock[1]) / (len(clock) - 2)
        log = RunLog(Path(folder) / "runs" / run.name)
        before = time.perf_counter()
        read_checkpoint(log.checkpoint)
        read = time.perf_counter() - before
        size = log.checkpoint.stat().st_size
        clock.clear()
        before = time.perf_counter()
        train(*given, Machine(accelerator="cpu"), {}, report, Wish())
        extra = clock[1] - before - read - update
    rows = [("checkpoint", f"{size / 1e6:.1f} MB, read in {read:.2f} s")]
    rows += [("to the first update, beyond that", f"{extra:.2f} s")]
    show(f"resuming {name} parameters at update {updates // 2} of {updates}", rows)


def stall(name: str, model: ModelConfig) -> None:
    """Share of the time that goes into checkpoints at the default interval."""
    built = from_scratch(model, 0)
    optimizer = torch.optim.AdamW(built.parameters(), fused=True)
    built(input_ids=torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    state = {"state_dict": built.state_dict(), "optimizer_states": [optimizer.state_dict()]}
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(5):
            before = time.perf_counter()
            AtomicCheckpointIO().save_checkpoint(state, Path(folder) / "last.ckpt")
            times.append(time.perf_counter() - before)
    took, interval = sorted(times)[2], Machine().checkpoint_seconds
    share = took / (max(interval, took / STALL) + took)
    rows = [("write and flush", f"{took:.2f} s"), ("share of the time", f"{share:.2%}")]
    show(f"checkpoints of {name} parameters", rows)


if __name__ == "__main__":
    for name, updates in {"30 k": 40, "1 M": 10, "20M": 6}.items():
        measure(name, MODELS[name], updates)
    for name in ("30 k", "20M"):
        stall(name, MODELS[name])
