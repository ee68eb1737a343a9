"""What it costs to interleave speech and text while a store is read: the interleaver alone, and in training.

Drawing is set against rejection sampling as SlamKit does it (starts from the words that are left, Poisson lengths, what
overlaps is rejected), training against the same run on a store of the same documents interleaved before.
`PYTHONPATH=. python tests/benchmarks/bench_interleave.py`; five minutes on one core.
"""

import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from slm.batches import MicroBatches, Updates
from slm.machine import Machine
from slm.spans import interleaved, spans
from slm.spec import ModelConfig, RunSpec, Source, SpanSpec, TrainConfig
from slm.store import Documents, TokenStore, write_store
from slm.train import train
from tests.benchmarks.timing import medians, show
from tests.slm.spoken_words import joint_spec, marks_of, streams_of, word_store

VOCABULARY = 700
LAW = SpanSpec()
NEED = 2e6
"""Tokens per second and core that the interleaver must reach with spans that are there."""

WARM_UP = 20
"""Updates before the clock starts."""


def rejected(words: int, law: SpanSpec, draw: np.random.Generator) -> list[tuple[int, int]]:
    """Spans of one document by rejection."""
    mask, eligible, found = np.zeros(words, dtype=bool), set(range(words)), []
    while eligible and mask.sum() < np.ceil(words * law.share):
        first = int(draw.choice(list(eligible)))
        last = min(first + int(draw.poisson(law.mean_words)), words)
        if mask[first:last].any():
            continue
        mask[first:last] = True
        eligible -= set(range(first, last + 1))
        found.append((first, last - first))
    return found


def interleaver(store: TokenStore) -> None:
    """Tokens per second of the interleaver, and of drawing, from a warm store."""
    words, streams = streams_of(store)
    drawn, draw = spans(words, LAW), np.random.default_rng(0)
    tokens = len(interleaved(words, drawn, streams, marks_of(VOCABULARY))[0])
    few = words[:200]
    few_tokens = tokens * few.sum() / words.sum()
    took = medians(
        5,
        given=lambda: interleaved(words, drawn, streams, marks_of(VOCABULARY)),
        drawing=lambda: spans(words, LAW),
        both=lambda: interleaved(words, spans(words, LAW, 1), streams, marks_of(VOCABULARY)),
        rejecting=lambda: [rejected(n, LAW, draw) for n in few.tolist()],
    )
    speed = {name: (few_tokens if name == "rejecting" else tokens) / took[name] / 1e6 for name in took}
    rows = [("interleaving, spans given", f"{speed['given']:.1f} M tokens/s, of {NEED / 1e6:.0f} M needed")]
    rows += [("drawing spans", f"{speed['drawing']:.1f} M tokens/s")]
    rows += [("drawing and interleaving", f"{speed['both']:.1f} M tokens/s")]
    ratio = speed["drawing"] / speed["rejecting"]
    rows += [("drawing by rejection", f"{speed['rejecting']:.2f} M tokens/s: {ratio:.0f} times slower")]
    show(f"{tokens / 1e6:.1f} M tokens of {len(store):,} documents, one core", rows)


def written(folder: Path, store: TokenStore) -> TokenStore:
    """The store's first epoch, interleaved before."""
    words, streams = streams_of(store)
    ids, _, counts = interleaved(words, spans(words, LAW), streams, marks_of(VOCABULARY))
    names, zero = [str(i) for i in range(len(words))], np.zeros(len(words), dtype=int)
    some = Documents(ids=names, tokens=ids, counts=counts, units=zero, seconds=zero.astype(float))
    return write_store(folder, joint_spec("I", len(words), VOCABULARY), [some], {})


def _speed(run: RunSpec, stores: list[TokenStore], held_out: TokenStore) -> float:
    """Tokens of a training run per second of this process, which others on the machine disturb less than the clock."""
    clock: list[float] = []
    with tempfile.TemporaryDirectory() as root:
        machine = Machine(accelerator="cpu", micro_batch=4)
        train(run, stores, {"same": held_out}, Path(root), machine, {}, lambda flops: clock.append(time.process_time()))
    return (run.train.steps - WARM_UP) * run.train.batch_tokens / (clock[-1] - clock[WARM_UP])


def training(store: TokenStore, before: TokenStore, updates: int, repeats: int) -> None:
    """A run of micro size, with spans drawn on line and from the written store."""
    model = ModelConfig(layers=2, width=64, heads=2, hidden=192, vocabulary=VOCABULARY, context=512)
    recipe = TrainConfig(
        tokens=updates * 2048,
        batch_tokens=2048,
        learning_rate=1e-3,
        warmup_steps=5,
        schedule="cosine",
        decay_fraction=0.0,
        final_rate=0.1,
    )
    sources = {"online": Source(store=store.spec, spans=LAW), "before": Source(store=before.spec)}
    own = {"online": [store], "before": [before]}
    speed: dict[str, list[float]] = {name: [] for name in sources}
    for repeat in range(repeats + 1):
        for name, source in sorted(sources.items(), reverse=bool(repeat % 2)):  # in turns, each first every other time
            run = RunSpec(name=name, family="", size="", budget="", model=model, mix=(source,), train=recipe)
            speed[name].append(_speed(run, own[name], before))
    middle = {name: float(np.median(found[1:])) for name, found in speed.items()}  # the first ones warm up
    pairs = [1 - on / off for on, off in zip(speed["online"][1:], speed["before"][1:], strict=True)]
    run = replace(run, mix=(sources["online"],))
    batches = {name: MicroBatches(Updates(replace(run, mix=(sources[name],)), own[name])) for name in sources}
    took = medians(
        5, **{name: (lambda given=given: [given[i] for i in range(updates)]) for name, given in batches.items()}
    )
    step = 2048 / middle["before"]
    rows = [(f"training, {name}", f"{middle[name]:,.0f} tokens/s") for name in ("before", "online")]
    rows += [
        ("cost of interleaving on line", f"{np.median(pairs):.1%} (median of {repeats} pairs), at most 5 % wanted")
    ]
    cost = (took["online"] - took["before"]) / updates
    rows += [("reading a batch on line costs", f"{cost * 1e6:.0f} µs more: {cost / step:.1%} of a step")]
    show(f"w64, updates of 2,048 tokens, {updates} updates", rows)


if __name__ == "__main__":
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        interleaver(word_store(Path(folder) / "large", 20_000, (20, 400), VOCABULARY))
        store = word_store(Path(folder) / "words", 2000, (20, 200), VOCABULARY)
        training(store, written(Path(folder) / "before", store), updates=60, repeats=5)
