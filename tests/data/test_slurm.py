"""A SLURM array encodes a store's parts, one task requeued under way, and the merged store is that of one command."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slm.store import checksum

ROOT = Path(__file__).parents[2]
STORE = "stories-validation/units"


def is_running() -> bool:
    return bool(shutil.which("sbatch")) and subprocess.run(["sinfo"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slurm, pytest.mark.skipif(not is_running(), reason="no SLURM is running here")]


def asked(*command: str, root: Path) -> str:
    done = subprocess.run(command, cwd=ROOT, env=os.environ | {"SLM_ROOT": str(root)}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def wait_for(what, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "SLURM took too long"
        time.sleep(0.2)


def test_an_array_with_a_requeued_task_gives_the_same_bytes(tmp_path):
    one, other = tmp_path / "array", tmp_path / "whole"
    prepare = f"{sys.executable} -m data prepare {STORE} --workers 1"
    array = ["sbatch", "--parsable", "--requeue", "--array=0-1", "-o", str(tmp_path / "%a.log"), "--open-mode=append"]
    job = asked(*array, "--wrap", f"{prepare} --shard $SLURM_ARRAY_TASK_ID/2", root=one)
    wait_for(lambda: list(one.rglob("centres.safetensors")), 300)  # both tasks wanted them, one learnt them
    asked("scontrol", "requeue", f"{job}_1", root=one)
    wait_for(lambda: not asked("squeue", "-h", "-j", job, root=one), 300)
    logs = {path.name: path.read_text() for path in tmp_path.glob("*.log")}
    assert not (one / "stores/micro" / STORE).exists(), logs
    asked(*prepare.split(), root=one)
    asked(*prepare.split(), root=other)
    files = [{p.name: checksum(p) for p in (root / "stores/micro" / STORE).iterdir()} for root in (one, other)]
    assert files[0] == files[1] and len(files[0]) > 4, logs
