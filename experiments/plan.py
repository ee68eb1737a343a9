"""What a worker must know of a run, frozen; which runs wait for which; which share a task.

In: runs of studies. Out: jobs, chains of jobs that share a trunk, tasks of chains. A SLURM task reads its jobs from
`sweep.json`, never from Python lists that may have changed since.
"""

from dataclasses import dataclass
from pathlib import Path

from data.stores import store_folder, stores
from experiments.scales import Scale
from experiments.studies import benchmark_stores, held_out_stores, training_stores
from slm.flops import training_flops
from slm.runlog import RunLog
from slm.spec import Recipe, RunSpec
from slm.store import TokenStore


@dataclass(frozen=True, kw_only=True)
class Job(Recipe):
    """A run, and the names of the stores that it is trained and measured on."""

    run: RunSpec
    train: tuple[str, ...]
    """In the order of `run.mix`."""
    held_out: tuple[str, ...]
    """The first one's loss is the run's."""
    benchmarks: tuple[str, ...]

    def stores(self, trained: bool) -> tuple[str, ...]:
        """Those that are still needed; a run that was trained, or taken over from elsewhere, is only measured."""
        return (() if trained else self.train) + self.held_out + self.benchmarks

    @property
    def flops(self) -> float:
        """6ND of the run, shared parts included."""
        return training_flops(self.run.model, self.run.train.tokens)["flops_6n"]


def jobs(runs: list[RunSpec], scale: Scale, root: Path) -> list[Job]:
    """The jobs of some runs; `ValueError` if a store of theirs is missing or was made by another recipe."""
    found = [
        Job(
            run=run,
            train=tuple(training_stores(run, scale)),
            held_out=tuple(held_out_stores(run, scale)),
            benchmarks=tuple(benchmark_stores(run, scale).values()),
        )
        for run in runs
    ]
    trained = {run.name for run in runs if RunLog(root / "runs" / scale.name / run.name).is_done}
    for name in sorted({name for job in found for name in job.stores(job.run.name in trained)}):
        TokenStore(store_folder(root, scale.name, name)).check_spec(stores(scale.name)[name])
    return found


def chains(some: list[Job]) -> list[list[Job]]:
    """wsd jobs of one trunk in order of their tokens, so that each starts where the one before left it; others alone.

    The chain that costs most comes first, so that no process is left alone with it at the end.
    """
    found: dict[str, list[Job]] = {}
    for job in sorted(some, key=lambda job: job.run.train.tokens):
        found.setdefault(job.run.trunk if job.run.train.schedule == "wsd" else job.run.name, []).append(job)
    return sorted(found.values(), key=_cost, reverse=True)


def tasks(some: list[list[Job]], processes: int) -> list[list[list[Job]]]:
    """Chains shared out to as few tasks as keep `processes` of them busy in each, at nearly equal cost."""
    shared: list[list[list[Job]]] = [[] for _ in range(-(-len(some) // processes))]
    for chain in some:
        min(shared, key=lambda task: sum(map(_cost, task))).append(chain)
    return shared


def _cost(chain: list[Job]) -> float:
    return sum(job.flops for job in chain)
