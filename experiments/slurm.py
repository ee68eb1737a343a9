"""Run jobs on SLURM: one array through submitit, from a frozen `sweep.json`; tasks that outlive time-outs.

In: jobs, a machine, what to ask SLURM for. Out: a folder below `sweeps/SCALE/launches/` with what was submitted and its
logs. Near its time limit a task saves every run, requeues itself and continues in the same folders; a preempted one
saves and waits for SLURM to requeue it. A task that failed is launched again by the same command.
"""

import os
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stderr
from dataclasses import asdict, dataclass
from datetime import datetime
from io import StringIO
from pathlib import Path

from experiments.launch import side_by_side
from experiments.plan import Job, chains, tasks
from slm.atomic import read_json, write_json, write_text
from slm.machine import Machine, commit
from slm.spec import from_json, to_json

CLONE = Path(__file__).parents[1]
WORD = re.compile(r"[\w.,:@%+=/-]+", re.ASCII)
NOTICE_SECONDS = 120
"""How long before its time limit a task is told: large states take a while to write. SLURM may be a minute early."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to ask SLURM for, beside what follows from the machine. Values are single words."""

    minutes: int
    """Time limit of a task; longer runs requeue themselves."""
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    memory_gb: int | None = None
    """Memory of a node; None: the partition's default."""
    at_once: int = 256
    """Tasks of the array that may run at the same time."""

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if isinstance(value, str) and not WORD.fullmatch(value):
                raise ValueError(f"--{name} {value!r}: only letters, digits and . , : @ % + = / _ - are allowed")
        if self.minutes < 1 or self.at_once < 1:
            raise ValueError("a time limit in minutes, and a number of tasks at once, must be at least 1")

    @property
    def notice_seconds(self) -> int:
        """A quarter of a short time limit (a choice)."""
        return min(NOTICE_SECONDS, self.minutes * 60 // 4)


def submit(study: str, some: list[Job], scale: str, root: Path, machine: Machine, request: Request, dirty: bool) -> str:
    """Submit the jobs as one array; its id. `ValueError` for a changed tree, no SLURM, or what SLURM refuses."""
    if not shutil.which("sbatch"):
        raise ValueError(
            "no SLURM here (there is no `sbatch`): log in to the cluster, or use `python -m experiments train`"
        )
    code = commit()
    changed = _git("status", "--porcelain") if code else ""
    if changed and not dirty:
        where = changed.splitlines()[0].strip()
        raise ValueError(f"the clone differs from its commit ({where}): commit, or say --dirty to keep the difference")
    folder = root.absolute() / "sweeps" / scale / "launches" / f"{datetime.now():%Y-%m-%dT%H%M%S}-{study}"
    plan = tasks(chains(some), machine.processes)
    sweep = {"scale": scale, "root": str(root.absolute()), "commit": code, "machine": _machine_json(machine)}
    sweep["notice_seconds"] = request.notice_seconds
    write_json(folder / "sweep.json", sweep | {"tasks": to_json([[list(c) for c in task] for task in plan])})
    if changed:
        write_text(folder / "uncommitted.diff", changed + _git("diff", "HEAD"))
    job = _sbatch(folder, len(plan), machine, request)
    runs = [[{"name": j.run.name, "trunk": j.run.trunk} for chain in task for j in chain] for task in plan]
    write_json(folder / "submitted.json", {"job": job, "tasks": runs})
    return job


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=CLONE, capture_output=True, text=True, check=True).stdout


def _machine_json(machine: Machine) -> dict:
    return {k: str(v) if isinstance(v, Path) else v for k, v in asdict(machine).items()}


def _machine(stored: dict) -> Machine:
    paths = {key: Path(stored[key]) for key in ("models", "textless_python") if stored[key]}
    return Machine(**stored | paths | {"loggers": tuple(stored["loggers"])})


def _sbatch(folder: Path, count: int, machine: Machine, request: Request) -> str:
    """Write and submit the array with submitit, which starts `run_task` once per device; the array's id."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError

    executor = SlurmExecutor(folder=folder / "jobs")
    on_gpu = machine.accelerator == "gpu"
    cpus = machine.processes * ((machine.threads or 1) + (2 if on_gpu else 0))  # two read batches ahead
    asked = {key: getattr(request, key) for key in ("partition", "account", "qos", "constraint")}
    executor.update_parameters(
        job_name="slm",
        time=request.minutes,
        nodes=machine.nodes,
        ntasks_per_node=machine.devices,
        cpus_per_task=cpus,
        signal_delay_s=request.notice_seconds,
        array_parallelism=request.at_once,
        additional_parameters={"requeue": True, "chdir": str(CLONE)},
        srun_args=["--kill-on-bad-exit=1", "--wait=0", f"--cpus-per-task={cpus}"],  # devices wait for each other
        stderr_to_stdout=True,
        **({"gpus_per_node": machine.devices} if on_gpu else {}),
        **({"mem": f"{request.memory_gb}GB"} if request.memory_gb else {}),
        **{key: value for key, value in asked.items() if value},
    )
    try:
        with redirect_stderr(StringIO()):  # submitit repeats what sbatch says, which the error below does as well
            submitted = executor.map_array(run_task, [str(folder)] * count, range(count))
    except (FailedJobError, subprocess.CalledProcessError) as error:
        said = "; ".join(line.strip() for line in str(error).splitlines() if "error" in line) or str(error)
        raise ValueError(f"SLURM refused: {said}; `sinfo` lists the partitions that exist") from None
    return submitted[0].job_id.split("_")[0]


def run_task(folder: str, index: int) -> None:
    """What a task of the array executes, once in each of its processes."""
    sweep = read_json(Path(folder) / "sweep.json")
    machine, root = _machine(sweep["machine"]), Path(sweep["root"])
    some = [[from_json(Job, job) for job in chain] for chain in sweep["tasks"][index]]
    notice = _Notice(sweep["notice_seconds"])
    try:
        if machine.processes > 1:
            ended = side_by_side(some, sweep["scale"], root, machine, wishes=lambda: notice.value)
        else:
            ended = _one_by_one(some, sweep["scale"], root, machine, notice)
    except ValueError as error:
        if not notice.value:
            raise
        print(error, flush=True)  # the runs beside the one that failed are to go on
        ended = False
    if not ended:
        notice.obey()
    for asked in (signal.SIGUSR2, signal.SIGTERM):  # all is done, and Python is about to drop its handlers
        signal.signal(asked, signal.SIG_IGN)


def _one_by_one(some: list[list[Job]], scale: str, root: Path, machine: Machine, notice: "_Notice") -> bool:
    from experiments.complete import complete
    from slm.recorder import Leave

    for job in (job for chain in some for job in chain):
        try:
            complete(job, scale, root, machine, wish=notice)
        except Leave:
            return False
    return True


class _Notice:
    """The one handler of SLURM's signals: it only sets a flag, which training reads after every update."""

    def __init__(self, seconds: float) -> None:
        self.value, self.ends_soon, self.seconds = False, False, seconds
        signal.signal(signal.SIGUSR2, self._set)
        signal.signal(signal.SIGTERM, self._set)

    def _set(self, number: int, frame) -> None:
        self.value = True
        if number == signal.SIGUSR2 and not self.ends_soon:
            self.ends_soon = True
            last = threading.Timer(0.75 * self.seconds, _requeue)  # also where it is scoring, and cannot leave yet
            last.daemon = True
            last.start()

    def obey(self) -> None:
        """Every run is saved: back into the queue before a time-out. After SIGTERM, SLURM requeues or cancels."""
        print("saved; " + ("requeueing" if self.ends_soon else "waiting for SLURM to end the task"), flush=True)
        if self.ends_soon:
            _requeue()
        while True:
            time.sleep(1)


def _requeue() -> None:
    if os.environ.get("SLURM_PROCID", "0") == "0":
        done = subprocess.run(["scontrol", "requeue", os.environ["SLURM_JOB_ID"]], capture_output=True, text=True)
        print(f"requeued {done.stderr}".strip(), flush=True)


def queued(scale: str, root: Path) -> list[dict]:
    """Runs of launches that have not ended: `name`, `trunk`, and where in SLURM's queue (`12_3 RUNNING`).

    `ValueError` if SLURM does not answer.
    """
    found: list[dict] = []
    for job, runs in _launches(scale, root) if shutil.which("squeue") else ():
        asked = ["squeue", "--noheader", "--array", "--jobs", job, "--format", "%i %T"]
        answer = subprocess.run(asked, capture_output=True, text=True)
        if answer.returncode and "Invalid job id" not in answer.stderr:  # which it says of jobs that it has forgotten
            raise ValueError(f"SLURM does not tell its queue ({answer.stderr.strip()}): try again when it answers")
        for id_, state in (line.split() for line in answer.stdout.splitlines()):
            index = int(id_.split("_")[1]) if "_" in id_ else 0
            found += [run | {"where": f"{id_} {state}"} for run in runs[index]]
    return found


def _launches(scale: str, root: Path) -> Iterator[tuple[str, list[list[dict]]]]:
    for path in sorted((root / "sweeps" / scale / "launches").glob("*/submitted.json")):
        told = read_json(path)
        yield told["job"], told["tasks"]
