"""`python -m experiments`: list a study before it costs anything, train it, and see how far it is.

In: the name of a study and a scale. Out: run folders below `$SLM_ROOT/runs/SCALE`.
"""

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from data.stores import store_folder
from experiments.launch import state, train_here, unfinished, write_sweep
from experiments.scales import Scale, scale_of
from experiments.studies import STUDIES, runs_of, training_stores, unique
from slm import command
from slm.flops import params_non_embedding, params_total, training_flops
from slm.machine import Machine, slm_root, usable_cores
from slm.runlog import RunLog
from slm.store import TokenStore

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
ScaleName = Annotated[str, typer.Option("--scale", help="micro: minutes on 2 cores; mini: real files; tiny: a test.")]
Studies = Annotated[list[str], typer.Argument(help=f"Studies: {', '.join(STUDIES)}; or `all`.")]


@app.command("list")
def list_runs(study: Studies, scale_name: ScaleName = "micro") -> None:
    """What a study would train: parameters, tokens, FLOPs, epochs, updates, time. Trains nothing."""
    scale = scale_of(scale_name)
    for name in _studies(study, scale):
        runs = runs_of(name, scale)
        table = Table(title=f"{name} at {scale.name}: {len(runs)} runs")
        for column in ("run", "N", "N non-emb.", "D", "6ND", "epochs", "updates", "minutes"):
            table.add_column(column, justify="left" if column == "run" else "right")
        for run in runs:
            flops = training_flops(run.model, run.train.tokens)["flops_6n"]
            row = [run.name, f"{params_total(run.model):,}", f"{params_non_embedding(run.model):,}"]
            row += [f"{run.train.tokens:,}", f"{flops:.2e}", _epochs(run, scale)]
            table.add_row(*row, f"{run.train.steps:,}", f"{flops / scale.flops_per_second / 60:.2f}")
        Console().print(table)
        total = sum(training_flops(run.model, run.train.tokens)["flops_6n"] for run in runs)
        shared = total - _trunk_savings(runs)
        print(
            f"{total:.2e} FLOPs counted (6ND, tied embedding in N once), {shared:.2e} executed because wsd runs share "
            f"their trunk: about {shared / scale.flops_per_second / 60:.1f} min on {scale.speed_measured_on}"
        )


@app.command()
def train(
    study: Studies,
    scale_name: ScaleName = "micro",
    workers: Annotated[int, typer.Option(help="Processes of one thread each.")] = usable_cores(),
    accelerator: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
) -> None:
    """Train and score what is missing of one or more studies. Stop it at any time; the next call continues."""
    scale, root = scale_of(scale_name), slm_root()
    names = _studies(study, scale)
    runs = unique([run for name in names for run in runs_of(name, scale)])
    for name in names:
        write_sweep(name, runs_of(name, scale), scale, root)
    missing = unfinished(runs, scale, root)
    if missing:
        train_here(missing, scale, root, Machine(accelerator=accelerator), workers)
    print(f"{len(runs)} runs of {', '.join(names)} are trained and scored, below {root / 'runs' / scale.name}")


@app.command()
def status(study: Studies, scale_name: ScaleName = "micro") -> None:
    """How far each run of a study is."""
    scale, root = scale_of(scale_name), slm_root()
    table = Table(title=f"{', '.join(_studies(study, scale))} at {scale.name}")
    for column in ("run", "state", "update", "nats/token", "seconds"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    for run in unique([run for name in _studies(study, scale) for run in runs_of(name, scale)]):
        rows = RunLog(root / "runs" / scale.name / run.name).rows("train")
        last = rows[-1] if rows else {"step": 0, "nats": float("nan"), "time": 0.0}
        progress = f"{last['step']:,} / {run.train.steps:,}"
        table.add_row(run.name, state(run, scale, root), progress, f"{last['nats']:.3f}", f"{last['time']:.0f}")
    Console().print(table)


def _studies(names: list[str], scale: Scale) -> list[str]:
    return list(scale.studies) if names == ["all"] else names


def _epochs(run, scale) -> str:
    """Passes over the store, once it is prepared."""
    (name, *_) = training_stores(run, scale)
    folder = store_folder(slm_root(), scale.name, name)
    if not (folder / "manifest.json").exists():
        return "not prepared"
    return f"{run.train.tokens / TokenStore(folder).num_tokens:.2f}"


def _trunk_savings(runs) -> float:
    """FLOPs that runs do not execute because a shorter run of the same trunk left a checkpoint."""
    saved, reached = 0.0, {}
    for run in sorted(runs, key=lambda run: run.train.tokens):
        start = reached.get(run.trunk, 0)
        saved += training_flops(run.model, start * run.train.batch_tokens)["flops_6n"]
        reached[run.trunk] = run.train.steps - run.train.decay_steps if run.train.schedule == "wsd" else 0
    return saved


if __name__ == "__main__":
    command.run(app)
