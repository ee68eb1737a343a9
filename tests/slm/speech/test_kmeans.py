"""Centres and units: near the best, the same every time, ties and runs by rule."""

import subprocess
import sys
import warnings

import numpy as np
import pytest

from slm.speech.kmeans import collapse, fit_centres, mean_distance, nearest


def test_separated_clouds_get_a_centre_each_and_a_seed_always_the_same_ones():
    random = np.random.default_rng(0)
    true = np.array([[0, 0], [10, 0], [0, 10], [10, 10]], dtype=np.float32)
    frames = (np.repeat(true, 500, axis=0) + random.normal(0, 0.5, (2000, 2))).astype(np.float32)
    centres = fit_centres(frames, 4, 0).centres
    assert np.abs(centres[nearest(true, centres)] - true).max() < 0.1
    assert np.array_equal(centres, fit_centres(frames, 4, 0).centres) and centres.dtype == np.float32


def uneven_frames() -> np.ndarray:
    random = np.random.default_rng(3)
    return np.concatenate([random.normal(size=6) * 4 + random.normal(size=(n, 6)) for n in (900, 500, 80, 20)]).astype(
        "f4"
    )


def test_one_core_finds_the_centres_of_many():
    """Whether a job has one core or eight must not change what a store holds."""
    code = (
        "import os, sys, numpy as np; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))} if sys.argv[1] == 'one' "
        "else os.sched_getaffinity(0))\n"
        "from slm.speech.kmeans import fit_centres\n"
        "frames = np.random.default_rng(0).normal(size=(30000, 24)).astype('f4')\n"
        "sys.stdout.write(fit_centres(frames, 60, 0).centres.tobytes().hex())"
    )
    found = [
        subprocess.run([sys.executable, "-c", code, cores], capture_output=True, check=True).stdout
        for cores in ("one", "all")
    ]
    assert found[0] and found[0] == found[1]


def test_torch_and_scikit_learn_find_the_same_inertia():
    """`cpu:0` is torch's own CPU device: the code that runs on a GPU."""
    frames = uneven_frames()
    here, there = fit_centres(frames, 24, 1), fit_centres(frames, 24, 1, device="cpu:0")
    assert there.inertia == pytest.approx(here.inertia, rel=1e-3)
    assert here.inertia == pytest.approx(mean_distance(frames, here.centres), rel=1e-4)
    distances = ((frames[:, None] - there.centres) ** 2).sum(-1).min(1)
    assert there.inertia == pytest.approx(distances.mean(), rel=1e-4)


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_more_clusters_than_distinct_frames_leave_no_centre_without_a_number(device):
    frames = np.repeat(np.eye(3, dtype=np.float32), 10, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn says that there are fewer distinct frames than clusters
        found = fit_centres(frames, 5, 0, device)
    assert np.isfinite(found.centres).all() and found.inertia == pytest.approx(0, abs=1e-6)


def test_lloyd_lowers_the_inertia_of_its_start():
    frames = uneven_frames()
    random = np.random.default_rng(0)
    drawn = frames[random.choice(len(frames), 24, replace=False)]
    assert fit_centres(frames, 24, 0).inertia < 0.8 * mean_distance(frames, drawn)


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
