"""Stores in which speech and text change places: words of both, pairs of spans, and documents that were interleaved.

In: texts, with a store of their speech or a text-to-token model that speaks them. Out: form `A`, the words of a
document as text and as speech, to be interleaved while they are read; `ST` and `TS` cut into spans; `I`, interleaved
once. Which words are spoken depends on the recipe, the document's number and the epoch alone.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from data import documents as sources
from data.unigram import unknown_id
from data.vocabulary import JointIds, joint_ids
from data.words import Encode, Spelling, alignment_file, atoms, read_alignment, unit_ends
from slm import spans as law
from slm.spec import StoreSpec
from slm.store import Document, TokenStore, checksum, write_store

Speak = Callable[[list[np.ndarray], list[int]], list[np.ndarray]]
"""Text ids of spans, and a number for what is drawn for each, to their speech units: a text-to-token model."""
MOST_UNUSABLE = 0.05
"""Largest share of the documents that may lack word times or text, or be beyond the tokenizer, before a store is
refused (a choice)."""


@dataclass(frozen=True, kw_only=True)
class Words:
    """A document word by word; groups of words that share one time count as one."""

    id: str
    text: np.ndarray
    """Ids of its text, and where each word ends in them."""
    text_ends: np.ndarray
    speech: np.ndarray
    """Ids of its speech in the joint vocabulary, and where each word ends in them; empty where nobody spoke it yet."""
    speech_ends: np.ndarray
    seconds: np.ndarray
    """Of each word, where it is spoken."""

    def part(self, half: str, first: int, last: int) -> np.ndarray:
        """Ids of words [first, last) as text ("T") or speech ("S")."""
        ids, ends = (self.text, self.text_ends) if half == "T" else (self.speech, self.speech_ends)
        return ids[ends[first - 1] if first else 0 : ends[last - 1] if last else 0]


def aligned_words(
    spec: StoreSpec, speech: TokenStore, encode: Encode, corpora: Path | None
) -> tuple[list[Words], dict]:
    """The documents of a corpus that have text, speech and word times, and what is told of the others.

    `ValueError` where more than `MOST_UNUSABLE` of them lack one of these, or word times are impossible.
    """
    ids, spelling = joint_ids(spec.tokenizer), Spelling(encode, unknown_id(spec.tokenizer.text))
    places = {row["id"]: i for i, row in enumerate(speech.rows("documents"))}
    texts = {
        u.id: u.text for u in sources.documents(spec.corpus, corpora, is_written=True) if u.id in places and u.text
    }
    path = alignment_file(corpora, spec.corpus)
    times = read_alignment(path, texts) if path else {row["id"]: row["words"] for row in speech.rows("alignment")}
    found = []
    for key in (key for key in texts if times.get(key)):
        try:
            found.append(_words(key, texts[key], times[key], speech, places[key], ids, spelling))
        except ValueError as error:
            raise ValueError(f"document {key}: {error}") from None
    lacking = len(places) - len(found)
    if lacking > MOST_UNUSABLE * len(places):
        raise ValueError(
            f"{lacking} of {len(places)} documents of {speech.folder} have no text or no word times: take a corpus "
            f"that is spoken here, or give times in alignments/{spec.corpus.name}-{spec.corpus.split}.jsonl"
        )
    return found, {"left_out": lacking} | ({"alignment_sha256": checksum(path)} if path else {})


def _words(key: str, text: str, times, speech: TokenStore, place: int, ids: JointIds, spelling: Spelling) -> Words:
    text_ids, ends = spelling(text)
    sizes, starts = atoms(text, [tuple(time) for time in times])
    units, durations = speech.document(place).astype(np.int64), speech.durations(place).astype(np.int64)
    unit_places = unit_ends(starts, durations, speech.frame_hz)
    clock = np.append(0, np.cumsum(durations)) / speech.frame_hz
    return Words(
        id=key,
        text=text_ids,
        text_ends=ends[np.cumsum(sizes) - 1],
        speech=units + ids.speech.start,
        speech_ends=unit_places,
        seconds=np.diff(clock[np.append(0, unit_places)]),
    )


def aligned_store(folder: Path, spec: StoreSpec, words: list[Words], told: dict) -> TokenStore:
    """Write form `A`: text, then speech, with the places of their words; `slm.batches` interleaves it as it reads."""
    ids = joint_ids(spec.tokenizer)
    documents = [
        Document(
            id=each.id,
            tokens=np.concatenate([[ids.mark("T")], each.text, [ids.mark("S")], each.speech]),
            units=len(each.speech),
            seconds=float(each.seconds.sum()),
        )
        for each in words
    ]
    arrays = {
        "words": lambda: np.concatenate([np.stack([w.text_ends, w.speech_ends], axis=1) for w in words]).astype(
            np.int32
        ),
        "word_counts": lambda: np.array([len(each.text_ends) for each in words], dtype=np.int64),
    }
    side = {"documents": [{"id": each.id} for each in words]}
    return write_store(folder, spec, documents, side, told, arrays=arrays)


def pairs_store(folder: Path, spec: StoreSpec, words: list[Words], told: dict) -> TokenStore:
    """Write `ST` or `TS` cut into spans: each a document, its first half given, its second half to be predicted."""
    ids, counts = joint_ids(spec.tokenizer), np.array([len(each.text_ends) for each in words])
    documents = []
    for number, first, length in zip(*law.cut(counts, spec.spans), strict=True):
        each, last = words[number], first + length
        halves = [each.part(half, first, last) for half in spec.form]
        if all(map(len, halves)):
            tokens, parts = pair(ids, spec.form, *halves)
            seconds = float(each.seconds[first:last].sum())
            units = len(halves[spec.form.index("S")])
            documents.append(
                Document(id=f"{each.id}#{first}", tokens=tokens, units=units, seconds=seconds, parts=parts)
            )
    return write_store(folder, spec, documents, {"documents": [{"id": d.id} for d in documents]}, told)


def pair(ids: JointIds, form: str, given: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tokens and parts of a pair: each half after its mark, the second one to be predicted, its mark given."""
    tokens = np.concatenate([[ids.mark(form[0])], given, [ids.mark(form[1])], target]).astype(np.int64)
    parts = np.zeros(len(tokens), dtype=np.uint8)
    parts[len(given) + 2 :] = 1 + "TS".index(form[1])
    return tokens, parts


def interleaved_store(folder: Path, spec: StoreSpec, words: list[Words], speak: Speak | None, told: dict) -> TokenStore:
    """Write form `I`: every document once an epoch, some words as text and some as speech, a mark before each run.

    `speak` is the text-to-token model where nobody spoke the words yet. The manifest tells the realised share of spoken
    words, lengths of spans, and speech against text tokens.
    """
    ids, counts = joint_ids(spec.tokenizer), np.array([len(each.text_ends) for each in words])
    drawn = [law.spans(counts, spec.spans, epoch, np.arange(len(words))) for epoch in range(spec.epochs)]
    spoken = iter(_spoken(words, drawn, speak) if speak else [])
    documents: list[Document] = []
    for epoch, some in enumerate(drawn):
        of: dict[int, list[tuple[int, int, np.ndarray, float]]] = {}
        for n, first, length in zip(*(column.tolist() for column in some), strict=True):
            units = next(spoken) + ids.speech.start if speak else words[n].part("S", first, first + length)
            seconds = 0.0 if speak else float(words[n].seconds[first : first + length].sum())
            of.setdefault(n, []).append((first, first + length, units, seconds))
        documents += [_document(ids, each, of.get(n, []), epoch) for n, each in enumerate(words)]
    realised = law.statistics(counts, drawn)
    speech = sum(document.units for document in documents)
    text = sum(len(document.tokens) for document in documents) - speech
    told = told | {"interleaving": realised | {"speech_tokens": speech, "text_tokens_and_marks": text}}
    return write_store(folder, spec, documents, {"documents": [{"id": d.id} for d in documents]}, told)


def _spoken(words: list[Words], drawn: list[law.Spans], speak: Speak) -> list[np.ndarray]:
    """The units of all spans of all epochs; what is drawn for one depends on its document, epoch and first word."""
    asked, numbers = [], []
    for epoch, some in enumerate(drawn):
        for n, first, length in zip(*(column.tolist() for column in some), strict=True):
            asked.append(words[n].part("T", first, first + length))
            name = f"{words[n].id}#{epoch}#{first}"
            numbers.append(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    return speak(asked, numbers)


def _document(ids: JointIds, words: Words, spans: list[tuple[int, int, np.ndarray, float]], epoch: int) -> Document:
    """Runs of text and speech; a span without any unit stays text."""
    parts: list = []
    place, half = 0, ""
    for first, last, units, _ in sorted((span for span in spans if len(span[2])), key=lambda span: span[0]):
        for kind, run in (("T", words.part("T", place, first)), ("S", units)):
            if len(run):
                parts += ([[ids.mark(kind)]] if kind != half else []) + [run]
                half = kind
        place = last
    rest = words.part("T", place, len(words.text_ends))
    if len(rest):
        parts += ([[ids.mark("T")]] if half != "T" else []) + [rest]
    tokens = np.concatenate(parts).astype(np.int64)
    units, seconds = sum(len(span[2]) for span in spans), sum(span[3] for span in spans)
    return Document(id=f"{words.id}#{epoch}", tokens=tokens, units=units, seconds=seconds)


def unspoken_words(spec: StoreSpec, encode: Encode, corpora: Path | None) -> tuple[list[Words], dict]:
    """The documents of a corpus as text alone, for a text-to-token model, and how many were left out.

    Left out are those without words, or with words that the tokenizer cannot represent; `ValueError`, which names the
    first, where they are more than `MOST_UNUSABLE`.
    """
    spelling, nothing = Spelling(encode, unknown_id(spec.tokenizer.text)), np.zeros(0, dtype=np.int64)
    found, wrong = [], []
    for utterance in sources.documents(spec.corpus, corpora, is_written=True):
        try:
            ids, ends = spelling(utterance.text or "")
        except ValueError as error:
            wrong.append(f"document {utterance.id}: {error}")
            continue
        none = np.zeros(len(ends), dtype=np.int64)
        silent = {"speech": nothing, "speech_ends": none, "seconds": none.astype(float)}
        found.append(Words(id=utterance.id, text=ids, text_ends=ends, **silent))
    if len(wrong) > MOST_UNUSABLE * (len(found) + len(wrong)):
        raise ValueError(
            f"{len(wrong)} of {len(found) + len(wrong)} texts cannot be used, the first because: {wrong[0]}"
        )
    return found, {"left_out": len(wrong)}
