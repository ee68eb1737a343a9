"""Studies: what every list of runs must satisfy, at every scale, before anything is trained."""

import os
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from data.stores import BENCHMARKS, SWEEP, stores
from experiments.launch import _chains
from experiments.scales import SCALES
from experiments.studies import STUDIES, benchmark_stores, held_out_stores, runs_of, training_stores, unique
from slm.flops import training_flops

MICRO = SCALES["micro"]


def micro_runs():
    return unique([run for study in STUDIES for run in runs_of(study, MICRO)])


@pytest.mark.parametrize("scale", SCALES.values(), ids=lambda scale: scale.name)
def test_every_study_of_every_scale_is_a_list_of_distinct_runs(scale):
    runs = unique([run for study in scale.studies for run in runs_of(study, scale)])
    assert runs and set(scale.studies) <= set(STUDIES)


def test_the_demo_stays_within_its_budget():
    flops = [training_flops(run.model, run.train.tokens)["flops_6n"] for run in micro_runs()]
    assert max(flops) <= 3e12 and sum(flops) <= 3e13


def test_scaling_is_a_full_grid_of_at_least_four_by_four():
    points = {(run.size, run.train.tokens) for run in runs_of("scaling", MICRO)}
    sizes, counts = {size for size, _ in points}, {count for _, count in points}
    assert len(sizes) >= 4 and len(counts) >= 4 and len(points) == len(sizes) * len(counts)


def test_every_family_has_one_point_with_three_seeds():
    seeds: dict[tuple, set[int]] = {}
    for run in micro_runs():
        seeds.setdefault((run.family, run.size, run.budget), set()).add(run.train.seed)
    families = {family for family, *_ in seeds} - set(SWEEP)
    assert {"units", "unigram", "phones", "text"} <= families
    for family in families:
        assert max(len(found) for key, found in seeds.items() if key[0] == family) == 3, family


@pytest.mark.parametrize("run", micro_runs()[:: len(micro_runs()) // 8], ids=lambda run: run.name)
def test_runs_are_measured_in_their_own_tokens(run):
    table = stores("micro")
    (trained,), held_out, benchmarks = (
        training_stores(run, MICRO),
        held_out_stores(run, MICRO),
        benchmark_stores(run, MICRO),
    )
    assert table[held_out[0]].corpus.name == table[trained].corpus.name
    assert trained not in held_out and set(benchmarks) == set(BENCHMARKS)
    for name in [*held_out, *benchmarks.values()]:
        assert table[name].tokenizer == table[trained].tokenizer and table[name].units == table[trained].units


def test_the_mismatched_voice_is_heard_in_no_training_store():
    table = stores("micro")
    voices = {voice for name, spec in table.items() if "-train" in name for voice in spec.corpus.voices}
    assert voices and not voices & set(table["stories-othervoice/units"].corpus.voices)


def test_one_name_for_two_recipes_and_two_names_for_one_are_refused():
    run = runs_of("scaling", MICRO)[0]
    with pytest.raises(ValueError, match="two recipes are named"):
        unique([run, replace(run, train=replace(run.train, seed=9))])
    with pytest.raises(ValueError, match="same recipe.*keep one name"):
        unique([run, replace(run, name="another")])
    assert unique([run, run]) == [run]


def test_chains_hold_every_run_once_in_order_of_tokens():
    runs = micro_runs()
    chains = _chains(runs)
    assert sorted(run.name for chain in chains for run in chain) == sorted(run.name for run in runs)
    for chain in chains:
        assert len({run.trunk for run in chain}) == 1
        assert [run.train.tokens for run in chain] == sorted(run.train.tokens for run in chain)


def experiments(*arguments: str, root) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "experiments", *arguments]
    environment = os.environ | {"SLM_ROOT": str(root), "COLUMNS": "140"}
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_list_needs_no_stores_and_no_torch(tmp_path):
    started = time.monotonic()
    done = experiments("list", "scaling", root=tmp_path)
    elapsed = time.monotonic() - started
    assert done.returncode == 0, done.stderr
    for words in ("units/", "not prepared", "FLOPs counted", "updates"):
        assert words in done.stdout
    imported = subprocess.run(
        [sys.executable, "-X", "importtime", "-c", "import experiments.__main__"], capture_output=True, text=True
    )
    assert " torch\n" not in imported.stderr and " numpy\n" in imported.stderr
    print(f"list took {elapsed:.1f} s")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["list", "nonsense"], "choose from scaling"),
        (["train", "scaling", "--scale", "tera"], "choose one of tiny, micro"),
        (["train", "scaling"], "make it with `python -m data prepare`"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, arguments, message):
    done = experiments(*arguments, root=tmp_path)
    assert done.returncode == 2 and message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
