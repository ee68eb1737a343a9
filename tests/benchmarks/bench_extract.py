"""FLAC to a store of cepstral units, against real time: `python tests/benchmarks/bench_extract.py [--hours 10]`.

Speech of the suite's own stories, or of `--corpora DIR` (LibriSpeech), linked again and again until it is that long;
the audio is read through the whole path: decoding, frames, nearest centres, parts, checksums, merging.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

import soundfile
from rich.progress import Progress

from data.corpora import librispeech, stories
from data.prepare import prepare_all
from data.tts import Synthesiser
from data.workshop import Workshop
from slm.machine import Machine, usable_cores
from slm.spec import CorpusSpec, StoreSpec, TokenizerSpec, UnitSpec
from slm.speech.encoder import ENCODERS
from tests.benchmarks.timing import show

CLUSTERS = 500


def recordings(corpora: Path | None, folder: Path) -> list[Path]:
    """Some minutes of FLAC files."""
    if corpora is not None:
        splits = ("train-clean-100", "test-other")
        return [utterance.audio for split in splits for utterance in librispeech.utterances(corpora, split)]
    files, synthesiser = [], Synthesiser()
    for _, utterance in zip(range(100), stories.utterances(None, "train"), strict=False):
        files.append(folder / f"{utterance.id}.flac")
        soundfile.write(files[-1], synthesiser.speak(utterance.text, "en-us").waveform, 16000)
    return files


def laid_out(files: list[Path], hours: float, root: Path) -> float:
    """LibriSpeech folders of links to these files until they last so long; the seconds."""
    lengths = {file: soundfile.info(file).duration for file in files}
    seconds, number = 0.0, 0
    while seconds < hours * 3600:
        for file in files:
            chapter = root / "LibriSpeech" / "test-other" / "1" / str(number // 1000)
            chapter.mkdir(parents=True, exist_ok=True)
            name = f"1-{number // 1000}-{number % 1000:04d}"
            copied = chapter / f"{name}.flac"
            copied.write_bytes(file.read_bytes())
            with open(chapter / f"1-{number // 1000}.trans.txt", "a") as lines:
                lines.write(f"{name} WORDS\n")
            seconds, number = seconds + lengths[file], number + 1
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=10.0)
    parser.add_argument("--corpora", type=Path)
    parser.add_argument("--workers", type=int, default=usable_cores())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Progress(disable=True) as progress:
        root = Path(folder)
        seconds = laid_out(recordings(options.corpora, root), options.hours, root)
        corpus = CorpusSpec(name="librispeech", revision=librispeech.REVISION, split="test-other")
        learnt_on = CorpusSpec(name="librispeech", revision=librispeech.REVISION, split="test-other", documents=100)
        units = UnitSpec(encoder=ENCODERS["mfcc"], clusters=CLUSTERS, learnt_on=learnt_on)
        plain = TokenizerSpec(kind="units", vocabulary=CLUSTERS + 1)
        table = {
            "few/units": StoreSpec(corpus=learnt_on, units=units, tokenizer=plain),
            "all/units": StoreSpec(corpus=corpus, units=units, tokenizer=plain),
        }
        places = {"root": root / "out", "corpora": root, "scale": "bench", "table": table}
        shop = Workshop(workers=options.workers, machine=Machine(accelerator="cpu"), progress=progress, **places)
        prepare_all(shop, ["few/units"])  # learns the centres, which is not what is measured
        start = time.perf_counter()
        (store,) = prepare_all(shop, ["all/units"])
        taken = time.perf_counter() - start
    rows = [
        ("speech", f"{seconds / 3600:.2f} h in {len(store):,} FLAC files, {store.num_units:,} units of {CLUSTERS}"),
        ("processes", f"{options.workers} on {os.cpu_count()} cores"),
        ("FLAC to store", f"{taken:.1f} s"),
        ("ratio to real time", f"{seconds / taken:,.0f}x"),
    ]
    show("cepstral units, FLAC to store", rows)


if __name__ == "__main__":
    main()
