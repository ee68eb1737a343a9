"""One run from nothing to trained, validated and scored; what a worker process or a SLURM task executes.

In: a run, its scale, a machine. Out: a finished run folder. Imports torch, so it is imported late.
"""

import platform
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from data.stores import store_folder
from experiments.scales import Scale
from experiments.studies import benchmark_stores, held_out_stores, scored, training_stores
from slm.evals.choice import accuracies, choose
from slm.machine import Machine, commit
from slm.runlog import RunLog
from slm.spec import RunSpec
from slm.store import TokenStore
from slm.train import train, trained_model

PACKAGES = ("torch", "lightning", "transformers", "numpy", "sentencepiece", "scikit-learn")


def complete(run: RunSpec, scale: Scale, root: Path, machine: Machine, report: Callable[[float], None]) -> None:
    """Train a run unless it is done, then score it on every benchmark that it lacks."""
    runs_root = root / "runs" / scale.name
    log = RunLog(runs_root / run.name)
    if not log.is_done:
        roles = {name: "train" for name in training_stores(run, scale)}
        roles |= {name: "validation" for name in held_out_stores(run, scale)}
        opened = {name: TokenStore(store_folder(root, scale.name, name)) for name in roles}
        train(
            run,
            [opened[name] for name in training_stores(run, scale)],
            {name: opened[name] for name in held_out_stores(run, scale)},
            runs_root,
            machine,
            _environment(machine, opened, roles),
            report,
        )
    missing = missing_scores(log, run, scale)
    if missing:
        model = trained_model(log, machine.accelerator)
        for benchmark, name in missing.items():
            store = TokenStore(store_folder(root, scale.name, name))
            _score(log, model, benchmark, store, name, machine)


def missing_scores(log: RunLog, run: RunSpec, scale: Scale) -> dict[str, str]:
    """Benchmark -> store, for those that the run has no score on."""
    return {name: store for name, store in benchmark_stores(run, scale).items() if name not in scored(log, scale)}


def _score(log: RunLog, model, benchmark: str, store: TokenStore, name: str, machine: Machine) -> None:
    store.verify()
    items = choose(model, store, machine.score_tokens)
    log.write(f"items/{benchmark}.jsonl", items)
    done = log.done
    head = {key: done[key] for key in ("tokens", "flops")}
    head = {"step": done["steps"]} | head | {"eval": benchmark}
    rows = [head | row | {"store": name, "fingerprint": store.fingerprint} for row in accuracies(items)]
    log.write("scores.jsonl", [row for row in log.rows("scores") if row["eval"] != benchmark] + rows)


def _environment(machine: Machine, opened: dict[str, TokenStore], roles: dict[str, str]) -> dict:
    """What `env.json` tells: code, machine, versions, and the stores with their sizes and fingerprints."""
    return {
        "commit": commit(),
        "machine": {
            "accelerator": machine.accelerator,
            "threads": machine.threads,
            "processor": platform.processor() or platform.machine(),
        },
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "stores": {
            name: {"role": roles[name], "fingerprint": store.fingerprint}
            | {key: store.manifest[key] for key in ("num_documents", "num_tokens", "num_units", "seconds")}
            | {"sha256": store.manifest["files"]["tokens.bin"]["sha256"]}
            for name, store in opened.items()
        },
    }
