"""Training: exact resumption, exact branches of a trunk, honest validation, clear refusals."""

import multiprocessing
import os
import resource
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from slm.atomic import read_json
from slm.checkpoint import read_checkpoint
from slm.export import export
from slm.machine import Machine
from slm.recorder import Leave, Wish
from slm.runlog import RunLog
from slm.spec import Init, Source, TrainConfig
from slm.store import TokenStore, checksum
from slm.train import learning_rate, train, trained_model
from tests.slm.spoken_words import SPANS, pair_store, word_store
from tests.slm.test_devices import assert_close, on_two

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
@pytest.mark.parametrize(("schedule", "precision"), [("cosine", "bf16-mixed"), ("wsd", "32-true")])
def test_a_stopped_run_continues_bit_for_bit(toy_stores, run_of, tmp_path, updates, schedule, precision):
    run = run_of(schedule=schedule, decay_fraction=0.25 if schedule == "wsd" else 0.0, precision=precision)
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


def test_a_checkpoint_of_another_recipe_is_refused(toy_stores, run_of, tmp_path):
    other = go(run_of(seed=1), toy_stores, tmp_path / "other")
    run = run_of()
    log = RunLog.open(tmp_path, run)
    log.checkpoint.parent.mkdir(parents=True)
    log.checkpoint.write_bytes(other.checkpoint.read_bytes())
    with pytest.raises(ValueError, match="last.ckpt is a checkpoint of another recipe: delete it"):
        go(run, toy_stores, tmp_path)


def test_an_altered_checkpoint_is_refused(toy_stores, run_of, tmp_path):
    run = run_of()
    with pytest.raises(Stopped):
        go(run, toy_stores, tmp_path, report=stop_after(5))
    path = RunLog(tmp_path / run.name).checkpoint
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="last.ckpt is torn or altered.*delete it"):
        go(run, toy_stores, tmp_path)


class Planted:
    """What a tampered checkpoint could carry: code that runs when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, (str(Path(os.environ["PLANTED"])),)


def test_nothing_in_a_checkpoint_is_executed(toy_stores, run_of, tmp_path, monkeypatch):
    monkeypatch.setenv("PLANTED", str(tmp_path / "executed"))
    log = RunLog.open(tmp_path, run_of())
    log.checkpoint.parent.mkdir(parents=True)
    torch.save({"global_step": 0, "hooks": Planted()}, log.checkpoint)
    with pytest.raises(ValueError, match="last.ckpt is torn or altered"):
        go(run_of(), toy_stores, tmp_path)
    assert not (tmp_path / "executed").exists()


def _train_on_a_full_disk(run, folders: dict, root: Path) -> None:
    """Files may not grow beyond what the rows need and half of a checkpoint takes."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    size = RunLog(root / run.name).checkpoint.stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, size // 2))
    stores = {name: TokenStore(folder) for name, folder in folders.items()}
    try:
        go(run, stores, root)
    except OSError as error:
        (root / "said").write_text(str(error))


def test_a_full_disk_leaves_the_last_good_checkpoint(toy_stores, run_of, tmp_path):
    run = run_of(64 * 60)
    whole = go(run, toy_stores, tmp_path / "whole")
    with pytest.raises(Stopped):
        go(run, toy_stores, tmp_path / "full", report=stop_after(9))
    log = RunLog(tmp_path / "full" / run.name)
    before = log.checkpoint.read_bytes()
    folders = {name: store.folder for name, store in toy_stores.items()}
    child = multiprocessing.get_context("spawn").Process(
        target=_train_on_a_full_disk, args=(run, folders, tmp_path / "full")
    )
    child.start()
    child.join()
    assert "is the disk full?" in (tmp_path / "full" / "said").read_text()
    assert log.checkpoint.read_bytes() == before and not log.is_done
    assert [path.name for path in log.checkpoint.parent.iterdir()] == ["last.ckpt"]
    assert_equal_runs(go(run, toy_stores, tmp_path / "full"), whole)


def test_divergence_names_the_documents_and_the_last_good_checkpoint(toy_stores, run_of, tmp_path):
    run = run_of(learning_rate=1e30, clip=1e30)
    with pytest.raises(ValueError, match=r"at step (\d+), whose batch holds documents document \d+.*last.ckpt") as said:
        go(run, toy_stores, tmp_path)
    rows = RunLog(tmp_path / run.name).rows("train")
    assert f"at step {len(rows) + 1}," in str(said.value) and all(np.isfinite(row["nats"]) for row in rows)


def test_a_run_leaves_when_it_is_asked_and_continues(toy_stores, run_of, tmp_path):
    run, wish, calls = run_of(), Wish(), []

    def report(flops: float) -> None:
        calls.append(flops)
        wish.value = len(calls) == 8

    whole = go(run, toy_stores, tmp_path / "whole")
    with pytest.raises(Leave):
        go(run, toy_stores, tmp_path / "left", report=report, wish=wish, machine=Machine(accelerator="cpu"))
    left = RunLog(tmp_path / "left" / run.name)
    assert len(left.rows("train")) == 7 == read_checkpoint(left.checkpoint)["global_step"]
    assert_equal_runs(go(run, toy_stores, tmp_path / "left"), whole)


def test_what_was_resolved_is_kept_unless_asked_otherwise(toy_stores, run_of, tmp_path):
    run = run_of(256 * 8, batch_tokens=256)
    machines = [
        Machine(accelerator="cpu", micro_batch=4, checkpoint_seconds=0.0),
        CPU,
        Machine(accelerator="cpu", micro_batch=2),
    ]
    for machine, updates in zip(machines, (2, 2, 100), strict=True):
        try:
            go(run, toy_stores, tmp_path, machine=machine, report=stop_after(updates))
        except Stopped:
            pass
    told = read_json(tmp_path / run.name / "env.json")["executions"]
    assert [(line["from_step"], line["micro_batch"]) for line in told] == [(0, 4), (2, 2)]


def test_a_compiled_model_trains_alike(toy_stores, run_of, tmp_path):
    plain = go(run_of(), toy_stores, tmp_path / "plain")
    compiled = go(run_of(), toy_stores, tmp_path / "compiled", machine=Machine(accelerator="cpu", compile=True))
    for one, other in zip(plain.rows("train"), compiled.rows("train"), strict=True):
        assert one["nats"] == pytest.approx(other["nats"], rel=1e-4)
    assert (
        read_checkpoint(plain.checkpoint)["state_dict"].keys()
        == read_checkpoint(compiled.checkpoint)["state_dict"].keys()
    )


def test_tensorboard_sees_the_rows(toy_stores, run_of, tmp_path):
    log = go(run_of(), toy_stores, tmp_path, machine=Machine(accelerator="cpu", loggers=("tensorboard",)))
    events = EventAccumulator(str(log.folder / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("nats")] == [row["step"] for row in log.rows("train")]
    assert [event.value for event in events.Scalars("nats")] == pytest.approx(
        [row["nats"] for row in log.rows("train")]
    )
    with pytest.raises(ValueError, match="no logger.*choose from tensorboard, wandb"):
        go(run_of(2048), toy_stores, tmp_path, machine=Machine(accelerator="cpu", loggers=("notebook",)))


def test_a_warm_start_continues_without_its_checkpoint(toy_stores, run_of, tmp_path):
    text = go(run_of(), toy_stores, tmp_path / "text")
    folder = export(text, tmp_path / "models" / "text-lm")
    init = Init(checkpoint="text-lm", revision=checksum(folder / "model.safetensors"))
    run = replace(run_of(seed=3), name="warm", init=init)
    machine = Machine(accelerator="cpu", checkpoint_seconds=0.0, models=tmp_path / "models")
    whole = go(run, toy_stores, tmp_path / "whole", machine=machine)
    with pytest.raises(Stopped):
        go(run, toy_stores, tmp_path / "stopped", machine=machine, report=stop_after(7))
    shutil.rmtree(tmp_path / "models")
    assert_equal_runs(go(run, toy_stores, tmp_path / "stopped", machine=machine), whole)
    kept = read_checkpoint(whole.checkpoint)["state_dict"]["model.model.norm.weight"]
    assert trained_model(whole).model.norm.weight.equal(kept)


@pytest.fixture(scope="module")
def spoken(tmp_path_factory):
    """Words to interleave on line, and pairs of text and speech."""
    folder = tmp_path_factory.mktemp("spoken")
    return [word_store(folder / "words", 15), pair_store(folder / "pairs")]


def mixed(run, stores):
    """Interleaved on line, its weight falling, beside pairs of which the speech alone is predicted."""
    words, pairs = stores
    interleaved = Source(store=words.spec, weight=2.0, final_weight=0.5, spans=SPANS)
    return replace(run, mix=(interleaved, Source(store=pairs.spec, loss="target")))


@pytest.mark.parametrize("updates", [7, 40])
def test_an_interleaved_masked_scheduled_run_continues_bit_for_bit(spoken, run_of, tmp_path, updates):
    """Of 42 updates: the words are in their second epoch at the second place."""
    run = mixed(run_of(64 * 42, schedule="cosine", decay_fraction=0.0), spoken)
    held_out = {"held-out": spoken[1]}
    whole = train(run, spoken, held_out, tmp_path / "whole", CPU, {})
    with pytest.raises(Stopped):
        train(run, spoken, held_out, tmp_path / "stopped", CPU, {}, report=stop_after(updates))
    assert_equal_runs(train(run, spoken, held_out, tmp_path / "stopped", CPU, {}), whole)
    assert sum(source["tokens"] for source in whole.done["sources"]) == run.train.tokens
    assert 0 < whole.done["sources"][1]["target_tokens"] < whole.done["sources"][1]["tokens"]


def test_micro_batches_of_few_and_many_targets_weigh_their_targets_alike(spoken, run_of, tmp_path):
    run = mixed(run_of(256 * 20, batch_tokens=256), spoken)
    one, other = (
        train(
            run, spoken, {"held-out": spoken[1]}, tmp_path / str(size), Machine(accelerator="cpu", micro_batch=size), {}
        )
        for size in (8, 2)
    )
    for mine, theirs in zip(one.rows("train"), other.rows("train"), strict=True):
        assert mine["nats"] == pytest.approx(theirs["nats"], rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)


def test_the_logged_loss_is_that_of_a_target(spoken, run_of, tmp_path):
    """Of the first update, whose weights are the fresh ones: about log 17 a target, though half are given."""
    pairs = spoken[1]
    run = replace(run_of(64 * 60), mix=(Source(store=pairs.spec, loss="target"),))
    log = train(run, [pairs], {"held-out": pairs}, tmp_path, CPU, {})
    assert log.rows("train")[0]["nats"] == pytest.approx(np.log(17), abs=0.1)
    (row,) = log.rows("val")
    assert row["num_tokens"] == np.count_nonzero(pairs.parts) < pairs.num_tokens
    model, nats = trained_model(log), 0.0
    stream = np.concatenate([[pairs.eos], pairs.tokens.astype(int)])
    for first in range(0, pairs.num_tokens, 32):
        window = torch.from_numpy(stream[first : first + 33])
        with torch.no_grad():
            logits = model(input_ids=window[None, :-1]).logits[0].double()
        each = -torch.log_softmax(logits, -1)[torch.arange(len(window) - 1), window[1:]]
        nats += float(each[torch.from_numpy(pairs.parts[first : first + 32] > 0)].sum())
    assert row["sum_nats"] == pytest.approx(nats, rel=1e-5)


def test_a_store_with_parts_is_measured_whole_where_a_source_predicts_all(spoken, run_of, tmp_path):
    log = train(mixed(run_of(), spoken), spoken, {"held-out": spoken[1]}, tmp_path, CPU, {})
    assert log.rows("val")[0]["num_tokens"] == spoken[1].num_tokens


def test_updates_without_any_target_leave_no_trace(spoken, run_of, tmp_path):
    """No text is to be predicted in these pairs: the rows say 0, and no weight is lost to a division by nothing."""
    pairs = spoken[1]
    run = replace(run_of(), mix=(Source(store=pairs.spec, loss="text"),))
    log = train(run, [pairs], {"held-out": pairs}, tmp_path, CPU, {})
    assert {(row["nats"], row["grad_norm"]) for row in log.rows("train")} == {(0.0, 0.0)}
    assert log.rows("val")[0]["num_tokens"] == 0
    assert all(weight.isfinite().all() for weight in trained_model(log).parameters())


def test_two_devices_with_unequal_targets_train_what_one_trains(spoken, run_of, tmp_path):
    pairs = spoken[1]
    source = Source(store=pairs.spec, loss="target")
    run = replace(run_of(256 * 16, batch_tokens=256, warmup_steps=4, learning_rate=3e-3), mix=(source,))
    alone = train(run, [pairs], {"held-out": pairs}, tmp_path / "alone", CPU, {})
    (tmp_path / "two").mkdir()
    on_two([run], {"train": pairs, "validation": pairs}, tmp_path / "two", "ddp", 2)
    assert_close(RunLog(tmp_path / "two" / run.name), alone)
