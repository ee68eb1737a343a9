"""k-means centres of encoder frames, and the nearest centre of a frame.

In: frames of one encoder. Out: centres, the same ones for the same frames and seed on any number of cores, because
the number of OpenMP threads is part of the recipe.
"""

import os
from dataclasses import dataclass

import numpy as np

_THREADS = 2  # scikit-learn's result depends on it: with 8 threads five fits gave five results
_START_FRAMES = 40  # per cluster, for k-means++: on a million frames it would take longer than all of Lloyd's steps
_ITERATIONS, _MANY_FRAMES, _ITERATIONS_OF_MANY = 50, 500_000, 15
"""At most so many steps, fewer of more frames than `_MANY_FRAMES`: on a million, 15 steps are lower than
MiniBatchKMeans in less time, and the other 35 lower the inertia by 1 % in nearly three times as much (RESULTS.md)."""
_TOLERANCE = 1e-4  # of the features' mean variance, as scikit-learn means it
_CHUNK = 1 << 16  # frames that are compared with all centres at once


@dataclass(frozen=True, kw_only=True)
class Clustering:
    """What a fit found."""

    centres: np.ndarray
    """(clusters, features) float32."""
    inertia: float
    """Mean squared distance of a frame to its nearest centre."""
    iterations: int


def fit_centres(frames: np.ndarray, clusters: int, seed: int, device: str = "cpu") -> Clustering:
    """Centres of frames (T, features) by Lloyd's algorithm from one k-means++ start on a sample of them.

    On the CPU by scikit-learn, on any other torch `device` by torch, from the same start: the inertias agree within
    0.1 %. A cluster that loses all its frames starts again at the frame farthest from its centre. `ValueError` when
    there are fewer frames than clusters.
    """
    from sklearn.cluster import kmeans_plusplus
    from threadpoolctl import threadpool_limits

    if len(frames) < clusters:
        raise ValueError(f"{len(frames)} frames cannot make {clusters} clusters: take more speech or fewer clusters")
    random = np.random.RandomState(seed)
    some = np.sort(random.choice(len(frames), min(len(frames), _START_FRAMES * clusters), replace=False))
    with threadpool_limits(_THREADS):
        start, _ = kmeans_plusplus(frames[some], clusters, random_state=random)
        fit = _fit_here if device == "cpu" else _fit_on
        return fit(frames, start, device)


def _most_steps(frames: np.ndarray) -> int:
    return _ITERATIONS if len(frames) <= _MANY_FRAMES else _ITERATIONS_OF_MANY


def _fit_here(frames: np.ndarray, start: np.ndarray, device: str) -> Clustering:
    from sklearn.cluster import KMeans

    model = KMeans(len(start), init=start, n_init=1, max_iter=_most_steps(frames), tol=_TOLERANCE, algorithm="lloyd")
    before = os.environ.get("OMP_NUM_THREADS")
    os.environ["OMP_NUM_THREADS"] = str(_THREADS)  # else scikit-learn takes fewer threads where there are fewer cores
    try:
        model.fit(frames)
    finally:
        os.environ.pop("OMP_NUM_THREADS") if before is None else os.environ.update(OMP_NUM_THREADS=before)
    centres = model.cluster_centers_.astype(np.float32)
    return Clustering(centres=centres, inertia=float(model.inertia_) / len(frames), iterations=model.n_iter_)


def _fit_on(frames: np.ndarray, start: np.ndarray, device: str) -> Clustering:
    """Lloyd's algorithm on a torch device; sums are products with one-hot rows, so that they have one order."""
    import torch

    points = torch.as_tensor(np.asarray(frames, np.float32)).to(device)  # (T, F)
    centres = torch.as_tensor(np.asarray(start, np.float32)).to(device)  # (K, F)
    enough = _TOLERANCE * float(points.var(dim=0, unbiased=False).mean())
    steps, shift = 0, float("inf")
    while steps < _most_steps(frames) and shift > enough:
        steps += 1
        sums, counts, distances = torch.zeros_like(centres), centres.new_zeros(len(centres)), []
        for chunk in points.split(_CHUNK):
            squared = torch.cdist(chunk, centres, compute_mode="use_mm_for_euclid_dist").square()  # (chunk, K)
            nearest_, labels = squared.min(dim=1)
            chosen = torch.nn.functional.one_hot(labels, len(centres)).to(chunk.dtype)
            sums, counts = sums + chosen.T @ chunk, counts + chosen.sum(dim=0)
            distances.append(nearest_)
        distances = torch.cat(distances)  # (T,)
        moved = sums / counts.clamp(min=1)[:, None]
        empty = (counts == 0).nonzero().flatten()
        moved[empty] = points[distances.topk(len(empty)).indices]
        shift, centres = float((moved - centres).square().sum()), moved
    found = centres.cpu().numpy()
    return Clustering(centres=found, inertia=mean_distance(frames, found), iterations=steps)


def mean_distance(frames: np.ndarray, centres: np.ndarray) -> float:
    """Mean squared distance of frames to their nearest centres: the inertia, per frame."""
    total, lengths = 0.0, (centres.astype(np.float64) ** 2).sum(axis=1).astype(np.float32)
    for first in range(0, len(frames), _CHUNK):
        chunk = frames[first : first + _CHUNK]
        closest = (lengths - 2 * (chunk @ centres.T)).min(axis=1)
        total += float(closest.sum(dtype=np.float64) + (chunk.astype(np.float64) ** 2).sum())
    return total / len(frames)


def nearest(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest centre of each frame, the lowest one on a tie: (T,) int64."""
    found, lengths = np.empty(len(frames), np.int64), (centres**2).sum(axis=1)
    for first in range(0, len(frames), _CHUNK):
        part = slice(first, first + _CHUNK)
        found[part] = np.argmin(lengths - 2 * (frames[part] @ centres.T), axis=1)
    return found


def collapse(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal units as (unit of each run, frames in each run)."""
    starts = np.flatnonzero(np.diff(units, prepend=units[:1] - 1)) if len(units) else np.zeros(0, np.int64)
    return units[starts], np.diff(starts, append=len(units))
