"""Boundaries that match, by hand."""

import numpy as np
import pytest

from data.measures.segmentation import boundary_scores

TRUE = np.array([100, 200, 300, 400])


def test_perfect_boundaries():
    scores = boundary_scores(TRUE, TRUE, 0)
    assert (scores.precision, scores.recall, scores.f1, scores.r_value) == (1, 1, 1, 1)


def test_six_boundaries_of_which_three_match():
    """As many hits as a recall of 3/4; half as many again as there are: r1 = √(1/16 + 1/4), r2 = -0.75/√2."""
    scores = boundary_scores(np.array([90, 150, 220, 320, 380, 500]), TRUE, 20)
    assert scores.precision == pytest.approx(4 / 6) and scores.recall == 1
    scores = boundary_scores(np.array([90, 150, 220, 320, 360, 500]), TRUE, 20)
    assert (scores.precision, scores.recall, scores.f1) == pytest.approx((1 / 2, 3 / 4, 3 / 5))
    assert scores.r_value == pytest.approx(1 - (np.sqrt(0.25**2 + 0.5**2) + 0.75 / np.sqrt(2)) / 2)


def test_a_boundary_matches_once():
    assert boundary_scores(np.array([190, 210]), np.array([200]), 20).precision == 1 / 2
    assert boundary_scores(np.array([200]), np.array([190, 210]), 20).recall == 1 / 2


def test_neighbours_share_out_their_matches():
    """If 100 took the nearest, 110, then 125 would go without."""
    assert boundary_scores(np.array([85, 110]), np.array([100, 125]), 15).recall == 1


def test_many_boundaries_do_not_buy_a_good_r_value():
    everywhere = boundary_scores(np.arange(0, 500, 5), TRUE, 2)
    assert everywhere.recall == 1 and everywhere.r_value < -10


def test_no_boundaries_find_nothing():
    scores = boundary_scores(np.array([], int), TRUE, 20)
    assert (scores.precision, scores.recall, scores.f1) == (0, 0, 0)
