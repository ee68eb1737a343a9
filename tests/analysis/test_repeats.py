"""The multi-epoch law: published values, clamps, derivatives, exact recovery and what cannot be identified."""

import json
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import parametric, repeats
from analysis.bootstrap import Resampling
from analysis.fit import band
from analysis.minimise import huber

TEXT = {"E": np.exp(0.6254804), "A": np.exp(6.255414), "B": np.exp(7.3049974), "alpha": 0.3526596, "beta": 0.3526596}
TEXT |= {"RN_star": 5.309743, "RD_star": 15.387756}
"""Muennighoff et al. 2023, the constants that their code prints."""
SPEECH = {"E": 1.73, "A": 13.9, "B": 39.8, "alpha": 0.25, "beta": 0.24, "RN_star": 31.0, "RD_star": 25.0}
"""Cuervo & Marxer 2024, Table 5."""
SKEWED = {"E": 0.4, "A": 400.0, "B": 300.0, "alpha": 0.4, "beta": 0.3, "RN_star": 8.0, "RD_star": 4.0}
UNIQUE = 10.89e9
SIZES = (2e7, 8.5e7, 1.5e8, 3.1e8, 8.2e8)
TOKENS = (6e8, 2e9, 5e9, 1e10, 2.2e10, 4.4e10, 8.8e10, 1.1e11)
ONCE = Resampling(count=0)


def table(constants, sizes=SIZES, tokens=TOKENS, joint=False, clamp=True, noise=0.0):
    """A grid whose losses follow the law: Eq. 7 everywhere if `joint`, otherwise Eq. 4 where no token is repeated."""
    n, d = (axis.ravel() for axis in np.meshgrid(np.array(sizes), np.array(tokens), indexing="ij"))
    u = np.minimum(d, UNIQUE)
    nats = repeats.predict(constants, n, d, u, clamp)
    nats = nats if joint else np.where(d <= u, parametric.loss(constants, n, d), nats)
    nats = nats * np.exp(np.random.default_rng(0).normal(0, noise, n.size))
    names = [f"r{i:02d}" for i in range(n.size)]
    labels = {"name": names, "fingerprint": names, "family": "units", "size": [f"{value:.2g}" for value in n]}
    columns = {"params_total": n, "tokens": d, "unique_tokens": u, "epochs": d / u, "flops_6n": 6 * n * d}
    return pd.DataFrame(labels | columns | {"nats_per_token": nats})


@pytest.mark.parametrize(("n", "d", "nats"), [(6.34e9, 242e9, 2.2256440889984477), (8.67e9, 178e9, 2.2269634075087867)])
def test_losses_that_the_authors_of_the_law_print(n, d, nats):
    assert float(repeats.predict(TEXT, n, d, 25e9)) == pytest.approx(nats, abs=1e-12)


@pytest.mark.parametrize(
    ("n", "d", "effective_n", "effective_d", "nats"),
    [
        (823_179_264, 82_324_720_000, 7.15799e8, 7.37216e10, 1.91308),
        (20_710_912, 108_869_760_000, 20_710_912, 9.31765e10, 2.02878),
    ],
)
def test_speech_constants_with_clamps(n, d, effective_n, effective_d, nats):
    found = repeats.effective(SPEECH, n, d, UNIQUE)
    assert found == (pytest.approx(effective_n, rel=1e-6), pytest.approx(effective_d, rel=1e-6))
    assert float(repeats.predict(SPEECH, n, d, UNIQUE)) == pytest.approx(nats, abs=5e-6)


def test_what_the_speech_constants_make_of_repeats():
    n, d = 823_179_264, 82_324_720_000
    fitting, u = repeats.fresh(SPEECH, n, d, UNIQUE)
    assert float(fitting) == pytest.approx(7.5681e7, rel=5e-6)
    assert (n / fitting - 1, d / u - 1) == (pytest.approx(9.87691, abs=5e-6), pytest.approx(6.55966, abs=5e-6))
    assert repeats.fresh(SPEECH, 2e7, 3e9, UNIQUE) == (2e7, 3e9)  # fewer parameters and tokens than there are


def test_without_clamps_a_small_model_shrinks():
    found = repeats.effective(SPEECH, 20_710_912, 108_869_760_000, UNIQUE, clamp=False)[0]
    assert float(found) == pytest.approx(20.06e6, rel=3e-4)


def test_tokens_never_repeated_count_as_they_are():
    n, d = np.array([2e7]), np.array([3e9])
    assert [float(value[0]) for value in repeats.effective(SPEECH, n, d, UNIQUE)] == [2e7, 3e9]
    np.testing.assert_array_equal(repeats.predict(SPEECH, n, d, UNIQUE), parametric.loss(SPEECH, n, d))


@settings(max_examples=30, deadline=None)
@given(st.lists(st.floats(-1, 1), min_size=7, max_size=7), st.booleans())
def test_derivatives_are_those_of_the_residuals(shift, clamp):
    rows = table(SPEECH, sizes=SIZES[1:])  # without clamps, N' of a much smaller model has a pole
    names = ("params_total", "tokens", "unique_tokens", "nats_per_token")
    surface = repeats.Repeated(np.array([rows[name] for name in names]), clamp, np.inf)
    theta = surface.theta(np.array(list(SPEECH.values()))) + np.array(shift) * [0.3, 0.1, 0.1, 0.3, 0.3, 0.5, 0.5]
    objective, alone = surface.objective(np.inf, list(range(7))), np.eye(len(rows))  # half the square of each residual
    value, gradient, hessian = objective(np.repeat(theta[None], len(rows), 0), alone)
    np.testing.assert_allclose(value, surface.residuals(theta[None])[0] ** 2 / 2)
    for index, step in enumerate(1e-5 * np.eye(7)):
        above, below = (
            objective(np.repeat(moved[None], len(rows), 0), alone) for moved in (theta + step, theta - step)
        )
        far = np.ptp(surface.excess(np.stack([theta + step, theta - step])).astype(int), 0) == 0  # from N = U_N
        np.testing.assert_allclose(gradient[far, index], (above[0] - below[0])[far] / 2e-5, rtol=1e-5, atol=1e-8)
        np.testing.assert_allclose(hessian[far, index], (above[1] - below[1])[far] / 2e-5, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("truth", [SPEECH, SKEWED], ids=["speech", "skewed"])
@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("clamp", [True, False])
def test_constants_are_recovered_from_noise_free_losses(truth, joint, clamp):
    rows = table(truth, joint=joint, clamp=clamp)
    found = repeats.fit(rows, "units", joint=joint, clamp=clamp, resampling=ONCE)
    assert found.params == pytest.approx(truth, rel=1e-5)
    assert found.objective < 1e-20 and found.flags == () and len(found.rows) == 40


def test_noisy_fits_go_through_both_stages_and_repeat_themselves():
    rows = table(SPEECH, noise=0.0005)
    first, second = (repeats.fit(rows, "units", resampling=Resampling(count=60)) for _ in range(2))
    assert first == second and len(first.draws) == 60
    stage = parametric.fit(rows, "units", resampling=ONCE).params
    assert [first.params[name] for name in parametric.NAMES] == pytest.approx([stage[n] for n in parametric.NAMES])
    for name, (low, high) in first.intervals.items():
        assert low < first.params[name] < high
    assert first.converged_fraction > 0.95 and first.hindcast["held_out"] == 14
    assert abs(first.hindcast["bias"]) < 0.01
    low, high = band(first, lambda p: repeats.predict(p, np.array([1e8, 8e8]), np.array([1e11, 2e11]), UNIQUE))
    truth = repeats.predict(SPEECH, np.array([1e8, 8e8]), np.array([1e11, 2e11]), UNIQUE)
    assert ((low < truth) & (truth < high)).all()


@pytest.mark.parametrize("delta", [0.03, 1e-3, 1e-6, np.inf])
def test_no_other_pair_of_decays_is_better(delta):
    rows = table(SPEECH, noise=0.001)
    found = repeats.fit(rows, "units", delta=delta, resampling=ONCE)
    again = rows[rows["epochs"] > 1.1]
    columns = [again[name].to_numpy()[:, None] for name in repeats.POINT]
    own, random = np.array([[found.params["RN_star"]], [found.params["RD_star"]]]), np.random.default_rng(0)
    near, far = (
        own * np.exp(random.normal(0, 0.05, (2, 2000))),
        np.exp(random.uniform(*np.log(repeats.STARS), (2, 3000))),
    )
    for pair in (near, far, own):
        params = found.params | {"RN_star": pair[0], "RD_star": pair[1]}
        errors = np.log(repeats.predict(params, *columns) / again["nats_per_token"].to_numpy()[:, None])
        losses = huber(errors, delta)[0].mean(0)
        assert found.objective <= losses.min() * (1 + 1e-9)
    assert found.objective == pytest.approx(losses[0], rel=1e-9) and found.gradient_norm < 1e-5


def test_the_joint_fit_is_at_least_as_good_on_all_runs():
    rows = table(SPEECH, noise=0.003)
    columns = [rows[name].to_numpy() for name in ("params_total", "tokens", "unique_tokens")]
    staged, joint = (repeats.fit(rows, "units", joint=both, resampling=ONCE) for both in (False, True))
    errors = [np.log(repeats.predict(one.params, *columns) / rows["nats_per_token"]) for one in (staged, joint)]
    losses = [huber(error.to_numpy(), 0.03)[0].mean() for error in errors]
    assert joint.objective == pytest.approx(losses[1], rel=1e-9) and losses[1] < losses[0]


def test_sizes_can_be_resampled_whole():
    rows = table(SPEECH, noise=0.0005)
    found = repeats.fit(rows, "units", joint=True, resampling=Resampling(count=20, by="size"))
    assert len(found.draws) > 1 and found.conventions["resampled"] == "size"


def test_least_absolute_deviations_ignore_an_outlier():
    rows = table(SPEECH)
    rows.loc[rows["epochs"].idxmax(), "nats_per_token"] *= 1.2
    found = repeats.fit(rows, "units", delta=0.0, resampling=ONCE)
    assert found.params["RD_star"] == pytest.approx(25.0, rel=1e-2)
    again = rows[rows["epochs"] > 1.1]
    errors = np.log(repeats.predict(found.params, *(again[name] for name in repeats.POINT)) / again["nats_per_token"])
    assert found.objective == pytest.approx(np.abs(errors).mean(), rel=1e-9)
    assert found.objective == pytest.approx(np.log(1.2) / len(again), rel=1e-3)


def test_without_repeated_tokens_nothing_is_fitted():
    found = repeats.fit(table(SPEECH, tokens=TOKENS[:4]), "units")
    assert found.params == {} and found.flags[0].startswith("not fitted: 0 points with repeated tokens")
    few = repeats.fit(table(SPEECH, sizes=SIZES[:2]), "units")
    assert "8 without, of 2 sizes and 4 token counts; 3, 5, 3, 3 wanted" in few.flags[0]
    assert repeats.fit(table(SPEECH).iloc[:2], "units").params == {}
    assert repeats.fit(table(SPEECH), "text").params == {}


@pytest.mark.parametrize("joint", [False, True])
def test_excess_parameters_that_no_run_has_are_not_invented(joint):
    small = table(SPEECH, sizes=(3e6, 6e6, 1.2e7, 2e7), tokens=(5e9, 7e9, 1e10, 2.2e10, 4.4e10, 1.1e11), joint=joint)
    found = repeats.fit(small, "units", joint=joint, resampling=Resampling(count=30))
    assert set(found.params) == set(SPEECH) - {"RN_star"} and found.constants == 6
    assert found.flags[0].startswith("unidentified: RN_star")
    assert found.params["RD_star"] == pytest.approx(25.0, rel=1e-5) and found.condition < 1e8
    losses = repeats.predict(found.params, np.array([2e7, 8e8]), 1e11, UNIQUE)
    assert np.isfinite(losses[0]) and np.isnan(losses[1])


def test_repeats_as_good_as_fresh_tokens_are_at_the_bound():
    rows = table(SPEECH)
    rows["nats_per_token"] = parametric.loss(SPEECH, rows["params_total"], rows["tokens"])
    found = repeats.fit(rows, "units", resampling=ONCE)
    assert "at bound: RD_star" in found.flags


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("noise", [0.003, 0.05, 0.3])
@pytest.mark.parametrize("delta", [0.03, 0.0])
def test_decays_that_noise_hides_are_flagged(joint, noise, delta):
    found = repeats.fit(table(SPEECH, noise=noise), "units", delta=delta, joint=joint, resampling=Resampling(count=60))
    hidden = ("at bound: RD_star", "unidentified: RD_star", "weakly identified: RD_star")
    assert any(flag.startswith(hidden) for flag in found.flags)
    assert set(repeats.NAMES[:5]) < set(found.params) and found.intervals["RD_star"][0] > 0
    json.dumps(asdict(found), allow_nan=False)


def test_what_the_first_stage_does_not_determine_is_flagged():
    rows = table(SPEECH, noise=0.05)
    found = repeats.fit(rows, "units", resampling=Resampling(count=60))
    alone = parametric.fit(rows, "units", resampling=ONCE)
    for name in ("E", "alpha"):
        assert any(flag.split(" (")[0] in (f"at bound: {name}", f"unidentified: {name}") for flag in found.flags)
    assert [flag for flag in alone.flags if flag.startswith("at bound")] == [
        flag for flag in found.flags if flag.startswith("at bound") and flag.split()[-1] in parametric.NAMES
    ]
    assert found.condition >= alone.condition and found.basins >= alone.basins


@pytest.mark.parametrize("joint", [False, True])
@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_resamples_have_no_interval(joint, count):
    found = repeats.fit(table(SPEECH, noise=0.001), "units", joint=joint, resampling=Resampling(count=count))
    assert found.params and not found.intervals and bool(found.hindcast) == bool(count)
    assert any(flag.startswith("no interval") for flag in found.flags) == bool(count)


def test_runs_of_unknown_repetition_are_named():
    rows = table(SPEECH)
    rows.loc[[3, 5], ["unique_tokens", "epochs"]] = np.nan
    with pytest.raises(ValueError, match="family units: how often .* not known of r03, r05$"):
        repeats.fit(rows, "units")


@pytest.mark.parametrize("joint", [False, True])
def test_identical_losses_are_flagged(joint):
    rows = table(SPEECH).assign(nats_per_token=2.0)
    found = repeats.fit(rows, "units", joint=joint, resampling=Resampling(count=20))
    assert any(flag.startswith(("at bound", "unidentified")) for flag in found.flags)
    json.dumps(asdict(found), allow_nan=False)
