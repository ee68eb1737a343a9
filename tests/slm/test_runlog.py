"""Run folders: guarded by the recipe, cut to the checkpoint, whole or absent."""

import json

import pytest

from slm.runlog import RunLog


def test_another_recipe_in_the_folder_is_refused_with_the_differences(tmp_path, run_of):
    RunLog.open(tmp_path, run_of())
    RunLog.open(tmp_path, run_of())
    with pytest.raises(ValueError, match=r"train.seed: 0 -> 1\n.*delete the folder"):
        RunLog.open(tmp_path, run_of(seed=1))


def test_a_torn_line_is_no_row_and_the_tail_holds_the_last_ones(tmp_path, run_of):
    log = RunLog.open(tmp_path, run_of())
    log.append("train", [{"step": step} for step in (1, 2, 3)])
    with open(log.folder / "train.jsonl", "a") as file:
        file.write('{"step": 4, "na')
    assert [row["step"] for row in log.rows("train")] == [1, 2, 3]
    assert log.tail("train") == log.rows("train")
    assert log.tail("train", 30) == [{"step": 3}], "the line that 30 bytes cut is left out"
    assert log.tail("val") == []


def test_a_bad_line_in_the_middle_is_named(tmp_path, run_of):
    log = RunLog.open(tmp_path, run_of())
    (log.folder / "val.jsonl").write_text('{"step": 1}\nnonsense\n{"step": 2}\n')
    with pytest.raises(ValueError, match="val.jsonl, line 2"):
        log.rows("val")


def test_not_a_number_never_reaches_a_row(tmp_path, run_of):
    log = RunLog.open(tmp_path, run_of())
    with pytest.raises(ValueError):
        log.append("train", [{"step": 1, "nats": float("nan")}])
    assert log.rows("train") == []


def test_an_unreadable_spec_says_what_to_do(tmp_path, run_of):
    log = RunLog.open(tmp_path, run_of())
    path = log.folder / "spec.json"
    content = json.loads(path.read_text())
    content["surprise"] = 1
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="unknown fields.*surprise.*delete the folder"):
        RunLog.open(tmp_path, run_of())


def test_a_full_disk_leaves_the_old_file_whole(tmp_path, run_of, monkeypatch):
    """The system's own error is what a full disk gives; the old content must still be there."""
    import os

    log = RunLog.open(tmp_path, run_of())
    log.write("env.json", {"commit": "old"})

    def no_space(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        log.write("env.json", {"commit": "new"})
    assert json.loads((log.folder / "env.json").read_text()) == {"commit": "old"}
    assert not list(log.folder.glob(".*tmp"))
