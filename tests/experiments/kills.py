"""Kill a sweep at random moments, and tell what of it must not depend on that."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import torch

from slm.atomic import read_jsonl
from slm.checkpoint import read_checkpoint

TIMING = ("time", "tokens_per_second", "mfu")


def kill_and_finish(command: list[str], root: Path, kills: int, draw: random.Random, longest: float) -> int:
    """Start `command` below `root`, SIGKILL all its processes at random moments of training, start it again.

    The moment is up to `longest` seconds after the first new row. Returns how many kills came before the end.
    """
    environment, done = os.environ | {"SLM_ROOT": str(root)}, 0
    while done < kills:
        child = subprocess.Popen(command, env=environment, start_new_session=True, stdout=-3, stderr=-3)
        before, ends = _rows(root), None
        while child.poll() is None and (ends is None or time.monotonic() < ends):
            if ends is None and _rows(root) != before:
                ends = time.monotonic() + draw.uniform(0, longest)
            time.sleep(0.02)
        if child.poll() is not None:
            assert child.returncode == 0
            return done
        os.killpg(child.pid, signal.SIGKILL)
        child.wait()
        done += 1
    subprocess.run(command, env=environment, check=True, stdout=-3)
    return done


def _rows(root: Path) -> int:
    return sum(path.stat().st_size for path in root.rglob("train.jsonl"))


def facts(root: Path) -> dict:
    """Every row of every run without what a clock says, and every weight and moment of its last state."""
    found = {}
    for path in sorted((root / "runs").rglob("*.jsonl")):
        if ".trunks" not in path.parts:
            rows = [{k: v for k, v in row.items() if k not in TIMING} for row in read_jsonl(path)]
            found[str(path.relative_to(root))] = rows
    for path in sorted((root / "runs").rglob("last.ckpt")):
        state = read_checkpoint(path)
        moments = state["optimizer_states"][0]["state"]
        named = state["state_dict"] | {f"{i}.{k}": v for i, some in moments.items() for k, v in some.items()}
        found[str(path.relative_to(root))] = {name: _bits(value) for name, value in named.items()}
    return found


def _bits(value: torch.Tensor) -> bytes:
    return value.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
