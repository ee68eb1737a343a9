"""The template of spoken dialogues: an answer is text and speech in turn, so that its sound starts early.

In: turns as units and text ids. Out: ids of a joint vocabulary, and back; which ids may come next; stores of dialogues.
A user's turn is the mark of speech and units. An answer is the mark of text, then blocks of text and of speech in turn
with no marks between; after its last text stands the mark of speech, once, and all the speech that is left.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np

from data.corpora.dialogues import Dialogue, keys_of
from data.vocabulary import JointIds, joint_ids
from data.words import Encode
from slm.spec import StoreSpec
from slm.store import Document, TokenStore, write_store

TEXT_BLOCK, SPEECH_BLOCK = 13, 26
"""Tokens of a block: GLM-4-Voice report (arXiv 2412.02612), section 3.3."""
FIRST_SPEECH = 10
"""Tokens of speech that are made sound first: the block of its decoder, 0.8 s at 12.5 Hz (section 3.2)."""
GIVEN, TEXT, SPEECH = 0, 1, 2
"""Parts of a dialogue, as of `slm.store.Document.parts`."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """A question and its answer, each counted from 0 in its own vocabulary."""

    question: np.ndarray
    """Units."""
    text: np.ndarray
    """Text ids of the answer."""
    speech: np.ndarray
    """Units of the answer."""


def laid_out(turns: Iterable[Turn], ids: JointIds) -> tuple[np.ndarray, np.ndarray]:
    """Tokens (T,) of a dialogue without its end, and the part (T,) of each: `GIVEN`, `TEXT` or `SPEECH`.

    Where speech is over before the text, the rest of the text stands in one. `ValueError` for a turn that lacks
    question, text or speech.
    """
    pieces: list[tuple[np.ndarray, int]] = []
    for number, turn in enumerate(turns):
        for name in ("question", "text", "speech"):
            if not len(getattr(turn, name)):
                raise ValueError(f"turn {number} of the dialogue has no {name}: leave the dialogue out")
        pieces += _pieces(turn, ids)
    lengths = [len(tokens) for tokens, _ in pieces]
    tokens = np.concatenate([np.zeros(0, np.int64), *(tokens for tokens, _ in pieces)]).astype(np.int64)
    return tokens, np.repeat(np.array([part for _, part in pieces], np.uint8), lengths)


def asked(question: np.ndarray, ids: JointIds) -> np.ndarray:
    """The tokens before an answer: those of a user's turn of these units, and the mark of text."""
    return np.concatenate([[ids.mark("S")], question.astype(np.int64) + ids.speech.start, [ids.mark("T")]])


def parsed(tokens: np.ndarray, ids: JointIds) -> list[Turn]:
    """The turns of a dialogue without its end.

    A dialogue may end anywhere, in the middle of a block too: its last turn then has what is there and nothing else,
    and a mark of speech with nothing behind it is no turn. `ValueError` tells the turn that departs from the template.
    """
    classes, found, start = _classes(tokens, ids), [], 0
    while start < len(classes):
        match = _TURN.match(classes, start) or _UNFINISHED.fullmatch(classes, start)
        if match is None:
            runs = " ".join(f"{len(list(run))}{kind}" for kind, run in groupby(classes[start:]))
            raise ValueError(
                f"turn {len(found)} departs from the template: its runs of text (t), speech (s) and marks (T, S) are "
                f"{runs[:80]}; a turn is S, s, T, blocks of {TEXT_BLOCK}t {SPEECH_BLOCK}s, the last t, S, s"
            )
        found += [_turn(tokens[start : match.end()], match.group(), ids)]
        start = match.end()
    return [turn for turn in found if len(turn.question)]


class Answer:
    """An answer under way: which ids its template allows next."""

    def __init__(self, ids: JointIds) -> None:
        self._ids, self._length, self._is_over = ids, 0, False  # tokens of this pair of blocks, of the text

    def allowed(self) -> tuple[range, ...]:
        """The ids that may come next. No block of speech ends early: text that outlasts its speech is not generated."""
        ids, mark = self._ids, self._ids.mark("S")
        if self._is_over:
            end = ids.vocabulary - 1
            return ids.speech, range(mark, mark + 1), range(end, end + 1)
        if self._length == 0:
            return (ids.text,)
        if self._length <= TEXT_BLOCK:
            return ids.text if self._length < TEXT_BLOCK else ids.speech, range(mark, mark + 1)
        return (ids.speech,)

    def add(self, token: int) -> bool:
        """Take the next token; whether the answer goes on: the end and the mark of another turn close it."""
        assert any(token in some for some in self.allowed()), f"{token} is not what the template allows"
        was_over, self._is_over = self._is_over, self._is_over or token == self._ids.mark("S")
        self._length = (self._length + 1) % (TEXT_BLOCK + SPEECH_BLOCK)
        return token in self._ids.text or token in self._ids.speech or not was_over


def dialogue_store(
    folder: Path, spec: StoreSpec, speech: TokenStore, encode: Encode, dialogues: Iterable[Dialogue]
) -> TokenStore:
    """Write a store of form `C` of a finite number of dialogues; `speech` holds their questions and answers as units.

    Dialogues of which something was not spoken are left out; so `corpus.documents` dialogues, of a corpus that is cut
    after so many utterances, are always enough. `ValueError` for text that the tokenizer makes nothing of.
    """
    ids, place = joint_ids(spec.tokenizer), {row["id"]: i for i, row in enumerate(speech.rows("documents"))}
    spoken = [dialogue for dialogue in dialogues if all(key in place for keys in keys_of(dialogue) for key in keys)]
    documents = (_document(dialogue, ids, speech, place, encode) for dialogue in spoken)
    rows = ({"id": dialogue.id, "turns": dialogue.turns} for dialogue in spoken)
    return write_store(folder, spec, documents, {"documents": rows}, {"speech": speech.fingerprint})


def _document(dialogue: Dialogue, ids: JointIds, speech: TokenStore, place: dict[str, int], encode: Encode) -> Document:
    turns, told = [], []
    for (_, answer), keys in zip(dialogue.turns, keys_of(dialogue), strict=True):
        question, reply = (place[key] for key in keys)
        units = (speech.document(question), speech.document(reply))
        turns.append(Turn(question=units[0], text=encode(answer), speech=units[1]))
        told += [speech.index[question], speech.index[reply]]
    try:
        tokens, parts = laid_out(turns, ids)
    except ValueError as error:
        raise ValueError(f"{dialogue.id}: {error}") from None
    units, seconds = sum(int(row["units"]) for row in told), sum(float(row["seconds"]) for row in told)
    return Document(id=dialogue.id, tokens=tokens, units=units, seconds=seconds, parts=parts)


_BLOCKS = f"(?:t{{{TEXT_BLOCK}}}s{{{SPEECH_BLOCK}}})*"
_SHORT = f"t{{{TEXT_BLOCK}}}s{{1,{SPEECH_BLOCK - 1}}}"  # where speech is over before the text
_TURN = re.compile(f"Ss+T{_BLOCKS}(?:t{{1,{TEXT_BLOCK}}}Ss*|{_SHORT}t+S|t+S)")
_UNFINISHED = re.compile(f"S(?:s*|s+T{_BLOCKS}(?:{_SHORT}t*|t*))")


def _pieces(turn: Turn, ids: JointIds) -> Iterator[tuple[np.ndarray, int]]:
    text, speech = turn.text + ids.text.start, turn.speech.astype(np.int64) + ids.speech.start
    yield asked(turn.question, ids), GIVEN
    while len(text) > TEXT_BLOCK:
        yield text[:TEXT_BLOCK], TEXT
        yield speech[:SPEECH_BLOCK], SPEECH
        text, speech = text[TEXT_BLOCK:], speech[SPEECH_BLOCK:]
    yield np.append(text, ids.mark("S")), TEXT
    yield speech, SPEECH


def _classes(tokens: np.ndarray, ids: JointIds) -> str:
    """One character a token."""
    names = {ids.mark("T"): "T", ids.mark("S"): "S"}
    kinds = ["t" if t in ids.text else "s" if t in ids.speech else names.get(t) for t in np.asarray(tokens).tolist()]
    if None in kinds:
        at = kinds.index(None)
        raise ValueError(f"token {at} of the dialogue is {tokens[at]}: neither text, speech nor a mark of {ids}")
    return "".join(kinds)


def _turn(tokens: np.ndarray, classes: str, ids: JointIds) -> Turn:
    is_text, is_speech = (np.array([kind == wanted for kind in classes]) for wanted in "ts")
    answer = np.arange(len(tokens)) > (classes.index("T") if "T" in classes else len(tokens))
    question, speech = (np.asarray(tokens)[is_speech & side] - ids.speech.start for side in (~answer, answer))
    return Turn(question=question, text=np.asarray(tokens)[is_text] - ids.text.start, speech=speech)
