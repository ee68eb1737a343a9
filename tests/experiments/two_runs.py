"""A study of two runs that share a trunk, for test_kills.py: `python two_runs.py`."""

from dataclasses import replace

from experiments.launch import train_here
from experiments.plan import jobs
from experiments.progress import unfinished
from experiments.scales import SCALES
from experiments.studies import runs_of
from slm.machine import Machine, slm_root

if __name__ == "__main__":
    tiny = SCALES["tiny"]
    one, *_ = runs_of("scaling", tiny)
    runs = [
        replace(one, name=f"kills/{updates}", train=replace(one.train, tokens=updates * one.train.batch_tokens))
        for updates in (1200, 1600)
    ]
    machine = Machine(accelerator="cpu", checkpoint_seconds=0.5, processes=2)
    missing = unfinished(runs, tiny, slm_root())
    if missing:
        train_here(jobs(missing, tiny, slm_root()), "tiny", slm_root(), machine)
