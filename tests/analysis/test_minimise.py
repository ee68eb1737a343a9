"""The minimiser: weights are repeated rows, bounds hold, several valleys are told apart, and hard starts end."""

import numpy as np
import pytest

from analysis.minimise import STATIONARY, huber, minimise, robust


def line(x, y):
    """θ₀ + θ₁·x − y."""
    columns = np.stack([np.ones(len(x)), x], 1)

    def model(theta):
        jacobian = np.broadcast_to(columns, (len(theta), *columns.shape))
        return theta @ columns.T - y, jacobian, np.zeros((len(theta), len(x), 2, 2))

    return model


X, Y = np.arange(6.0), np.array([0.1, 1.2, 1.9, 9.0, 4.2, 4.8])
BOX = np.full(2, -20.0), np.full(2, 20.0)
STARTS = np.array([[0.0, 0.0], [5.0, -3.0]])


@pytest.mark.parametrize("delta", [0.3, 1e-3, np.inf])
def test_integer_weights_equal_repeated_rows(delta):
    weights = np.array([1, 0, 2, 1, 3, 1])
    rows = np.repeat(np.arange(6), weights)
    weighted = minimise(robust(line(X, Y), delta), STARTS, weights[None], *BOX)
    repeated = minimise(robust(line(X[rows], Y[rows]), delta), STARTS, np.ones((1, len(rows))), *BOX)
    np.testing.assert_allclose(weighted.objective, repeated.objective, rtol=1e-9)
    assert weighted.basins[0] == 1 and weighted.converged[0]


def test_squares_are_solved_in_closed_form_and_an_outlier_does_not_move_absolute_deviations():
    ordinary = minimise(robust(line(X, Y), np.inf), STARTS, np.ones((1, 6)), *BOX)
    np.testing.assert_allclose(ordinary.params[0], np.polyfit(X, Y, 1)[::-1], atol=1e-9)
    absolute = minimise(robust(line(X, Y), 1e-4), ordinary.params[None], np.ones((1, 6)), *BOX)
    assert absolute.params[0, 1] == pytest.approx(1.0, abs=0.1) and ordinary.params[0, 1] > 1.05


def test_a_bound_holds_and_is_told():
    found = minimise(
        robust(line(X, Y), np.inf), STARTS, np.ones((1, 6)), np.array([-20.0, -20.0]), np.array([20.0, 0.5])
    )
    assert found.at_bound[0].tolist() == [False, True] and found.params[0, 1] == 0.5
    assert found.params[0, 0] == pytest.approx((Y - 0.5 * X).mean()) and found.gradient_norm[0] < STATIONARY


def test_the_lowest_of_several_valleys_is_taken_and_they_are_counted():
    def objective(theta, weights):
        """A quartic with valleys near -1 and 1, the left one lower."""
        t = theta[:, 0]
        return (
            (t * t - 1) ** 2 + 0.3 * t + 1,
            4 * t[:, None] * (t * t - 1)[:, None] + 0.3,
            (12 * t * t - 4)[:, None, None],
        )

    found = minimise(objective, np.array([[2.0], [0.9], [-3.0]]), np.ones((2, 1)), np.array([-5.0]), np.array([5.0]))
    assert (found.params < -0.9).all() and found.basins.tolist() == [2, 2] and found.converged.all()


def test_many_problems_are_each_their_own():
    """More problems than a block holds, each as when solved alone."""
    weights = np.random.default_rng(0).multinomial(6, np.full(6, 1 / 6), 300)
    weights = weights[(weights > 0).sum(1) > 2]
    together = minimise(robust(line(X, Y), 0.5), STARTS, weights, *BOX)
    for index in (0, 7, len(weights) - 1):
        alone = minimise(robust(line(X, Y), 0.5), STARTS, weights[index : index + 1], *BOX)
        np.testing.assert_allclose(alone.params[0], together.params[index], rtol=1e-9, atol=1e-12)


def test_huber_is_a_parabola_within_and_a_line_beyond():
    value, slope, curvature = huber(np.array([-2.0, 0.5, 3.0]), 1.0)
    assert value.tolist() == [1.5, 0.125, 2.5] and slope.tolist() == [-1, 0.5, 1] and curvature.tolist() == [0, 1, 0]
