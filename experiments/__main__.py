"""`python -m experiments`: list a study before it costs anything, train it here or on SLURM, see how far it is.

In: the name of a study and a scale. Out: run folders below `$SLM_ROOT/runs/SCALE`.
"""

from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from data.transcripts import OWN
from experiments.baseline import baseline as published
from experiments.baseline import prepare_text
from experiments.estimate import estimates
from experiments.launch import train_here, write_sweep
from experiments.listing import print_list
from experiments.plan import Job, jobs, scoring_jobs
from experiments.progress import failures, row, unfinished
from experiments.scales import SCALES, Scale, scale_of
from experiments.slurm import Request, queued, submit
from experiments.studies import STUDIES, runs_of, unique
from slm import command
from slm.flops import params_total
from slm.machine import Machine, slm_root, usable_cores
from slm.runlog import RunLog
from slm.spec import RunSpec

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=__doc__)
ScaleName = Annotated[
    str, typer.Option("--scale", help="micro: minutes on 2 cores; mini: real files; paper: a cluster; tiny: a test.")
]
Studies = Annotated[list[str], typer.Argument(help=f"Studies: {', '.join(STUDIES)}; or `all`.")]
Only = Annotated[str, typer.Option(help="Runs whose names match, such as '*/823M'.")]
Accelerator = Annotated[str, typer.Option(help="cpu or gpu.")]
Devices = Annotated[int, typer.Option(help="GPUs, or processes on a CPU, that train one run together, on each node.")]
Nodes = Annotated[int, typer.Option(help="Nodes that train one run together.")]
Strategy = Annotated[str, typer.Option(help="How several devices share a run: ddp copies it, fsdp2 shards it.")]
Threads = Annotated[int | None, typer.Option(help="CPU threads of a process; 1 unless given.")]
MicroBatch = Annotated[int | None, typer.Option(help="Windows that a device holds at once; found unless given.")]
Compile = Annotated[bool | None, typer.Option(help="Compile the model; unless given, on a GPU for long runs.")]
Loggers = Annotated[list[str], typer.Option("--logger", help="tensorboard or wandb, beside the JSON lines.")]
Transcriber = Annotated[str, typer.Option(help="Of spoken answers: `own`, or a Whisper; its scores replace others.")]
Models = Annotated[Path | None, typer.Option(help="Folder of checkpoints for warm starts; else the hub's cache.")]


@app.command("list")
def list_runs(
    study: Studies,
    scale_name: ScaleName = "micro",
    only: Only = "*",
    price: Annotated[float | None, typer.Option(help="Of an hour of a device, to see what the runs cost.")] = None,
) -> None:
    """What a study would train: N, D, FLOPs, updates, epochs, memory, hours, cost. Trains nothing."""
    scale = scale_of(scale_name)
    for name in _studies(study, scale):
        print_list(name, _matching(runs_of(name, scale), only), scale, slm_root(), price)


@app.command()
def train(
    study: Studies,
    scale_name: ScaleName = "micro",
    only: Only = "*",
    workers: Annotated[
        int | None, typer.Option(help="Runs side by side, a process each; one a core unless given, one in all on GPUs.")
    ] = None,
    accelerator: Accelerator = "cpu",
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "ddp",
    threads: Threads = None,
    micro_batch: MicroBatch = None,
    compile: Compile = None,
    logger: Loggers = [],  # noqa: B006 (typer reads it)
    models: Models = None,
) -> None:
    """Train and score what is missing of one or more studies. Stop it at any time; the next call continues."""
    scale, root = scale_of(scale_name), slm_root()
    machine = Machine(
        accelerator=accelerator,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        threads=threads,
        micro_batch=micro_batch,
        compile=compile,
        loggers=tuple(logger),
        models=models,
        processes=1 if devices * nodes > 1 else workers or (1 if accelerator == "gpu" else usable_cores()),
    )
    runs, missing = _missing(study, only, scale, root)
    if missing:
        train_here(jobs(missing, scale, root), scale.name, root, machine)
    print(f"{len(runs)} runs of {', '.join(study)} are trained and scored, below {root / 'runs' / scale.name}")


@app.command()
def launch(
    study: Studies,
    hours: Annotated[float, typer.Option(help="Time limit of a task; longer ones requeue themselves.")],
    scale_name: ScaleName = "paper",
    only: Only = "*",
    accelerator: Accelerator = "gpu",
    processes: Annotated[int, typer.Option(help="Runs side by side on one device: more where one leaves it idle.")] = 1,
    devices: Devices = 1,
    nodes: Nodes = 1,
    strategy: Strategy = "ddp",
    threads: Threads = None,
    micro_batch: MicroBatch = None,
    compile: Compile = None,
    logger: Loggers = [],  # noqa: B006 (typer reads it)
    models: Models = None,
    partition: Annotated[str | None, typer.Option(help="SLURM's.")] = None,
    account: Annotated[str | None, typer.Option(help="SLURM's.")] = None,
    qos: Annotated[str | None, typer.Option(help="SLURM's.")] = None,
    constraint: Annotated[str | None, typer.Option(help="SLURM's: features that nodes must have.")] = None,
    memory_gb: Annotated[int | None, typer.Option(help="Memory of a node; else the partition's default.")] = None,
    at_once: Annotated[int, typer.Option(help="Tasks that may run at the same time.")] = 256,
    only_score: Annotated[bool, typer.Option("--score", help="Only score finished runs, on questions, too.")] = False,
    transcriber: Transcriber = OWN,
    dirty: Annotated[bool, typer.Option("--dirty", help="Launch changed files too, and keep the difference.")] = False,
) -> None:
    """Submit what is missing of one or more studies to SLURM, as one array; returns at once. See `status`."""
    scale, root = scale_of(scale_name), slm_root()
    if processes > 1 and devices * nodes > 1:
        raise ValueError("several runs share one device, or several devices one run, not both: drop one of them")
    request = Request(
        minutes=round(hours * 60),
        partition=partition,
        account=account,
        qos=qos,
        constraint=constraint,
        memory_gb=memory_gb,
        at_once=at_once,
    )
    machine = Machine(
        accelerator=accelerator,
        devices=devices,
        nodes=nodes,
        strategy=strategy,
        threads=threads,
        micro_batch=micro_batch,
        compile=compile,
        loggers=tuple(logger),
        models=models and models.absolute(),
        processes=processes,
    )
    waiting = queued(scale.name, root)
    names, trunks = {run["name"] for run in waiting}, {run["trunk"] for run in waiting}
    if only_score:
        some, notes = scoring_jobs(_matching(_finished(study, scale, root), only), scale, root, [], transcriber)
        _submit("score", [job for job in some if job.run.name not in names], scale, root, machine, request, dirty)
        for note in notes or ([] if some else ["no finished run lacks a score"]):
            print(f"note: {note}")
        return
    _, missing = _missing(study, only, scale, root)
    fresh = [run for run in missing if run.name not in names]
    if shared := [run.name for run in fresh if run.train.schedule == "wsd" and run.trunk in trunks]:
        raise ValueError(
            f"{shared[0]} and {len(shared) - 1} more share a trunk with runs in the queue, and would train it a second "
            f"time: launch them when those are done, or next time all studies in one command"
        )
    _submit("-".join(study), jobs(fresh, scale, root), scale, root, machine, request, dirty)
    if len(fresh) < len(missing):
        print(f"{len(missing) - len(fresh)} runs are in the queue already")
    if not missing:
        print(f"all runs of {', '.join(study)} are trained and scored")


@app.command()
def score(
    what: Annotated[list[str], typer.Argument(help="Studies, `all`, or names of runs, such as 'units/*/w64'.")],
    scale_name: ScaleName = "micro",
    only: Annotated[
        list[str] | None, typer.Option(help="A benchmark, e.g. blimp; repeatable; all unless given.")
    ] = None,
    transcriber: Transcriber = OWN,
    workers: Annotated[int | None, typer.Option(help="Processes; one a core unless given, one in all on GPUs.")] = None,
    accelerator: Accelerator = "cpu",
    threads: Threads = None,
    models: Models = None,
) -> None:
    """Score finished runs on every benchmark that they lack, questions included. Stop it at any time, as `train`."""
    scale, root = scale_of(scale_name), slm_root()
    processes = workers or (1 if accelerator == "gpu" else usable_cores())
    machine = Machine(accelerator=accelerator, threads=threads, models=models, processes=processes)
    some, notes = scoring_jobs(_finished(what, scale, root), scale, root, only or [], transcriber)
    if some:
        train_here(some, scale.name, root, machine)
    for note in notes:
        print(f"note: {note}")
    print(f"{len(some)} runs were scored; `python -m analysis collect --scale {scale.name}` makes tables of all scores")


@app.command()
def baseline(
    checkpoint: Annotated[
        str, typer.Argument(help="A causal language model of the hub, or its folder below --models.")
    ],
    scale_name: ScaleName = "mini",
    tokens: Annotated[float | None, typer.Option(help="D: tokens it was trained on; known for Pythia.")] = None,
    unique_tokens: Annotated[float | None, typer.Option(help="U: those that were distinct; D unless given.")] = None,
    family: Annotated[str, typer.Option(help="What the runs of its curve share.")] = "pythia",
    data: Annotated[str, typer.Option(help="Name of what it was trained on.")] = "pile",
    revision: Annotated[str | None, typer.Option(help="Commit of the hub, or SHA-256 of its weights.")] = None,
    models: Models = None,
    corpora: Annotated[Path | None, typer.Option(help="Folder of the real corpora, for their benchmarks.")] = None,
    accelerator: Accelerator = "cpu",
    threads: Threads = None,
) -> None:
    """Score a text language model on the text of every benchmark of a scale, as a run with its N, D and C = 6ND."""
    scale, root = scale_of(scale_name), slm_root()
    machine = Machine(accelerator=accelerator, threads=threads, models=models)
    counts = {"tokens": tokens and round(tokens), "unique_tokens": unique_tokens and round(unique_tokens)}
    run = published(checkpoint, scale, root, machine, **counts, family=family, data=data, revision=revision)
    wrong = prepare_text(run, scale, root, machine, corpora)
    some, notes = scoring_jobs([run], scale, root, [], OWN)
    if some:
        train_here(some, scale.name, root, machine)
    for note in wrong + notes:
        print(f"note: {note}")
    print(f"{run.name}: N = {params_total(run.model):,}, D = {run.train.tokens:,}; its scores are collected as all are")


@app.command()
def results(
    run: Annotated[str, typer.Argument(help="Name of a scored run.")],
    target: Annotated[Path, typer.Argument(help="A .json file, or a folder for a ZeroSpeech sLM21 submission.")],
    scale_name: ScaleName = "micro",
    metric: Annotated[str, typer.Option(help="For a submission: what is told of a recording.")] = "accuracy_mean",
) -> None:
    """Write a run's scores for others: in lm-evaluation-harness' JSON, or as a submission."""
    from experiments import results_json, submission

    log = RunLog(slm_root() / "runs" / scale_of(scale_name).name / run)
    if not log.is_done:
        raise ValueError(f"{log.folder} is no finished run: `python -m experiments status` shows how far it is")
    if target.suffix == ".json":
        results_json.write(log, target)
    else:
        submission.write(log, target, metric)
    print(f"wrote {target}")


@app.command()
def status(study: Studies, scale_name: ScaleName = "micro", only: Only = "*") -> None:
    """How far each run of a study is: from its folder, so also after logout, and from SLURM's queue if there is one."""
    scale, root = scale_of(scale_name), slm_root()
    names = _studies(study, scale)
    table = Table(title=f"{', '.join(names)} at {scale.name}")
    for column in ("run", "state", "update", "nats/token", "tokens/s", "left", "spikes"):
        table.add_column(column, justify="left" if column in ("run", "state") else "right")
    runs, queue = _matching(_runs(names, scale), only), {}
    try:
        queue = {run["name"]: run["where"] for run in queued(scale.name, root)}
    except ValueError as error:
        print(error)
    for run in runs:
        table.add_row(*row(run, scale, root, queue))
    Console().print(table)
    for line in failures(runs, scale, root):
        print(line)


@app.command()
def chat(
    run: Annotated[str, typer.Argument(help="Name of a finished run of the study chat.")],
    wav: Annotated[Path | None, typer.Option(help="A recording of the question, of any rate.")] = None,
    text: Annotated[str | None, typer.Option(help="The question in writing, to be spoken here.")] = None,
    out: Annotated[Path | None, typer.Option(help="Where the answer's sound goes, a wav of 16 kHz.")] = None,
    scale_name: ScaleName = "micro",
    transcriber: Transcriber = OWN,
    temperature: Annotated[float, typer.Option(help="0: the likeliest answer; else one is drawn.")] = 0.0,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    corpora: Annotated[Path | None, typer.Option(help="Folder of the real corpora, for a vocoder of theirs.")] = None,
    hifi_gan: Annotated[
        Path | None, typer.Option(help="Folder of a HiFi-GAN of transformers; else Griffin-Lim.")
    ] = None,
    accelerator: Accelerator = "cpu",
    models: Models = None,
) -> None:
    """Ask a run aloud: its answer as text and as sound, what a transcriber hears of both, and how soon it spoke."""
    from experiments.chat import chat as reply

    machine = Machine(accelerator=accelerator, models=models)
    drawn = {"transcriber": transcriber, "temperature": temperature, "seed": seed}
    told = reply(
        run, scale_of(scale_name).name, slm_root(), machine, wav, text, out, **drawn, corpora=corpora, hifi_gan=hifi_gan
    )
    print(told)


@app.command()
def export(
    run: Annotated[str, typer.Argument(help="Name of a finished run.")],
    folder: Annotated[Path, typer.Argument(help="A folder to be made.")],
    scale_name: ScaleName = "micro",
) -> None:
    """Write a run as a folder that `AutoModelForCausalLM.from_pretrained` loads."""
    from slm.export import export as write

    print(f"wrote {write(RunLog(slm_root() / 'runs' / scale_of(scale_name).name / run), folder)}")


@app.command("import")
def import_(
    folder: Annotated[Path, typer.Argument(help="A released slm_scaling checkpoint: config.json and safetensors.")],
    run: Annotated[str, typer.Argument(help="Name of the run that it is, as `list released --scale paper` shows it.")],
    scale_name: ScaleName = "paper",
) -> None:
    """Take a released checkpoint as a finished run; `train` then only measures it."""
    from slm.export import import_released

    scale = scale_of(scale_name)
    named = {found.name: found for found in _runs(list(SCALES[scale.name].studies), scale)}
    if run not in named:
        raise ValueError(f"no run {run!r} at scale {scale.name}: `python -m experiments list` shows their names")
    (told,) = estimates([named[run]], scale, slm_root())
    log = import_released(folder, named[run], slm_root() / "runs" / scale.name, told.unique_tokens)
    print(f"imported into {log.folder}")


def _submit(
    title: str, some: list[Job], scale: Scale, root: Path, machine: Machine, request: Request, dirty: bool
) -> None:
    if some:
        array = submit(title, some, scale.name, root, machine, request, dirty)
        print(f"submitted {len(some)} runs as array {array}; `python -m experiments status` shows how far they are")


def _finished(what: list[str], scale: Scale, root: Path) -> list[RunSpec]:
    """The runs of studies, and those below `runs/SCALE` whose names match, published ones among them."""
    folder = root / "runs" / scale.name
    studies = scale.studies if "all" in what else [name for name in what if name in STUDIES]
    runs = _runs(list(studies), scale)
    for pattern in set(what) - {"all"} - set(STUDIES):
        names = [path.parent.relative_to(folder).as_posix() for path in sorted(folder.rglob("done.json"))]
        if not (matching := [name for name in names if fnmatch(name, pattern)]):
            raise ValueError(f"{pattern!r} is no study, and no finished run below {folder} is named so")
        runs += [RunLog(folder / name).spec for name in matching]
    return unique(runs)


def _studies(names: list[str], scale: Scale) -> list[str]:
    return list(scale.studies) if names == ["all"] else names


def _runs(names: list[str], scale: Scale) -> list[RunSpec]:
    return unique([run for name in names for run in runs_of(name, scale)])


def _matching(runs: list[RunSpec], only: str) -> list[RunSpec]:
    found = [run for run in runs if fnmatch(run.name, only)]
    if not found:
        raise ValueError(f"no run is named like {only!r}, but e.g. {runs[0].name}: see `python -m experiments list`")
    return found


def _missing(study: list[str], only: str, scale: Scale, root: Path) -> tuple[list[RunSpec], list[RunSpec]]:
    """The runs of some studies, and those of them that are not done; their lists are frozen for analysis."""
    names = _studies(study, scale)
    for name in names:
        write_sweep(name, runs_of(name, scale), scale, root)
    runs = _matching(_runs(names, scale), only)
    return runs, unfinished(runs, scale, root)


if __name__ == "__main__":
    command.run(app)
