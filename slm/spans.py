"""Which words of a document are spoken, and the documents that follow: runs of text and speech, a mark before each.

In: numbers of words, a `SpanSpec`, an epoch. Out: flat arrays of spans, runs and ids. A document's spans depend on the
seed, the epoch and its own number alone, whatever is asked beside it, so that any of them can be made again.
D documents, S spans, R runs, W words of all documents.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from slm.spec import SpanSpec

TEXT, SPEECH = 1, 2
"""Parts of a store: to be predicted as text, as speech."""
_ROUNDING, _LENGTH, _TRIMMED, _PLACE, _CUT = range(1, 6)  # what a random number is for


class Spans(NamedTuple):
    """Spans of words, ordered by document and by place."""

    document: np.ndarray
    """Place of its document among those that were asked for."""
    first: np.ndarray
    """Its first word."""
    words: np.ndarray


class Runs(NamedTuple):
    """Consecutive words of one kind, which alternate through each document, in order."""

    document: np.ndarray
    spoken: np.ndarray
    """Whether it is speech, as 0 or 1."""
    begin: np.ndarray
    """Where it begins inside its document's text ids or speech ids."""
    tokens: np.ndarray
    """Ids of its words; its mark comes before them."""


@dataclass(frozen=True, kw_only=True)
class Streams:
    """The words of D documents twice, as text and as speech; column 0 of two is text, column 1 speech."""

    ids: np.ndarray
    starts: np.ndarray
    """Where each document's text and its speech begin in `ids`: (D, 2)."""
    ends: np.ndarray
    """Where each word ends inside its document's text ids and speech ids: (W, 2). Every word has text."""
    firsts: np.ndarray
    """The row of `ends` that holds each document's first word: (D,)."""


def spans(words: np.ndarray, spec: SpanSpec, epoch: int = 0, documents: np.ndarray | None = None) -> Spans:
    """The spoken spans of documents of so many `words` (D,), by their numbers `documents` (D,; None: 0, 1, ...).

    The law is ours. Spoken words: eta n, rounded up or down at random, so that eta holds in the mean for documents of
    any length; short ones may get none. Lengths: Poisson(lambda) conditioned on at least 1, until they add up to that;
    the last one is trimmed, and stands anywhere among them. Places: uniform over all arrangements with a text word
    between any two spans; where text is too short for that, over all arrangements, and spans that touch are one.

    SlamKit's `select_spans_poisson` draws starts and rejects overlaps until ceil(eta n) is reached, trims nothing, and
    is unseeded: at lambda 10 and eta 0.3 documents of 5, 20 and 200 words are 0.72, 0.50 and 0.32 speech.
    """
    words = np.asarray(words, dtype=np.int64)
    keys = _keys(spec.seed, epoch, len(words), documents)
    spoken = np.floor(spec.share * words + _uniforms(keys, _ROUNDING, 0)).astype(np.int64)
    owner, length = _pieces(keys, _LENGTH, spoken, spec.mean_words)
    counts = np.bincount(owner, minlength=len(words))  # (D,)
    some = np.flatnonzero(counts)
    last = np.cumsum(counts)[some] - 1
    other = last - (_uniforms(keys[some], _TRIMMED, 0) * counts[some]).astype(np.int64)
    length[last], length[other] = length[other], length[last]
    text, between = words - spoken, np.maximum(counts - 1, 0)
    apart = text >= between
    free = text - between * apart
    # of f free words and s spans in a row, the places of the spans are any s of f + s
    places = _subsets(keys, free + counts, counts)
    rank = ranks(counts)[1]
    before = np.cumsum(length) - length
    before -= np.repeat(before[last - counts[some] + 1], counts[some])  # spoken words of earlier spans
    return _joined(Spans(owner, places - rank * ~apart[owner] + before, length))


def cut(words: np.ndarray, spec: SpanSpec, epoch: int = 0, documents: np.ndarray | None = None) -> Spans:
    """Documents of so many `words` (D,) cut wholly into consecutive pieces: lengths as in `spans`, the last trimmed."""
    words = np.asarray(words, dtype=np.int64)
    owner, length = _pieces(_keys(spec.seed, epoch, len(words), documents), _CUT, words, spec.mean_words)
    before = np.cumsum(length) - length
    return Spans(owner, before - (np.cumsum(words) - words)[owner], length)


def runs(words: np.ndarray, spoken: Spans, streams: Streams) -> Runs:
    """The runs of documents of so many `words` (D,), of which some are `spoken`; spans without any speech stay text."""
    at = streams.firsts[spoken.document] + spoken.first  # (S,)
    before = np.where(spoken.first > 0, streams.ends[at - 1, 1], 0)
    spoken = Spans(*(column[streams.ends[at + spoken.words - 1, 1] > before] for column in spoken))
    document, first, length, kind = _alternating(words, spoken)
    at = streams.firsts[document] + first  # (R,)
    begin = np.where(first > 0, streams.ends[at - 1, kind], 0).astype(np.int64)
    return Runs(document, kind, begin, streams.ends[at + length - 1, kind] - begin)


def interleaved(
    words: np.ndarray, spoken: Spans, streams: Streams, marks: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Documents, one behind the other: ids, parts (`TEXT` or `SPEECH`; a mark is of its run), tokens of each (D,).

    Before every run stands its mark, of `marks` (text, speech). A document without words has no tokens.
    """
    some = runs(words, spoken, streams)
    sizes = some.tokens + 1  # (R,)
    ends = np.cumsum(sizes)
    mark = ends - sizes
    # the place before a run's ids is read too, and overwritten by the mark
    source = streams.starts[some.document, some.spoken] + some.begin - 1
    ids = streams.ids[np.arange(sizes.sum()) + np.repeat(source - mark, sizes)]
    ids[mark] = np.asarray(marks, dtype=ids.dtype)[some.spoken]
    parts = np.repeat((TEXT + some.spoken).astype(np.uint8), sizes)
    return ids, parts, _sums(some.document, sizes, len(words))


def statistics(words: np.ndarray, drawn: Sequence[Spans], streams: Streams | None = None) -> dict:
    """What was realised over epochs of the same documents of so many `words` (D,): plain numbers.

    `share` of the words that is spoken, `spans`, their mean length `mean_words`, `lengths` (how many spans have 0, 1,
    2, ... words), `runs`, `documents_without_speech`; with `streams` also `speech_tokens` and `text_tokens`, without
    marks. Counts are over all epochs.
    """
    lengths = np.concatenate([some.words for some in drawn])
    found = {
        "share": float(lengths.sum() / max(1, len(drawn) * np.sum(words))),
        "spans": len(lengths),
        "mean_words": float(lengths.mean()) if len(lengths) else 0.0,
        "lengths": np.bincount(lengths).tolist(),
        "runs": sum(len(_alternating(words, some)[0]) for some in drawn),
        "documents_without_speech": sum(len(words) - len(np.unique(some.document)) for some in drawn),
    }
    if streams is None:
        return found
    told = [runs(words, some, streams) for some in drawn]
    text, speech = (int(sum(some.tokens[some.spoken == kind].sum() for some in told)) for kind in (0, 1))
    return found | {"speech_tokens": speech, "text_tokens": text}


def ranks(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For owners of so many things each: the owner of every thing, and its place among the owner's."""
    owner = np.repeat(np.arange(len(counts)), counts)
    return owner, np.arange(len(owner)) - np.repeat(np.cumsum(counts) - counts, counts)


def _alternating(words: np.ndarray, spoken: Spans) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Document, first word, words, and whether it is spoken (0 or 1), of every run."""
    counts = np.bincount(spoken.document, minlength=len(words))
    owner, rank = ranks(2 * counts + 2)  # edges of a document: 0, begin and end of each span, its number of words
    edges, last = np.zeros(len(owner), dtype=np.int64), rank == 2 * counts[owner] + 1
    edges[last] = words
    edges[(rank > 0) & ~last] = np.stack([spoken.first, spoken.first + spoken.words], axis=1).ravel()
    length = np.diff(edges, append=0)
    kept = ~last & (length > 0)
    return owner[kept], edges[kept], length[kept], rank[kept] & 1


def _joined(some: Spans) -> Spans:
    """Spans that touch become one."""
    ends = some.first + some.words
    new = np.ones(len(ends), dtype=bool)
    new[1:] = (some.first[1:] != ends[:-1]) | (some.document[1:] != some.document[:-1])
    if new.all():
        return some
    begins = np.flatnonzero(new)
    return Spans(some.document[begins], some.first[begins], np.add.reduceat(some.words, begins))


def _pieces(keys: np.ndarray, purpose: int, wanted: np.ndarray, mean: float) -> tuple[np.ndarray, np.ndarray]:
    """Owner and length of Poisson pieces, at least 1 long, that add up to `wanted` for each of the `keys`."""
    table = _poisson(mean, int(wanted.max(initial=0)))
    expected = wanted / max(mean, 1.0)
    drawn = np.minimum(wanted, (expected + 3 * np.sqrt(expected) + 4).astype(np.int64))
    while True:
        owner, rank = ranks(drawn)
        length = 1 + np.searchsorted(table, _uniforms(keys[owner], purpose, rank), side="right")
        total = np.append(0, np.cumsum(length))
        start = np.cumsum(drawn) - drawn
        short = total[start + drawn] - total[start] < wanted
        if not short.any():
            break
        drawn = np.where(short, np.minimum(wanted, 2 * drawn), drawn)
    before = total[:-1] - total[start][owner]
    kept = before < wanted[owner]
    owner, before, length = owner[kept], before[kept], length[kept]
    return owner, np.minimum(length, wanted[owner] - before)


def _poisson(mean: float, most: int) -> np.ndarray:
    """Probabilities that a Poisson number, given that it is at least 1, is at most 1, 2, ..., as far as `most`."""
    k = np.arange(1, min(most, int(mean + 12 * np.sqrt(mean) + 24)) + 1)  # beyond lies less than a float64 resolves
    return np.cumsum(np.exp(k * np.log(mean) - mean - np.cumsum(np.log(k)))) / -np.expm1(-mean)


def _subsets(keys: np.ndarray, sizes: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """For every key a uniform subset of range(size), so many of it, in order; one behind the other.

    The first distinct values of a random sequence are one; more than half are taken by leaving out the others.
    """
    starts, ends = np.cumsum(sizes) - sizes, np.cumsum(sizes)
    most = counts > sizes - counts
    few = np.where(most, sizes - counts, counts)
    found, missing, drawn = np.zeros(0, dtype=np.int64), few, np.zeros_like(few)
    while missing.any():
        owner, rank = ranks(missing)
        value = (_uniforms(keys[owner], _PLACE, drawn[owner] + rank) * sizes[owner]).astype(np.int64)
        drawn = drawn + missing
        found = np.sort(np.append(found, starts[owner] + value))
        found = found[np.diff(found, prepend=-1) > 0]  # np.unique may hash, ten times slower
        missing = few - np.bincount(np.searchsorted(ends, found, side="right"), minlength=len(keys))
    if most.any():
        taken = np.repeat(most, sizes)
        taken[found] ^= True
        found = np.flatnonzero(taken)
    return found - np.repeat(starts, counts)


def _keys(seed: int, epoch: int, count: int, documents: np.ndarray | None) -> np.ndarray:
    """A random state for each document."""
    numbers = np.arange(count) if documents is None else np.asarray(documents)
    assert len(numbers) == count, "every document has a number of words"
    state = _mixed(np.array([seed], dtype=np.int64).astype(np.uint64))
    return _mixed(_mixed(state ^ np.uint64(epoch)) ^ numbers.astype(np.uint64))


def _uniforms(keys: np.ndarray, purpose: int, rank: np.ndarray | int) -> np.ndarray:
    """Numbers in [0, 1) from a counter: the same for a key, a purpose and a rank."""
    counters = np.asarray(rank).astype(np.uint64)
    return (_mixed(_mixed(keys ^ np.uint64(purpose)) ^ counters) >> np.uint64(11)) * 2.0**-53


def _mixed(state: np.ndarray) -> np.ndarray:
    """SplitMix64 (Steele, Lea and Flood 2014, figure 17 and section 5): one step of a 64-bit counter generator."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def _sums(owner: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """Sums by owner: (count,)."""
    return np.bincount(owner, weights=values, minlength=count).astype(np.int64)  # exact: far below 2^53
