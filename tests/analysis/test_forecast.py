"""What laws promise: compute for a score, recovered from known laws; order and warnings."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from analysis import downstream, envelope, forecast, parametric, saturation, summary
from analysis.bootstrap import Resampling
from analysis.fit import Fit

TRUE = {"E": 1.2, "A": 60.0, "B": 300.0, "alpha": 0.3, "beta": 0.3}
SIGMOID = {"floor": 0.5, "ceiling": 0.9, "steepness": 4.0, "midpoint": 2.2}
FEW = Resampling(count=60)


def sweep(noise=0.0, seed=0):
    """Runs near the optimum at eight budgets, losses of a known law, accuracies of a known sigmoid in them."""
    generator = np.random.default_rng(seed)
    rows = [
        (n := float(parametric.optimum(TRUE, flops)[0] * off), flops / (6 * n))
        for flops in np.geomspace(1e14, 1e18, 8)
        for off in (0.5, 1.0, 2.0)
    ]
    n, d = np.array(rows).T
    names = [f"r{i:02d}" for i in range(len(n))]
    nats = parametric.loss(TRUE, n, d) * np.exp(generator.normal(0, noise, len(n)))
    value = saturation.predict_sigmoid(SIGMOID, nats) + generator.normal(0, noise, len(n))
    labels = {"name": names, "fingerprint": names, "family": "units", "seed": 0, "epochs": 1.0}
    return pd.DataFrame(
        labels | {"params_total": n, "tokens": d, "flops_6n": 6 * n * d, "nats_per_token": nats, "value": value}
    ).assign(eval="blimp", subset="all", metric="accuracy_mean", stderr=0.005, chance=0.5)


def laws(table):
    asked = {"scores": table, "family": "units", "benchmark": "blimp", "resampling": FEW}
    return [
        downstream.fit_compute(**asked),
        downstream.fit_loss(**asked),
        saturation.fit_sigmoid(**asked),
        saturation.fit_error(**asked),
        parametric.fit(table, "units", resampling=FEW),
        envelope.fit(table, "units", resampling=FEW),
    ]


@pytest.fixture(scope="module")
def exact():
    return laws(sweep())


@pytest.fixture(scope="module")
def noisy():
    return laws(sweep(0.002))


def chosen(found, law, loss_law=""):
    return next(row for row in found if (row.law, row.loss_law) == (law, loss_law))


def test_compute_and_allocation_of_a_known_law_are_recovered(exact):
    flops = 1e20
    target = float(saturation.predict_sigmoid(SIGMOID, parametric.frontier(TRUE, flops)))
    row = chosen(forecast.forecast(exact, "blimp", target, "units"), "accuracy_sigmoid", "loss_parametric")
    assert row.flops.value == pytest.approx(flops, rel=1e-3)
    n, d = parametric.optimum(TRUE, flops)
    assert (row.params_total.value, row.tokens.value) == pytest.approx((n, d), rel=1e-3)
    assert row.tokens_per_param == pytest.approx(d / n, rel=1e-3)
    assert 6 * row.params_total.value * row.tokens.value == pytest.approx(row.flops.value)
    most = sweep()["flops_6n"].max()
    assert row.decades == pytest.approx(np.log10(flops / most), abs=1e-3)
    assert row.warnings[0] == f"extrapolates {row.decades:.1f} decades beyond the data" and row.held_out_error < 1e-5


@pytest.mark.parametrize("law", [parametric.LAW, envelope.LAW, envelope.LAW_OFFSET])
def test_least_loss_of_compute_is_an_offset_power_law(law):
    constants = {"E": 1.1, "K": 40.0, "L0": 30.0, "gamma": 0.07, **TRUE, "beta": 0.4}
    constants |= parametric.allocation(constants)
    flops = np.geomspace(1e15, 1e22, 5)
    irreducible, factor, exponent = forecast.offset_power(law, constants)
    expected = {
        parametric.LAW: parametric.frontier(constants, flops),
        envelope.LAW: 30 * flops**-0.07,
        envelope.LAW_OFFSET: 1.2 + 40 * flops**-0.07,
    }
    assert irreducible + factor * flops**-exponent == pytest.approx(expected[law])


@pytest.mark.parametrize(
    ("law", "params", "predict"),
    [
        ("accuracy_loss", {"slope": -0.2, "intercept": 1.1}, downstream.predict_loss),
        ("accuracy_sigmoid", SIGMOID, saturation.predict_sigmoid),
    ],
)
def test_the_loss_for_a_score_gives_that_score(law, params, predict):
    nats = forecast.loss_for(law, params, 0.7)
    assert predict(params, nats) == pytest.approx(0.7)


def test_no_loss_gives_the_ceiling_and_any_gives_chance():
    ends = [float(forecast.loss_for("accuracy_sigmoid", SIGMOID, target)) for target in (0.95, 0.9, 0.5)]
    assert ends == [-np.inf, -np.inf, np.inf]
    assert forecast.loss_for("accuracy_loss", {"slope": 0.1, "intercept": 0.2}, 0.7) == -np.inf


def test_every_law_speaks_and_the_best_of_the_held_out_runs_speaks_first(noisy):
    found = forecast.forecast(noisy, "blimp", 0.75, "units")
    pairs = {(row.law, row.loss_law) for row in found}
    losses = ("loss_parametric", "loss_envelope")
    assert pairs == {("accuracy_compute", ""), ("accuracy_error", "")} | {
        (law, loss) for law in ("accuracy_loss", "accuracy_sigmoid") for loss in losses
    }
    errors = [row.held_out_error for row in found]
    assert errors == sorted(errors) and (found[0].law, found[0].loss_law) == ("accuracy_sigmoid", "loss_parametric")
    for row in found:
        assert row.flops.low < row.flops.value < row.flops.high
        assert row.params_total.low < row.params_total.value < row.params_total.high
    truth = forecast.forecast(laws(sweep()), "blimp", 0.75, "units")[0].flops.value
    assert found[0].flops.value == pytest.approx(truth, rel=0.1)
    assert found == forecast.forecast(noisy, "blimp", 0.75, "units")


def test_a_law_in_loss_answers_for_the_error_of_its_loss_law(noisy):
    sigmoid, loss = noisy[2], noisy[4]
    own = sigmoid.hindcast["root_mean_square"]
    assert forecast.held_out_error(sigmoid) == own
    worse = replace(loss, hindcast=loss.hindcast | {"root_mean_square": 0.05})
    assert forecast.held_out_error(sigmoid, worse) > forecast.held_out_error(sigmoid, loss) > own
    assert forecast.held_out_error(sigmoid, replace(loss, hindcast={})) is None


def test_what_cannot_be_reached_is_said_with_its_reason(exact):
    found = forecast.forecast(exact, "blimp", 0.95, "units")
    row = chosen(found, "accuracy_sigmoid", "loss_parametric")
    assert row.flops.value == np.inf and row.params_total is None and row.decades is None
    assert row.warnings[0] == "unreachable: the ceiling is 0.900"
    line = chosen(found, "accuracy_loss", "loss_parametric")
    assert "is irreducible" in line.warnings[0] and line.warnings[0].startswith("unreachable: it takes a loss of")
    certain = chosen(forecast.forecast(exact, "blimp", 1.0, "units"), "accuracy_error")
    assert certain.flops.value == np.inf and certain.warnings[0].startswith("unreachable")
    assert np.isfinite(chosen(found, "accuracy_compute").flops.value)


def test_without_a_parametric_law_there_is_no_allocation(exact):
    alone = [fit for fit in exact if fit.law != parametric.LAW]
    row = forecast.forecast(alone, "blimp", 0.7, "units")[0]
    assert row.params_total is row.tokens is row.tokens_per_param is None and forecast.NO_ALLOCATION in row.warnings


def test_warnings_of_the_fits_and_of_others_constants_are_passed_on(exact):
    guessed = replace(exact[0], flags=("at chance: gamma means nothing",))
    row = forecast.forecast([guessed], "blimp", 0.7, "units")[0]
    assert "accuracy_compute of blimp: at chance: gamma means nothing" in row.warnings
    printed = replace(exact[0], status="published", draws=(), conventions={})
    row = forecast.forecast([printed], "blimp", 0.7, "units")[0]
    assert (row.flops.low, row.flops.high, row.decades) == (None, None, None)
    assert "accuracy_compute of blimp: published constants" in row.warnings
    assert "accuracy_compute of blimp: no draws, so taken as exact" in row.warnings


def power(gamma, factor, spread=0.0, **options):
    """A power law of accuracy in compute, with draws through the same accuracy at 1e19 FLOPs."""
    params = {"Q0": factor, "gamma": gamma}
    drawn = gamma + spread * np.random.default_rng(0).normal(size=200 if spread else 0)
    draws = tuple((factor * 1e19 ** (gamma - value), value) for value in drawn)
    labels = {"law": "accuracy_compute", "family": "units", "measure": "blimp", "freedom": 28, "draws": draws}
    return Fit(params=params, **labels, **{"conventions": {"flops_from": 1e16, "flops_to": 1e19}} | options)


@pytest.mark.parametrize(
    ("gamma", "best", "target", "times"),
    [(0.021, 0.613, 0.80, 3.2e5), (0.025, 0.780, 0.975, 7.5e3), (0.017, 0.567, 0.7621, 3.6e7)],
)
def test_matching_pythia_from_the_best_model(gamma, best, target, times):
    flops = 4.066e20  # of the best released model
    row = forecast.forecast([power(gamma, best * flops**-gamma)], "blimp", target, "units")[0]
    assert row.flops.value / flops == pytest.approx(times, rel=0.02) and row.flops.low is None
    assert row.decades == pytest.approx(np.log10(row.flops.value / 1e19))


def test_a_score_far_off_has_a_wide_interval_and_one_never_reached_an_open_one():
    def asked(fit, target):
        return forecast.forecast([fit], "blimp", target, "units")[0]

    sure = power(0.02, 0.6 * 1e19**-0.02, 0.001)
    near, far = asked(sure, 0.6), asked(sure, 0.7)
    assert near.flops.value == pytest.approx(1e19) and near.decades == pytest.approx(0, abs=1e-9)
    assert far.flops.low < far.flops.value < far.flops.high and 3 < far.decades < 4 and asked(sure, 0.3).decades < -10
    assert np.log(far.flops.high / far.flops.low) > np.log(near.flops.high / near.flops.low) + 1
    assert asked(power(-0.01, 0.6 * 1e19**0.01), 0.7).flops.value == np.inf
    unsure = asked(power(0.01, 0.6 * 1e19**-0.01, 0.01), 0.7).flops
    assert np.isfinite([unsure.value, unsure.low]).all() and unsure.high == np.inf
    few = asked(replace(sure, draws=sure.draws[:30]), 0.7)
    assert (few.flops.low, few.flops.high) == (None, None)


def test_a_forecast_reaches_as_far_as_the_nearest_end_of_all_its_laws(exact):
    short = [
        replace(fit, conventions=fit.conventions | {"flops_to": 1e16}) if fit.law == parametric.LAW else fit
        for fit in exact
    ]
    whole, cut = (forecast.forecast(fits, "blimp", 0.75, "units") for fits in (exact, short))
    for law, loss_law in (("accuracy_compute", ""), ("accuracy_sigmoid", "loss_envelope")):  # N and D by the surface
        assert chosen(cut, law, loss_law).decades == pytest.approx(
            np.log10(chosen(whole, law, loss_law).flops.value / 1e16), abs=1e-6
        )
        assert chosen(cut, law, loss_law).warnings[0].startswith("extrapolates")


def test_n_and_d_are_open_where_their_compute_is(exact):
    unsure = power(0.01, 0.6 * 1e19**-0.01, 0.01)
    surface = next(fit for fit in exact if fit.law == parametric.LAW)
    row = forecast.forecast([unsure, surface], "blimp", 0.7, "units")[0]
    assert row.flops.high == row.params_total.high == row.tokens.high == np.inf
    assert np.isfinite([row.params_total.value, row.params_total.low, row.tokens.value, row.tokens.low]).all()


@pytest.mark.parametrize("target", [0.3, 0.5])
def test_a_target_that_guessing_reaches_takes_no_compute(exact, target):
    for row in forecast.forecast(exact, "blimp", target, "units"):
        assert row.flops is row.params_total is row.tokens is row.decades is None
        assert row.warnings == ("no more than chance: guessing gets 50.0%",)
    title, cells, _ = summary.forecasts(forecast.forecast(exact, "blimp", target, "units"))
    assert (cells["C"] == "").all() and "no compute follows" in summary.promise(row)
    assert all(row.flops is not None for row in forecast.forecast(exact, "blimp", 0.51, "units"))


def test_mistakes_are_one_clear_line(exact):
    with pytest.raises(ValueError, match="none of loss in compute: fit parametric or envelope"):
        forecast.forecast([exact[1]], "blimp", 0.7, "units")
    with pytest.raises(ValueError, match="no accuracy law of units on 'zorro'; there are blimp"):
        forecast.forecast(exact, "zorro", 0.7, "units")
    with pytest.raises(ValueError, match="per cent"):
        forecast.forecast(exact, "blimp", 70, "units")
    exponent = Fit(law="accuracy_compute", family="units", measure="blimp", params={"gamma": 0.02}, status="published")
    with pytest.raises(ValueError, match="no accuracy law"):
        forecast.forecast([exponent], "blimp", 0.7, "units")
