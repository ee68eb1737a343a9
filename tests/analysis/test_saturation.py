"""Laws that saturate: recovery, exact derivatives, bounds and flags, and which law predicts held-out runs best."""

from itertools import product

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import OptimizeWarning, curve_fit, differential_evolution
from scipy.special import expit

from analysis import downstream, saturation
from analysis.bootstrap import Resampling
from analysis.minimise import minimise, robust

FEW = Resampling(count=50)
TRUE = {"floor": 0.5, "ceiling": 0.9, "steepness": 4.0, "midpoint": 2.1}
FLOPS = np.geomspace(1e9, 1e15, 16)
NATS = 1.6 + 2.0 * (FLOPS / 1e9) ** -0.12


def scores(value, nats=NATS, flops=FLOPS, chance=0.5, stderr=0.01):
    names = [f"r{i}" for i in range(len(flops))]
    labels = {"name": names, "fingerprint": names, "family": "units", "seed": 0, "eval": "topic_cloze"}
    labels |= {"subset": "all", "metric": "accuracy_mean", "stderr": stderr, "chance": chance}
    return pd.DataFrame(labels | {"flops_6n": flops, "nats_per_token": nats, "value": value})


def noisy(size=16, noise=0.01, seed=0):
    generator = np.random.default_rng(seed)
    flops = np.geomspace(1e9, 1e15, size)
    nats = 1.6 + 2.0 * (flops / 1e9) ** -0.12
    return scores(saturation.predict_sigmoid(TRUE, nats) + generator.normal(0, noise, size), nats, flops)


def sigmoid(table, resampling=FEW):
    return saturation.fit_sigmoid(table, "units", "topic_cloze", resampling=resampling)


def error(table, resampling=FEW):
    return saturation.fit_error(table, "units", "topic_cloze", resampling=resampling)


@pytest.mark.parametrize(
    "true",
    [TRUE, {"floor": 0.25, "ceiling": 0.6, "steepness": 1.5, "midpoint": 2.5}, TRUE | {"ceiling": 1.0, "floor": 0.0}],
)
def test_a_sigmoid_is_recovered(true):
    found = sigmoid(scores(saturation.predict_sigmoid(true, NATS), chance=true["floor"]))
    assert found.params == pytest.approx(true, rel=1e-6)
    assert found.constants == 3 and found.gradient_norm < 1e-5 and found.converged_fraction == 1.0
    assert found.hindcast["root_mean_square"] < 1e-6


def test_derivatives_of_the_sigmoid_are_exact():
    curve = saturation.Curve(NATS, noisy()["value"].to_numpy(), 0.5)
    theta, step = np.array([[0.8, 0.4, -0.3], [0.55, -1.0, 2.0]]), 1e-6
    _, jacobian, second = curve.model(theta)
    for place in range(3):
        ahead, behind = (curve.model(theta + sign * step * np.eye(3)[place]) for sign in (1, -1))
        assert jacobian[..., place] == pytest.approx((ahead[0] - behind[0]) / (2 * step), abs=1e-8)
        assert second[..., place, :] == pytest.approx((ahead[1] - behind[1]) / (2 * step), abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_no_other_search_finds_a_better_sigmoid(seed):
    table = noisy(10, 0.02, seed)
    curve = saturation.Curve(table["nats_per_token"].to_numpy(), table["value"].to_numpy(), 0.5)
    bounds = list(zip(curve.lower, curve.upper, strict=True))
    half = lambda theta: (curve.model(theta[None])[0] ** 2).mean() / 2  # noqa: E731
    other = differential_evolution(half, bounds, seed=seed, popsize=8, maxiter=150, tol=1e-10)
    assert sigmoid(table).objective <= other.fun * (1 + 1e-9)


def test_resamples_start_well_enough():
    for size, seed in ((9, 0), (9, 1), (12, 2), (40, 3)):
        table = noisy(size, 0.02, seed)
        curve = saturation.Curve(table["nats_per_token"].to_numpy(), table["value"].to_numpy(), 0.5)
        counts = np.random.default_rng(0).multinomial(size, np.ones(size) / size, 60)
        counts = counts[curve.determined(counts)]
        starts = np.array(list(product(*saturation.STARTS))) * (0.5, 1, 1) + (0.5, 0, 0)
        starts[:, 1] = np.log(starts[:, 1])
        every = minimise(robust(curve.model, np.inf), starts, counts, curve.lower, curve.upper)
        assert np.mean(curve.minima(counts, curve.best()).objective > every.objective * (1 + 1e-6)) <= 0.02


def test_a_ceiling_that_is_not_in_sight_is_flagged():
    tail = scores(
        saturation.predict_sigmoid(TRUE | {"ceiling": 1.0, "midpoint": 1.7}, NATS) + 0.002 * np.cos(NATS * 40)
    )
    assert any("ceiling" in flag for flag in sigmoid(tail).flags)
    seen = sigmoid(noisy(40, 0.002))
    low, high = seen.intervals["ceiling"]
    assert low < 0.9 < high and high - low < 0.05 and not seen.flags


def test_errors_that_fall_as_a_power_of_compute_are_recovered():
    true = {"K": 20.0, "gamma": 0.15}
    value = saturation.predict_error(true, FLOPS, 0.25)
    value[5] -= 0.2  # dominated
    found = error(scores(value, chance=0.25))
    assert found.params == pytest.approx(true) and "r5" not in found.kept
    assert found.hindcast["root_mean_square"] < 1e-9 and found.conventions["chance"] == 0.25
    low, high = found.intervals["gamma"]
    assert low < 0.15 < high


def test_perfect_runs_have_no_error_and_are_named():
    value = np.append(saturation.predict_error({"K": 20.0, "gamma": 0.15}, FLOPS[:-1], 0.5), 1.0)
    found = error(scores(value))
    assert found.params["gamma"] == pytest.approx(0.15) and "left out, without an error: r15" in found.flags
    assert not error(scores(1.0)).params and sigmoid(scores(np.append(value[:-1], 1.0))).params["ceiling"] <= 1


def test_saturated_runs_stay_in():
    value = saturation.predict_sigmoid(TRUE | {"ceiling": 0.99, "midpoint": 2.6, "steepness": 6.0}, NATS)
    assert (value > downstream.SATURATION).sum() > 2
    assert len(sigmoid(scores(value)).rows) == len(error(scores(value)).rows) == len(FLOPS)


def laws(table):
    asked = {"scores": table, "family": "units", "benchmark": "topic_cloze", "resampling": FEW}
    lines = downstream.fit_compute(**asked), downstream.fit_loss(**asked)
    return {fit.law: fit for fit in (*lines, error(table), sigmoid(table))}


def test_the_law_that_holds_predicts_best():
    found = {law: fit.hindcast["root_mean_square"] for law, fit in laws(noisy(24, 0.002)).items()}
    assert min(found, key=found.get) == "accuracy_sigmoid" and found["accuracy_sigmoid"] < 0.01
    straight = laws(scores(1.1 - 0.2 * NATS + np.random.default_rng(1).normal(0, 0.001, 16)))
    assert min(straight, key=lambda law: straight[law].hindcast["root_mean_square"]) == "accuracy_loss"


def test_all_laws_of_a_benchmark_are_judged_by_the_same_runs():
    """Also where some saturate, some are perfect: a law that leaves them out is not spared them."""
    value = saturation.predict_sigmoid(TRUE | {"ceiling": 0.999, "midpoint": 2.6, "steepness": 6.0}, NATS)
    value[-1] = 1.0
    found = laws(scores(value))
    judged = {law: [point[:3] for point in fit.hindcast["points"]] for law, fit in found.items()}
    assert len({str(points) for points in judged.values()}) == 1 and len(judged["accuracy_loss"]) > 2
    assert len({fit.hindcast["cut_flops"] for fit in found.values()}) == 1
    assert len(found["accuracy_compute"].rows) < len(found["accuracy_sigmoid"].rows) == 16
    assert max(seen for _, _, seen in judged["accuracy_compute"]) == 1.0


def test_too_little_is_not_fitted_and_two_chances_are_refused():
    few = sigmoid(scores([0.5, 0.6, 0.7], NATS[:3], FLOPS[:3]))
    assert few.flags[0] == "not fitted: 3 runs, at least 4 of different loss and accuracy wanted"
    assert not sigmoid(scores(0.6)).params and not sigmoid(scores(noisy()["value"], nats=2.0)).params
    nothing = saturation.fit_sigmoid(scores(0.6), "units", "other", resampling=FEW)
    assert nothing.flags[0].startswith("not fitted: 0 runs")
    guessed = sigmoid(scores(0.5 + 0.001 * np.cos(np.arange(16) / 5), stderr=0.02))
    assert any(flag.startswith("at chance") for flag in guessed.flags)
    with pytest.raises(ValueError, match=r"chance is recorded as \[0.25, 0.5\]"):
        error(noisy().assign(chance=[0.25] + 15 * [0.5]))


def test_what_no_sigmoid_says_is_not_fitted():
    below = sigmoid(scores(0.4 + 0.02 * (4 - NATS)))
    assert below.flags[0].startswith("not fitted: the largest run only guesses") and "at chance" in below.flags[1]
    rising = sigmoid(scores(0.3 + 0.15 * NATS))
    assert not rising.params and rising.flags[0] == "not fitted: accuracy does not fall as loss rises"
    lone = scores(np.array([0.49, 0.48, 0.5, 0.47, 0.49, 0.5, 0.48, 0.52]), NATS[::2], FLOPS[::2])
    assert any("steepness" in flag for flag in sigmoid(lone).flags), "one run above chance tells no slope"


def test_conventions_say_whether_chance_is_corrected_for():
    found = laws(noisy())
    corrected = {law: "corrected for chance" in fit.conventions["accuracy"] for law, fit in found.items()}
    assert corrected == dict.fromkeys(found, False) | {"accuracy_error": True}
    assert all(fit.conventions["chance"] == 0.5 for fit in found.values())
    table = noisy()
    table.loc[3, "chance"] = np.nan
    assert laws(table.assign(chance=table["chance"] - 0.25))["accuracy_sigmoid"].params["floor"] == 0.25


def test_runs_of_one_budget_have_no_law_of_errors():
    found = error(scores(noisy()["value"], flops=np.geomspace(1e18, 1.1e18, 16)))
    assert not found.params and "at least 0.1 wanted" in found.flags[0]


@pytest.mark.parametrize("count", [0, 1, 2])
@pytest.mark.parametrize("size", [5, 6, 7])
def test_few_runs_and_few_resamples_are_told(size, count):
    table = noisy(size)
    for found in (sigmoid(table, Resampling(count=count)), error(table, Resampling(count=count))):
        assert found.params and not found.intervals and len(found.draws) in (0, count)
        assert bool(count) == any("no interval" in flag for flag in found.flags)


def test_a_step_that_a_local_search_misses_is_found():
    """From a midpoint beyond the runs the curve is flat: such a search hands its start back."""
    true = TRUE | {"steepness": 12.0}
    table = scores(saturation.predict_sigmoid(true, NATS))
    nats, value = table["nats_per_token"].to_numpy(), table["value"].to_numpy()

    def law(x, ceiling, steepness, midpoint):
        return 0.5 + (ceiling - 0.5) * expit(steepness * (midpoint - x))

    with pytest.warns(OptimizeWarning):
        stuck, _ = curve_fit(law, nats, value, p0=[0.6, 400.0, 9.0])
    assert stuck[1:].tolist() == [400.0, 9.0]
    assert sigmoid(table).params == pytest.approx(true, rel=1e-6)


def test_the_same_rows_give_the_same_fit():
    assert sigmoid(noisy()) == sigmoid(noisy().sample(frac=1, random_state=1))
