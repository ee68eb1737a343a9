"""How often 95 % intervals of the parametric law hold the truth.

`python tests/benchmarks/bench_coverage.py`: for each design, synthetic studies with log-normal noise, each fitted with
its bootstrap as `python -m analysis fit` does; the share of studies whose interval holds the true E, α, β and a.
Wanted: 93 to 97 % of at least 2,000 studies, at 29 and at 240 runs; the standard error of such a share is 0.5 points.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import pandas as pd
from rich.progress import track

import analysis
from analysis import parametric
from analysis.bootstrap import Resampling

sys.path.insert(0, str(Path(__file__).parent))
from timing import show

CONSTANTS = {
    "speech": {"E": 1.73, "A": 13.9, "B": 39.8, "alpha": 0.25, "beta": 0.24},  # Cuervo & Marxer 2024, Table 5
    "text": {"E": 1.69, "A": 406.4, "B": 410.7, "alpha": 0.34, "beta": 0.28},  # Hoffmann et al. 2022, section D.2
}
JUDGED = ("E", "alpha", "beta", "a")
RELEASED = Path(analysis.__file__).parent / "published" / "released_runs.csv"


def released() -> tuple[np.ndarray, np.ndarray]:
    """N and D of the 29 released runs of Cuervo & Marxer's curves."""
    rows = pd.read_csv(RELEASED).iloc[:29]
    return rows["n_total"].to_numpy(float), rows["tokens_seen"].to_numpy(float)


def scattered() -> tuple[np.ndarray, np.ndarray]:
    """240 log-uniform points, about those of Hoffmann et al. 2022."""
    generator = np.random.default_rng(0)
    sizes, tokens = (
        generator.uniform(np.log(4e7), np.log(1.6e10), 240),
        generator.uniform(np.log(1e9), np.log(5e11), 240),
    )
    return np.exp(sizes), np.exp(tokens)


DESIGNS = [  # points, constants, noise of ln L
    (released, "speech", 0.002),
    (released, "text", 0.005),
    (scattered, "text", 0.005),
    (scattered, "speech", 0.002),
]


def coverage(points, truth: dict, noise: float, studies: int, resamples: int) -> dict[str, float]:
    """Share of the studies whose interval holds the truth, by constant."""
    n, d = points()
    truth = truth | parametric.allocation(truth)
    labels = {"name": [f"r{i:03}" for i in range(len(n))], "fingerprint": "", "family": "units", "epochs": 1.0}
    table = pd.DataFrame(labels | {"params_total": n, "tokens": d, "flops_6n": 6 * n * d})
    generator, hits = np.random.default_rng(1), dict.fromkeys(JUDGED, 0)
    for study in track(range(studies), description=f"{len(n)} runs"):
        nats = parametric.loss(truth, n, d) * np.exp(generator.normal(0, noise, len(n)))
        resampling = Resampling(count=resamples, seed=study)
        found = parametric.fit(table.assign(nats_per_token=nats), "units", resampling=resampling)
        for name in JUDGED:
            low, high = found.intervals[name]
            hits[name] += low <= truth[name] <= high
    return {name: count / studies for name, count in hits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=400)
    parser.add_argument("--design", type=int, action="append", help="which of the designs, from 0; all by default")
    told = parser.parse_args()
    rows = []
    for index in told.design or range(len(DESIGNS)):
        points, constants, noise = DESIGNS[index]
        shares = coverage(points, CONSTANTS[constants], noise, told.studies, told.resamples)
        text = ", ".join(f"{name} {100 * share:.1f} %" for name, share in shares.items())
        rows.append((f"{len(points()[0])} runs, {constants} constants, noise {noise:.1%}", text))
    show(f"Coverage of 95 % intervals, {told.studies:,} studies of {told.resamples} resamples", rows)


if __name__ == "__main__":
    main()
