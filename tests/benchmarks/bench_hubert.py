"""Encoding speech with a base-size HuBERT: batches against one waveform at a time, in speed and in units.

`python tests/benchmarks/bench_hubert.py [--utterances 200] [--device cpu|gpu] [--corpora DIR]`. The weights are random
(speed does not depend on them), the speech is LibriSpeech; the centres are 500 random frames of the encoder itself.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))  # `data` and `tests` are no installed packages
from data.audio import read_audio
from data.corpora import librispeech
from slm.machine import Machine
from slm.spec import EncoderSpec
from slm.speech.kmeans import nearest
from tests.benchmarks.timing import show

CORPORA = Path(__file__).parents[2].parent / "shared" / "data"
LAYER, CLUSTERS, GROUPS = 11, 500, 5


def saved_model(folder: Path):
    """A base HuBERT with random weights: saved as a checkpoint, and as transformers has it."""
    import torch
    from transformers import HubertConfig, HubertModel

    torch.manual_seed(0)
    model = HubertModel(HubertConfig()).eval()
    model.save_pretrained(folder)
    return model


def plain(model, waveforms: list[np.ndarray]) -> list[np.ndarray]:
    """transformers as its documentation uses it, one waveform at a time: all layers, float32."""
    import torch

    with torch.inference_mode():
        inputs = (torch.from_numpy(waveform)[None].to(model.device) for waveform in waveforms)
        return [model(each, output_hidden_states=True).hidden_states[LAYER][0].cpu().numpy() for each in inputs]


def timed(work: Callable[[list], list], waveforms: list[np.ndarray]) -> tuple[float, list[np.ndarray]]:
    start = time.perf_counter()
    found = work(waveforms)
    return time.perf_counter() - start, found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--utterances", type=int, default=200)
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--corpora", type=Path, default=CORPORA)
    options = parser.parse_args()

    from slm.speech.hubert import Hubert
    from slm.store import checksum

    listed = list(librispeech.utterances(options.corpora, "train-clean-100"))[: options.utterances]
    waveforms = [read_audio(utterance.audio) for utterance in listed]
    with tempfile.TemporaryDirectory() as folder:
        model = saved_model(Path(folder) / "base")
        digest = checksum(Path(folder) / "base" / "model.safetensors")
        spec = EncoderSpec(kind="hubert", rate_hz=50.0, revision=digest, checkpoint="base", layer=LAYER)
        ours = Hubert(spec, Machine(accelerator=options.device, models=Path(folder)))
    model.to("cuda" if options.device == "gpu" else "cpu")
    ways = {
        "transformers, one at a time": lambda batch: plain(model, batch),
        "this encoder, one at a time": lambda batch: [ours.encode([waveform])[0] for waveform in batch],
        "this encoder, batched": ours.encode,
    }
    speeds: dict[str, list[float]] = {name: [] for name in ways}
    frames: dict[str, list[np.ndarray]] = {name: [] for name in ways}
    for work in ways.values():
        work(waveforms[:2])  # the first call allocates
    for group in range(GROUPS):  # the ways take turns, so that noise hits all of them
        batch = waveforms[group::GROUPS]
        for name, work in ways.items():
            seconds, found = timed(work, batch)
            speeds[name].append(sum(map(len, batch)) / 16000 / seconds)
            frames[name] += found
    show(f"HuBERT base, layer {LAYER}, on {options.device}", rows(waveforms, speeds, frames))


def rows(waveforms: list, speeds: dict[str, list[float]], frames: dict[str, list]) -> list[tuple[str, str]]:
    """What is printed: seconds of speech per second, ratios group by group, equal units."""
    plainly, single, batched = speeds
    found = [("speech", f"{len(waveforms)} utterances, {sum(map(len, waveforms)) / 16000:.0f} s")]
    found += [(name, f"{statistics.median(speeds[name]):.1f} s of speech per second (median)") for name in speeds]
    for name, reference in ((batched, single), (batched, plainly)):
        ratios = [a / b for a, b in zip(speeds[name], speeds[reference], strict=True)]
        found.append((f"speed, {name} / {reference}", f"{statistics.median(ratios):.2f}"))
    everything = np.concatenate(frames[single])
    centres = everything[np.random.default_rng(0).choice(len(everything), CLUSTERS, replace=False)]
    units = {name: [nearest(part, centres) for part in frames[name]] for name in frames}
    for name, reference in ((batched, single), (batched, plainly)):
        # transformers sees more than 30 s at once, this encoder does not
        pairs = [
            (a, b) for a, b, w in zip(units[name], units[reference], frames[reference], strict=True) if len(w) < 1500
        ]
        equal = np.concatenate([a == b for a, b in pairs])
        found.append((f"equal units, {name} / {reference}", f"{equal.mean():.6f} of {len(equal)}"))
    used = len(np.unique(np.concatenate(units[single])))
    found.append(("centres that are used", f"{used} of {CLUSTERS}"))
    return found


if __name__ == "__main__":
    main()
