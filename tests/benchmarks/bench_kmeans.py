"""k-means of a million frames into 500 centres, against scikit-learn's MiniBatchKMeans, time and inertia.

`python tests/benchmarks/bench_kmeans.py [--frames 1000000] [--corpora DIR]`. Frames are cepstra of real speech, the
same recordings at several offsets of a few milliseconds until there are enough: LibriSpeech, else the suite's stories.
"""

import argparse
import itertools
from pathlib import Path

import numpy as np
from sklearn.cluster import MiniBatchKMeans

from data.audio import read_audio
from data.corpora import librispeech, stories
from data.tts import Synthesiser
from slm.speech.kmeans import fit_centres, mean_distance
from slm.speech.mfcc import Mfcc
from tests.benchmarks.timing import medians, show

CLUSTERS, FEATURES, OFFSET_SAMPLES = 500, 39, 45


def frames(count: int, corpora: Path | None) -> np.ndarray:
    """(count, FEATURES) float32."""
    if corpora is not None:
        splits = ("train-clean-100", "test-other")
        waveforms = [read_audio(u.audio) for split in splits for u in librispeech.utterances(corpora, split)]
    else:
        spoken = itertools.islice(stories.utterances(None, "train"), 150)
        waveforms = [Synthesiser().speak(utterance.text, "en-us").waveform for utterance in spoken]
    encoder, found = Mfcc(), []
    for offset in itertools.count(0, OFFSET_SAMPLES):
        found += encoder.encode([waveform[offset:] for waveform in waveforms])
        if sum(map(len, found)) >= count:
            return np.ascontiguousarray(np.concatenate(found)[:count, :FEATURES])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=1_000_000)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    points = frames(options.frames, options.corpora)
    found: dict[str, np.ndarray] = {}

    def ours() -> None:
        found["ours"] = fit_centres(points, CLUSTERS, 0).centres

    def minibatch() -> None:
        settings = {"batch_size": 10000, "max_iter": 100, "max_no_improvement": 100, "n_init": 1, "random_state": 0}
        found["minibatch"] = MiniBatchKMeans(CLUSTERS, **settings).fit(points).cluster_centers_

    seconds = medians(options.repeats, ours=ours, minibatch=minibatch)
    inertia = {name: mean_distance(points, centres) for name, centres in found.items()}
    rows = [(name, f"{seconds[name]:.1f} s, inertia {inertia[name]:.1f} per frame") for name in found]
    rows += [
        ("time, ours / minibatch", f"{seconds['ours'] / seconds['minibatch']:.2f}"),
        ("inertia, ours / minibatch", f"{inertia['ours'] / inertia['minibatch']:.4f}"),
    ]
    show(
        f"k-means, {points.shape[0]:,} x {points.shape[1]} frames, {CLUSTERS} centres, medians of {options.repeats}",
        rows,
    )


if __name__ == "__main__":
    main()
