"""Small stores of joint text and speech, easy to learn: words to interleave on line, and pairs of text and speech."""

from pathlib import Path

import numpy as np

from slm.spans import Streams, ranks
from slm.spec import CorpusSpec, SpanSpec, StoreSpec, TokenizerSpec
from slm.store import Documents, TokenStore, write_store
from tests.conftest import VOCABULARY


def joint_spec(form: str | None, documents: int, vocabulary: int = VOCABULARY) -> StoreSpec:
    corpus = CorpusSpec(name="toy", revision="1", split="words", documents=documents)
    return StoreSpec(corpus=corpus, units=None, tokenizer=TokenizerSpec(kind="joint", vocabulary=vocabulary), form=form)


def marks_of(vocabulary: int) -> tuple[int, int]:
    """Text ids come first, then as many of speech, then these marks, then the end."""
    return vocabulary - 3, vocabulary - 2


def word_store(
    folder: Path, documents: int = 60, words: tuple[int, int] = (1, 60), vocabulary: int = VOCABULARY
) -> TokenStore:
    """Form `A`: ids count upwards; a word has 1 or 2 ids of text and 0 to 4 of speech."""
    draw, half = np.random.default_rng(documents), (vocabulary - 3) // 2
    counts = draw.integers(*words, documents)
    owner, rank = ranks(counts)
    sizes = np.stack([draw.integers(1, 3, len(owner)), draw.integers(0, 5, len(owner))], axis=1)
    total = np.append(np.zeros((1, 2), dtype=int), np.cumsum(sizes, axis=0), axis=0)
    ends = total[1:] - total[(np.cumsum(counts) - counts)[owner]]
    tokens = np.stack([np.bincount(owner, weights=column, minlength=documents) for column in sizes.T], 1).astype(int)
    _, place = ranks((tokens + 1).ravel())  # of every token in its half, the mark in place 0
    kind = np.repeat(np.tile([0, 1], documents), (tokens + 1).ravel())
    ids = np.where(place == 0, np.array(marks_of(vocabulary))[kind], (place - 1) % half + half * kind)
    given = Documents(
        ids=[f"words-{i}" for i in range(documents)],
        tokens=ids,
        counts=tokens.sum(axis=1) + 2,
        units=tokens[:, 1],
        seconds=tokens[:, 1] / 20,
    )
    arrays = {"words": lambda: ends.astype(np.int32), "word_counts": lambda: counts.astype(np.int64)}
    return write_store(folder, joint_spec("A", documents, vocabulary), [given], {}, arrays=arrays)


def streams_of(store: TokenStore) -> tuple[np.ndarray, Streams]:
    """Words of every document, and all of the store as streams."""
    counts, ends = store.array("word_counts"), store.array("words")
    firsts = np.cumsum(counts) - counts
    start = store.index["start"]
    starts = np.stack([start + 1, start + 2 + ends[firsts + counts - 1, 0]], axis=1)
    return counts, Streams(ids=store.tokens, starts=starts, ends=ends, firsts=firsts)


def pair_store(folder: Path, documents: int = 50) -> TokenStore:
    """Form `TS`: the speech is the text, id by id, and alone to be predicted, its mark given."""
    draw, half = np.random.default_rng(documents), (VOCABULARY - 3) // 2
    counts = draw.integers(2, 12, documents)
    text = [draw.integers(0, half, n) for n in counts]
    one, other = ([mark] for mark in marks_of(VOCABULARY))
    some = Documents(
        ids=[f"pair-{i}" for i in range(documents)],
        tokens=np.concatenate([part for ids in text for part in (one, ids, other, ids + half)]),
        counts=2 * counts + 2,
        units=counts,
        seconds=counts / 20,
        parts=np.concatenate([[0] * (n + 2) + [2] * n for n in counts]).astype(np.uint8),
    )
    return write_store(folder, joint_spec("TS", documents), [some], {})


SPANS = SpanSpec(mean_words=3.0, share=0.4, seed=6)
