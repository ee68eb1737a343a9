"""Small real things that several tests need: a store on disk, and a run over it."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from slm.spec import CorpusSpec, ModelConfig, RunSpec, Source, StoreSpec, TokenizerSpec, TrainConfig
from slm.store import Document, TokenStore, write_store

VOCABULARY = 17


def pytest_collection_modifyitems(items):
    """Tests of fairseq2 run where it is installed: in the environment of `make test-fairseq2`."""
    if importlib.util.find_spec("fairseq2") is None:
        for item in items:
            if item.get_closest_marker("fairseq2"):
                item.add_marker(pytest.mark.skip(reason="fairseq2 is not installed here: make test-fairseq2"))


def store_spec(split: str = "train", documents: int | None = 40) -> StoreSpec:
    corpus = CorpusSpec(name="toy", revision="1", split=split, documents=documents)
    return StoreSpec(corpus=corpus, units=None, tokenizer=TokenizerSpec(kind="units", vocabulary=VOCABULARY))


@pytest.fixture(scope="session")
def make_store(tmp_path_factory):
    """A store of documents that count upwards from random starts: easy to learn, and different in every split."""

    def make(split: str = "train", documents: int = 40, folder: Path | None = None) -> TokenStore:
        random = np.random.default_rng(len(split))
        counting = [
            (random.integers(VOCABULARY - 1) + np.arange(random.integers(20, 60))) % (VOCABULARY - 1)
            for _ in range(documents)
        ]
        rows = [
            Document(id=f"{split}-{i}", tokens=tokens, units=len(tokens), seconds=len(tokens) / 20)
            for i, tokens in enumerate(counting)
        ]
        folder = folder or tmp_path_factory.mktemp("stores") / split
        return write_store(folder, store_spec(split, documents), rows, {})

    return make


@pytest.fixture(scope="session")
def toy_stores(make_store) -> dict[str, TokenStore]:
    return {"train": make_store("train"), "validation": make_store("validation", 8)}


def toy_run(tokens: int = 1024, **changes) -> RunSpec:
    """A run that trains in a fraction of a second: 16 updates of 64 tokens."""
    train = {
        "tokens": tokens,
        "batch_tokens": 64,
        "learning_rate": 1e-2,
        "warmup_steps": 2,
        "schedule": "wsd",
        "decay_fraction": 0.25,
        "final_rate": 0.1,
    } | changes
    return RunSpec(
        name=f"toy/{tokens}/{train['schedule']}",
        family="toy",
        size="w16",
        budget=str(tokens),
        model=ModelConfig(layers=2, width=16, heads=2, hidden=32, vocabulary=VOCABULARY, context=32),
        mix=(Source(store=store_spec()),),
        train=TrainConfig(**train),
    )


@pytest.fixture(scope="session")
def run_of():
    """`toy_run`, for tests: a function of the token count and of changes to the training recipe."""
    return toy_run
