"""The whole path at scale tiny, by its own commands: train, score, collect, fit, draw; killed, resumed, repeated."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from experiments.scales import SCALES
from experiments.studies import runs_of, unique
from slm.atomic import read_json, read_jsonl, write_jsonl

RUNS = unique([run for study in ("text", "scaling") for run in runs_of(study, SCALES["tiny"])])
REPOSITORY = Path(__file__).parents[2]
TIMING = ("time", "tokens_per_second", "mfu")


def start(root: Path, *arguments: str) -> subprocess.Popen:
    command = [sys.executable, "-m", *arguments, "--scale", "tiny"]
    return subprocess.Popen(
        command, cwd=REPOSITORY, env=os.environ | {"SLM_ROOT": str(root)}, stdout=-1, stderr=-1, text=True
    )


def command(root: Path, *arguments: str) -> str:
    child = start(root, *arguments)
    said, errors = child.communicate()
    assert child.returncode == 0, said + errors
    return said


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("tiny")
    command(root, "data", "prepare", "--workers", "2")
    return root


@pytest.fixture(scope="module")
def trained(prepared) -> Path:
    command(prepared, "experiments", "train", "text", "scaling", "--workers", "2")
    return prepared


def facts(root: Path) -> dict[str, list[dict]]:
    """Every row of every run, without what a clock says."""
    found = {}
    for path in sorted((root / "runs" / "tiny").rglob("*.jsonl")):
        if ".trunks" not in path.parts:
            rows = [{key: value for key, value in row.items() if key not in TIMING} for row in read_jsonl(path)]
            found[str(path.relative_to(root))] = rows
    return found


def elsewhere(prepared: Path, root: Path) -> Path:
    """A root with the same stores and no runs."""
    root.mkdir()
    (root / "stores").symlink_to(prepared / "stores")
    return root


def test_every_run_is_trained_validated_and_scored(trained):
    found = facts(trained)
    runs = {name.rsplit("/", 1)[0] for name in found if name.endswith("val.jsonl")}
    assert len(runs) == len(RUNS)
    for run in runs:
        scores = found[f"{run}/scores.jsonl"]
        assert {row["eval"] for row in scores} == {"minimal_pairs", "topic_cloze", "story_cloze"}
        own = read_json(trained / run / "done.json")["validation"]
        assert found[f"{run}/val.jsonl"][0]["store"] == own
        for benchmark in ("minimal_pairs", "topic_cloze", "story_cloze"):
            assert len(found[f"{run}/items/{benchmark}.jsonl"]) == 12


def test_one_worker_gives_what_two_gave(prepared, trained, tmp_path):
    alone = elsewhere(prepared, tmp_path / "alone")
    command(alone, "experiments", "train", "text", "--workers", "1")
    expected = {name: rows for name, rows in facts(trained).items() if "/text/" in name}
    assert facts(alone) == expected and expected


def test_a_sweep_killed_in_the_middle_ends_with_the_same_numbers(prepared, trained, tmp_path):
    root = elsewhere(prepared, tmp_path / "killed")
    child = start(root, "experiments", "train", "text", "--workers", "2")
    deadline = time.monotonic() + 120
    while len(list(root.rglob("done.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert 3 <= len(list(root.rglob("done.json"))) < 14
    command(root, "experiments", "train", "text", "--workers", "2")
    assert facts(root) == {name: rows for name, rows in facts(trained).items() if "/text/" in name}


def test_a_finished_study_is_left_alone(trained):
    before = {path: path.stat().st_mtime_ns for path in (trained / "runs").rglob("*") if path.is_file()}
    assert "trained and scored" in command(trained, "experiments", "train", "text", "scaling")
    assert {path: path.stat().st_mtime_ns for path in (trained / "runs").rglob("*") if path.is_file()} == before


def test_scores_on_other_items_are_made_again(trained):
    path = next((trained / "runs/tiny/text").rglob("scores.jsonl"))
    rows = read_jsonl(path)
    stale = [row | {"fingerprint": "0" * 12} if row["eval"] == "topic_cloze" else row for row in rows]
    write_jsonl(path, stale)
    assert "unscored" in command(trained, "experiments", "status", "text")
    command(trained, "experiments", "train", "text")

    def by_what(row: dict) -> tuple:
        return row["eval"], row["subset"], row["metric"]

    assert sorted(read_jsonl(path), key=by_what) == sorted(rows, key=by_what)


def test_a_store_of_another_recipe_is_refused_before_training(prepared, tmp_path):
    root = tmp_path / "other"
    shutil.copytree(prepared / "stores", root / "stores")
    shutil.rmtree(root / "stores/tiny/stories-validation/text")
    shutil.copytree(root / "stores/tiny/stories-train/text", root / "stores/tiny/stories-validation/text")
    child = start(root, "experiments", "train", "text")
    _, errors = child.communicate()
    assert child.returncode == 2 and "was made by another recipe" in errors and not (root / "runs").exists()


def test_tables_fits_and_figures_follow_and_repeat_themselves(trained):
    for arguments in (["analysis", "collect"], ["analysis", "fit"], ["paper_figures"]):
        command(trained, *arguments)
    results = trained / "results" / "tiny"
    first = {path: path.read_bytes() for path in results.rglob("*") if path.is_file()}
    assert results / "report.html" in first and results / "tables" / "runs.csv" in first
    for arguments in (["analysis", "collect"], ["analysis", "fit"], ["paper_figures"]):
        command(trained, *arguments)
    assert {path: path.read_bytes() for path in results.rglob("*") if path.is_file()} == first
