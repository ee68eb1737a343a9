"""Envelopes of loss: geometry, recovery, intervals, hindcasts and what cannot be fitted; fits and their files."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import OptimizeWarning, curve_fit, minimize

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


@pytest.mark.parametrize("budget", [0.0, 0.04])
def test_runs_of_one_budget_have_no_law_in_compute(budget):
    generator = np.random.default_rng(0)
    flops = 1e18 * 10 ** generator.uniform(0, budget, 12)
    table = runs(flops, np.sort(generator.uniform(2, 3, 12))[::-1][np.argsort(np.argsort(flops))])
    asked = [envelope.fit(table, "units", rule=rule, resampling=FEW) for rule in (envelope.LAW, envelope.LAW_BINS)]
    for found in (*asked, envelope.fit_offset(table, "units", resampling=FEW)):
        assert not found.params and not found.hindcast and found.flags[0].startswith("not fitted")
    kept = [1e18, 1.05e18, 1.1e18]
    assert envelope.lacking(kept, 3) == "the envelope spans 0.041 decades of compute, at least 0.1 wanted"


def test_runs_of_two_budgets_are_resampled_where_both_are_drawn():
    flops = np.repeat([1e18, 1e19], 8) * np.tile(np.linspace(1, 1.1, 8), 2)
    nats = 3 * (flops / 1e18) ** -0.1 * np.exp(np.random.default_rng(0).normal(0, 0.003, 16))
    found = envelope.fit(runs(flops, nats), "units", resampling=FEW)
    assert found.hindcast == {} or found.hindcast["decades"] > 0.5
    assert 0 < found.intervals["gamma"][0] and found.intervals["gamma"][1] < 1, "no resample of one budget"


def test_a_law_too_steep_for_its_factor_stays_a_number():
    flops = np.geomspace(1e20, 1.6e20, 8)
    found = envelope.fit(runs(flops, 2 * (flops / 1e20) ** -9.0), "units", resampling=FEW)
    assert found.params["gamma"] == pytest.approx(9) and np.isfinite(list(found.params.values())).all()
    assert "at bound: L0" in found.flags
    json.dumps(asdict(found), allow_nan=False)


def test_intervals_of_the_hull_hold_what_lucky_runs_hide():
    """Noise of 0.3 % of the loss on a grid of sizes and tokens: the exponent of the noise-free runs."""
    n, d = (values.ravel() for values in np.meshgrid(np.geomspace(2e7, 8e8, 5), np.geomspace(1e9, 1e11, 6)))
    nats = 1.73 + 13.9 / n**0.25 + 39.8 / d**0.24
    generator, many = np.random.default_rng(0), Resampling(count=200)
    true = envelope.fit(runs(6 * n * d, nats), "units", resampling=Resampling(count=0)).params["gamma"]
    found = [
        envelope.fit(runs(6 * n * d, nats * np.exp(generator.normal(0, 0.003, len(n)))), "units", resampling=many)
        for _ in range(60)
    ]
    assert all(fit.freedom == max(1, len(fit.kept) - 2) for fit in found)
    assert np.mean([fit.intervals["gamma"][0] <= true <= fit.intervals["gamma"][1] for fit in found]) >= 0.9
    assert found[0].conventions["interval"] == "rough: of the luckiest runs"


@pytest.mark.parametrize("delta", [0.0, 1e-3, np.inf])
def test_an_offset_is_found_by_any_huber_loss(delta):
    flops = np.geomspace(1e9, 1e13, 9)
    nats = 1.5 + 300 * flops**-0.3
    found = envelope.fit_offset(runs(flops, nats), "units", delta=delta, resampling=FEW)
    assert (found.params["E"], found.params["gamma"]) == pytest.approx((1.5, 0.3), rel=1e-4)
    assert found.conventions["huber_delta"] == (delta if np.isfinite(delta) else "infinite: least squares")


def test_absolute_deviations_pass_by_an_outlier():
    flops = np.geomspace(1e9, 1e13, 9)
    nats = 1.5 + 300 * flops**-0.3
    nats[4] *= 0.985  # on the hull
    fits = [
        envelope.fit_offset(runs(flops, nats), "units", delta=delta, resampling=Resampling(count=0))
        for delta in (0.0, np.inf)
    ]
    missed = [np.median(np.abs(np.log(envelope.predict(each.params, flops) / nats))) for each in fits]
    assert missed[0] < missed[1] / 2
    kept = np.isin(np.arange(9), [int(name[1:]) for name in fits[0].kept])
    error = np.abs(np.log(envelope.predict(fits[0].params, flops) / nats))[kept].mean()
    assert fits[0].objective == pytest.approx(error, rel=1e-6)


def test_a_search_that_stays_at_its_start_is_not_ours():
    """Other searches: one that hands its start back as if it had fitted, one that calls itself done too early."""
    flops = np.geomspace(1e16, 1e21, 10)
    nats = 1.7 + 400 * flops**-0.15
    found = envelope.fit_offset(runs(flops, nats), "units", delta=np.inf, resampling=Resampling(count=0))

    def law(c, e, k, gamma):
        return e + k * c**-gamma

    start = [1.0, 1.0, 1.0]
    with pytest.warns(OptimizeWarning):
        stuck, _ = curve_fit(law, flops, nats, p0=start, sigma=nats)
    assert stuck[1:].tolist() == pytest.approx(start[1:], rel=1e-3), "K and γ did not move"

    def objective(theta):
        return float((np.log(law(flops, *theta) / nats) ** 2).mean() / 2)

    early = minimize(objective, start, method="L-BFGS-B", bounds=[(0, None), (0, None), (1e-3, 3)])
    assert early.success and early.fun > 1e6 * max(found.objective, 1e-18) and found.objective < objective(stuck)
    assert found.params == pytest.approx({"E": 1.7, "K": 400, "gamma": 0.15}, rel=1e-5) and found.gradient_norm < 1e-5


@pytest.mark.parametrize("size", [5, 6, 7])
@pytest.mark.parametrize("count", [1, 2, 60])
def test_few_runs_and_few_resamples_are_told(size, count):
    flops = np.geomspace(1e9, 1e12, size)
    nats = (1.5 + 30 * flops**-0.2) * np.exp(np.random.default_rng(size).normal(0, 0.002, size))
    asked = Resampling(count=count)
    for found in (
        envelope.fit(runs(flops, nats), "units", resampling=asked),
        envelope.fit(runs(flops, nats), "units", rule=envelope.LAW_BINS, resampling=asked),
        envelope.fit_offset(runs(flops, nats), "units", resampling=asked),
    ):
        assert bool(found.intervals) == (count == 60 and not any("no interval" in flag for flag in found.flags))
        assert count == 60 or not found.params or "no interval" in " ".join(found.flags)


def test_intervals_of_whole_sizes_are_of_sizes():
    flops = np.geomspace(1e9, 1e13, 24)
    nats = 8.0 * flops**-0.05 * np.exp(np.random.default_rng(0).normal(0, 0.01, 24))
    table = runs(flops, nats).assign(size=[f"w{i % 6}" for i in range(24)])
    found = envelope.fit(table, "units", resampling=Resampling(count=50, by="size"))
    by_size = Resampling(count=50, by="size")
    counts = bootstrap.resamples(by_size.groups(table.sort_values("name")), by_size)
    assert found.conventions["resampled"] == "size" and found.intervals["gamma"][0] < 0.05 < found.intervals["gamma"][1]
    sizes = table.sort_values("name")["size"].to_numpy()
    assert all(len({*row[sizes == size]}) == 1 for row in counts for size in set(sizes))
    assert found.freedom == 5 and found.flags == ("rough interval: only 6 values of size to resample",)


def test_an_interval_is_of_percentiles_moved_to_where_the_point_lies():
    draws = np.random.default_rng(0).normal(size=20_000)
    low, high = bootstrap.interval(0.0, draws, 9_995)
    assert (low, high) == pytest.approx((-1.96, 1.96), abs=0.05)
    moved = bootstrap.interval(0.5, draws, 9_995)
    assert moved[0] > low + 0.7 and moved[1] > high + 0.5
    few = bootstrap.interval(0.0, draws, 4)
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
