"""A sweep on a real SLURM of one node, disturbed in every way it knows, ends with the numbers of a calm one."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from experiments.launch import train_here
from experiments.plan import jobs
from experiments.progress import failures, state
from experiments.scales import SCALES
from experiments.slurm import Request, queued, submit
from experiments.studies import held_out_stores, runs_of
from slm.atomic import read_json
from slm.machine import Machine
from slm.runlog import RunLog

ROOT = Path(__file__).parents[2]
TINY = SCALES["tiny"]
TIMING = ("time", "tokens_per_second", "mfu")
MACHINE = Machine(accelerator="cpu", checkpoint_seconds=2.0)


def is_running() -> bool:
    return bool(shutil.which("sbatch")) and subprocess.run(["sinfo"], capture_output=True).returncode == 0


pytestmark = [pytest.mark.slurm, pytest.mark.skipif(not is_running(), reason="no SLURM is running here: .ci/slurm")]


def slurm(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def logs(root: Path) -> str:
    return "\n".join(path.read_text() for path in root.rglob("*_log.out"))


def wait_for(what, seconds: float, root: Path) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"SLURM took too long\n{slurm('squeue')}\n{logs(root)[-9000:]}"
        time.sleep(0.3)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("slurm")
    run = runs_of("scaling", TINY)[0]
    names = ["stories-train/units", *held_out_stores(run, TINY)]
    names += [f"{benchmark}/units" for benchmark in ("minimal_pairs", "topic_cloze", "story_cloze")]
    command = [sys.executable, "-m", "data", "prepare", *names, "--scale", "tiny", "--workers", "2"]
    subprocess.run(command, cwd=ROOT, env=os.environ | {"SLM_ROOT": str(root)}, check=True)
    return root


def run_of(name: str, updates: int, seed: int):
    run = runs_of("scaling", TINY)[0]
    train = replace(run.train, tokens=updates * run.train.batch_tokens, seed=seed)
    return replace(run, name=f"slurm/{name}", budget=str(updates), train=train)


def process_of(sweep: Path, task: int) -> int:
    """The Python process of a task of the array."""
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            environment = (path / "environ").read_bytes().split(b"\0")
            if f"SLURM_ARRAY_TASK_ID={task}".encode() in environment and "python" in (path / "exe").readlink().name:
                if f"{sweep}".encode() in (path / "cmdline").read_bytes():
                    return int(path.name)
    raise AssertionError(f"task {task} has no process")


def facts(root: Path, run) -> tuple:
    log = RunLog(root / "runs" / "tiny" / run.name)
    rows = [{k: v for k, v in row.items() if k not in TIMING} for row in log.rows("train")]
    steps = [row["step"] for row in rows]
    assert steps == list(range(1, run.train.steps + 1)), "every update once"
    return rows, log.rows("val"), log.rows("scores")


def test_a_disturbed_array_gives_the_numbers_of_a_calm_sweep(prepared, tmp_path):
    root = tmp_path / "disturbed"
    (root / "stores").parent.mkdir()
    (root / "stores").symlink_to(prepared / "stores")
    short = [run_of(f"short{seed}", 800, seed) for seed in range(3)]
    requeued, killed = run_of("requeued", 3000, 3), run_of("killed", 3000, 4)
    long = run_of("long", 13_000, 5)
    runs = [*short, requeued, killed, long]

    def launch() -> str:
        missing = [run for run in runs if not RunLog(root / "runs" / "tiny" / run.name).is_done]
        return submit("test", jobs(missing, TINY, root), "tiny", root, MACHINE, Request(minutes=30), dirty=True)

    def rows(run) -> int:
        path = root / "runs" / "tiny" / run.name / "train.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def ended() -> bool:
        return not slurm("squeue", "--noheader", "--jobs", array)

    array = launch()
    sweep = next((root / "sweeps" / "tiny" / "launches").iterdir())
    tasks = {task[0][0]["run"]["name"]: i for i, task in enumerate(read_json(sweep / "sweep.json")["tasks"])}
    assert {run["name"] for run in queued("tiny", root)} == {run.name for run in runs}
    wait_for(lambda: rows(requeued) > 300, 120, root)
    os.kill(process_of(sweep, tasks[requeued.name]), signal.SIGTERM)  # as preemption begins
    wait_for(lambda: "waiting for SLURM" in logs(root), 60, root)
    slurm("scontrol", "requeue", f"{array}_{tasks[requeued.name]}")  # as it ends
    wait_for(lambda: rows(killed) > 300, 120, root)
    os.kill(process_of(sweep, tasks[killed.name]), signal.SIGKILL)
    subprocess.run(["pkill", "-x", "slurmctld"], check=True)
    time.sleep(1)
    subprocess.run(["slurmctld"], check=True)
    wait_for(lambda: subprocess.run(["sinfo"], capture_output=True).returncode == 0, 60, root)
    elapsed = slurm("squeue", "--noheader", "--jobs", f"{array}_{tasks[long.name]}", "--format", "%M")
    minutes = int(elapsed.split(":")[-2])
    # soon enough to be told at once, and late enough to be able to leave, however slow the machine was until here
    slurm("scontrol", "update", f"JobId={array}_{tasks[long.name]}", f"TimeLimit={minutes + 2}")
    wait_for(lambda: "saved; requeueing" in logs(root), 120, root)
    longer = ["scontrol", "update", f"JobId={array}_{tasks[long.name]}", "TimeLimit=30"]
    wait_for(lambda: subprocess.run(longer, capture_output=True).returncode == 0, 60, root)  # not while it is requeued
    wait_for(ended, 400, root)
    assert not RunLog(root / "runs" / "tiny" / killed.name).is_done, "a killed task is not silently run again"

    array = launch()
    wait_for(ended, 600, root)
    assert "saved; requeueing" in logs(root)
    assert {run.name for run in runs if not RunLog(root / "runs" / "tiny" / run.name).is_done} == set(), logs(root)

    calm = tmp_path / "calm"
    calm.mkdir()
    (calm / "stores").symlink_to(prepared / "stores")
    train_here(jobs(runs, TINY, calm), "tiny", calm, replace(MACHINE, processes=2))
    for run in runs:
        assert facts(root, run) == facts(calm, run), run.name


def test_the_command_launches_and_says_what_slurm_refuses(prepared, tmp_path):
    (tmp_path / "stores").symlink_to(prepared / "stores")
    command = [sys.executable, "-m", "experiments"]
    asked = [*command, "launch", "scaling", "--scale", "tiny", "--hours", "0.2", "--accelerator", "cpu", "--dirty"]
    environment = os.environ | {"SLM_ROOT": str(tmp_path), "COLUMNS": "150"}

    def said(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(arguments, cwd=ROOT, env=environment, capture_output=True, text=True)

    refused = said(*asked, "--partition", "nowhere")
    assert refused.returncode == 2 and "invalid partition" in refused.stderr and "sinfo" in refused.stderr
    assert len(refused.stderr.strip().splitlines()) == 1
    done = said(*asked, "--processes", "2")
    assert done.returncode == 0 and "submitted" in done.stdout, done.stderr
    again = said(*asked, "--processes", "2")
    assert "in the queue already" in again.stdout and "submitted" not in again.stdout, again.stdout + again.stderr
    runs = runs_of("scaling", TINY)
    wait_for(lambda: all(RunLog(tmp_path / "runs" / "tiny" / run.name).is_done for run in runs), 300, tmp_path)
    wait_for(lambda: not queued("tiny", tmp_path), 60, tmp_path)
    assert "all runs of scaling are trained and scored" in said(*asked).stdout
    shown = said(*command, "status", "scaling", "--scale", "tiny").stdout
    assert shown.count(" done ") == len(runs)
    _scores_come_back(said, asked, runs, tmp_path)


def _scores_come_back(said, asked: list[str], runs: list, root: Path) -> None:
    """Scores that are gone are made again on SLURM, the same."""

    def scores() -> list[list[dict]]:
        logs = [RunLog(root / "runs" / "tiny" / run.name) for run in runs]
        return [sorted(log.rows("scores"), key=lambda row: (row["eval"], row["subset"], row["metric"])) for log in logs]

    before = scores()
    for run in runs:
        (root / "runs" / "tiny" / run.name / "scores.jsonl").unlink()
    assert "submitted" in (done := said(*asked, "--score")).stdout, done.stdout + done.stderr
    wait_for(lambda: not queued("tiny", root), 120, root)
    assert scores() == before and "submitted" not in said(*asked, "--score").stdout


def test_two_tasks_of_slurm_train_one_run_together(prepared, tmp_path):
    (tmp_path / "stores").symlink_to(prepared / "stores")
    run = run_of("together", 64, 0)
    machine = replace(MACHINE, devices=2)
    # an update of tiny is one window, which two devices cannot share
    train = replace(run.train, batch_tokens=2 * run.train.batch_tokens, tokens=64 * run.train.batch_tokens)
    run = replace(run, train=train)
    submit("together", jobs([run], TINY, tmp_path), "tiny", tmp_path, machine, Request(minutes=10), dirty=True)
    log = RunLog(tmp_path / "runs" / "tiny" / run.name)
    wait_for(lambda: log.is_done, 200, tmp_path)
    wait_for(lambda: not queued("tiny", tmp_path), 60, tmp_path)
    (execution,) = read_json(log.folder / "env.json")["executions"]
    assert (execution["devices"], execution["strategy"]) == (2, "ddp") and len(log.rows("train")) == 32
    assert {row["eval"] for row in log.rows("scores")} == {"minimal_pairs", "topic_cloze", "story_cloze"}


def test_runs_side_by_side_outlive_their_time_limit_and_one_that_fails(prepared, tmp_path):
    (tmp_path / "stores").symlink_to(prepared / "stores")
    tame = run_of("tame", 3500, 6)
    wild = run_of("wild", 400, 8)
    wild = replace(wild, train=replace(wild.train, learning_rate=1e30, clip=1e30))
    machine = replace(MACHINE, processes=2)
    submit("side", jobs([tame, wild], TINY, tmp_path), "tiny", tmp_path, machine, Request(minutes=1), dirty=True)
    wait_for(lambda: RunLog(tmp_path / "runs" / "tiny" / tame.name).is_done, 400, tmp_path)
    wait_for(lambda: not queued("tiny", tmp_path), 60, tmp_path)
    assert "saved; requeueing" in logs(tmp_path)
    assert facts(tmp_path, tame)[0]
    assert state(wild, TINY, tmp_path) == "failed"
    (why,) = failures([wild], TINY, tmp_path)
    assert "at step" in why and "lower the learning rate" in why
