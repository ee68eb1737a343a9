"""The families of measures: what is computed once for the speech, and then for every scheme.

In: speech. Out: for each family a function from a scheme to columns of `columns.py`, as numbers or as the reason why
there is none. Folds, triples and boundaries are the same for all schemes.
"""

import hashlib
from collections.abc import Callable, Iterable

import numpy as np

from data.measures import abx, columns
from data.measures.clusters import cluster_quality, entropy
from data.measures.grid import frames_before, on_grid, spans
from data.measures.held_out import QUARTERS, held_out_information
from data.measures.rate import unigram_entropy
from data.measures.scheme import Scheme, Speech
from data.measures.segmentation import boundary_scores
from data.measures.speaker import FOLDS, speaker_accuracy

TOLERANCE_SECONDS = 0.02  # of a boundary, as Räsänen et al. (2009) use it for phones
CHUNK_SECONDS = 5.0  # of speech whose speaker is asked for (a choice)
SPEAKERS, CHUNKS = 24, 3000  # at most, to bound the time of the probe (a choice)
_TICKS = 1_000_000  # boundaries are compared in whole microseconds
_GAP = 10 * _TICKS  # between documents on one line: more than any tolerance

Measure = Callable[[Scheme], dict[str, float | str | None]]


FEWEST_TRIPLES = 100
"""An error rate of fewer has a standard error of over 5 % (a choice)."""


def cost(speech: Speech) -> Measure:
    """Columns `COST`, and how much speech there is."""
    seconds, spoken = float(speech.seconds.sum()), [text for text in speech.texts if text]
    words = sum(len(text.split()) for text in spoken) if len(spoken) == len(speech.ids) else 0

    def measure(scheme: Scheme) -> dict[str, float | str]:
        tokens, vocabulary = scheme.tokens.ids, scheme.vocabulary
        rate, count = len(tokens) / seconds, len(tokens)
        return {
            "documents": len(speech.ids),
            "seconds": seconds,
            "tokens_per_second": rate,
            "vocabulary": vocabulary,
            "used_vocabulary": int((np.bincount(tokens) > 0).sum()) / vocabulary,
            "perplexity": float(np.exp(entropy(np.bincount(tokens)))),
            "bits_per_second_uniform": rate * float(np.log2(vocabulary)),
            "bits_per_second_unigram": rate * unigram_entropy(tokens, vocabulary),
            "units_per_token": scheme.units / count if scheme.units else "its tokens are not made of units",
            "frames_per_token": scheme.frames / count if scheme.has_encoder else "it has no encoder",
            "ms_per_token": 1000 * scheme.frames / scheme.frame_hz / count,
            "tokens_per_word": count / words if words else "a document has no transcript",
        }

    return measure


def phones(speech: Speech) -> Measure:
    """Columns `PHONES`."""
    frames = _aligned_frames(speech)
    true = on_grid(speech.phones, frames)
    if len(np.unique(true)) < 2:
        return _nothing(columns.PHONES, "no phone times")
    aligned = np.flatnonzero(frames)
    quarter = np.zeros(len(frames), np.int64)
    quarter[aligned] = _ranks([speech.ids[i] for i in aligned]) % QUARTERS
    quarters = np.repeat(quarter, frames)

    def measure(scheme: Scheme) -> dict[str, float | str]:
        tokens = on_grid(scheme.tokens, frames)
        quality, enough = cluster_quality(tokens, true), len(aligned) >= QUARTERS
        few = f"fewer than {QUARTERS} documents with phone times"
        return {
            "phone_information": held_out_information(tokens, true, quarters) if enough else few,
            "pnmi": quality.pnmi,
            "phone_purity": quality.phone_purity,
            "cluster_purity": quality.cluster_purity,
            "phone_entropy": entropy(np.bincount(true)) / float(np.log(2)),
            "phone_frames": len(true),
        }

    return measure


def discriminability(speech: Speech) -> Measure:
    """Columns `ABX`."""
    frames, speakers = _aligned_frames(speech), set(speech.speakers)
    if not frames.any():
        return _nothing(columns.ABX, "no phone times")
    if None in speakers:
        return _nothing(columns.ABX, "a document has no known speaker")
    triphones = _triphones(speech, frames)
    kinds = {"abx_within": abx.triples(triphones, across=False), "abx_across": abx.triples(triphones, across=True)}
    nothing = "no triphones to compare"
    reasons = {"abx_within": nothing, "abx_across": "one speaker" if len(speakers) == 1 else nothing}

    def measure(scheme: Scheme) -> dict[str, float | str]:
        tokens, found = on_grid(scheme.tokens, frames), {}
        for kind, chosen in kinds.items():
            few = reasons[kind] if not len(chosen) else f"fewer than {FEWEST_TRIPLES} triples"
            found[kind] = abx.error_rate(tokens, triphones, chosen) if len(chosen) >= FEWEST_TRIPLES else few
            found[f"{kind}_triples"] = len(chosen) or reasons[kind]
        return found

    return measure


def words(speech: Speech) -> Measure:
    """Columns `WORDS`."""
    timed = speech.words.counts > 0
    pauses = (speech.phones.ids == 0) & timed[speech.phones.documents]
    starts = np.concatenate([speech.words.starts, speech.phones.starts[pauses]])
    true = _on_line(speech, starts, np.concatenate([speech.words.documents, speech.phones.documents[pauses]]))
    tolerance = max(TOLERANCE_SECONDS, 0.5 / speech.frame_hz)
    if not len(true):
        return _nothing(columns.WORDS, "no word times")

    def measure(scheme: Scheme) -> dict[str, float | str]:
        tokens, within = scheme.tokens, timed[scheme.tokens.documents]
        found = _on_line(speech, tokens.starts[within], tokens.documents[within])
        scores = boundary_scores(found, true, round(tolerance * _TICKS))
        return {
            "word_precision": scores.precision,
            "word_recall": scores.recall,
            "word_f1": scores.f1,
            "word_r_value": scores.r_value,
            "word_boundaries": len(true),
            "word_tolerance": tolerance,
        }

    return measure


def speaker(speech: Speech) -> Measure:
    """Columns `SPEAKER`."""
    parts = np.maximum(1, np.round(speech.seconds / CHUNK_SECONDS)).astype(np.int64)
    speakers, folds = _probed(speech, parts)
    if speakers.max() < 1:
        return _nothing(columns.SPEAKER, f"fewer than 2 speakers with {FOLDS} documents")
    parts = np.where(speakers >= 0, parts, 0)  # (documents,) chunks of equal length
    firsts, of_chunk, fold = np.cumsum(parts) - parts, np.repeat(speakers, parts), np.repeat(folds, parts)

    def measure(scheme: Scheme) -> dict[str, float | str]:
        tokens, documents = scheme.tokens, scheme.tokens.documents
        inside = (parts[documents] > 0) & (tokens.starts < speech.seconds[documents])
        starts, documents = tokens.starts[inside], documents[inside]
        chunks = firsts[documents] + (starts / speech.seconds[documents] * parts[documents]).astype(np.int64)
        return {
            "speaker_accuracy": speaker_accuracy(tokens.ids[inside], chunks, of_chunk, fold),
            "speaker_chance": float(np.bincount(of_chunk).max() / len(of_chunk)),
            "speaker_chunks": len(of_chunk),
            "speakers": int(speakers.max()) + 1,
        }

    return measure


def reading(speech: Speech) -> Measure:
    """Columns `READING`: what a supervised tokenizer itself told, whatever the speech; nothing of others."""
    return lambda scheme: {name: scheme.reading.get(name) for name in columns.READING}


FAMILIES: tuple[Callable[[Speech], Measure], ...] = (cost, phones, discriminability, words, speaker, reading)


def _nothing(missing: Iterable[str], reason: str) -> Measure:
    return lambda scheme: dict.fromkeys(missing, reason)


def _aligned_frames(speech: Speech) -> np.ndarray:
    """(documents,) frames of the documents with phone times, as far as every scheme reaches; 0 of the others."""
    return np.where(speech.phones.counts > 0, frames_before(speech.seconds), 0)


def _triphones(speech: Speech, frames: np.ndarray) -> abx.Triphones:
    """All triphones without a pause that hold a frame, by document and time.

    Those whose middle phone is one of its neighbours are left out: warped, "a a b" is "a b b".
    """
    ids, documents = speech.phones.ids, speech.phones.documents
    firsts, ends = spans(speech.phones, frames)
    left = np.arange(max(len(ids) - 2, 0))
    spoken = (ids[left] > 0) & (ids[left + 1] > 0) & (ids[left + 2] > 0)
    told = (ids[left] != ids[left + 1]) & (ids[left + 1] != ids[left + 2])
    left = left[spoken & told & (documents[left] == documents[left + 2]) & (ends[left + 2] > firsts[left])]
    return abx.Triphones(
        left=ids[left],
        centre=ids[left + 1],
        right=ids[left + 2],
        speaker=np.unique(speech.speakers, return_inverse=True)[1][documents[left]],
        first=(np.cumsum(frames) - frames)[documents[left]] + firsts[left],
        frames=ends[left + 2] - firsts[left],
    )


def _on_line(speech: Speech, starts: np.ndarray, documents: np.ndarray) -> np.ndarray:
    """Sorted distinct boundaries inside documents, in microseconds on one line of all documents."""
    inside = (starts > 0) & (starts < speech.seconds[documents])
    lengths = np.ceil(speech.seconds * _TICKS).astype(np.int64) + _GAP
    offsets = np.cumsum(lengths) - lengths
    return np.unique(np.round(starts[inside] * _TICKS).astype(np.int64) + offsets[documents[inside]])


def _probed(speech: Speech, parts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(number of the speaker of each document, or -1 where the probe leaves it out; its fold).

    Every speaker is in every fold. `parts` are the chunks of each document.
    """
    speakers, folds = np.full(len(parts), -1), np.zeros(len(parts), np.int64)
    own: dict[str, list[int]] = {}
    for i in np.argsort(_ranks(speech.ids)):
        own.setdefault(speech.speakers[i], []).append(i)
    names = sorted(name for name, documents in own.items() if name is not None and len(documents) >= FOLDS)
    chosen = [names[i] for i in np.argsort(_ranks(names))[:SPEAKERS]]
    for number, name in enumerate(chosen):
        documents = np.array(own[name])
        before = np.cumsum(parts[documents]) - parts[documents]
        documents = documents[: max(FOLDS, int((before < CHUNKS // len(chosen)).sum()))]
        speakers[documents], folds[documents] = number, np.arange(len(documents)) % FOLDS
    return speakers, folds


def _ranks(names: list[str]) -> np.ndarray:
    """The place of each name in the order of their hashes, on which no property of the speech leans."""
    return np.argsort(np.argsort([hashlib.sha256(name.encode()).hexdigest() for name in names]))
