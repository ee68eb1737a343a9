"""Training: exact resumption, exact branches of a trunk, honest validation, clear refusals."""

import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from slm.checkpoint import read_checkpoint
from slm.machine import Machine
from slm.runlog import RunLog
from slm.spec import TrainConfig
from slm.store import TokenStore
from slm.train import learning_rate, train, trained_model

CPU = Machine(accelerator="cpu", checkpoint_seconds=0.0)
TIMING = ("time", "tokens_per_second", "mfu")


def go(run, stores, root: Path, **options) -> RunLog:
    machine = options.pop("machine", CPU)
    return train(run, [stores["train"]], {"held-out": stores["validation"]}, root, machine, {}, **options)


def facts(log: RunLog) -> tuple:
    """Everything of a run that must not depend on how it came to its end."""
    rows = [{k: v for k, v in row.items() if k not in TIMING} for row in log.rows("train")]
    state = read_checkpoint(log.checkpoint)
    return rows, log.rows("val"), state


def assert_equal_runs(one: RunLog, other: RunLog) -> None:
    (rows, losses, state), (rows_, losses_, state_) = facts(one), facts(other)
    assert rows == rows_ and losses == losses_
    assert state["state_dict"].keys() == state_["state_dict"].keys()
    assert all(torch.equal(state["state_dict"][key], state_["state_dict"][key]) for key in state["state_dict"])
    for key, moments in state["optimizer_states"][0]["state"].items():
        for name, value in moments.items():
            assert torch.equal(value, state_["optimizer_states"][0]["state"][key][name])


class Stopped(Exception):
    pass


def stop_after(updates: int):
    """A report that ends training after some updates, as an error anywhere would."""
    calls = []

    def report(flops: float) -> None:
        calls.append(flops)
        if len(calls) == updates + 1:
            raise Stopped

    return report


@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_run_learns_and_logs_every_update(toy_stores, run_of, tmp_path, schedule):
    run = run_of(64 * 100, schedule=schedule, decay_fraction=0.25 if schedule == "wsd" else 0.0)
    log = go(run, toy_stores, tmp_path)
    rows = log.rows("train")
    assert [row["step"] for row in rows] == list(range(1, 101))
    assert rows[-1]["tokens"] == run.train.tokens == log.done["tokens"]
    assert rows[0]["nats"] == pytest.approx(np.log(17), abs=0.1)
    assert np.mean([row["nats"] for row in rows[-10:]]) < 0.5 * rows[0]["nats"]
    assert rows[-1]["lr"] == pytest.approx(run.train.learning_rate * run.train.final_rate)


def test_validation_is_the_mean_over_the_whole_store(toy_stores, run_of, tmp_path):
    log = go(run_of(), toy_stores, tmp_path)
    (row,), store, model = log.rows("val"), toy_stores["validation"], trained_model(log)
    stream = np.concatenate([[store.eos], store.tokens.astype(int)])
    nats = 0.0
    for first in range(0, store.num_tokens, 32):
        window = torch.from_numpy(stream[first : first + 33])
        with torch.no_grad():
            logits = model(input_ids=window[None, :-1]).logits[0].double()
        nats -= float(torch.log_softmax(logits, -1)[torch.arange(len(window) - 1), window[1:]].sum())
    assert row["sum_nats"] == pytest.approx(nats, rel=1e-5)
    assert (row["num_tokens"], row["num_units"]) == (store.num_tokens, store.num_units)


@pytest.mark.parametrize("updates", [1, 7, 12, 15, 16])
@pytest.mark.parametrize("schedule", ["cosine", "wsd"])
def test_a_stopped_run_continues_bit_for_bit(toy_stores, run_of, tmp_path, updates, schedule):
    run = run_of(schedule=schedule, decay_fraction=0.25 if schedule == "wsd" else 0.0)
    whole = go(run, toy_stores, tmp_path / "whole")
    with pytest.raises(Stopped):
        go(run, toy_stores, tmp_path / "stopped", report=stop_after(updates))
    assert not RunLog(tmp_path / "stopped" / run.name).is_done
    assert_equal_runs(go(run, toy_stores, tmp_path / "stopped"), whole)


def test_resuming_in_the_second_epoch_is_exact(toy_stores, run_of, tmp_path):
    """1,570 tokens of store against 64-token updates: update 40 is in the second epoch."""
    run = run_of(64 * 60)
    assert toy_stores["train"].num_tokens < 64 * 40
    whole = go(run, toy_stores, tmp_path / "whole")
    with pytest.raises(Stopped):
        go(run, toy_stores, tmp_path / "stopped", report=stop_after(40))
    assert_equal_runs(go(run, toy_stores, tmp_path / "stopped"), whole)


def test_a_branch_of_the_trunk_equals_the_undisturbed_run(toy_stores, run_of, tmp_path):
    alone = go(run_of(2048), toy_stores, tmp_path / "alone")
    go(run_of(1024), toy_stores, tmp_path / "shared")
    updates = []
    branch = go(run_of(2048), toy_stores, tmp_path / "shared", report=updates.append)
    assert len(updates) == 1 + 32 - 12, "the branch starts at update 12, where the shorter run began to decay"
    assert_equal_runs(branch, alone)


def test_a_finished_run_is_left_alone_and_another_recipe_is_refused(toy_stores, run_of, tmp_path):
    log = go(run_of(), toy_stores, tmp_path)
    before = log.checkpoint.stat().st_mtime_ns
    go(run_of(), toy_stores, tmp_path)
    assert log.checkpoint.stat().st_mtime_ns == before
    with pytest.raises(ValueError, match="train.learning_rate"):
        go(run_of(learning_rate=1.0), toy_stores, tmp_path)


def test_a_torn_checkpoint_is_named(toy_stores, run_of, tmp_path):
    run = run_of()
    with pytest.raises(Stopped):
        go(run, toy_stores, tmp_path, report=stop_after(5))
    path = RunLog(tmp_path / run.name).checkpoint
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="last.ckpt is torn or altered.*delete it"):
        go(run, toy_stores, tmp_path)


def test_a_diverging_run_stops_with_step_and_remedy(toy_stores, run_of, tmp_path):
    with pytest.raises(ValueError, match="at step .* lower the learning rate"):
        go(run_of(learning_rate=1e30, clip=1e30), toy_stores, tmp_path)


def test_an_altered_store_is_not_trained_on(make_store, toy_stores, run_of, tmp_path):
    store = make_store(folder=tmp_path / "altered")
    content = bytearray((store.folder / "tokens.bin").read_bytes())
    content[0] ^= 1
    (store.folder / "tokens.bin").write_bytes(content)
    with pytest.raises(ValueError, match="tokens.bin"):
        go(run_of(), toy_stores | {"train": TokenStore(store.folder)}, tmp_path / "runs")


def _train_slowly(run, folders: dict, root: Path) -> None:
    stores = {name: TokenStore(folder) for name, folder in folders.items()}
    go(run, stores, root, report=lambda flops: time.sleep(0.05))


def test_sigkill_in_the_middle_changes_nothing(toy_stores, run_of, tmp_path):
    run = run_of(64 * 60)
    whole = go(run, toy_stores, tmp_path / "whole")
    folders = {name: store.folder for name, store in toy_stores.items()}
    child = multiprocessing.get_context("spawn").Process(target=_train_slowly, args=(run, folders, tmp_path / "killed"))
    child.start()
    log = RunLog(tmp_path / "killed" / run.name)
    deadline = time.monotonic() + 60
    while len(log.rows("train")) < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert 10 <= len(log.rows("train")) < 60 and not log.is_done
    assert_equal_runs(go(run, toy_stores, tmp_path / "killed"), whole)


def test_two_processes_never_train_one_folder(toy_stores, run_of, tmp_path):
    run = run_of(64 * 400)
    folders = {name: store.folder for name, store in toy_stores.items()}
    child = multiprocessing.get_context("spawn").Process(target=_train_slowly, args=(run, folders, tmp_path))
    child.start()
    try:
        deadline = time.monotonic() + 60
        while not RunLog(tmp_path / run.name).rows("train") and time.monotonic() < deadline:
            time.sleep(0.05)
        with pytest.raises(ValueError, match="another process"):
            go(run, toy_stores, tmp_path)
    finally:
        child.kill()
        child.join()


def recipe(**changes) -> TrainConfig:
    base = {"tokens": 100, "batch_tokens": 1, "learning_rate": 1.0, "warmup_steps": 10, "final_rate": 0.1}
    return TrainConfig(**base | {"schedule": "wsd", "decay_fraction": 0.2} | changes)


def test_wsd_rates_rise_stay_and_fall_linearly():
    rates = [learning_rate(recipe(), step) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and rates[9] == 1.0
    assert set(rates[9:80]) == {1.0}
    assert rates[80] == pytest.approx(1 - 0.9 / 20) and rates[99] == pytest.approx(0.1)


def test_cosine_rates_follow_the_published_ratio():
    rates = [learning_rate(recipe(schedule="cosine", decay_fraction=0.0), step) for step in range(100)]
    assert rates[10] == 1.0 and rates[99] == pytest.approx(0.1)
    assert rates[10 + 89 // 2] == pytest.approx(0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * 44 / 89)))
