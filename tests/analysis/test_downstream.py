"""Accuracy against compute and loss: published exponents, envelopes of all resamples at once, cuts, traps."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

import analysis
from analysis import downstream, fit, parametric
from analysis.bootstrap import Resampling

PUBLISHED = Path(analysis.__file__).parent / "published" / "released_runs.csv"
QUESTIONS = {"sblimp_macro": 6300, "sblimp_pair": 6300, "tstorycloze": 1871, "sstorycloze": 1871}
SPEECH = {"E": 1.73, "A": 13.9, "B": 39.8, "alpha": 0.25, "beta": 0.24}  # Cuervo & Marxer 2024, Table 5
FEW = Resampling(count=50)


def scores(flops, value, stderr=0.01, nats=None, subset="all", **columns):
    names = [f"r{i}" for i in range(len(flops))]
    labels = {"name": names, "fingerprint": names, "family": "units", "seed": 0}
    labels |= {"eval": "topic_cloze", "subset": subset, "metric": "accuracy_mean", "stderr": stderr}
    nats = np.linspace(3, 2, len(flops)) if nats is None else nats
    numbers = {"flops_6n": np.asarray(flops, float), "nats_per_token": nats, "value": value}
    return pd.DataFrame(labels | numbers | columns)


def released(metric, rows=31):
    """The released runs as scores, with the loss that the published law predicts."""
    table = pd.read_csv(PUBLISHED).iloc[:rows]
    n, d = table["n_total"].to_numpy(float), table["tokens_seen"].to_numpy(float)
    nats = parametric.loss(SPEECH, n, d)
    return scores(6.0 * n * d, table[metric] / 100, np.nan, nats, n=QUESTIONS[metric])


def fitted(table, **options):
    return downstream.fit_compute(table, "units", "topic_cloze", **{"resampling": FEW} | options)


def line(table, **options):
    return downstream.fit_loss(table, "units", "topic_cloze", **{"resampling": FEW} | options)


@pytest.mark.parametrize(
    ("metric", "curves", "everything", "cheap"),
    [
        ("sblimp_macro", 0.0205, 0.0185, 0.0215),
        ("sblimp_pair", 0.0182, 0.0167, 0.0160),
        ("tstorycloze", 0.0252, 0.0243, 0.0252),
        ("sstorycloze", 0.0108, 0.0107, 0.0088),
    ],
)
def test_exponents_of_the_released_runs(metric, curves, everything, cheap):
    found = [fitted(released(metric, 29)), fitted(released(metric)), fitted(released(metric), cut_flops=1e19)]
    assert [fit.params["gamma"] for fit in found] == pytest.approx([curves, everything, cheap], abs=5.1e-5)
    assert found[2].conventions["flops_to"] < 1e19 < found[1].conventions["flops_to"]


@pytest.mark.parametrize(
    ("metric", "low", "high"),
    [("sblimp_macro", 0.016, 0.024), ("tstorycloze", 0.021, 0.029), ("sstorycloze", 0.007, 0.020)],
)
def test_percentiles_of_answers_drawn_anew(metric, low, high):
    rows = released(metric)
    accuracy = downstream.resampled(rows, Resampling(count=2000))
    slope, _ = downstream.envelope_lines(rows["flops_6n"], accuracy, np.log)
    assert np.quantile(slope, [0.025, 0.975]) == pytest.approx([low, high], abs=0.002)


def test_intervals_draw_answers_where_they_were_counted_and_runs_where_not():
    rows = released("tstorycloze")
    counted = fitted(rows, resampling=Resampling(count=400))
    low, high = counted.intervals["gamma"]
    assert low < counted.params["gamma"] < high and counted.conventions["resampled"] == "answers"
    assert counted == fitted(rows, resampling=Resampling(count=400))
    sure = fitted(rows.assign(stderr=0.002), resampling=Resampling(count=400))
    assert np.diff(sure.intervals["gamma"]) < np.diff(counted.intervals["gamma"]) / 2
    assert fitted(rows.assign(n=np.nan, stderr=np.nan)).conventions["resampled"] == "runs"
    assert fitted(rows.assign(n=np.nan, stderr=0.01)).conventions["resampled"] == "answers"


@pytest.mark.parametrize(
    ("metric", "r"),
    [("sblimp_macro", -0.957), ("sblimp_pair", -0.944), ("tstorycloze", -0.975), ("sstorycloze", -0.860)],
)
def test_released_accuracy_follows_the_published_loss(metric, r):
    found = line(released(metric), resampling=Resampling(count=200))
    low, high = found.intervals["r"]
    assert found.params["r"] == pytest.approx(r, abs=5.1e-4)
    assert low < r < high < 0 and found.params["slope"] < 0 and not found.flags


def test_envelope_of_accuracy_keeps_rows_that_beat_all_cheaper_ones():
    kept = downstream.envelope([3, 1, 2, 2, 4], [0.6, 0.5, 0.55, 0.7, 0.7])
    assert list(kept) == [1, 3]
    assert list(downstream.envelope([1, 2], [0.0, 0.1])) == [1]


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), min_size=1, max_size=12), st.integers(0, 99))
def test_envelopes_of_all_resamples_are_those_of_each(points, seed):
    flops, accuracy = np.array(points, float).T
    drawn = np.random.default_rng(seed).random((5, len(flops))) < 0.6
    together = downstream.on_envelope(flops, np.where(drawn, accuracy, 0.0))
    for mask, rows in zip(together, drawn, strict=True):
        own = np.flatnonzero(rows)[downstream.envelope(flops[rows], accuracy[rows])]
        above = [i for i in own if accuracy[i] > accuracy[rows & (flops < flops[i])].max(initial=0)]
        assert sorted(np.flatnonzero(mask)) == sorted(own) == sorted(above)


def test_draws_are_the_fits_of_their_resamples():
    rows, few = released("tstorycloze", 29).assign(n=np.nan, stderr=np.nan), Resampling(count=6)
    found = fitted(rows, resampling=few)
    rows = rows.sort_values("name")
    expected = []
    for accuracy in downstream.resampled(rows, few)[:6]:
        table = rows[accuracy > 0]
        expected.append(tuple(fitted(table, resampling=Resampling(count=0)).params.values()))
    assert found.draws == pytest.approx(np.array(expected))


def test_resamples_of_sizes_draw_their_runs_together():
    rows = released("tstorycloze", 29).assign(size=[f"s{i // 6}" for i in range(29)])
    drawn = downstream.resampled(rows, Resampling(count=10, by="size")) > 0
    assert all(group.nunique() == 1 for row in drawn for _, group in pd.Series(row).groupby(list(rows["size"])))
    assert fitted(rows, resampling=Resampling(count=10, by="size")).conventions["resampled"] == "size"


def test_saturated_runs_are_cut_and_said_so():
    flops = np.geomspace(1e9, 1e13, 8)
    value = np.minimum(0.05 * flops**0.1, 0.97)
    found = fitted(scores(flops, value))
    cut = downstream.saturation_flops(flops, value)
    assert found.conventions["cut_flops"] == cut and (value[flops < cut] < 0.95).all()
    assert f"{(flops >= cut).sum()} runs from the first saturated one on left out" in found.flags
    assert found.params["gamma"] == pytest.approx(0.1) and found.kept == tuple(
        f"r{i}" for i in range((flops < cut).sum())
    )
    given = fitted(scores(flops, value), cut_flops=flops[4])
    assert given.conventions["cut_flops"] == flops[4] and "given compute" in given.conventions["cut_rule"]
    assert len(given.rows) == 4 and "4 runs from the given compute on left out" in given.flags


def test_chance_is_flagged_by_the_largest_run():
    flops = np.geomspace(1e9, 1e13, 8)
    flat = scores(flops, 0.5 + 0.01 * np.sin(np.arange(8)) + 0.001 * np.arange(8), stderr=0.025)
    assert all(any(flag.startswith("at chance") for flag in law.flags) for law in (fitted(flat), line(flat)))
    sure = fitted(scores(flops, np.linspace(0.5, 0.7, 8)))
    assert not sure.flags


def test_chance_is_that_of_the_benchmark_where_it_is_known():
    row = pd.Series({"value": 0.6, "stderr": 0.04})
    assert not downstream.is_at_chance(row) and not downstream.is_at_chance(pd.Series({**row, "chance": np.nan}))
    assert downstream.is_at_chance(pd.Series({**row, "chance": 0.55}))
    assert not downstream.is_at_chance(pd.Series({"value": 0.3, "stderr": 0.01, "chance": 0.25}))


def test_answers_are_fitted_by_containment_and_zeros_have_no_exponent(tables):
    rows = downstream.headline(tables.scores, "text", "webquestions")
    assert set(rows["metric"]) == {"containment"} and set(rows["subset"]) == {"all"}
    assert set(downstream.headline(tables.scores, "text", "topic_cloze")["metric"]) == {"accuracy_mean"}
    found = downstream.fit_compute(tables.scores, "text", "webquestions", resampling=FEW)
    assert found.params["gamma"] > 0 and "containment" in found.conventions["accuracy"]
    nothing = downstream.fit_compute(tables.scores, "units", "webquestions", resampling=FEW)
    assert not nothing.params and any(flag.startswith("at chance") for flag in nothing.flags)


def test_the_macro_average_is_a_measure_of_its_own(tables):
    both = [
        downstream.fit_compute(tables.scores, "units", "minimal_pairs", subset=subset, resampling=FEW)
        for subset in ("all", "macro")
    ]
    assert [fit.measure for fit in both] == ["minimal_pairs", "minimal_pairs-macro"]
    assert both[0].params["gamma"] != both[1].params["gamma"] and both[0].rows == both[1].rows
    missing = downstream.fit_loss(tables.scores, "units", "story_cloze", subset="macro", resampling=FEW)
    assert not missing.params and missing.flags[0].startswith("not fitted: 0 runs")


def test_accuracy_is_recovered_as_a_line_in_loss():
    nats = np.linspace(3.0, 2.0, 8)
    found = line(scores(np.geomspace(1e9, 1e12, 8), 1.2 - 0.2 * nats, nats=nats))
    assert tuple(found.params.values()) == pytest.approx((-0.2, 1.2, -1.0))
    assert found.hindcast["root_mean_square"] == pytest.approx(0, abs=1e-12) and found.hindcast["unit"] == "fraction"


def test_weighted_lines_are_those_of_repeated_rows():
    generator = np.random.default_rng(0)
    x, y, counts = generator.random(9), generator.random(9), generator.integers(0, 3, (4, 9))
    slopes, intercepts, correlations = downstream.line(x, y, counts)
    for place, count in enumerate(counts):
        many_x, many_y = np.repeat(x, count), np.repeat(y, count)
        assert [slopes[place], intercepts[place]] == pytest.approx(np.polyfit(many_x, many_y, 1))
        assert correlations[place] == pytest.approx(np.corrcoef(many_x, many_y)[0, 1])


def test_hindcasts_judge_the_largest_runs_of_the_envelope():
    flops = np.geomspace(1e9, 1e15, 13)
    value = 0.1 * flops**0.05
    value[11] -= 0.05  # dominated
    found = fitted(scores(flops, value)).hindcast
    assert found["cut_flops"] == pytest.approx(1e13) and found["fitted"] == 9
    assert {point[0] for point in found["points"]} == {"r9", "r10", "r12"}
    assert found["root_mean_square"] == pytest.approx(0, abs=1e-9)
    bent = fitted(scores(flops, np.minimum(0.1 * flops**0.05, 0.45 + 0.001 * np.arange(13)))).hindcast
    assert bent["bias"] > 0.01


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({3: 61.3}, r"per cent among fractions \(r3\); divide these by 100"),
        (dict.fromkeys(range(8), 61.3), r"in per cent \(r0, r1, r2, r3, r4 and 3 more\); divide these by 100"),
        ({2: np.nan, 5: np.nan}, "no accuracy or no compute of r2, r5"),
        ({1: -0.2}, r"below 0 \(r1\)"),
    ],
)
def test_numbers_that_are_no_fractions_are_refused_by_name(change, said):
    table = scores(np.geomspace(1e9, 1e13, 8), np.linspace(0.5, 0.7, 8))
    table.loc[list(change), "value"] = list(change.values())
    for law in (fitted, line):
        with pytest.raises(ValueError, match=said):
            law(table)


def test_runs_without_a_loss_are_left_out_by_name():
    table = scores(np.geomspace(1e9, 1e13, 8), np.linspace(0.5, 0.7, 8))
    table.loc[4, "nats_per_token"] = np.nan
    found = line(table)
    assert "left out, without nats_per_token: r4" in found.flags and len(found.rows) == 7
    nothing = line(table.assign(nats_per_token=np.nan))
    assert not nothing.params and nothing.flags[0].startswith("not fitted: 0 runs")


def test_what_does_not_vary_has_no_law():
    flops = np.geomspace(1e9, 1e13, 8)
    assert fitted(scores(flops, 0.6)).flags[0].startswith("not fitted: 1 points on the envelope")
    assert not fitted(scores(np.full(8, 1e9), np.linspace(0.5, 0.7, 8))).params
    assert not line(scores(flops, 0.6)).params
    assert not line(scores(flops, np.linspace(0.5, 0.7, 8), nats=2.0)).params


def test_runs_of_one_budget_have_no_law_in_compute():
    flops = np.geomspace(1e18, 1.1e18, 8)
    found = fitted(scores(flops, np.linspace(0.5, 0.7, 8)))
    assert found.flags == ("not fitted: the envelope spans 0.041 decades of compute, at least 0.1 wanted",)
    assert not line(scores(flops, np.linspace(0.5, 0.7, 8))).hindcast
    steep = fitted(scores(np.geomspace(1e20, 1.5e20, 8), 1e-3 * np.geomspace(1, 1.5, 8) ** 15.0))
    assert np.isfinite(steep.params["Q0"]) and "at bound: Q0" in steep.flags and steep.intervals


def test_intervals_of_envelopes_go_by_the_runs_on_them():
    rows = released("tstorycloze").assign(size=[f"s{i % 7}" for i in range(31)])
    found, by_size = fitted(rows), fitted(rows, resampling=Resampling(count=50, by="size"))
    assert found.freedom == len(found.kept) - 2 and by_size.freedom == 6
    assert line(rows).freedom == 29 and line(rows, resampling=Resampling(count=50, by="size")).freedom == 6
    assert found.conventions["interval"] == "draws mirrored at the fit" and "interval" not in line(rows).conventions
    assert by_size.conventions["interval"].startswith("rough") and found.reflected and not by_size.reflected


def test_draws_of_answers_are_mirrored_for_envelopes_of_them_lie_above_the_truth():
    """One power law, 31 runs, 1,871 questions: the fit lies above it, envelopes of drawn answers above the fit."""
    generator, flops = np.random.default_rng(0), released("tstorycloze")["flops_6n"].to_numpy()
    truth, held = 0.342 * flops**0.0108, []
    for _ in range(30):
        value = generator.binomial(1871, truth) / 1871
        found = fitted(scores(flops, value, np.sqrt(value * (1 - value) / 1871)), resampling=Resampling(count=200))
        at = {name: np.array(column) for name, column in zip(found.params, zip(*found.draws, strict=True), strict=True)}
        assert np.median(downstream.predict_compute(at, 1e19)) < downstream.predict_compute(found.params, 1e19)
        (low,), (high,) = fit.band(found, lambda params: downstream.predict_compute(params, 1e19))
        held.append(low <= 0.342 * 1e19**0.0108 <= high)
    assert np.mean(held) > 0.8


def test_a_chance_that_one_score_does_not_record_is_that_of_the_others():
    flops = np.geomspace(1e9, 1e13, 8)
    table = scores(flops, np.linspace(0.25, 0.32, 8), stderr=0.01, chance=0.25)
    table.loc[7, "chance"] = np.nan  # the largest
    for law in (fitted, line):
        assert law(table).conventions["chance"] == 0.25 and not any("at chance" in flag for flag in law(table).flags)
        assert law(table.assign(chance=np.nan)).conventions["chance"] == 0.5
    with pytest.raises(ValueError, match=r"chance is recorded as \[0.25, 0.5\]"):
        fitted(table.assign(chance=[0.5] + 7 * [0.25]))


def test_a_hindcast_cuts_at_the_saturation_of_the_rows_it_was_given():
    flops = np.geomspace(1e9, 1e15, 13)
    value = 0.3 * (flops / 1e9) ** 0.1
    value[9:] = np.linspace(0.96, 0.97, 4)  # held out, and saturated but for the law
    found = fitted(scores(flops, value))
    assert len(found.rows) == 9 and found.hindcast["fitted"] == 9 and found.hindcast["held_out"] == 4
    assert found.hindcast["points"][-1][3] > 1.1 and found.hindcast["bias"] > 0.04, (
        "the power law knows no ceiling, and is judged where it says so"
    )


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_runs_and_few_resamples_are_told(size, count):
    nats = np.linspace(3, 2, size)
    value = 1.1 - 0.2 * nats + 0.01 * np.cos(7 * nats)
    table = scores(np.geomspace(1e9, 1e12, size), value, nats=nats)
    for found in (fitted(table, resampling=Resampling(count=count)), line(table, resampling=Resampling(count=count))):
        assert found.params and not found.intervals and len(found.draws) in (0, count)
        assert (found.flags == ()) == (count == 0) and (found.hindcast == {} or count)


def test_few_runs_have_no_interval_and_say_so():
    found = fitted(scores([1e9, 1e10, 1e11], [0.5, 0.6, 0.7], stderr=np.nan))
    assert found.params and not found.intervals and found.flags == ("no interval: too few runs to resample",)
    assert found.conventions["flops_from"] == 1e9 and found.conventions["flops_to"] == 1e11
