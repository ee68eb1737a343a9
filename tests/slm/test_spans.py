"""Spans: their law, what they depend on, and the documents that they make."""

from collections import Counter
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slm.spans import SPEECH, TEXT, Streams, cut, interleaved, spans, statistics
from slm.spec import SpanSpec

NAMED = SpanSpec()  # lambda 10, eta 0.3
shapes = st.tuples(
    st.lists(st.integers(0, 60), min_size=1, max_size=8),
    st.floats(1e-3, 40),
    st.floats(0.01, 0.99),
    st.integers(-(2**40), 2**40),
    st.integers(0, 5),
)


def covered(words, some) -> list[np.ndarray]:
    """Of every document, how many spans hold each word."""
    found = [np.zeros(n, dtype=int) for n in words]
    for document, first, length in zip(*some, strict=True):
        found[document][first : first + length] += 1
    return found


def streams_of(words: list[int], seed: int = 0) -> tuple[Streams, list, list]:
    """Random documents: their streams, and their words' ids as text (even) and as speech (odd)."""
    draw = np.random.default_rng(seed)
    text = [[2 * draw.integers(0, 50, draw.integers(1, 4)) for _ in range(n)] for n in words]
    speech = [[2 * draw.integers(0, 50, draw.integers(0, 6)) + 1 for _ in range(n)] for n in words]
    flat, starts, ends = [np.array([7])], [], []
    for one, other in zip(text, speech, strict=True):
        starts.append([])
        for half in (one, other):
            starts[-1].append(sum(map(len, flat)))
            flat += half
        ends += zip(np.cumsum([len(w) for w in one]), np.cumsum([len(w) for w in other]), strict=True)
    made = Streams(
        ids=np.concatenate(flat).astype(np.uint16),
        starts=np.array(starts),
        ends=np.array(ends, dtype=np.int32).reshape(-1, 2),
        firsts=np.cumsum(words) - words,
    )
    return made, text, speech


@settings(max_examples=150, deadline=None)
@given(shapes)
def test_spans_lie_apart_inside_their_documents_and_hold_eta_to_a_word(shape):
    words, mean, share, seed, epoch = shape
    some = spans(words, SpanSpec(mean_words=mean, share=share, seed=seed), epoch)
    assert (some.words > 0).all() and (np.diff(some.document) >= 0).all()
    for document, hits in enumerate(covered(words, some)):
        mine = some.document == document
        first, last = some.first[mine], (some.first + some.words)[mine]
        assert (first[1:] > last[:-1]).all(), "a word of text stands between two spans"
        assert hits.max(initial=0) <= 1
        assert abs(hits.sum() - share * words[document]) < 1 + 1e-9


@settings(max_examples=60, deadline=None)
@given(shapes)
def test_pieces_cover_a_document_once(shape):
    words, mean, share, seed, epoch = shape
    some = cut(words, SpanSpec(mean_words=mean, share=share, seed=seed), epoch)
    assert all((hits == 1).all() for hits in covered(words, some))


@settings(max_examples=60, deadline=None)
@given(shapes, st.integers(0, 2**40))
def test_a_document_has_its_spans_whatever_is_asked_beside_it(shape, number):
    words, mean, share, seed, epoch = shape
    spec = SpanSpec(mean_words=mean, share=share, seed=seed)
    numbers = number + np.arange(len(words))
    for law in (spans, cut):
        together = law(words, spec, epoch, numbers)
        for i in range(len(words)):
            alone = law(words[i : i + 1], spec, epoch, numbers[i : i + 1])
            mine = together.document == i
            assert np.array_equal(alone.first, together.first[mine])
            assert np.array_equal(alone.words, together.words[mine])


def test_seeds_epochs_and_documents_differ():
    words = [200] * 50
    same, *others = (
        tuple(map(tuple, given))
        for given in (
            spans(words, NAMED),
            spans(words, NAMED, 1),
            spans(words, SpanSpec(seed=1)),
            spans(words, NAMED, 0, np.arange(50) + 50),
        )
    )
    assert same == tuple(map(tuple, spans(words, NAMED))) and len({same, *others}) == 4
    firsts = [tuple(row.tolist()) for row in covered(words, spans(words, NAMED))]
    assert len(set(firsts)) == 50


@pytest.mark.parametrize("words", [1, 2, 5, 10, 50])
def test_short_documents_hold_eta_in_the_mean(words):
    many = np.full(20_000, words)
    realised = statistics(many, [spans(many, NAMED)])
    assert realised["share"] == pytest.approx(0.3, abs=4 * 0.5 / words / np.sqrt(20_000) + 1e-12)
    assert (realised["documents_without_speech"] > 0) == (words < 4)


def test_long_documents_hold_eta_exactly_in_poisson_lengths():
    many = np.full(400, 10_000)
    some = spans(many, SpanSpec(mean_words=2.0))
    assert all(hits.sum() == 3000 for hits in covered(many, some))
    found = np.bincount(some.words, minlength=12)[1:12] / len(some.words)
    k = np.arange(1, 12)
    law = np.exp(k * np.log(2.0) - 2.0 - np.cumsum(np.log(k))) / (1 - np.exp(-2.0))
    assert found == pytest.approx(law, abs=2e-3)


def test_places_are_uniform_over_all_arrangements_with_text_between():
    """Three spans of one word among eight: chi-square over the twenty arrangements (19 degrees; 43.8 is 0.1 %)."""
    many = np.full(20_000, 8)
    hits = covered(many, spans(many, SpanSpec(mean_words=1e-9, share=3 / 8)))
    counts = Counter(tuple(np.flatnonzero(row).tolist()) for row in hits)
    arrangements = [places for places in combinations(range(8), 3) if min(np.diff(places)) > 1]
    assert set(counts) == set(arrangements) and len(arrangements) == 20
    assert sum((counts[places] - 1000) ** 2 / 1000 for places in arrangements) < 43.8


def test_the_trimmed_span_stands_anywhere():
    many = np.full(20_000, 100)
    some = spans(many, NAMED)
    spoken = np.mean(covered(many, some), axis=0)
    assert spoken[:50].mean() == pytest.approx(spoken[:49:-1].mean(), abs=0.01)


def test_spans_without_room_between_them_merge():
    some = spans(np.full(100, 10), SpanSpec(mean_words=1e-9, share=0.9))
    assert np.bincount(some.document, weights=some.words).tolist() == [9.0] * 100
    assert np.bincount(some.document).max() == 2


def test_an_empty_document_has_no_span():
    assert len(spans([0, 0], NAMED).words) == len(cut([0], NAMED).words) == 0
    assert spans([], NAMED).first.tolist() == []


def test_a_mean_beyond_any_document_makes_one_span():
    some = spans([50, 200], SpanSpec(mean_words=1e12))
    assert some.words.tolist() == [15, 60]


@settings(max_examples=100, deadline=None)
@given(shapes)
def test_documents_are_runs_of_text_and_speech_after_their_marks(shape):
    words, mean, share, seed, epoch = shape
    streams, text, speech = streams_of(words, abs(seed) % 7)
    some = spans(words, SpanSpec(mean_words=mean, share=share, seed=seed), epoch)
    voiced = [
        (n, f, k) for n, f, k in zip(*some, strict=True) if sum(map(len, speech[n][f : f + k]))
    ]  # others stay text
    expected, parts = [], []
    for n in range(len(words)):
        inside = {w for m, f, k in voiced if m == n for w in range(f, f + k)}
        before = None
        document, kinds = [], []
        for w in range(words[n]):
            kind = w in inside
            if kind is not before:
                document.append(1001 if kind else 1000)
            document += (speech if kind else text)[n][w].tolist()
            kinds += [SPEECH if kind else TEXT] * (len(document) - len(kinds))
            before = kind
        expected.append(document)
        parts += kinds
    ids, kinds, counts = interleaved(words, some, streams, (1000, 1001))
    assert counts.tolist() == [len(document) for document in expected]
    assert ids.tolist() == sum(expected, []) and kinds.tolist() == parts


def test_statistics_count_what_was_realised():
    words = [40, 0, 7, 200]
    streams, text, speech = streams_of(words)
    drawn = [spans(words, NAMED, epoch) for epoch in range(3)]
    told = statistics(words, drawn, streams)
    hits = [covered(words, some) for some in drawn]
    assert told["share"] == pytest.approx(sum(row.sum() for rows in hits for row in rows) / (3 * sum(words)))
    assert told["documents_without_speech"] == sum(not row.any() for rows in hits for row in rows)
    assert sum(k * n for k, n in enumerate(told["lengths"])) == pytest.approx(told["mean_words"] * told["spans"])
    runs = sum(1 + np.count_nonzero(np.diff(row)) for rows in hits for row in rows if len(row))
    assert told["runs"] == runs
    spoken = sum(len(speech[n][w]) for rows in hits for n, row in enumerate(rows) for w in np.flatnonzero(row))
    written = sum(len(text[n][w]) for rows in hits for n, row in enumerate(rows) for w in np.flatnonzero(row == 0))
    assert (told["speech_tokens"], told["text_tokens"]) == (spoken, written)
