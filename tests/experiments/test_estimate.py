"""Estimates: what runs cost before they cost anything, and what `list` says of it."""

import os
import statistics
import subprocess
import sys
from dataclasses import replace

import pytest

from experiments.estimate import estimates, measured_speeds, shared_steps
from experiments.listing import print_list
from experiments.scales import A100_TOKENS_PER_SECOND, SCALES
from experiments.studies import runs_of
from slm.flops import flops_per_token
from slm.machine import Machine
from slm.store import Document, write_store
from slm.train import train

PAPER, MICRO = SCALES["paper"], SCALES["micro"]
MFU = {"20M": 0.3197, "85M": 0.3652, "155M": 0.4195, "309M": 0.4360, "823M": 0.6252}
"""Of 312 TFLOP/s (README.md of the released code)."""


def test_stated_speeds_are_those_of_the_published_mfu():
    for run in runs_of("released", PAPER):
        expected = MFU[run.size] * 312e12 / flops_per_token(run.model)["flops_with_attention"]
        assert A100_TOKENS_PER_SECOND[run.size] == pytest.approx(expected, rel=0.02)


def test_the_released_runs_cost_the_a100_hours_that_they_took(tmp_path):
    found = {estimate.run.name: estimate for estimate in estimates(runs_of("released", PAPER), PAPER, tmp_path)}
    extended = sum(found.pop(f"units-released/{label}/823M").device_hours for label in ("26b", "82b"))
    assert sum(estimate.device_hours for estimate in found.values()) == pytest.approx(1690, rel=0.01)
    assert extended + 1690 == pytest.approx(1690 + 940, rel=0.1)
    assert {estimate.basis for estimate in found.values()} == {"stated"}
    assert all(estimate.executed_device_hours == estimate.device_hours for estimate in found.values())


def test_a_trunk_costs_its_longest_run_and_the_cooldowns_of_the_others(tmp_path):
    runs = [run for run in runs_of("released", PAPER) if run.budget not in ("26b", "82b")]
    shared = {"schedule": "wsd", "decay_fraction": 0.25, "warmup_steps": 1000}
    branches = [replace(run, train=replace(run.train, **shared)) for run in runs]
    found = estimates(branches, PAPER, tmp_path)
    longest = {estimate.run.size: estimate for estimate in found}
    whole = sum(estimate.device_hours for estimate in longest.values())
    rest = sum(estimate.device_hours for estimate in found) - whole
    executed = sum(estimate.executed_device_hours for estimate in found)
    assert whole == pytest.approx(715, rel=0.01)
    assert executed == pytest.approx(whole + 0.25 * rest, rel=1e-3) and executed < 0.6 * 1690
    assert sum(estimate.executed_flops for estimate in found) < sum(estimate.flops for estimate in found)


def test_runs_start_where_a_shorter_run_of_their_trunk_began_to_cool_down():
    runs = [run for run in runs_of("scaling", MICRO) if run.size == "w48"]
    shared = shared_steps(runs)
    counts = (0, 128 - 32, 256 - 64, 512 - 128)
    names = [f"units/{budget}/w48" for budget in ("256k", "512k", "1024k", "2048k")]
    assert [shared[name] for name in names] == list(counts)
    assert shared["units/512k/w48/seed1"] == 0 and not any(shared_steps(runs_of("cosine", MICRO)).values())


def test_epochs_unique_tokens_and_repeats_of_stated_counts(tmp_path):
    found = {estimate.run.name: estimate for estimate in estimates(runs_of("repeats", PAPER), PAPER, tmp_path)}
    four = found["units/e4/155M"]
    assert (four.epochs, four.repeats) == pytest.approx((4, 3), rel=1e-4)
    assert four.unique_tokens == pytest.approx(10.89e9, rel=2e-4)
    (first, *_) = estimates(runs_of("scaling", PAPER), PAPER, tmp_path)
    assert first.unique_tokens == first.run.train.tokens and first.repeats == 0 and first.epochs < 0.01
    (unknown, *_) = estimates(runs_of("text", MICRO), MICRO, tmp_path)
    assert unknown.epochs is unknown.repeats is unknown.unique_tokens is None
    assert unknown.unprepared == ("stories-train/text",)


def test_prepared_stores_count_more_than_stated_ones(tmp_path):
    (run, *_) = runs_of("scaling", MICRO)
    spec = run.mix[0].store
    write_store(tmp_path / "stores/micro/stories-train/units", spec, [Document(id="a", tokens=[1] * 65535)], {})
    (found, *_) = estimates([run], MICRO, tmp_path)
    assert (found.corpus_tokens, found.unprepared, found.epochs, found.repeats) == (65536, (), 4.0, 3.0)


def test_finished_runs_of_a_size_say_how_fast_it_is(tmp_path, run_of, toy_stores):
    toy = run_of()
    (run, *_) = runs_of("scaling", MICRO)
    measured = replace(toy, name="toy/w32", size="w32")
    validation = {"toy": toy_stores["validation"]}
    machine = Machine(accelerator="cpu", threads=1)
    log = train(measured, [toy_stores["train"]], validation, tmp_path / "runs/micro", machine, {})
    speed = statistics.median(row["tokens_per_second"] for row in log.rows("train"))
    assert measured_speeds(MICRO, tmp_path) == {"w32": speed}
    (found, other) = estimates([run, runs_of("scaling", MICRO)[4]], MICRO, tmp_path)
    assert (found.tokens_per_second, found.basis) == (speed, "measured")
    assert found.device_hours == pytest.approx(262144 / speed / 3600)
    assert other.basis == "guessed" and other.tokens_per_second == pytest.approx(2.5e10 / (6 * 57984))


def test_as_many_windows_as_fit_go_through_a_device(tmp_path):
    found = {estimate.run.name: estimate for estimate in estimates(runs_of("scaling", PAPER), PAPER, tmp_path)}
    for estimate in found.values():
        rows = estimate.run.train.batch_tokens // 2050
        assert estimate.step_bytes <= 64e9 and rows % estimate.windows == 0
    assert found["units/d2/20M"].windows == 64 and 1 <= found["units/d2/823M"].windows < 64
    tight = replace(PAPER, device_bytes=1e9)
    (large,) = estimates(runs_of("scaling", PAPER)[-3:-2], tight, tmp_path)
    assert large.windows == 1 and large.step_bytes > 1e9


def test_the_list_tells_cost_with_and_without_sharing(tmp_path, capsys):
    runs = runs_of("repeats", PAPER)
    print_list("repeats", runs, PAPER, tmp_path, 2.0)
    said = capsys.readouterr().out
    found = estimates(runs, PAPER, tmp_path)
    executed, counted = sum(e.executed_device_hours for e in found), sum(e.device_hours for e in found)
    assert f"{counted:,.1f} hours of one A100-80GB" in said and f"share their trunk: {executed:,.1f} hours" in said
    assert f"cost at 2 an hour: {2 * executed:,.2f}, {2 * counted:,.2f} without sharing" in said
    for words in ("units/e10/309M", "108,890,227,200", "2.02e+20", "10.00", "9.00", "FLOPs counted", "not prepared"):
        assert words in said
    assert "from the scale's table: 20M 499,000 tokens/s" in said


def test_small_scales_are_listed_in_minutes_and_without_a_price(tmp_path, capsys):
    print_list("scaling", runs_of("scaling", MICRO), MICRO, tmp_path, None)
    said = capsys.readouterr().out
    assert "minutes of one CPU core" in said and "from the scale's FLOP/s" in said and "cost" not in said


def test_the_list_needs_no_torch(tmp_path):
    code = (
        "import sys; sys.modules.update(torch=None, lightning=None, transformers=None);"
        "from pathlib import Path; from experiments.listing import print_list; from experiments.scales import SCALES;"
        "from experiments.studies import runs_of; paper = SCALES['paper'];"
        "print_list('scaling', runs_of('scaling', paper), paper, Path(sys.argv[1]), None)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr
    assert "units/d100/823M" in done.stdout
