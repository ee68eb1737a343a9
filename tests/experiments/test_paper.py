"""Scale `paper`: golden numbers of Cuervo & Marxer 2024 and of the code they released."""

import csv
from pathlib import Path

import pytest

from data.stores import stores
from experiments.recipe import Family, epochs, isoflop, mixture, mixture_tokens, paper_run, published, ratios
from experiments.scales import SCALES
from experiments.studies import held_out_stores, runs_of, training_stores, unique
from slm.flops import params_total, training_flops
from slm.train import learning_rate

PAPER = SCALES["paper"]
UNITS = Family(name="units", mixture="published")
PARAMS = {"20M": 20_710_912, "85M": 85_339_392, "155M": 154_680_320, "309M": 308_845_568, "823M": 823_179_264}


def flops(run) -> float:
    return training_flops(run.model, run.train.tokens)["flops_6n"]


@pytest.fixture(scope="module")
def released() -> list[dict]:
    with open(Path(__file__).parents[2] / "analysis/published/released_runs.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_published_grid_has_the_published_sizes_and_ratios():
    runs = [run for run in runs_of("scaling", PAPER) if run.train.seed == 0]
    assert {run.size: params_total(run.model) for run in runs} == PARAMS
    assert {(run.model.vocabulary, run.model.context, run.model.width // run.model.heads) for run in runs} == {
        (502, 2050, 64)
    }
    assert len(runs) == 40
    for run in runs:
        assert run.train.tokens / PARAMS[run.size] == pytest.approx(float(run.budget.removeprefix("d")), rel=0.01)
    assert {float(run.budget.removeprefix("d")) for run in runs} == {2, 4, 8, 10, 20, 32, 64, 100}


def test_released_endpoints_are_all_31_rows_exactly(released):
    runs = {f"{run.size.lower()}-{run.budget}": run for run in runs_of("released", PAPER)}
    assert list(runs) == [row["name"] for row in released] and len(runs) == 31
    for row in released:
        run = runs[row["name"]]
        assert params_total(run.model) == int(row["n_total"])
        assert run.train.batch_tokens == int(row["tokens_per_update"])
        assert run.train.tokens == int(row["tokens_seen"])
        assert float(f"{flops(run):.3e}") == float(row["C_6ND"])


def test_warm_up_of_both_variants():
    asked = {("20M", "d2"): 100, ("20M", "d64"): 101, ("20M", "d100"): 157, ("85M", "d100"): 325, ("823M", "d100"): 784}
    cosine = {(run.size, run.budget): run.train.warmup_steps for run in runs_of("cosine", PAPER)}
    assert {point: cosine[point] for point in asked} == asked  # max(100, 1 % of the updates)
    assert published(PAPER, "20M").warmup(829_800) == 8298
    warmups = {(run.size, run.train.batch_tokens // 2050): run.train.warmup_steps for run in runs_of("released", PAPER)}
    assert warmups == {
        **{("20M", 64): 1000, ("85M", 128): 1000, ("155M", 256): 1000, ("309M", 252): 588},
        **{("823M", 456): 176, ("823M", 494): 260, ("823M", 608): 660},
    }


@pytest.mark.parametrize("study", ["cosine", "released"])
def test_cosine_schedules_go_from_5e4_to_5e5(study):
    for run in runs_of(study, PAPER)[::7]:
        train = run.train
        rates = [
            learning_rate(train, step) for step in (0, train.warmup_steps - 1, train.warmup_steps, train.steps - 1)
        ]
        assert rates == pytest.approx([5e-4 / train.warmup_steps, 5e-4, 5e-4, 5e-5])
        middle = (train.warmup_steps + train.steps - 1) // 2
        assert learning_rate(train, middle) == pytest.approx(2.75e-4, rel=0.01)
        assert (train.beta1, train.beta2, train.weight_decay, train.clip) == (0.9, 0.95, 0.1, 1.0)
        assert (train.precision, run.model.init_std) == ("bf16-mixed", 0.02)


def test_runs_of_a_size_share_one_trunk_across_studies():
    wsd = [run for study in ("scaling", "repeats", "isoflop", "warm") for run in runs_of(study, PAPER)]
    trunks: dict[str, set[str]] = {}
    for run in wsd:
        if run.train.seed == 0 and run.family == "units":
            trunks.setdefault(run.size, set()).add(run.trunk)
    assert set(trunks) == set(PARAMS) and all(len(found) == 1 for found in trunks.values())


def test_one_epoch_of_the_mixture_is_one_of_each_corpus():
    sources = {source.store.corpus.name: 0.0 for source in mixture(PAPER, "published", "units")}
    for source in mixture(PAPER, "published", "units"):
        sources[source.store.corpus.name] += source.weight
    total = sum(sources.values())
    assert total == mixture_tokens(PAPER, "published", "units") == pytest.approx(10.89e9, rel=2e-4)
    assert {name: round(100 * weight / total, 1) for name, weight in sources.items()} == {
        **{"librispeech": 0.6, "librilight": 34.3, "swc": 0.3, "tedlium": 1.0},
        **{"peoples_speech": 4.4, "voxpopuli": 15.1, "tinystories": 44.3},
    }
    assert mixture_tokens(PAPER, "published", "unigram") == pytest.approx(6.31e9, rel=1e-3)
    assert mixture_tokens(PAPER, "audiobooks", "units") == pytest.approx(67e6 + 3.74e9)
    table = {name: spec for name, spec in stores("paper").items() if name.endswith("/units")}
    weights = {spec.corpus: name for name, spec in table.items()}
    libri = {weights[s.store.corpus]: s.weight for s in mixture(PAPER, "published", "units")}
    assert libri["librispeech-train-clean-360/units"] == pytest.approx(67e6 * 363.6 / 960.9, rel=1e-6)
    assert libri["librilight-large-train/units"] / libri["librilight-small-train/units"] == pytest.approx(
        89.98, rel=1e-3
    )


def test_repeats_are_the_published_epochs():
    found: dict[str, list[float]] = {}
    for run in runs_of("repeats", PAPER):
        found.setdefault(run.size, []).append(round(run.train.tokens / 10.89e9, 2))
    assert found == {size: [2, 4, 8, 10] for size in ("20M", "85M", "155M", "309M")} | {"823M": [2, 4, 8]}


def test_a_flop_budget_is_met_by_sizes_within_the_range_of_ratios():
    sizes: dict[str, list[str]] = {}
    for run in runs_of("isoflop", PAPER):
        assert flops(run) == pytest.approx(float(run.budget), rel=0.01)
        assert 1 <= run.train.tokens / params_total(run.model) <= 1200
        sizes.setdefault(run.budget, []).append(run.size)
    assert sizes["1e18"] == ["20M", "85M", "155M", "309M"] and sizes["1e20"] == ["155M", "309M", "823M"]


def test_tokenizers_and_synthetic_stay_within_an_epoch_of_their_own_data():
    pieces = runs_of("tokenizers", PAPER)
    assert {run.model.vocabulary for run in pieces} == {5001} and "823M" not in {run.size for run in pieces}
    assert min(run.train.tokens for run in pieces) == pytest.approx(0.74e9, rel=0.01)
    assert max(run.train.tokens for run in pieces) <= mixture_tokens(PAPER, "published", "unigram")
    both = runs_of("synthetic", PAPER)
    stories, books = ([run for run in both if run.family == name] for name in ("tinystories", "audiobooks"))
    assert [run.train.tokens for run in stories] == [run.train.tokens for run in books]
    assert [run.size for run in books] == list(PARAMS) and {len(run.mix) for run in books} == {6}
    assert all(run.train.tokens == pytest.approx(3.807e9, rel=1e-3) for run in both)
    assert training_stores(stories[0], PAPER) == ["tinystories-train/units"]


def test_the_test_set_is_every_official_held_out_set_and_no_story():
    for run in (paper_run(PAPER, "units", "20M", 10**9), *runs_of("synthetic", PAPER)[::5]):
        names = held_out_stores(run, PAPER)
        assert names[0] == "librispeech-test-clean/units" and len(names) == 12
        assert not any("train" in name or "tinystories" in name for name in names)
        assert {"tedlium-test", "peoples_speech-clean-test", "swc-validation"} <= {n.partition("/")[0] for n in names}


def test_every_run_of_every_study_has_one_name_and_one_recipe():
    studies = (*PAPER.studies, "warm")
    found = [run for study in studies for run in runs_of(study, PAPER)]
    assert len(unique(found)) == len({run.name for run in found}) > 170


def test_a_paper_run_is_a_branch_of_the_published_trunk():
    run = paper_run(PAPER, "units", "85M", 1_364_480_000)
    assert run.train.tokens == 1_364_480_000 and run.budget == "1.36B" and run.train.schedule == "wsd"
    assert paper_run(PAPER, "units", "85M", 1_364_480_000, seed=3).train.seed == 3


def test_budgets_that_whole_updates_miss_by_more_than_one_percent_are_refused():
    with pytest.raises(ValueError, match="move the budget by"):
        ratios(PAPER, UNITS, ("823M",), (0.04,))
    with pytest.raises(ValueError, match="updates of 1,049,600 tokens"):
        paper_run(PAPER, "units", "823M", 10_000_000)
    with pytest.raises(ValueError, match="choose another budget"):
        isoflop(PAPER, UNITS, ("20M", "85M"), (1e22,))
    with pytest.raises(ValueError, match="states no token count of stories-train/text"):
        epochs(SCALES["micro"], Family(name="text", mixture="stories", scheme="text"), ("w32",), (2,))
