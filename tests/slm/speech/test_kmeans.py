"""Centres and units: near the best, the same every time, ties and runs by rule."""

import numpy as np
import pytest

from slm.speech.kmeans import collapse, fit_centres, nearest


def test_separated_clouds_get_a_centre_each_and_a_seed_always_the_same_ones():
    random = np.random.default_rng(0)
    true = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=np.float32)
    frames = (np.repeat(true, 500, axis=0) + random.normal(0, 0.5, (2000, 2))).astype(np.float32)
    centres = fit_centres(frames, 4, 0)
    assert np.abs(centres[nearest(true, centres)] - true).max() < 0.1
    assert np.array_equal(centres, fit_centres(frames, 4, 0)) and centres.dtype == np.float32


def test_nearest_agrees_with_distances_and_takes_the_lowest_on_a_tie():
    random = np.random.default_rng(1)
    frames, centres = random.normal(size=(200, 5)), random.normal(size=(7, 5))
    distances = ((frames[:, None] - centres) ** 2).sum(-1)
    assert np.array_equal(nearest(frames, centres), distances.argmin(1))
    assert nearest(np.array([[0.0]]), np.array([[1.0], [-1.0]]))[0] == 0


@pytest.mark.parametrize(
    ("units", "runs", "frames"),
    [([], [], []), ([3], [3], [1]), ([3, 3, 1, 1, 1, 3], [3, 1, 3], [2, 3, 1]), ([0, 0], [0], [2])],
)
def test_runs_keep_their_lengths(units, runs, frames):
    found = collapse(np.array(units, dtype=int))
    assert [list(part) for part in found] == [runs, frames]
    assert list(np.repeat(*found)) == units


def test_too_few_frames_are_refused():
    with pytest.raises(ValueError, match="3 frames cannot make 4 clusters"):
        fit_centres(np.zeros((3, 2), np.float32), 4, 0)
