"""Envelopes of loss: geometry, recovery, intervals, hindcasts and what cannot be fitted; fits and their files."""

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis import bootstrap, envelope, fit
from analysis.bootstrap import Resampling

FEW = Resampling(count=50)


def runs(flops, nats):
    names = [f"r{i}" for i in range(len(flops))]
    labels = {"name": names, "fingerprint": names, "family": "units"}
    return pd.DataFrame(labels | {"flops_6n": np.asarray(flops, float), "nats_per_token": nats})


POINTS = st.lists(st.tuples(st.floats(1e6, 1e20), st.floats(0.1, 10)), min_size=1, max_size=30)


@given(POINTS)
def test_hull_is_falling_convex_and_below_every_run(points):
    flops, nats = np.array(points).T
    kept = envelope.hull(flops, nats)
    x, y = np.log(flops[kept]), np.log(nats[kept])
    assert (np.diff(x) > 0).all() and (np.diff(y) < 0).all()
    below = np.interp(np.log(flops), x, y) <= np.log(nats) + 1e-6
    assert below.all()


@given(POINTS)
def test_bins_keep_one_run_each_and_none_is_worse_than_its_neighbours(points):
    flops, nats = np.array(points).T
    kept = envelope.least_of_bins(flops, nats)
    bins = np.floor(3 * np.log10(flops) + 1e-9)
    assert sorted(bins[kept]) == sorted(set(bins)) and (np.diff(flops[kept]) > 0).all()
    assert all(nats[index] == nats[bins == bins[index]].min() for index in kept)


@pytest.mark.parametrize("rule", [envelope.LAW, envelope.LAW_BINS])
def test_power_law_is_recovered_and_dominated_runs_do_not_matter(rule):
    flops = np.geomspace(1e9, 1e13, 8)
    nats = 8.0 * flops**-0.05
    table = pd.concat([runs(flops, nats), runs(flops, nats * 1.2)])
    found = envelope.fit(table, "units", rule=rule, resampling=FEW)
    assert (found.params["L0"], found.params["gamma"]) == pytest.approx((8.0, 0.05))
    assert found.intervals["gamma"][0] <= 0.05 + 1e-9 and len(found.rows) == 16
    assert found.law == rule and {"r0", "r7"} <= set(found.kept)


def test_offset_is_recovered_where_the_curve_bends():
    flops = np.geomspace(1e9, 1e13, 9)
    found = envelope.fit_offset(runs(flops, 1.5 + 300 * flops**-0.3), "units", resampling=FEW)
    assert (found.params["E"], found.params["gamma"]) == pytest.approx((1.5, 0.3), rel=1e-6)
    assert found.gradient_norm < 1e-5 and found.basins == 1 and found.converged_fraction > 0.95
    assert found.hindcast["root_mean_square"] < 1e-6 and found.hindcast["held_out"] == 3
    np.testing.assert_allclose(envelope.predict(found.params, flops), 1.5 + 300 * flops**-0.3)


def test_a_power_law_misses_a_floor_and_the_hindcast_says_by_how_much():
    flops = np.geomspace(1e9, 1e14, 12)
    table = runs(flops, 1.5 + 300 * flops**-0.3)
    pure, offset = envelope.fit(table, "units", resampling=FEW), envelope.fit_offset(table, "units", resampling=FEW)
    assert pure.hindcast["root_mean_square"] > 100 * offset.hindcast["root_mean_square"]
    assert pure.hindcast["bias"] < 0 and pure.hindcast["decades"] > 1.5, "the power law promises too low a loss"
    observed = {name: seen for name, _, seen, _ in pure.hindcast["points"]}
    assert observed == {f"r{i}": pytest.approx(1.5 + 300 * flops[i] ** -0.3) for i in (8, 9, 10, 11)}


def test_three_runs_give_no_interval_and_equal_losses_no_law():
    found = envelope.fit(runs([1e9, 1e10, 1e11], [3.0, 2.5, 2.2]), "units")
    assert found.params and not found.intervals and "no interval" in found.flags[0]
    flat = envelope.fit(runs(np.geomspace(1e9, 1e13, 8), 2.0), "units")
    assert flat.params == {} and flat.flags == ("not fitted: 1 points on the envelope, at least 3 wanted",)


def test_intervals_of_whole_sizes_are_of_sizes():
    flops = np.geomspace(1e9, 1e13, 24)
    nats = 8.0 * flops**-0.05 * np.exp(np.random.default_rng(0).normal(0, 0.01, 24))
    table = runs(flops, nats).assign(size=[f"w{i % 6}" for i in range(24)])
    found = envelope.fit(table, "units", resampling=Resampling(count=50, by="size"))
    counts = bootstrap.resamples(table["size"].to_numpy(), Resampling(count=50, by="size"))
    assert found.conventions["resampled"] == "size" and found.intervals["gamma"][0] < 0.05 < found.intervals["gamma"][1]
    assert all(len({*row[start::6]}) == 1 for row in counts for start in range(6))


def test_an_interval_is_of_percentiles_moved_to_where_the_point_lies():
    draws = np.random.default_rng(0).normal(size=20_000)
    low, high = bootstrap.interval(0.0, draws, 10_000, 5)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.05)
    moved = bootstrap.interval(0.5, draws, 10_000, 5)
    assert moved[0] > low + 0.7 and moved[1] > high + 0.5
    few = bootstrap.interval(0.0, draws, 9, 5)
    assert few[0] < -2.6 and few[1] > 2.6, "Student's t with 4 degrees of freedom: 2.78"


def test_a_band_is_the_interval_of_what_follows():
    flops = np.geomspace(1e9, 1e13, 24)
    nats = 8.0 * flops**-0.05 * np.exp(np.random.default_rng(0).normal(0, 0.01, 24))
    found = envelope.fit(runs(flops, nats), "units", resampling=Resampling(count=200))
    low, high = fit.band(found, lambda params: envelope.predict(params, flops))
    middle = envelope.predict(found.params, flops)
    assert (low <= middle).all() and (middle <= high).all() and low.shape == (24,)
    (alone,), _ = fit.band(found, lambda params: params["gamma"])
    assert alone == pytest.approx(found.intervals["gamma"][0])
    assert fit.band(envelope.fit(runs(flops[:3], nats[:3]), "units"), lambda params: params["gamma"]) is None


def test_fits_survive_their_files_and_stale_ones_go(tmp_path):
    flops = np.geomspace(1e9, 1e13, 12)
    found = envelope.fit(runs(flops, 8.0 * flops**-0.05 * (1 + 0.02 * np.cos(np.arange(12)))), "units", resampling=FEW)
    empty = envelope.fit(runs([1e9], [0.5]), "units", rule=envelope.LAW_BINS)
    fit.write([found, empty], tmp_path, "micro", [])
    assert fit.read(tmp_path, "micro") == [found, empty]
    fit.write([found], tmp_path, "micro", ["text"])
    assert len(fit.read(tmp_path, "micro")) == 2
    fit.write([found], tmp_path, "micro", [])
    assert fit.read(tmp_path, "micro") == [found]
    path = tmp_path / "results" / "micro" / "fits" / f"{found.identifier}.json"
    value = json.loads(path.read_text())
    assert {"params", "intervals", "stderr", "objective", "gradient_norm", "condition", "basins", "rows"} <= set(value)
    path.write_text(json.dumps({"law": "loss_envelope"}))
    with pytest.raises(ValueError, match=f"{found.identifier}.json: not a fit of this version"):
        fit.read(tmp_path, "micro")
