"""Words of a document in its text and in its units; word times that no recording can have are refused by name."""

import numpy as np
import pytest

from data.unigram import TextPieces, learn_text_pieces
from data.words import Spelling, atoms, check_times, read_alignment, times_of, unit_ends
from slm.atomic import write_jsonl

TEXT = "tom has a red hat. ann saw the hat."


@pytest.fixture(scope="module")
def pieces(tmp_path_factory) -> TextPieces:
    path = tmp_path_factory.mktemp("text") / "text.model"
    learn_text_pieces(path, [TEXT, "the hat of ann is big.", "tom saw a big hat."], 40)
    return TextPieces(path)


def test_words_are_spelt_as_the_text_is(pieces):
    ids, ends = Spelling(pieces.encode)(TEXT)
    assert np.array_equal(ids, pieces.encode(TEXT)) and len(ends) == len(TEXT.split()) and ends[-1] == len(ids)
    words = [pieces.decode(part) for part in np.split(ids, ends[:-1])]
    assert words == TEXT.split()


def test_text_that_cannot_be_cut_into_words_is_refused(pieces):
    with pytest.raises(ValueError, match="has no words"):
        Spelling(pieces.encode)("  ")
    with pytest.raises(ValueError, match="no ids for 'hat'"):
        Spelling(lambda text: np.zeros(text.count("a a"), dtype=np.int64))("hat")
    with pytest.raises(ValueError, match="do not tell words apart"):
        Spelling(lambda text: np.array([len(text)]))("two words")


def test_a_word_without_a_time_joins_the_one_before():
    sizes, starts = atoms("he saw a hat in it", [(0.0, 0, 2), (0.3, 3, 3), (0.8, 9, 3)])
    assert sizes.tolist() == [1, 2, 3] and starts.tolist() == [0.0, 0.3, 0.8]
    sizes, starts = atoms("a big hat", [(0.2, 2, 3), (0.5, 6, 3)])
    assert sizes.tolist() == [2, 1] and starts.tolist() == [0.2, 0.5]


def test_every_unit_is_of_the_last_word_that_began():
    ends = unit_ends(np.array([0.1, 0.4, 0.4, 1.0]), np.array([2, 8, 5, 5, 10]), 25.0)  # starts 0, 2, 10, 15, 20
    assert ends.tolist() == [2, 2, 5, 5]
    assert unit_ends(np.array([0.0]), np.array([3, 4]), 25.0).tolist() == [2]


@pytest.mark.parametrize(
    ("times", "message"),
    [
        ([(-0.1, 0, 2)], "starts at -0.1 s: no time lies before"),
        ([(0.5, 0, 2), (0.2, 3, 3)], "'saw' starts at 0.2 s, after one of 0.5 s: sort"),
        ([(0.1, 0, 4), (0.2, 3, 3)], "characters 3 to 6 overlap"),
        ([(0.1, 0, 99)], "lie outside"),
        ([], "no word of 'he saw' has a time"),
    ],
)
def test_impossible_word_times(times, message):
    with pytest.raises(ValueError, match=message):
        atoms("he saw", times)
    if times:
        with pytest.raises(ValueError, match=message):
            check_times("he saw", times)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([["he", 0.0, 0.5], ["saw", 0.3, 0.8]], "'saw' starts at 0.3 s, before 0.5 s"),
        ([["he", 0.4, 0.2]], "must not be negative or reversed"),
        ([["he", -1.0, 0.2]], "must not be negative or reversed"),
        ([["saw", 0.0, 0.2], ["he", 0.3, 0.5]], "'he' is not in the text after 'he saw'"),
    ],
)
def test_an_alignment_file_names_its_fault(tmp_path, words, message):
    write_jsonl(tmp_path / "a.jsonl", [{"id": "x", "words": words}, {"id": "other", "words": [["?", -1, -2]]}])
    with pytest.raises(ValueError, match=f"a.jsonl, document x: .*{message}"):
        read_alignment(tmp_path / "a.jsonl", {"x": "he saw"})


def test_an_alignment_file_gives_times():
    assert times_of([["He", 0.0, 0.2], ["hat", 0.5, 0.9]], "he saw a hat") == [(0.0, 0, 2), (0.5, 9, 3)]


def test_words_are_found_whole_and_rows_must_be_rows(tmp_path):
    found = times_of([("the", 0.0, 0.1), ("a", 0.5, 0.6), ("mat", 0.7, 0.9)], "the cat sat on a mat")
    assert [first for _, first, _ in found] == [0, 15, 17]
    write_jsonl(tmp_path / "a.jsonl", [{"id": "x", "words": [["he", 0.0]]}])
    with pytest.raises(ValueError, match=r"a.jsonl.*x.*|a.jsonl, line 1"):
        read_alignment(tmp_path / "a.jsonl", {"x": "he saw"})
    write_jsonl(tmp_path / "b.jsonl", [{"name": "x"}])
    with pytest.raises(ValueError, match="b.jsonl, line 1: not of the form"):
        read_alignment(tmp_path / "b.jsonl", {"x": "he saw"})


def test_characters_that_the_tokenizer_does_not_know(pieces):
    with pytest.raises(ValueError, match="no ids for 'Ω'"):
        Spelling(pieces.encode, 0)("tom saw Ω hat")
