"""Several devices: two processes over gloo train what one process trains, and one continues what two began."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from slm.atomic import read_json, write_json
from slm.checkpoint import read_checkpoint
from slm.machine import Machine
from slm.recorder import Leave, Wish
from slm.runlog import RunLog
from slm.spec import to_json
from slm.train import train

CPU = Machine(accelerator="cpu")


def on_two(runs, stores, root: Path, strategy: str, micro_batch: int | None = None, leave_after: int = 0) -> str:
    told = {name: str(store.folder) for name, store in stores.items()}
    told |= {"runs": to_json(runs), "root": str(root), "strategy": strategy, "micro_batch": micro_batch}
    write_json(root / "told.json", told | {"leave_after": leave_after})
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += [str(Path(__file__).with_name("two_devices.py")), str(root / "told.json")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    return done.stdout


def assert_close(one: RunLog, other: RunLog) -> None:
    for mine, theirs in zip(one.rows("train"), other.rows("train"), strict=True):
        assert mine["nats"] == pytest.approx(theirs["nats"], rel=1e-4)
        assert mine["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-3)
    assert one.rows("val")[0]["sum_nats"] == pytest.approx(other.rows("val")[0]["sum_nats"], rel=1e-4)
    states = [read_checkpoint(log.checkpoint)["state_dict"] for log in (one, other)]
    assert states[0].keys() == states[1].keys()
    for name, weight in states[0].items():
        torch.testing.assert_close(weight, states[1][name], rtol=1e-3, atol=1e-4)


def on_one_then_two(run, stores, root: Path, strategy: str, micro_batch: int | None, alone: RunLog) -> None:
    wish, calls = Wish(), []

    def report(flops: float) -> None:
        calls.append(flops)
        wish.value = len(calls) > 14

    with pytest.raises(Leave):
        train(run, [stores["train"]], {"held-out": stores["validation"]}, root, CPU, {}, report, wish)
    on_two([run], stores, root, strategy, micro_batch)
    log = RunLog(root / run.name)
    assert [line["from_step"] for line in read_json(log.folder / "env.json")["executions"]] == [0, 14]
    assert_close(log, alone)


@pytest.mark.parametrize(("strategy", "micro_batch"), [("ddp", 2), ("fsdp2", None)])
def test_two_devices_train_what_one_trains_and_one_continues_it(toy_stores, run_of, tmp_path, strategy, micro_batch):
    """Two runs, the second from the trunk of the first; then the first again, left by two devices, ended by one."""
    runs = [run_of(256 * steps, batch_tokens=256, warmup_steps=4, learning_rate=3e-3) for steps in (32, 40)]
    own = [toy_stores["train"]], {"held-out": toy_stores["validation"]}
    alone = [train(run, *own, tmp_path / "alone", CPU, {}) for run in runs]
    (tmp_path / "two").mkdir()
    on_two(runs, toy_stores, tmp_path / "two", strategy, micro_batch)
    for run, log in zip(runs, alone, strict=True):
        assert_close(RunLog(tmp_path / "two" / run.name), log)
    assert read_json(tmp_path / "two" / runs[1].name / "env.json")["started_from"]["step"] == 24
    on_one_then_two(runs[0], toy_stores, tmp_path / "one-then-two", strategy, micro_batch, alone[0])
    (tmp_path / "mixed").mkdir()
    assert "left" in on_two(runs[:1], toy_stores, tmp_path / "mixed", strategy, micro_batch, leave_after=16)
    mixed = RunLog(tmp_path / "mixed" / runs[0].name)
    left = len(mixed.rows("train"))  # every 16th update at the latest they agree, and at the end of the trunk
    assert 16 <= left <= 24 and not mixed.is_done
    assert_close(train(runs[0], *own, tmp_path / "mixed", CPU, {}), alone[0])
    told = read_json(mixed.folder / "env.json")["executions"]
    assert [(line["from_step"], line["devices"], line["strategy"]) for line in told] == [
        (0, 2, strategy),
        (left, 1, "single"),
    ]


def test_a_micro_batch_changes_the_last_bits_at_most(toy_stores, run_of, tmp_path):
    run = run_of(256 * 20, batch_tokens=256)
    own = [toy_stores["train"]], {"held-out": toy_stores["validation"]}
    whole = train(run, *own, tmp_path / "whole", CPU, {})
    assert_close(train(run, *own, tmp_path / "parts", Machine(accelerator="cpu", micro_batch=2), {}), whole)


def test_several_devices_without_their_processes_are_refused(toy_stores, run_of, tmp_path):
    with pytest.raises(ValueError, match="torchrun --nproc-per-node 2"):
        train(run_of(), [toy_stores["train"]], {}, tmp_path, Machine(accelerator="cpu", devices=2), {})
