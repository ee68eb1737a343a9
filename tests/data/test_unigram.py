"""SentencePiece over units and text: nothing lost, the same model every time."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.unigram import TextPieces, UnitPieces, learn_text_pieces, learn_unit_pieces

UNITS = 20


@pytest.fixture(scope="module")
def documents() -> list[np.ndarray]:
    """Units that repeat in words, as speech does, without equal neighbours; unit 19 never occurs."""
    random = np.random.default_rng(0)
    words = [random.permutation(UNITS - 1)[: random.integers(2, 6)] for _ in range(30)]
    return [np.concatenate([words[i] for i in random.integers(0, 30, 40)]) for _ in range(200)]


@pytest.fixture(scope="module", params=["unigram", "bpe"])
def pieces(request, documents, tmp_path_factory) -> UnitPieces:
    path = tmp_path_factory.mktemp("unigram") / "units.model"
    learn_unit_pieces(path, documents, request.param, 60, UNITS)
    return UnitPieces(path, UNITS)


def test_every_document_survives_and_is_shorter(pieces, documents):
    for document in documents:
        ids = pieces.encode(document)
        assert np.array_equal(pieces.decode(ids), document)
        assert np.array_equal(np.cumsum(pieces.lengths(ids))[-1], len(document))
    assert sum(len(pieces.encode(d)) for d in documents) < 0.7 * sum(map(len, documents))


@settings(max_examples=50, deadline=None)
@given(units=st.lists(st.integers(0, UNITS - 1), max_size=300))
def test_any_units_survive_even_those_never_seen(pieces, units):
    assert list(pieces.decode(pieces.encode(np.array(units, dtype=int)))) == units


def test_the_same_documents_give_the_same_model(documents, tmp_path):
    for name in ("one", "two"):
        learn_unit_pieces(tmp_path / name, documents, "unigram", 60, UNITS)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_long_documents_are_learnt_from(tmp_path):
    """SentencePiece's default drops lines over 4,192 bytes: a minute of units."""
    motif = np.array([3, 1, 4, 15, 9, 2, 6, 5])
    learn_unit_pieces(tmp_path / "m", [np.tile(motif, 2000)] * 3, "unigram", 22, UNITS)
    model = UnitPieces(tmp_path / "m", UNITS)
    assert len(model.encode(np.tile(motif, 100))) <= 200, "a motif that always recurs must be few pieces"


def test_too_many_pieces_are_refused_with_the_limit(documents, tmp_path):
    with pytest.raises(ValueError, match="cannot learn 5000 pieces.*too high"):
        learn_unit_pieces(tmp_path / "m", documents[:5], "unigram", 5000, UNITS)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("units", [0x700, 0x701, 4000])
def test_large_alphabets_survive_whole(units, tmp_path):
    everything = np.arange(units)
    learn_unit_pieces(tmp_path / "m", [everything, everything[::-1]], "bpe", units + 1, units)
    model = UnitPieces(tmp_path / "m", units)
    assert np.array_equal(model.decode(model.encode(everything[::-1])), everything[::-1])


def test_many_documents_at_once_are_the_same_as_one_by_one(pieces, documents):
    some = [*documents[:20], np.zeros(0, dtype=int), documents[20]]
    ids, counts = pieces.encode_all(np.concatenate(some), np.array([len(document) for document in some]))
    assert np.array_equal(ids, np.concatenate([pieces.encode(document) for document in some]))
    assert list(counts) == [len(pieces.encode(document)) for document in some] and counts[20] == 0


def test_long_documents_give_as_good_pieces_as_short_ones(tmp_path):
    """SentencePiece's unigram training goes wrong on long lines, so documents are cut into short ones for it."""
    random = np.random.default_rng(1)
    words = [random.permutation(UNITS)[: random.integers(2, 5)] for _ in range(40)]
    stream = np.concatenate([words[i] for i in random.integers(0, 40, 20000)])
    tokens = {}
    for name, size in (("long", 10000), ("short", 50)):
        cut = [stream[i : i + size] for i in range(0, len(stream), size)]
        learn_unit_pieces(tmp_path / name, cut, "unigram", 80, UNITS)
        tokens[name] = len(UnitPieces(tmp_path / name, UNITS).encode(stream))
    assert tokens["long"] == pytest.approx(tokens["short"], rel=0.05)


def test_units_outside_the_alphabet_and_models_of_another_one_are_refused(pieces, documents, tmp_path):
    with pytest.raises(ValueError, match="outside 0..19"):
        pieces.encode(np.array([3, UNITS]))
    learn_unit_pieces(tmp_path / "m", documents, "unigram", 60, UNITS)
    with pytest.raises(ValueError, match="learnt on 20 units, the store has 21"):
        UnitPieces(tmp_path / "m", UNITS + 1)
    (tmp_path / "torn").write_bytes((tmp_path / "m").read_bytes()[:100])
    with pytest.raises(ValueError, match="not a SentencePiece model"):
        UnitPieces(tmp_path / "torn", UNITS)


def test_text_comes_back_and_pieces_end_at_white_space(tmp_path):
    texts = ["the cat saw the dog.", "the dog saw a cat near the pond.", "a dog and a cat ran."] * 20
    learn_text_pieces(tmp_path / "t", texts, 40)
    model = TextPieces(tmp_path / "t")
    assert model.decode(model.encode("the cat ran near a pond.")) == "the cat ran near a pond."
    prompt, whole = model.encode("the cat saw"), model.encode("the cat saw the pond.")
    assert np.array_equal(whole[: len(prompt)], prompt)
