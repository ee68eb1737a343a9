"""Ratios of exponents, what they say of compute, and the compute to reach a score."""

from dataclasses import replace

import numpy as np
import pytest

from analysis import compare
from analysis.bootstrap import Resampling
from analysis.fit import Fit

BEST = 4.066e20  # FLOPs of the best released model


def exponent(gamma, family="speech", factor=None, spread=0.0, seed=0, rows=30, **options):
    """A fit of accuracy in compute with draws of its exponent, all through the same accuracy at 1e19 FLOPs."""
    generator = np.random.default_rng(seed)
    params = {"Q0": factor or 0.6 * 1e19**-gamma, "gamma": gamma}
    drawn = gamma + spread * generator.normal(size=200 if spread else 0)
    draws = tuple((0.6 * 1e19**-value, value) for value in drawn)
    names = tuple((f"{family}{i}", f"{family}{i}") for i in range(rows))
    options = {"conventions": {"flops_from": 1e16, "flops_to": 1e19}, "draws": draws, "rows": names} | options
    return Fit(law="accuracy_compute", family=family, measure="blimp", params=params, constants=2, **options)


@pytest.mark.parametrize(
    ("text", "speech", "printed"), [(0.066, 0.021, 3.14), (0.039, 0.025, 1.56), (0.046, 0.017, 2.7)]
)
def test_the_printed_ratios(text, speech, printed):
    fits = [replace(exponent(gamma), params={"gamma": gamma}, status="published") for gamma in (speech, text)]
    found = compare.ratio(*fits)
    assert found.params["ratio"] == pytest.approx(printed, abs=0.01)
    assert found.status == "derived" and not found.intervals and len(found.flags) == 2


def test_a_ratio_is_an_exponent_of_factors():
    assert compare.compute_factor(3.14, 10) == pytest.approx(10**3.14)
    assert compare.compute_factor(3.14, 2) == pytest.approx(8.82, abs=0.01)
    assert compare.compute_factor(3.14, 1) == 1
    speech, text, factor = exponent(0.021), exponent(0.066), 7.0
    gains = [
        fit.params["Q0"] * (1e18 * f) ** fit.params["gamma"] / (fit.params["Q0"] * 1e18 ** fit.params["gamma"])
        for fit, f in (
            (text, factor),
            (speech, compare.compute_factor(compare.ratio(speech, text).params["ratio"], factor)),
        )
    ]
    assert gains[0] == pytest.approx(gains[1])


def test_the_interval_of_a_ratio_is_that_of_independent_exponents():
    speech, text = exponent(0.02, spread=0.001), exponent(0.06, "text", spread=0.002, seed=1)
    found = compare.ratio(speech, text, Resampling(count=4000))
    low, high = found.intervals["ratio"]
    error = 3 * np.hypot(0.001 / 0.02, 0.002 / 0.06)
    assert low < 3 < high and high - low == pytest.approx(2 * 2.05 * np.sqrt(30 / 28) * error, rel=0.2)
    assert found == compare.ratio(speech, text, Resampling(count=4000)) and found.status == "own"
    assert found.rows == speech.rows + text.rows and not found.flags
    alone = compare.ratio(speech, replace(text, draws=()), Resampling(count=4000))
    assert np.diff(alone.intervals["ratio"]) < high - low and "text is taken as exact" in alone.flags[0]


def test_an_exponent_near_zero_leaves_the_ratio_open():
    found = compare.ratio(exponent(0.01, spread=0.01), exponent(0.06, "text", spread=0.001))
    assert found.intervals["ratio"][1] > 100 and found.flags[0].startswith("unidentified: ratio")
    flat = compare.ratio(exponent(-0.01), exponent(0.06, "text"))
    assert not flat.params and flat.flags == ("not fitted: speech gains nothing by compute",)
    nothing = compare.ratio(replace(exponent(0.02), params={}, draws=()), exponent(0.06, "text"))
    assert not nothing.params
    with pytest.raises(ValueError, match="accuracy_loss.speech.blimp is no accuracy_compute"):
        compare.ratio(replace(exponent(0.02), law="accuracy_loss"), exponent(0.06))


@pytest.mark.parametrize(
    ("gamma", "best", "target", "times"),
    [(0.021, 0.613, 0.80, 3.2e5), (0.025, 0.780, 0.975, 7.5e3), (0.017, 0.567, 0.7621, 3.6e7)],
)
def test_matching_pythia_from_the_best_model(gamma, best, target, times):
    assert compare.factor_to_reach(gamma, best, target) == pytest.approx(times, rel=0.02)
    found = compare.reach(exponent(gamma, factor=best * BEST**-gamma), target)
    assert found.flops / BEST == pytest.approx(times, rel=0.02) and (found.low, found.high) == (None, None)
    assert found.decades == pytest.approx(np.log10(found.flops / 1e19))


def test_reach_has_an_interval_and_tells_how_far_it_looks():
    fit = exponent(0.02, spread=0.001)
    near = compare.reach(fit, 0.6)
    assert near.flops == pytest.approx(1e19) and near.decades == pytest.approx(0, abs=1e-9)
    far = compare.reach(fit, 0.7)
    assert far.low < far.flops < far.high and 3 < far.decades < 4
    assert np.log(far.high / far.low) > np.log(near.high / near.low) + 1
    assert compare.reach(fit, 0.3).decades < -10
    assert compare.reach(replace(fit, conventions={}), 0.7).decades is None


def test_what_never_rises_is_never_reached():
    assert compare.reach(exponent(-0.01), 0.7).flops == np.inf
    open_end = compare.reach(exponent(0.01, spread=0.01), 0.7)
    assert np.isfinite([open_end.flops, open_end.low]).all() and open_end.high == np.inf


def test_targets_are_fractions_and_need_a_whole_law():
    with pytest.raises(ValueError, match="80 is no fraction between 0 and 1: per cent"):
        compare.reach(exponent(0.02), 80)
    with pytest.raises(ValueError, match="takes Q0 and gamma"):
        compare.reach(replace(exponent(0.02), params={"gamma": 0.02}), 0.8)


def test_a_family_that_guesses_has_no_ratio_to_be_read():
    guessing = exponent(0.02, flags=("at chance: gamma means nothing",))
    found = compare.ratio(guessing, exponent(0.04, family="text", spread=0.001))
    assert "at chance: speech; the ratio means nothing" in found.flags and found.params["ratio"] == pytest.approx(2.0)
