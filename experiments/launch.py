"""Run a study here: several one-thread processes, each taking whole chains of runs that share a trunk.

In: runs. Out: finished run folders, and the study's list in `sweeps/`. Stop it at any time; the same command continues.
"""

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, wait
from pathlib import Path

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from data.stores import store_folder, stores
from experiments.scales import Scale
from experiments.studies import STUDIES, benchmark_stores, held_out_stores, scored, training_stores
from slm.atomic import write_json
from slm.flops import training_flops
from slm.machine import Machine
from slm.runlog import RunLog
from slm.spec import RunSpec
from slm.store import TokenStore
from slm.workers import stop, worker_pool

_trained = None  # FLOPs done by all workers; set in each worker when it starts


def write_sweep(study: str, runs: list[RunSpec], scale: Scale, root: Path) -> None:
    """Freeze the list of a study's runs, so that analysis can tell which rows belong to it."""
    rows = [{"name": run.name, "fingerprint": run.fingerprint} for run in runs]
    question = (STUDIES[study].__doc__ or "").strip().splitlines()[0]
    write_json(root / "sweeps" / scale.name / f"{study}.json", {"study": study, "question": question, "runs": rows})


def unfinished(runs: list[RunSpec], scale: Scale, root: Path) -> list[RunSpec]:
    """Runs without `done.json`, or without a score on one of their benchmarks."""
    return [run for run in runs if state(run, scale, root) != "done"]


def state(run: RunSpec, scale: Scale, root: Path) -> str:
    """`new`, `training`, `unscored` or `done`; `ValueError` if the folder holds another recipe."""
    log = RunLog(root / "runs" / scale.name / run.name)
    if not (log.folder / "spec.json").exists():
        return "new"
    RunLog.open(root / "runs" / scale.name, run)
    if not log.is_done:
        return "training"
    return "done" if set(benchmark_stores(run, scale)) <= scored(log, scale) else "unscored"


def train_here(runs: list[RunSpec], scale: Scale, root: Path, machine: Machine, workers: int) -> None:
    """Complete all runs with `workers` processes.

    `ValueError`, before anything starts, if a store is missing or was made by another recipe.
    """
    for name in sorted({n for run in runs for n in _needed(run, scale)}):
        TokenStore(store_folder(root, scale.name, name)).check_spec(stores(scale.name)[name])
    chains = _chains(runs)
    total = sum(_flops(run) for run in runs)
    trained = multiprocessing.get_context("spawn").Value("d", 0.0)
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:.0f} %"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn()) as progress:
        task = progress.add_task(f"{len(runs)} runs, {total:.1e} FLOPs", total=total)
        pool = worker_pool(min(workers, len(chains)), _share, (trained,))
        try:
            waiting = {pool.submit(_complete_chain, chain, scale, root, machine) for chain in chains}
            while waiting:
                done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                progress.update(task, completed=trained.value)
                for future in done:
                    future.result()
        finally:
            stop(pool)


def _needed(run: RunSpec, scale: Scale) -> list[str]:
    return [*training_stores(run, scale), *held_out_stores(run, scale), *benchmark_stores(run, scale).values()]


def _chains(runs: list[RunSpec]) -> list[list[RunSpec]]:
    """Runs of one trunk in order of their tokens, so that each starts where the one before left the trunk.

    The chain that costs most comes first, so that no process is left alone with it at the end.
    """
    chains: dict[str, list[RunSpec]] = {}
    for run in sorted(runs, key=lambda run: run.train.tokens):
        chains.setdefault(run.trunk, []).append(run)
    return sorted(chains.values(), key=lambda chain: -sum(_flops(run) for run in chain))


def _flops(run: RunSpec) -> float:
    return training_flops(run.model, run.train.tokens)["flops_6n"]


def _share(trained) -> None:
    global _trained
    _trained = trained


def _complete_chain(chain: list[RunSpec], scale: Scale, root: Path, machine: Machine) -> None:
    from experiments.complete import complete

    for run in chain:
        complete(run, scale, root, machine, _report)


def _report(flops: float) -> None:
    with _trained.get_lock():
        _trained.value += flops
