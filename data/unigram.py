"""SentencePiece models: unigram over unit strings, byte pairs over text.

In: documents of units, or of text. Out: a model file, and token ids from it and back. Units become private-use
characters, one each, so that encoding and decoding lose nothing. The number of training threads is a constant of the
recipe, because the learnt model depends on it.
"""

import io
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import numpy as np
import sentencepiece

from slm.atomic import write_bytes

_FIRST_CHARACTER = 0xF0000  # supplementary private-use area A: room for 65,534 units
_TRAINING_THREADS = 2
_LONGEST_PIECE = 16  # SentencePiece's own default, in characters, so in units
_LONGEST_DOCUMENT = 1_000_000  # bytes; SentencePiece drops longer ones without an error, and its default is 4,192
_SETTINGS = {
    "model_type": "unigram",
    "character_coverage": 1.0,
    "max_sentencepiece_length": _LONGEST_PIECE,
    "max_sentence_length": _LONGEST_DOCUMENT,
    "num_threads": _TRAINING_THREADS,
    "unk_id": 0,
    "bos_id": -1,
    "eos_id": -1,
    "pad_id": -1,
    "minloglevel": 2,
}


class UnitPieces:
    """A unigram model over units."""

    def __init__(self, path: Path) -> None:
        self._model = _load(path)

    def encode(self, units: np.ndarray) -> np.ndarray:
        """Piece ids of a document of units; `ValueError` for a unit that the model never saw."""
        pieces = np.array(self._model.encode(_as_text(units)), dtype=np.int64)
        if (pieces == 0).any():
            raise ValueError("the document holds a unit that the unigram model was not learnt on: learn it on more")
        return pieces

    def decode(self, pieces: np.ndarray) -> np.ndarray:
        """The units that `encode` was given."""
        return np.concatenate([self._units_of(int(piece)) for piece in pieces] or [np.zeros(0, np.int64)])

    def lengths(self, pieces: np.ndarray) -> np.ndarray:
        """Units in each piece."""
        return np.array([len(self._model.id_to_piece(int(piece))) for piece in pieces], dtype=np.int64)

    def _units_of(self, piece: int) -> np.ndarray:
        return np.array([ord(character) - _FIRST_CHARACTER for character in self._model.id_to_piece(piece)], np.int64)


class TextPieces:
    """A byte-pair model over text; white space always ends a piece."""

    def __init__(self, path: Path) -> None:
        self._model = _load(path)

    def encode(self, text: str) -> np.ndarray:
        return np.array(self._model.encode(text), dtype=np.int64)

    def decode(self, pieces: np.ndarray) -> str:
        return self._model.decode([int(piece) for piece in pieces])


def learn_unit_pieces(path: Path, documents: Iterable[np.ndarray], pieces: int, units: int) -> None:
    """Write a model of `pieces` pieces over `units` units; every single unit is a piece, seen or not."""
    alphabet = _as_text(np.arange(units))
    _learn(
        path,
        chain([alphabet], (_as_text(document) for document in documents)),  # required_chars alone adds no unseen one
        pieces,
        required_chars=alphabet,
        normalization_rule_name="identity",
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        split_by_unicode_script=False,
        split_by_whitespace=False,
        split_by_number=False,
    )


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
    return sentencepiece.SentencePieceProcessor(model_file=str(path))


def _as_text(units: np.ndarray) -> str:
    """One character per unit."""
    return (np.asarray(units, dtype="<u4") + _FIRST_CHARACTER).astype("<u4").tobytes().decode("utf-32-le")
