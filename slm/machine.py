"""Machine: where a run executes and how fast; never what it is, so nothing here enters a fingerprint.

In: the options of the command line. Out: one frozen value that training and scoring read.
"""

import os
import subprocess
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Execution settings of one process. They change speed and, at most, the last bits of sums; never the recipe."""

    accelerator: str = "auto"
    """As Lightning names them: auto, cpu, gpu. Encoders run there too."""
    devices: int = 1
    """Accelerators, or processes on a CPU, that train one run together, on each of `nodes`."""
    nodes: int = 1
    strategy: str = "ddp"
    """How several devices share a run: `ddp` copies it, `fsdp2` shards weights, gradients and optimizer."""
    micro_batch: int | None = None
    """Windows that one device holds at once; None: as many as fit into its memory. The global batch stays."""
    compile: bool | None = None
    """Whether to compile the model; None: on GPUs, for runs that are long enough to pay for it."""
    loggers: tuple[str, ...] = ()
    """Beside the JSON lines: `tensorboard`, `wandb`."""
    models: Path | None = None
    """Folder of downloaded checkpoints, each in `<models>/<its name>/`; None: the cache of the Hugging Face hub."""
    encoders: Path | None = None
    """Folder of the encoders that were learnt here; None: `slm_root() / "encoders"`."""
    textless_python: Path | None = None
    """Interpreter of an environment in which textlesslib is installed."""
    threads: int | None = None
    """CPU threads of one process; None: 1. Several one-thread processes beat one of several threads at `micro` sizes
    (tests/benchmarks/bench_micro.py)."""
    processes: int = 1
    """Runs side by side on one device, each in a process."""
    gpu: int = 0
    """Which GPU a process of one device takes."""
    score_tokens: int | None = None
    """Padded tokens of one scoring or validation batch, which bounds their memory; None: 2,048 on a CPU, whose caches
    then hold a small model's layers (tests/benchmarks/bench_score.py), and 65,536 elsewhere (a choice)."""
    checkpoint_seconds: float = 20.0
    """Wall time between checkpoints of a run under way, more where writing one takes over 1 % of it; 0: all updates."""

    def device(self) -> str:
        """The torch device of this process's encoders; `ValueError` when a GPU is asked for and none is there."""
        if self.accelerator not in ("auto", "cpu", "gpu"):
            raise ValueError(f"accelerator {self.accelerator!r}: choose auto, cpu or gpu")
        if self.accelerator == "cpu":
            return "cpu"
        import torch

        found = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        if self.accelerator == "gpu" and found == "cpu":
            raise ValueError(
                "a GPU was asked for and torch finds none: leave --accelerator at auto, or use another node"
            )
        return found

    def place(self) -> str:
        """The torch device of this process among those that run side by side."""
        device = self.device()
        return f"cuda:{self.gpu}" if device == "cuda" else device

    @property
    def tokens_at_once(self) -> int:
        """Padded tokens of one scoring or validation batch."""
        return self.score_tokens or (2048 if self.device() == "cpu" else 65536)


CPU = Machine(accelerator="cpu")


@lru_cache(maxsize=1)
def commit() -> str | None:
    """The checked-out commit, with `+` when the tree differs from it; None outside a git checkout."""
    here = Path(__file__).parent
    found = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--dirty=+"], cwd=here, capture_output=True)
    return found.stdout.decode().strip() or None


def usable_cores() -> int:
    """Cores that this process may use, at most 8: each worker of a sweep holds a few hundred megabytes."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, allowed)


def slm_root() -> Path:
    """The folder of everything that the suite writes: the environment's `SLM_ROOT`, else `./out`."""
    return Path(os.environ.get("SLM_ROOT") or "out")
