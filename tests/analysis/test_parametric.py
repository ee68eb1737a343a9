"""The parametric law: published constants, exact recovery, gradients and what cannot be identified."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import parametric
from analysis.minimise import minimise

TABLE_5 = {
    "speech": {"E": 1.73, "A": 13.9, "B": 39.8, "alpha": 0.25, "beta": 0.24},
    "unigram": {"E": 1.42, "A": 3.85, "B": 8.90, "alpha": 0.15, "beta": 0.16},
    "text": {"E": 1.87, "A": 521.0, "B": 1488.0, "alpha": 0.35, "beta": 0.35},
}
"""Cuervo & Marxer 2024, Table 5."""


def grid(constants, sizes, tokens, noise=0.0):
    n, d = (axis.ravel() for axis in np.meshgrid(np.array(sizes), np.array(tokens), indexing="ij"))
    nats = parametric.loss(constants, n, d) * np.exp(np.random.default_rng(0).normal(0, noise, n.size))
    names = [f"r{i}" for i in range(n.size)]
    table = {"name": names, "fingerprint": names, "family": "units", "params_total": n, "tokens": d, "epochs": 1.0}
    return pd.DataFrame(table | {"nats_per_token": nats})


SIZES, TOKENS = [2e7, 8e7, 3e8, 8e8], [6e8, 3e9, 1e10, 5e10]


@pytest.mark.parametrize(
    ("name", "g", "a", "b"),
    [("speech", 0.126998, 24 / 49, 25 / 49), ("unigram", 0.0544026, 16 / 31, 15 / 31), ("text", 0.223309, 0.5, 0.5)],
)
def test_allocation_of_the_published_constants(name, g, a, b):
    share = parametric.allocation(TABLE_5[name])
    assert (share["G"], share["a"], share["b"]) == pytest.approx((g, a, b), rel=5e-6)


@pytest.mark.parametrize(
    ("name", "flops", "n", "d", "nats"),
    [
        ("speech", 1e18, 3.4593e7, 4.8179e9, 2.10004),
        ("speech", 1e21, 1.0195e9, 1.6348e11, 1.88882),
        ("unigram", 1e19, 1.3818e8, 1.2062e10, 1.86837),
        ("text", 1e20, 9.1166e8, 1.8282e10, 2.63195),
    ],
)
def test_optimum_of_the_published_constants(name, flops, n, d, nats):
    found = parametric.optimum(TABLE_5[name], flops)
    assert found == pytest.approx((n, d), rel=5e-5)
    assert float(parametric.loss(TABLE_5[name], *found)) == pytest.approx(nats, abs=6e-6)
    assert float(parametric.training_flops(*found)) == pytest.approx(flops)


def test_training_flops_do_not_overflow_integers():
    n, d = np.array([823_179_264]), np.array([82_324_720_000])
    assert parametric.training_flops(n, d)[0] == pytest.approx(4.066e20, rel=1e-4)
    assert float(parametric.loss(TABLE_5["speech"], n, d)[0]) == pytest.approx(1.90760, abs=1e-5)


@pytest.mark.parametrize("name", TABLE_5)
def test_constants_are_recovered_from_noise_free_losses(name):
    found = parametric.fit(grid(TABLE_5[name], SIZES, TOKENS), "units", resample_count=0)
    assert {key: found.params[key] for key in parametric.NAMES} == pytest.approx(TABLE_5[name], rel=1e-5)
    assert found.search["gradient_norm"] < 1e-6 and found.search["converged"] > 0.9


def test_noisy_fit_covers_the_truth_and_repeats_itself():
    rows = grid(TABLE_5["speech"], SIZES, TOKENS, noise=0.003)
    first, second = (parametric.fit(rows, "units", resample_count=60) for _ in range(2))
    assert first == second
    for name, (low, high) in first.intervals.items():
        assert low < first.params[name] < high
        assert low < (TABLE_5["speech"] | parametric.allocation(TABLE_5["speech"]))[name] < high
    assert len(first.rows) == 16 and first.conventions["huber_delta"] == 0.03


def test_one_outlier_does_not_move_a_robust_fit():
    rows = grid(TABLE_5["speech"], SIZES, TOKENS)
    rows.loc[5, "nats_per_token"] *= 1.5
    found = parametric.fit(rows, "units", delta=1e-3, resample_count=0)
    assert found.params["alpha"] == pytest.approx(0.25, rel=0.1)


@pytest.mark.parametrize(
    ("sizes", "tokens", "reason"),
    [
        ([2e7], TOKENS + [1e11], "1 model sizes"),
        (SIZES + [1e9], [6e8], "1 token counts"),
        ([2e7, 8e7], [6e8, 3e9], "4 single-epoch points for 5"),
        ([2e7, 8e7], TOKENS, "2 model sizes"),
    ],
)
def test_what_cannot_be_identified_is_not_fitted(sizes, tokens, reason):
    found = parametric.fit(grid(TABLE_5["speech"], sizes, tokens), "units")
    assert found.params == {} and found.flags[0].startswith(f"not fitted: {reason}")


def test_repeated_tokens_are_left_out_and_counted():
    rows = grid(TABLE_5["speech"], SIZES, TOKENS)
    rows.loc[:2, "epochs"] = 4.0
    found = parametric.fit(rows, "units", resample_count=0)
    assert len(found.rows) == 13 and "3 runs with repeated tokens left out" in found.flags


def test_a_term_that_vanishes_is_flagged():
    without = TABLE_5["speech"] | {"E": 0.0}
    found = parametric.fit(grid(without, SIZES, TOKENS, noise=0.003), "units", resample_count=40)
    assert any("E" in flag and ("bound" in flag or "identified" in flag) for flag in found.flags)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-0.5, 0.5), min_size=5, max_size=5))
def test_the_given_jacobian_is_the_derivative(theta):
    rows = grid(TABLE_5["speech"], SIZES, TOKENS, noise=0.01)
    columns = ("params_total", "tokens", "nats_per_token")
    residuals = parametric.log_residuals(*(rows[name].to_numpy() for name in columns))
    theta, step = np.array(theta), 1e-6
    for index, column in enumerate(residuals(theta)[1].T):
        shift = step * np.eye(5)[index]
        slope = (residuals(theta + shift)[0] - residuals(theta - shift)[0]) / (2 * step)
        np.testing.assert_allclose(column, slope, atol=1e-7)


def test_integer_weights_equal_repeated_rows():
    x, y = np.arange(6.0), np.array([0.1, 1.2, 1.9, 9.0, 4.2, 4.8])

    def line(x, y):
        return lambda theta: (theta[0] + theta[1] * x - y, np.stack([np.ones(len(x)), x], 1))

    weights = np.array([1, 0, 2, 1, 3, 1])
    box = {"delta": 0.3, "lower": np.full(2, -20.0), "upper": np.full(2, 20.0)}
    starts = np.array([[0.0, 0.0], [5.0, -3.0]])
    weighted = minimise(line(x, y), starts, weights[None], **box)[0]
    rows = np.repeat(np.arange(6), weights)
    repeated = minimise(line(x[rows], y[rows]), starts, np.ones((1, len(rows))), **box)[0]
    np.testing.assert_allclose(weighted.params, repeated.params, atol=1e-6)
    assert weighted.objective == pytest.approx(repeated.objective) and weighted.basins == 1
