"""One of the processes that `torchrun` starts in test_devices.py: trains the runs of a JSON file on two devices."""

import json
import os
import sys
from pathlib import Path

from slm.machine import Machine
from slm.recorder import Leave, Wish
from slm.spec import RunSpec, from_json
from slm.store import TokenStore
from slm.train import train

told = json.loads(Path(sys.argv[1]).read_text())
runs = [from_json(RunSpec, run) for run in told["runs"]]
own, held_out = [TokenStore(Path(told[name])) for name in ("train", "validation")]
machine = Machine(accelerator="cpu", devices=2, strategy=told["strategy"], micro_batch=told["micro_batch"])
wish, updates = Wish(), []


def report(flops: float) -> None:
    updates.append(flops)
    wish.value = os.environ["RANK"] == "1" and len(updates) > told["leave_after"] > 0  # told to one, obeyed by both


if __name__ == "__main__":
    try:
        for run in runs:
            train(run, [own], {"held-out": held_out}, Path(told["root"]), machine, {}, report, wish)
    except Leave:
        print("left")
