"""Where the words of a document lie in its text and in its units, so that either can stand for the other.

In: a text, the start times of its words, units with durations. Out: for each word the ends in text ids and in units.
Word times are the synthesiser's own, a publisher's, or those of an alignment file below the folder of corpora.
"""

import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from slm.atomic import read_jsonl
from slm.spec import CorpusSpec

Encode = Callable[[str], np.ndarray]
Times = list[tuple[float, int, int]]
"""(start in seconds, first character, length in characters) of each word that has a time of its own, in order."""
_ANCHOR = "a"  # any word, before which another one stands after a space


class Spelling:
    """Texts as ids word by word, each word always the same ids: those after the space that stands before it."""

    def __init__(self, encode: Encode, unknown: int | None = None) -> None:
        """`unknown` is the id of what the tokenizer does not know, where it has one."""
        self._encode, self._unknown, self._known = encode, unknown, {}

    def __call__(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        """Ids of a text, and the end of each of its words in them; words are parted by white space.

        `ValueError` for text without words, and for a word that the tokenizer has no ids for.
        """
        words = text.split()
        if not words:
            raise ValueError(f"the text {text!r} has no words")
        pieces = [self._encode(words[0]), *(self._after_space(word) for word in words[1:])]
        for word, ids in zip(words, pieces, strict=True):
            if not len(ids) or self._unknown in ids:
                raise ValueError(f"the tokenizer has no ids for {word!r}: learn it on texts with these characters")
        return np.concatenate(pieces).astype(np.int64), np.cumsum([len(piece) for piece in pieces])

    def _after_space(self, word: str) -> np.ndarray:
        if word not in self._known:
            before = self._encode(_ANCHOR)
            both = self._encode(f"{_ANCHOR} {word}")
            if not np.array_equal(both[: len(before)], before):
                raise ValueError(f"the tokenizer joins {_ANCHOR!r} and {word!r}: its ids do not tell words apart")
            self._known[word] = both[len(before) :]
        return self._known[word]


def atoms(text: str, times: Times) -> tuple[np.ndarray, np.ndarray]:
    """Groups of words that have a start of their own: (words of each group, its start in seconds).

    A word without a time belongs to the one before it, or to the first that has one. `ValueError` for times that are
    negative, not in order, or of characters that overlap or lie outside the text, and where there are none.
    """
    check_times(text, times)
    spans = [match.span() for match in re.finditer(r"\S+", text)]
    ends = np.array([end for _, end in spans])
    starts: dict[int, float] = {}
    for start, first, _ in times:
        starts.setdefault(int(np.searchsorted(ends, first, side="right")), start)
    if not starts:
        raise ValueError(f"no word of {text[:40]!r} has a time")
    heads = np.array([0, *sorted(starts)[1:]])  # words before the first with a time are of its group
    return np.diff(np.append(heads, len(spans))), np.array([starts[word] for word in sorted(starts)])


def check_times(text: str, times: Times) -> None:
    """`ValueError` for word times that no recording can have."""
    before_time, before_character = 0.0, 0
    for start, first, length in times:
        word = text[first : first + length]
        if start < 0:
            raise ValueError(f"the word {word!r} starts at {start} s: no time lies before the recording")
        if start < before_time:
            raise ValueError(f"the word {word!r} starts at {start} s, after one of {before_time} s: sort words by time")
        if first < before_character or length < 1 or first + length > len(text):
            raise ValueError(
                f"characters {first} to {first + length} overlap another word or lie outside {text[:40]!r}"
            )
        before_time, before_character = start, first + length


def unit_ends(starts: np.ndarray, durations: np.ndarray, rate_hz: float) -> np.ndarray:
    """The end of each group of words in the units: a unit is of the last group that starts at or before it.

    `starts` are seconds, ascending; `durations` frames of each unit. What lies before the first group is of it.
    """
    first_frames = np.round(starts[1:] * rate_hz)
    unit_frames = np.cumsum(durations) - durations
    return np.append(np.searchsorted(unit_frames, first_frames, side="left"), len(durations))


def times_of(words: list[tuple[str, float, float]], text: str) -> Times:
    """Times of an alignment file's words `[word, start, end]`, placed in the text in order.

    `ValueError` for overlapping, unsorted or negative times, and for words that the text does not hold in this order.
    """
    found, place, before = [], 0, 0.0
    lowered = text.lower()
    for word, start, end in words:
        if not 0 <= start <= end:
            raise ValueError(f"the word {word!r} lasts from {start} to {end} s: times must not be negative or reversed")
        if start < before - 1e-6:
            raise ValueError(f"the word {word!r} starts at {start} s, before {before} s, where the one before it ends")
        match = re.compile(rf"(?<!\w){re.escape(word.lower())}(?!\w)").search(lowered, place)
        if not match:
            raise ValueError(f"the word {word!r} is not in the text after {text[:place][-20:]!r}: align this very text")
        found.append((float(start), match.start(), len(word)))
        place, before = match.end(), end
    return found


def alignment_file(corpora: Path | None, corpus: CorpusSpec) -> Path | None:
    """`alignments/<corpus>-<split>.jsonl` below the folder of corpora, a row `{"id", "words": [[word, start, end]]}` a
    document; None where it is not there."""
    path = corpora / "alignments" / f"{corpus.name}-{corpus.split}.jsonl" if corpora else None
    return path if path and path.is_file() else None


def read_alignment(path: Path, texts: dict[str, str]) -> dict[str, Times]:
    """Word times of the documents of an alignment file whose texts are these; `ValueError` names file and document."""
    found = {}
    for number, row in enumerate(read_jsonl(path), start=1):
        try:
            if row["id"] in texts:
                words = [(str(word), float(start), float(end)) for word, start, end in row["words"]]
                found[row["id"]] = times_of(words, texts[row["id"]])
        except (KeyError, TypeError):
            wanted = '{"id": …, "words": [[word, start, end], …]}'
            raise ValueError(f"{path}, line {number}: not of the form {wanted}") from None
        except ValueError as error:
            raise ValueError(f"{path}, document {row['id']}: {error}") from None
    return found
