"""Stores of speech and text under one vocabulary: what a model that reads and speaks is trained and asked on.

In: a store of speech, and the same documents as text. Out: documents as runs of either, each after its mark, in the
form that the recipe says; items whose prompt is in one of them and whose ending in the other.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data import documents as sources
from data.items import item_rows, pieces_before
from data.utterance import RawItem
from data.vocabulary import joint_ids
from data.words import Encode
from slm.spec import StoreSpec
from slm.store import Document, TokenStore, write_store


def joint_store(
    folder: Path, spec: StoreSpec, speech: TokenStore | None, encode: Encode, corpora: Path | None
) -> TokenStore:
    """Write a joint store; `speech` holds the documents of its corpus, prompts and endings apart, or is no part."""
    maker = _Maker(spec, speech, encode)
    if spec.corpus.name in sources.BENCHMARKS:
        made = list(maker.options(sources.items(spec.corpus, corpora)))
    else:
        made = [
            (key, tokens, 0) for key, tokens in maker.texts(sources.documents(spec.corpus, corpora, is_written=True))
        ]
    documents = [maker.document(key, tokens) for key, tokens, _ in made]
    side: dict = {"documents": [{"id": document.id} for document in documents]}
    if sources.is_benchmark(spec.corpus):
        before = {key: count for key, _, count in made}
        side |= item_rows(spec.corpus, corpora, documents, lambda document, item: before[document.id])
    return write_store(folder, spec, documents, side, {"speech": speech.fingerprint} if speech else {})


class _Maker:
    def __init__(self, spec: StoreSpec, speech: TokenStore | None, encode: Encode) -> None:
        self._form, self._ids, self._encode = spec.form, joint_ids(spec.tokenizer), encode
        self._is_asked = spec.corpus.name in sources.QUESTIONS
        self._speech = speech
        self._is_pair = not sources.is_benchmark(spec.corpus) and len(spec.form) == 2
        self._place = {row["id"]: i for i, row in enumerate(speech.rows("documents"))} if speech else {}
        items = [] if spec.corpus.apart or self._is_asked or not speech else speech.rows("items")
        self._spoken_before = {o: n for row in items for o, n in zip(row["options"], row["prompt_tokens"], strict=True)}

    def texts(self, utterances: Iterator) -> Iterator[tuple[str, np.ndarray]]:
        """Documents of a corpus, and questions with the mark of the answer; those without speech are left out."""
        halves, answer = (self._form[0], self._form[1:]) if self._is_asked else (self._form, "")
        for utterance in utterances:
            if "S" not in halves or utterance.id in self._place:
                parts = [self._part(half, utterance.id, utterance.text) for half in halves]
                yield utterance.id, np.concatenate(parts + [[self._ids.mark(half)] for half in answer])

    def options(self, items: Iterator[RawItem]) -> Iterator[tuple[str, np.ndarray, int]]:
        """Options and how many of their tokens are prompt; those without speech are left out."""
        for item in items:
            for number, option in enumerate(item.options):
                key = sources.option_id(item, number)
                whole = f"{item.prompt} {option}".strip()
                if self._form in ("S", "SS", "T", "TT"):
                    half = self._form[0]
                    if half == "T" or (key in self._spoken_before if item.prompt else key in self._place):
                        yield key, self._part(half, key, whole), 1 + self._before(half, key, item, whole)
                    continue
                prompt_key = sources.prompt_id(item)
                if (prompt_key if self._form[0] == "S" else key) in self._place:
                    prompt = self._part(self._form[0], prompt_key, item.prompt)
                    yield key, np.concatenate([prompt, self._part(self._form[1], key, option)]), len(prompt) + 1

    def _part(self, half: str, key: str, text: str) -> np.ndarray:
        if half == "T":
            ids = self._encode(text)
        else:
            ids = self._speech.document(self._place[key]).astype(np.int64) + self._ids.speech.start
        return np.concatenate([[self._ids.mark(half)], ids]).astype(np.int64)

    def _before(self, half: str, key: str, item: RawItem, whole: str) -> int:
        if half == "S":
            return self._spoken_before.get(key, 0)
        return pieces_before(self._encode(item.prompt), self._encode(whole)) if item.prompt else 0

    def document(self, key: str, tokens: np.ndarray) -> Document:
        """A document with the units and seconds of its speech."""
        told = self._speech.index[self._place[key]] if key in self._place and "S" in self._form else None
        units, seconds = (0, 0.0) if told is None else (int(told["units"]), float(told["seconds"]))
        return Document(id=key, tokens=tokens, units=units, seconds=seconds, parts=self._parts(tokens))

    def _parts(self, tokens: np.ndarray) -> np.ndarray | None:
        """Of a pair: what follows the second mark is to be predicted."""
        if not self._is_pair:
            return None
        second = np.flatnonzero(np.isin(tokens, [self._ids.mark(half) for half in self._form]))[1]
        return np.where(np.arange(len(tokens)) > second, 1 + "TS".index(self._form[1]), 0).astype(np.uint8)
