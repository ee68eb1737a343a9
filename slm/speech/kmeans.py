"""k-means centres of encoder frames, and the nearest centre of a frame.

In: frames of one encoder. Out: centres, the same ones for the same frames and seed on any number of cores, because
the number of OpenMP threads is part of the recipe.
"""

import numpy as np

_THREADS = 2  # scikit-learn's result depends on it: with 8 threads five fits gave five results


def fit_centres(frames: np.ndarray, clusters: int, seed: int) -> np.ndarray:
    """Centres (clusters, features) float32 of frames (T, features) by Lloyd's algorithm from one k-means++ start.

    `ValueError` when there are fewer frames than clusters.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    if len(frames) < clusters:
        raise ValueError(f"{len(frames)} frames cannot make {clusters} clusters: take more speech or fewer clusters")
    with threadpool_limits(_THREADS):
        model = KMeans(clusters, n_init=1, max_iter=50, tol=1e-4, random_state=seed, algorithm="lloyd").fit(frames)
    return model.cluster_centers_.astype(np.float32)


def nearest(frames: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Index of the nearest centre of each frame, the lowest one on a tie: (T,) int64."""
    return np.argmin((centres**2).sum(axis=1) - 2 * (frames @ centres.T), axis=1)


def collapse(units: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Runs of equal units as (unit of each run, frames in each run)."""
    starts = np.flatnonzero(np.diff(units, prepend=units[:1] - 1)) if len(units) else np.zeros(0, np.int64)
    return units[starts], np.diff(starts, append=len(units))
