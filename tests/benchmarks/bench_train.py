"""Tokens per second of one training process, against the Hugging Face `Trainer` and a bare loop.

Same model, batch, optimizer, precision and device; steady state, without imports and start-up. The bare loop logs
nothing, saves nothing and checks nothing: a ceiling.
`PYTHONPATH=. python tests/benchmarks/bench_train.py [cpu|gpu]`; five minutes on a CPU.
"""

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from transformers import Trainer, TrainerCallback, TrainingArguments

from slm.batches import MicroBatches, Updates
from slm.machine import Machine
from slm.model import build
from slm.spec import CorpusSpec, ModelConfig, RunSpec, Source, StoreSpec, TokenizerSpec, TrainConfig
from slm.store import Document, TokenStore, write_store
from slm.train import learning_rate, train
from tests.benchmarks.timing import show

SHAPES = {
    "30 k": ModelConfig(layers=2, width=32, heads=2, hidden=96, vocabulary=51, context=512, init_std=0.08),
    "160 k": ModelConfig(layers=3, width=64, heads=4, hidden=176, vocabulary=51, context=512, init_std=0.08),
    "1 M": ModelConfig(layers=5, width=128, heads=8, hidden=352, vocabulary=51, context=512, init_std=0.08),
}
PUBLISHED = {
    "20M": ModelConfig(layers=6, width=512, heads=8, hidden=1536, vocabulary=502, context=2050),
    "155M": ModelConfig(layers=12, width=1024, heads=16, hidden=2816, vocabulary=502, context=2050),
    "309M": ModelConfig(layers=24, width=1024, heads=16, hidden=2816, vocabulary=502, context=2050),
    "823M": ModelConfig(layers=16, width=2048, heads=32, hidden=5632, vocabulary=502, context=2050),
}
WARM_UP = 5
"""Updates before the clock starts: caches fill."""


def random_store(folder: Path, vocabulary: int, tokens: int) -> TokenStore:
    """A store of uniform random ids: speed does not depend on what they say."""
    draw, length = np.random.default_rng(0), 1000
    corpus = CorpusSpec(name="random", revision="1", split="train")
    spec = StoreSpec(corpus=corpus, units=None, tokenizer=TokenizerSpec(kind="units", vocabulary=vocabulary))
    documents = (
        Document(id=str(i), tokens=draw.integers(0, vocabulary - 1, length), units=length, seconds=50.0)
        for i in range(tokens // length)
    )
    return write_store(folder, spec, documents, {})


def run_of(model: ModelConfig, store: TokenStore, updates: int, windows: int, precision: str) -> RunSpec:
    """A run of so many updates of `windows` windows."""
    batch = windows * model.context
    recipe = TrainConfig(
        tokens=updates * batch,
        batch_tokens=batch,
        learning_rate=1e-3,
        warmup_steps=5,
        schedule="cosine",
        decay_fraction=0.0,
        final_rate=0.1,
        precision=precision,
    )
    mix = (Source(store=store.spec),)
    return RunSpec(name="bench", family="bench", size="", budget="", model=model, mix=mix, train=recipe)


def ours(run: RunSpec, store: TokenStore, device: str) -> float:
    """Tokens per second of `slm.train`, from the clock column of its rows."""
    with tempfile.TemporaryDirectory() as root:
        seed = replace(run, train=replace(run.train, seed=time.time_ns() % 1000))
        rows = train(seed, [store], {"same": _small(store)}, Path(root), Machine(accelerator=device), {}).rows("train")
    return _speed(run, rows[-1]["time"] - rows[WARM_UP]["time"])


def _small(store: TokenStore) -> TokenStore:
    folder = store.folder.with_name("small")
    return TokenStore(folder) if folder.exists() else random_store(folder, store.vocab_size, 4000)


def _speed(run: RunSpec, seconds: float) -> float:
    return (run.train.steps - WARM_UP - 1) * run.train.batch_tokens / seconds


class _Clock(TrainerCallback):
    def on_step_end(self, arguments, state, control, **rest) -> None:
        if state.global_step == WARM_UP + 1:
            _wait()
            self.started = time.perf_counter()

    def on_train_end(self, arguments, state, control, **rest) -> None:
        _wait()
        self.seconds = time.perf_counter() - self.started


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


class _Windows(torch.utils.data.Dataset):
    def __init__(self, run: RunSpec, store: TokenStore) -> None:
        self.updates = Updates(run, [store])

    def __len__(self) -> int:
        return self.updates.steps * self.updates.rows

    def __getitem__(self, i: int) -> dict:
        ids = self.updates.read(i, i + 1)[0, :-1]
        return {"input_ids": ids, "labels": ids}


def hugging_face(run: RunSpec, store: TokenStore, device: str) -> float:
    """Tokens per second of `transformers.Trainer`, its defaults but for what makes the work the same."""
    rows, clock = run.train.batch_tokens // run.model.context, _Clock()
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=run.train.steps,
            per_device_train_batch_size=rows,
            learning_rate=run.train.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=run.train.warmup_steps,
            weight_decay=run.train.weight_decay,
            max_grad_norm=run.train.clip,
            optim="adamw_torch_fused",
            bf16=run.train.precision == "bf16-mixed",
            use_cpu=device == "cpu",
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
            logging_strategy="steps",
            logging_steps=1,  # every update is a row, as ours are
        )
        trainer = Trainer(build(run), arguments, train_dataset=_Windows(run, store), callbacks=[clock])
        trainer.log = lambda *ignored: None  # it would print them
        trainer.train()
    return _speed(run, clock.seconds)


def bare(run: RunSpec, store: TokenStore, device: str) -> float:
    """Tokens per second of a loop that does nothing but train."""
    where = torch.device("cuda" if device == "gpu" else "cpu")
    model, batches = build(run).to(where), MicroBatches(Updates(run, [store]))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    for step in range(run.train.steps):
        if step == WARM_UP + 1:
            _wait()
            started = time.perf_counter()
        ids = batches[step].to(where, non_blocking=True)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(run.train, step)
        with torch.autocast(where.type, torch.bfloat16, enabled=run.train.precision == "bf16-mixed"):
            logits = model(input_ids=ids[:, :-1], use_cache=False).logits
        F.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    _wait()
    return _speed(run, time.perf_counter() - started)


def compare(name: str, model: ModelConfig, device: str, updates: int, windows: int, precision: str) -> None:
    """Three turns of each; medians and ratios."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        store = random_store(Path(folder) / "store", model.vocabulary, max(4, windows) * model.context * 20)
        run = run_of(model, store, updates, windows, precision)
        turns = [[speed(run, store, device) for speed in (ours, hugging_face, bare)] for _ in range(3)]
    mine, theirs, ceiling = np.median(turns, axis=0)
    rows = [
        ("this suite", f"{mine:,.0f} tokens/s"),
        ("transformers.Trainer", f"{theirs:,.0f}: {mine / theirs:.2f} times"),
    ]
    show(f"{name} parameters, {precision}", [*rows, ("a bare loop", f"{ceiling:,.0f}: {mine / ceiling:.2f} times")])


if __name__ == "__main__":
    device = sys.argv[1] if len(sys.argv) > 1 else "cpu"
    for name, model in (SHAPES if device == "cpu" else PUBLISHED).items():
        if device == "cpu":
            compare(name, model, "cpu", {"30 k": 120, "160 k": 60, "1 M": 25}[name], 4, "32-true")
        else:
            compare(name, model, "gpu", 80, 16, "bf16-mixed")
