"""What a worker must know of a run, frozen; which runs wait for which; which share a task.

In: runs of studies. Out: jobs, chains of jobs that share a trunk, tasks of chains. A SLURM task reads its jobs from
`sweep.json`, never from Python lists that may have changed since.
"""

from dataclasses import dataclass, replace
from pathlib import Path

from data.stores import store_folder
from data.transcripts import OWN
from experiments.scales import Scale
from experiments.studies import (
    benchmark_stores,
    held_out_stores,
    is_prepared,
    losses_lacking,
    prepared_benchmarks,
    prints,
    question_stores,
    scores_lacking,
    table_of,
    training_stores,
)
from slm.flops import training_flops
from slm.runlog import RunLog
from slm.spec import Recipe, RunSpec, later
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
    """Those that are prepared."""
    transcriber: str = later(OWN)
    """Of spoken answers: our own, or the name of a Whisper checkpoint."""
    is_trained: bool = later(False)
    """Whether only scores are wanted."""

    def stores(self, trained: bool) -> tuple[str, ...]:
        """Those that are still needed; a run that was trained, or taken over from elsewhere, is only measured."""
        return (() if trained else self.train) + self.held_out + self.benchmarks

    @property
    def flops(self) -> float:
        """6ND of the run, shared parts included."""
        return training_flops(self.run.model, self.run.train.tokens)["flops_6n"]


def jobs(runs: list[RunSpec], scale: Scale, root: Path) -> list[Job]:
    """The jobs of some runs; `ValueError` if a store of theirs is missing or was made by another recipe.

    Benchmarks that are not prepared are left out.
    """
    found = [
        Job(
            run=run,
            train=tuple(training_stores(run, scale)),
            held_out=tuple(held_out_stores(run, scale)),
            benchmarks=tuple(prepared_benchmarks(run, scale, root)),
        )
        for run in runs
    ]
    checked: set[str] = set()
    for job in found:
        table = table_of(job.run, scale)
        needed = set(job.stores(RunLog(root / "runs" / scale.name / job.run.name).is_done))
        for name in sorted(needed - checked):
            TokenStore(store_folder(root, scale.name, name)).check_spec(table[name])
        checked |= needed
    return found


def scoring_jobs(
    runs: list[RunSpec], scale: Scale, root: Path, only: list[str], transcriber: str
) -> tuple[list[Job], list[str]]:
    """Jobs that score the finished ones of some runs on what they lack, questions included, and why others have none.

    `only` names benchmarks, as stores are named before their scheme; empty: all. `ValueError` for one that no run has,
    and for a folder or a store of another recipe.
    """
    runs_root = root / "runs" / scale.name
    finished = [run for run in runs if RunLog(runs_root / run.name).is_done]
    notes = [f"{len(runs) - len(finished)} of {len(runs)} runs are not finished"] if len(finished) < len(runs) else []
    asked = {run.name: benchmark_stores(run, scale) | question_stores(run, scale) for run in finished}
    known = {label for names in asked.values() for label in names}
    if unknown := sorted(set(only) - known):
        raise ValueError(f"none of these runs has a benchmark {unknown[0]!r}: choose from {', '.join(sorted(known))}")
    found, unprepared = [], set()
    for job in jobs(finished, scale, root):
        log = RunLog.open(runs_root, job.run)
        chosen = [name for label, name in asked[job.run.name].items() if not only or label in only]
        there = [name for name in chosen if is_prepared(root, scale, name)]
        unprepared |= set(chosen) - set(there)
        table = table_of(job.run, scale)
        for name in there:
            TokenStore(store_folder(root, scale.name, name)).check_spec(table[name])
        lacking = scores_lacking(log, prints(job.run, scale, there), transcriber)
        if lacking or losses_lacking(log, job.held_out):
            found.append(replace(job, benchmarks=tuple(lacking), transcriber=transcriber, is_trained=True))
    notes += [f"{name} is not prepared: no scores on it" for name in sorted(unprepared)]
    return found, notes


def chains(some: list[Job]) -> list[list[Job]]:
    """wsd jobs of one trunk in order of their tokens, so that each starts where the one before left it; others alone;
    a job that starts from another one's weights after that one.

    The chain that costs most comes first, so that no process is left alone with it at the end. Jobs that are only
    scored are alone, those with the same stores one after the other, which a process then reads once.
    """
    if all(job.is_trained for job in some):
        return [[job] for job in sorted(some, key=lambda job: job.benchmarks)]
    found: dict[str, list[Job]] = {}
    for job in sorted(some, key=lambda job: job.run.train.tokens):
        found.setdefault(job.run.trunk if job.run.train.schedule == "wsd" else job.run.name, []).append(job)
    for key, chain in list(found.items()):
        init = chain[0].run.init
        before = [k for k, c in found.items() if init and init.names_run and init.checkpoint in {j.run.name for j in c}]
        if before:
            found[before[0]] += found.pop(key)
    return sorted(found.values(), key=_cost, reverse=True)


def tasks(some: list[list[Job]], processes: int) -> list[list[list[Job]]]:
    """Chains shared out to as few tasks as keep `processes` of them busy in each, at nearly equal cost."""
    shared: list[list[list[Job]]] = [[] for _ in range(-(-len(some) // processes))]
    for chain in some:
        min(shared, key=lambda task: sum(map(_cost, task))).append(chain)
    return shared


def _cost(chain: list[Job]) -> float:
    return sum(job.flops for job in chain)
