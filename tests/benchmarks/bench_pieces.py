"""Units to unigram pieces, store to store, against SentencePiece alone; and opening a store against its size.

`python tests/benchmarks/bench_pieces.py [--units 40000000]`. Units of a seeded second-order process that repeats
itself like speech; documents of 100 to 1,000 units, as utterances of LibriSpeech have.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import sentencepiece
from rich.progress import Progress

from data.prepare import prepare
from data.workshop import Workshop
from slm.machine import Machine, usable_cores
from slm.spec import CorpusSpec, StoreSpec, TokenizerSpec, UnitSpec
from slm.speech.encoder import ENCODERS
from slm.store import Document, write_store
from tests.benchmarks.timing import medians, show

CLUSTERS, PIECES, LEARNT_ON = 500, 2000, 4000
CORPUS = CorpusSpec(name="made", revision="1", split="train")
UNITS = UnitSpec(encoder=ENCODERS["mfcc"], clusters=CLUSTERS, learnt_on=CORPUS)


def documents(units: int) -> list[Document]:
    """Documents that together hold so many units: words of two to six units, some words far commoner than others."""
    random = np.random.default_rng(0)
    words = [random.permutation(CLUSTERS)[: random.integers(2, 7)] for _ in range(3000)]
    common = 1 / np.arange(1, len(words) + 1)
    drawn = random.choice(len(words), units // 4 + 1000, p=common / common.sum())
    stream = np.concatenate([words[i] for i in drawn])[:units]
    lengths = random.integers(100, 1000, units // 550)
    found = []
    for i, part in enumerate(np.split(stream, np.cumsum(lengths[:-1]))):
        frames = np.ones(len(part), dtype=np.int64)
        found.append(Document(id=f"d{i}", tokens=part, units=len(part), seconds=len(part) / 20, durations=frames))
    return found


def opening_seconds(folder: Path) -> float:
    """Median time to open a store and read its last document, in a process of its own."""
    code = (
        "import sys, time, statistics; from slm.store import TokenStore; from pathlib import Path\n"
        "times = []\n"
        "for _ in range(5):\n"
        "    start = time.perf_counter(); s = TokenStore(Path(sys.argv[1])); s.document(len(s) - 1).sum()\n"
        "    times.append(time.perf_counter() - start)\n"
        "print(statistics.median(times))"
    )
    return float(
        subprocess.run([sys.executable, "-c", code, folder], capture_output=True, check=True, text=True).stdout
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=40_000_000)
    parser.add_argument("--workers", type=int, default=usable_cores())
    options = parser.parse_args()
    learnt_on = CorpusSpec(name="made", revision="1", split="train", documents=LEARNT_ON)
    pieces = TokenizerSpec(kind="unigram", vocabulary=PIECES + 1, learnt_on=learnt_on)
    plain = StoreSpec(corpus=CORPUS, units=UNITS, tokenizer=TokenizerSpec(kind="units", vocabulary=CLUSTERS + 1))
    table = {"made/units": plain, "made/unigram": StoreSpec(corpus=CORPUS, units=UNITS, tokenizer=pieces)}
    table["few/units"] = StoreSpec(corpus=learnt_on, units=UNITS, tokenizer=plain.tokenizer)
    table["few/unigram"] = StoreSpec(corpus=learnt_on, units=UNITS, tokenizer=pieces)
    with tempfile.TemporaryDirectory() as folder, Progress(disable=True) as progress:
        places = {"root": Path(folder), "corpora": None, "scale": "bench", "table": table}
        shop = Workshop(workers=options.workers, machine=Machine(accelerator="cpu"), progress=progress, **places)
        made = documents(options.units)
        for name, chosen in (("made/units", made), ("few/units", made[:LEARNT_ON])):
            rows = [{"id": d.id, "units": d.units, "seconds": d.seconds} for d in chosen]
            write_store(shop.folder(name), table[name], chosen, {"documents": rows})
        few, base = prepare(shop, "few/unigram"), prepare(shop, "made/units")
        start = time.perf_counter()
        store = prepare(shop, "made/unigram")
        taken = time.perf_counter() - start
        (model,) = (Path(folder) / "encoders").glob("unigram-*.model")
        alone = sentencepiece.SentencePieceProcessor(model_file=str(model))
        texts = ["".join(chr(0x100 + unit) for unit in document.tokens) for document in made[:8000]]
        units = sum(map(len, texts))
        library = medians(3, sentencepiece=lambda: alone.encode(texts, num_threads=options.workers))["sentencepiece"]
        rows = [
            (
                "units",
                f"{base.num_units:,} in {len(base):,} documents, {base.num_units / store.num_tokens:.2f} a token",
            ),
            (
                "store to store",
                f"{taken:.1f} s, {base.num_units / taken / 1e6:.1f} M units/s, {options.workers} processes",
            ),
            ("SentencePiece alone", f"{units / library / 1e6:.1f} M units/s, {options.workers} threads, text to lists"),
            ("ratio", f"{base.num_units / taken / (units / library):.2f} of SentencePiece's own speed"),
        ]
        large, small = opening_seconds(base.folder), opening_seconds(few.folder)
        rows += [
            (f"open {base.num_tokens:,} tokens", f"{1000 * large:.2f} ms"),
            (f"open {few.num_tokens:,} tokens", f"{1000 * small:.2f} ms (ratio {large / small:.2f})"),
        ]
        show("units to unigram pieces, and opening stores", rows)


if __name__ == "__main__":
    main()
