"""One run from nothing to trained, validated and scored; what a worker process or a SLURM task executes.

In: a job, a machine. Out: a finished run folder, or one with an `error.json` that says why not. Imports torch, so it
is imported late.
"""

import platform
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from data.stores import store_folder
from experiments.plan import Job
from slm.evals.choice import accuracies, choose
from slm.machine import Machine, commit
from slm.recorder import STAY, Wish
from slm.runlog import RunLog
from slm.store import TokenStore
from slm.train import Taken, rank, train, trained_model, validate

PACKAGES = ("torch", "lightning", "transformers", "numpy", "sentencepiece", "scikit-learn")


def complete(
    job: Job,
    scale: str,
    root: Path,
    machine: Machine,
    report: Callable[[float], None] = lambda flops: None,
    wish: Wish = STAY,
) -> None:
    """Train a run unless it is done, then score it on every benchmark that it lacks.

    `Leave`, with the state saved, soon after `wish` asks for it.
    """
    runs_root = root / "runs" / scale
    log = RunLog(runs_root / job.run.name)
    opened = {name: TokenStore(store_folder(root, scale, name)) for name in job.stores(log.is_done)}
    first = rank(machine) == 0
    try:
        if not log.is_done:
            own, held_out = [opened[name] for name in job.train], {name: opened[name] for name in job.held_out}
            train(job.run, own, held_out, runs_root, machine, _environment(job, machine, opened), report, wish)
        if first:
            _measure(log, job, opened, machine)
            (log.folder / "error.json").unlink(missing_ok=True)
    except Taken:
        raise  # the run is well
    except (ValueError, OSError, RuntimeError) as error:
        with suppress(OSError):  # a full disk, of which the error tells
            if first:
                log.write("error.json", {"kind": type(error).__name__, "message": str(error)})
        raise


def _measure(log: RunLog, job: Job, opened: dict[str, TokenStore], machine: Machine) -> None:
    """Held-out losses of a run that was taken over from elsewhere, and scores on the benchmarks that a run lacks."""
    if not log.rows("val"):
        validate(log, {name: opened[name] for name in job.held_out}, machine)
        log.finish(log.done | {"validation": job.held_out[0]})
    missing = [name for name in job.benchmarks if not _is_scored(log, opened[name])]
    if missing:
        model = trained_model(log, machine)
        for name in missing:
            _score(log, model, opened[name], name, machine)


def _is_scored(log: RunLog, store: TokenStore) -> bool:
    return any(row["fingerprint"] == store.fingerprint for row in log.rows("scores"))


def _score(log: RunLog, model, store: TokenStore, name: str, machine: Machine) -> None:
    store.verify()
    benchmark = store.spec.corpus.name
    items = choose(model, store, machine.score_tokens)
    log.write(f"items/{benchmark}.jsonl", items)
    done = log.done
    head = {key: done[key] for key in ("tokens", "flops")}
    head = {"step": done["steps"]} | head | {"eval": benchmark}
    rows = [head | row | {"store": name, "fingerprint": store.fingerprint} for row in accuracies(items)]
    log.write("scores.jsonl", [row for row in log.rows("scores") if row["eval"] != benchmark] + rows)


def _environment(job: Job, machine: Machine, opened: dict[str, TokenStore]) -> dict:
    """What `env.json` tells: code, machine, versions, and the stores with their sizes and fingerprints."""
    roles = {name: "validation" for name in job.held_out} | {name: "train" for name in job.train}
    return {
        "commit": commit(),
        "machine": {
            "accelerator": machine.accelerator,
            "processor": platform.processor() or platform.machine(),
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "stores": {
            name: {"role": role, "fingerprint": opened[name].fingerprint}
            | {key: opened[name].manifest[key] for key in ("num_documents", "num_tokens", "num_units", "seconds")}
            | {"sha256": opened[name].manifest["files"]["tokens.bin"]["sha256"]}
            for name, role in roles.items()
        },
    }
