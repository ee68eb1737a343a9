"""Ratios of exponents, what they say of compute, and which exponents are paired."""

import re
from dataclasses import replace

import numpy as np
import pytest

from analysis import compare
from analysis.bootstrap import Resampling
from analysis.fit import Fit


def exponent(gamma, family="speech", factor=None, spread=0.0, seed=0, rows=30, **options):
    """A fit of accuracy in compute with draws of its exponent, all through the same accuracy at 1e19 FLOPs."""
    generator = np.random.default_rng(seed)
    params = {"Q0": factor or 0.6 * 1e19**-gamma, "gamma": gamma}
    drawn = gamma + spread * generator.normal(size=200 if spread else 0)
    draws = tuple((0.6 * 1e19**-value, value) for value in drawn)
    names = tuple((f"{family}{i}", f"{family}{i}") for i in range(rows))
    options = {
        "conventions": {"flops_from": 1e16, "flops_to": 1e19},
        "draws": draws,
        "rows": names,
        "freedom": rows - 2,
    } | options
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


def test_two_falling_exponents_are_no_ratio_of_gains():
    generator = np.random.default_rng(0)
    draws = tuple((1.0, value) for value in generator.normal(0.002, 0.01, 200))
    found = compare.ratio(exponent(0.02, draws=draws), exponent(0.06, "text", draws=draws[::-1]))
    assert found.intervals["ratio"][1] == compare.MOST
    falling = np.mean([value <= 0 for _, value in draws])
    told = re.fullmatch(r"unidentified: ratio \(beyond 1000 in (\d+)% of the resamples\)", found.flags[0])
    assert int(told[1]) == pytest.approx(100 * falling, abs=5)


def test_equal_measures_are_paired_before_equivalent_ones():
    def named(family, *measures):
        return [replace(exponent(0.02, family), measure=measure) for measure in measures]

    speech = named("units", "sblimp", "sblimp-macro", "tstorycloze", "zorro")
    both = compare.pairs(
        speech, [*named("text", "blimp", "blimp-macro", "tstorycloze"), *named("other", "sblimp", "blimp")]
    )
    found = [(slow.measure, fast.family, fast.measure) for slow, fast in both]
    assert found == [
        ("sblimp", "text", "blimp"),
        ("sblimp", "other", "sblimp"),
        ("sblimp-macro", "text", "blimp-macro"),
        ("tstorycloze", "text", "tstorycloze"),
    ]
    ratio = compare.ratio(*both[0])
    assert ratio.measure == "sblimp" and ratio.conventions["exponents"].startswith("accuracy_compute.text.blimp over")


def test_few_draws_of_an_exponent_give_no_interval():
    few = exponent(0.02, draws=tuple((1.0, 0.02 + i / 1e4) for i in range(20)))
    found = compare.ratio(few, exponent(0.06, "text", spread=0.001))
    assert found.params and not found.intervals and "no interval: speech has fewer than 40 draws" in found.flags
    assert not compare.ratio(exponent(0.02), exponent(0.06, "text", spread=0.01), Resampling(count=0)).intervals


def test_a_family_that_guesses_has_no_ratio_to_be_read():
    guessing = exponent(0.02, flags=("at chance: gamma means nothing",))
    found = compare.ratio(guessing, exponent(0.04, family="text", spread=0.001))
    assert "at chance: speech; the ratio means nothing" in found.flags and found.params["ratio"] == pytest.approx(2.0)
