"""SentencePiece models: unigram or byte pairs over units, byte pairs over text.

In: documents of units, or of text. Out: a model file, and token ids from it and back. Every unit becomes one
character, so that encoding and decoding lose nothing. The number of training threads is a constant of the recipe,
because the learnt model depends on it.
"""

import io
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import sentencepiece

from slm.atomic import write_bytes
from slm.spec import TokenizerSpec, UnitSpec, fingerprint, to_json

_TWO_BYTES, _TWO_BYTE_CHARACTERS = 0x100, 0x700  # U+0100..U+07FF: two bytes each in UTF-8, so the fastest to encode
_FOUR_BYTES = 0xF0000  # supplementary private-use area A: room for 65,534 units
_TRAINING_THREADS = 2
_LONGEST_PIECE = 16  # SentencePiece's own default, in characters, so in units
_LINE_UNITS = 64
"""Units of one training line. SentencePiece's unigram training goes wrong on long lines: with characters of three or
more bytes, lines of 2,000 units gave pieces that compress 1.43x where lines of 50 give 2.13x (LOG.md)."""
_SETTINGS = {
    "character_coverage": 1.0,
    "max_sentencepiece_length": _LONGEST_PIECE,
    "max_sentence_length": 1_000_000,  # bytes; SentencePiece drops longer lines without an error (default: 4,192)
    "num_threads": _TRAINING_THREADS,
    "unk_id": 0,
    "bos_id": -1,
    "eos_id": -1,
    "pad_id": -1,
    "minloglevel": 2,
}
_UNIT_SETTINGS = {
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "split_by_unicode_script": False,
    "split_by_whitespace": False,
    "split_by_number": False,
}


class UnitPieces:
    """A unigram or byte-pair model over `units` units. Id 0 never occurs: every unit is a piece."""

    def __init__(self, path: Path, units: int) -> None:
        self._model, self._units = _load(path), units
        first = _first_character(units)
        pieces = [[ord(character) - first for character in self._model.id_to_piece(i)] for i in range(len(self._model))]
        pieces[0] = []  # the unknown
        single = {piece[0] for piece in pieces if len(piece) == 1}
        if single != set(range(units)):
            raise ValueError(
                f"{path} was learnt on {len(single)} units, the store has {units}: delete it, prepare again"
            )
        self._lengths = np.array([len(piece) for piece in pieces])  # (pieces,)
        self._starts = np.cumsum(self._lengths) - self._lengths
        self._spelling = np.array(list(chain.from_iterable(pieces)))

    def encode(self, units: np.ndarray) -> np.ndarray:
        """Piece ids of a document of units."""
        return self.encode_all(units, np.array([len(units)]))[0]

    def encode_all(self, units: np.ndarray, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(piece ids, pieces of each document) of documents that lie one behind the other in `units`.

        `ValueError` for ids that are no unit, and if anything would be lost.
        """
        if len(units) and not 0 <= int(units.min()) <= int(units.max()) < self._units:
            raise ValueError(f"units {int(units.min())}..{int(units.max())} lie outside 0..{self._units - 1}")
        text, ends = _as_text(units, self._units), np.cumsum(lengths)
        texts = [text[end - length : end] for end, length in zip(ends.tolist(), lengths.tolist(), strict=True)]
        encoded = self._model.encode(texts, num_threads=1)
        counts = np.fromiter(map(len, encoded), np.int64, len(encoded))
        pieces = np.fromiter(chain.from_iterable(encoded), np.int64, int(counts.sum()))
        if not np.array_equal(self.decode(pieces), units):
            raise ValueError("some units do not come back from their pieces: the model is not one of units")
        return pieces, counts

    def decode(self, pieces: np.ndarray) -> np.ndarray:
        """The units that `encode` was given."""
        lengths = self._lengths[pieces]
        before = np.cumsum(lengths) - lengths
        return self._spelling[np.repeat(self._starts[pieces] - before, lengths) + np.arange(lengths.sum())]

    def lengths(self, pieces: np.ndarray) -> np.ndarray:
        """Units in each piece."""
        return self._lengths[pieces]


class TextPieces:
    """A byte-pair model over text; white space always ends a piece."""

    def __init__(self, path: Path) -> None:
        self._model = _load(path)

    def encode(self, text: str) -> np.ndarray:
        return np.array(self._model.encode(text), dtype=np.int64)

    def decode(self, pieces: np.ndarray) -> str:
        known = len(self._model)  # fewer than the vocabulary where the text did not support as many
        return self._model.decode([int(piece) for piece in pieces if piece < known])


def unknown_id(tokenizer: TokenizerSpec) -> int | None:
    """The id that stands for characters that a text tokenizer does not know; None where it knows all bytes."""
    return _SETTINGS["unk_id"] if tokenizer.kind == "text" else None


def model_path(root: Path, tokenizer: TokenizerSpec, units: UnitSpec | None = None) -> Path:
    """Where the model of a tokenizer lies: of text, or of `units`."""
    recipe = [to_json(units), to_json(tokenizer)] if units else tokenizer
    return root / "encoders" / f"{tokenizer.kind}-{fingerprint(recipe)}.model"


def learn_unit_pieces(path: Path, documents: Iterable[np.ndarray], kind: str, pieces: int, units: int) -> None:
    """Write a model of `pieces` pieces over `units` units; every single unit is a piece, seen or not.

    `kind` is `unigram` or `bpe`. `ValueError` when the documents do not support so many pieces.
    """
    alphabet = _as_text(np.arange(units), units)
    lines = (_as_text(line, units) for document in documents for line in _lines(document))
    settings = {"model_type": kind, "required_chars": alphabet} | _UNIT_SETTINGS
    _learn(path, chain([alphabet], lines), pieces, **settings)  # required_chars alone adds no unseen one


def learn_text_pieces(path: Path, documents: Iterable[str], pieces: int) -> None:
    """Write a model of at most `pieces` pieces over text; fewer when the text does not support so many.

    Byte pairs, not unigram: SentencePiece seeds unigram with strings shared by two word types, so that a small world's
    words ("school") could never be pieces of their own.
    """
    _learn(path, documents, pieces, model_type="bpe", hard_vocab_limit=False)


def _learn(path: Path, documents: Iterable[str], pieces: int, **settings) -> None:
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(documents), model_writer=model, vocab_size=pieces, **_SETTINGS | settings
        )
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"SentencePiece cannot learn {pieces} pieces for {path}: {reason}") from None
    write_bytes(path, model.getvalue())


def _load(path: Path) -> sentencepiece.SentencePieceProcessor:
    try:
        return sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (OSError, RuntimeError) as error:
        raise ValueError(f"{path}: not a SentencePiece model ({error}); delete it and prepare again") from None


def _lines(document: np.ndarray) -> Iterator[np.ndarray]:
    return (document[first : first + _LINE_UNITS] for first in range(0, len(document), _LINE_UNITS))


def _first_character(units: int) -> int:
    return _TWO_BYTES if units <= _TWO_BYTE_CHARACTERS else _FOUR_BYTES


def _as_text(units: np.ndarray, alphabet: int) -> str:
    """One character per unit."""
    return (np.asarray(units, dtype="<u4") + _first_character(alphabet)).astype("<u4").tobytes().decode("utf-32-le")
