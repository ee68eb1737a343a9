"""Machine: where a run executes and how fast; never what it is, so nothing here enters a fingerprint.

In: the options of the command line. Out: one frozen value that training and scoring read.
"""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Execution settings of one process. They change speed and, at most, the last bits of sums; never the recipe."""

    accelerator: str = "auto"
    """As Lightning names them: auto, cpu, gpu."""
    threads: int = 1
    """CPU threads of this process. Several one-thread processes beat one of several threads at `micro` sizes."""
    score_tokens: int = 16384
    """Padded tokens of one scoring or validation batch: bounds their memory."""
    checkpoint_seconds: float = 20.0
    """Wall time between checkpoints of a run under way."""


def usable_cores() -> int:
    """Cores that this process may use, at most 8: each worker of a sweep holds a few hundred megabytes."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(8, allowed)


def slm_root() -> Path:
    """The folder of everything that the suite writes: the environment's `SLM_ROOT`, else `./out`."""
    return Path(os.environ.get("SLM_ROOT") or "out")
