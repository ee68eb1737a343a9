"""Documents to units: spoken or read, encoded, nearest centre, runs collapsed; in parts that survive a kill.

In: utterances and one or more recipes of units, so that speech is spoken once for all of them. Out: a folder a part
and recipe, of units with durations, alignments and skips, whole or absent, identical for any number of processes. No
waveform is kept.
"""

import os
import platform
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from data.audio import read_audio
from data.tts import Speech, Synthesiser
from data.utterance import Utterance
from slm.atomic import read_json, read_jsonl, write_json, write_jsonl
from slm.machine import Machine
from slm.spec import EncoderSpec, UnitSpec, fingerprint
from slm.speech.centres import read_centres
from slm.speech.encoder import SAMPLE_RATE, Encoder, encoder
from slm.speech.kmeans import collapse, nearest
from slm.store import LONGEST_TOKEN, checksum

PART_DOCUMENTS, PART_SECONDS = 100, 1800.0
"""A part is full at so many documents or seconds, whichever comes first: what a kill can cost (a choice)."""
BATCH_SECONDS = 240.0
"""Speech that is handed to an encoder at once: bounds memory (a choice)."""
MOST_SKIPPED = 0.05
"""Largest share of a corpus' documents that may be unusable before its store is refused (a choice)."""
_CHARACTERS_PER_SECOND, _BYTES_PER_SECOND = 14.0, 16000.0  # of text, of FLAC: rough, they only balance the work

Units = tuple[np.ndarray, np.ndarray]
"""(units without equal neighbours, frames of each)."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """A recipe of units, its centres (None where it needs none) and the folder of a part of it."""

    units: UnitSpec
    centres: Path | None
    folder: Path

    @property
    def is_done(self) -> bool:
        return (self.folder / "done.json").exists()


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one worker call encodes: some utterances, under every target."""

    utterances: tuple[Utterance, ...]
    targets: tuple[Target, ...]
    machine: Machine

    @property
    def seconds(self) -> float:
        return sum(map(estimated_seconds, self.utterances))


def estimated_seconds(utterance: Utterance) -> float:
    """Length of an utterance as far as it is known without decoding it; only the balance of work depends on it."""
    if utterance.seconds is not None:
        return utterance.seconds
    if utterance.audio is None:
        return len(utterance.text or "") / _CHARACTERS_PER_SECOND
    return utterance.audio.stat().st_size / _BYTES_PER_SECOND if utterance.audio.exists() else 0.0


def cut(utterances: list[Utterance]) -> Iterator[tuple[Utterance, ...]]:
    """Utterances in order as the contents of parts."""
    held: list[Utterance] = []
    seconds = 0.0
    for utterance in utterances:
        held.append(utterance)
        seconds += estimated_seconds(utterance)
        if len(held) >= PART_DOCUMENTS or seconds >= PART_SECONDS:
            yield tuple(held)
            held, seconds = [], 0.0
    if held:
        yield tuple(held)


def digest(utterances: tuple[Utterance, ...], corpora: Path | None) -> str:
    """Fingerprint of what is in a part; a recording counts by its path below `corpora`, size and time of change."""
    return fingerprint([_identity(utterance, corpora) for utterance in utterances])


def share(parts: list[Part], shard: int, shards: int) -> list[Part]:
    """The parts of one of `shards` jobs: longest first, each to the job with the least to do so far."""
    loads, mine = [0.0] * shards, []
    for number in sorted(range(len(parts)), key=lambda number: (-parts[number].seconds, number)):
        job = loads.index(min(loads))
        loads[job] += parts[number].seconds
        if job == shard:
            mine.append(number)
    return [parts[number] for number in sorted(mine)]


def speech_of(utterance: Utterance) -> Speech:
    """The sound of an utterance: read from its file, or spoken in its voice."""
    if utterance.audio is not None:
        waveform = read_audio(utterance.audio, utterance.start, utterance.seconds, utterance.member)
        if utterance.lead is not None:
            waveform = np.concatenate([read_audio(utterance.lead), waveform])
        return Speech(waveform=waveform, words=utterance.words, phones=utterance.phones)
    if not (utterance.text or "").strip():
        raise ValueError(f"{utterance.id}: neither audio nor text to speak")
    return _synthesiser().speak(utterance.text, utterance.speaker)


def encode_part(part: Part) -> None:
    """Write the part under every target; a bad utterance becomes a row of `skips.jsonl`."""
    writers = [_Writer(target, part.machine) for target in part.targets if not target.is_done]
    with threadpool_limits(1):  # so that sums run in one order, whatever the machine
        for batch in _batches(part.utterances, [writer.target.units.encoder.kind for writer in writers]):
            for writer in writers:
                writer.add(batch)
    for writer in writers:
        writer.finish()


def read_part(folder: Path) -> Iterator[tuple[dict, np.ndarray, np.ndarray]]:
    """(row of `documents.jsonl`, units, durations) of each document of a finished part.

    `ValueError` names a file that is not what was written.
    """
    for name, expected in read_json(folder / "done.json")["files"].items():
        if not (folder / name).is_file() or checksum(folder / name) != expected:
            raise ValueError(f"{folder / name} was altered or torn: delete {folder} and prepare again")
    units, durations = (np.fromfile(folder / f"{name}.bin", dtype="<u2") for name in ("units", "durations"))
    start = 0
    for row in read_jsonl(folder / "documents.jsonl"):
        end = start + row["units"]
        yield row, units[start:end], durations[start:end]
        start = end


def frames_of(utterances: tuple[Utterance, ...], spec: EncoderSpec, machine: Machine) -> tuple[np.ndarray, list[str]]:
    """All frames of some utterances under an encoder, for k-means, and what is wrong with those that have none."""
    frames_to_units = _encoder(spec, machine)  # before the limit, which holds for libraries that are loaded by then
    found: list[np.ndarray] = []
    reasons: list[str] = []
    with threadpool_limits(1):
        for batch in _batches(utterances, [spec.kind]):
            reasons += [str(speech) for _, speech in batch if isinstance(speech, ValueError)]
            speeches = [speech for _, speech in batch if isinstance(speech, Speech)]
            found += frames_to_units.encode([speech.waveform for speech in speeches])
    return (np.concatenate(found) if found else np.zeros((0, 1), np.float32)), reasons


_Batch = list[tuple[Utterance, Speech | ValueError]]


def _batches(utterances: tuple[Utterance, ...], kinds: list[str]) -> Iterator[_Batch]:
    """Utterances with their speech, or with what is wrong with it, a bounded length of speech at a time.

    Labels need no waveform.
    """
    silent = set(kinds) <= {"given"}
    if not silent and any(utterance.audio is None for utterance in utterances):
        _synthesiser()  # none here is this machine's fault, not the documents'
    batch: _Batch = []
    seconds = 0.0
    for utterance in utterances:
        try:
            speech = _silence(utterance) if silent else speech_of(utterance)
        except ValueError as error:
            batch.append((utterance, error))
            continue
        batch.append((utterance, speech))
        seconds += speech.seconds
        if seconds >= BATCH_SECONDS:
            yield batch
            batch, seconds = [], 0.0
    if batch:
        yield batch


def _silence(utterance: Utterance) -> Speech:
    """An utterance's known times around as much silence as it is long."""
    samples = round((utterance.seconds or 0.0) * SAMPLE_RATE)
    return Speech(waveform=np.zeros(samples, np.float32), words=utterance.words, phones=utterance.phones)


class _Writer:
    """One part under one target, under way."""

    def __init__(self, target: Target, machine: Machine) -> None:
        self.target = target
        self._quantise = quantiser(target, machine)
        self._units: list[np.ndarray] = []
        self._durations: list[np.ndarray] = []
        self._tables: dict[str, list[dict]] = {"documents": [], "alignment": [], "skips": []}

    def add(self, batch: _Batch) -> None:
        if self.target.units.encoder.kind == "given":  # whatever the sound is like, and whether it was read
            batch = [(utterance, _silence(utterance)) for utterance, _ in batch]
        good = [(utterance, speech) for utterance, speech in batch if isinstance(speech, Speech)]
        found = dict(zip([utterance.id for utterance, _ in good], self._quantise(good), strict=True))
        for utterance, speech in batch:
            result = found.get(utterance.id, speech)
            if not isinstance(result, ValueError) and result[1].max(initial=0) > LONGEST_TOKEN:
                result = ValueError(f"{utterance.id}: one unit lasts {result[1].max()} frames: cut the silence out")
            if isinstance(result, ValueError):
                self._tables["skips"].append({"id": utterance.id, "reason": str(result)})
            else:
                self._keep(utterance, speech, result)

    def _keep(self, utterance: Utterance, speech: Speech, units: Units) -> None:
        self._units.append(units[0])
        self._durations.append(units[1])
        row = {"id": utterance.id, "units": len(units[0]), "seconds": round(speech.seconds, 6)}
        self._tables["documents"].append(row | {"speaker": utterance.speaker, "text": utterance.text})
        if speech.words or speech.phones:
            self._tables["alignment"].append({"id": utterance.id, "words": speech.words, "phones": speech.phones})

    def finish(self) -> None:
        """Write the files beside the part's folder, and rename; a part that another job finished first stays."""
        folder = self.target.folder
        beside = folder.with_name(f".{folder.name}.{platform.node()}-{os.getpid()}.partial")
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir(parents=True)
        for name, arrays in (("units", self._units), ("durations", self._durations)):
            stream = np.concatenate(arrays) if arrays else np.zeros(0)
            (beside / f"{name}.bin").write_bytes(stream.astype("<u2").tobytes())
        for name, rows in self._tables.items():
            write_jsonl(beside / f"{name}.jsonl", rows)
        counts = {name: len(self._tables[name]) for name in ("documents", "skips")}
        files = {path.name: checksum(path) for path in sorted(beside.iterdir())}
        write_json(beside / "done.json", counts | {"files": files})
        try:
            beside.rename(folder)
        except OSError:
            if not self.target.is_done:
                raise
            shutil.rmtree(beside)


def quantiser(target: Target, machine: Machine) -> Callable[[list[tuple[Utterance, Speech]]], list[Units | ValueError]]:
    """A function from speech to units: of labels that are given, of textlesslib's, or of frames and centres."""
    spec = target.units.encoder
    if spec.kind == "given":
        return lambda batch: [_given(utterance, target.units.clusters) for utterance, _ in batch]
    if spec.kind == "textless":
        return lambda batch: [_through_textless(utterance, target.units, machine) for utterance, _ in batch]
    frames_to_units = _encoder(spec, machine)
    centres = read_centres(target.centres, frames_to_units.fingerprint).array

    def units_of(batch: list[tuple[Utterance, Speech]]) -> list[Units | ValueError]:
        encoded = frames_to_units.encode([speech.waveform for _, speech in batch])
        return [
            collapse(nearest(frames, centres)) if len(frames) else _too_short(utterance, speech)
            for (utterance, speech), frames in zip(batch, encoded, strict=True)
        ]

    return units_of


def _given(utterance: Utterance, clusters: int) -> Units | ValueError:
    labels = np.array(utterance.labels if utterance.labels is not None else (), dtype=np.int64)
    if not len(labels):
        return ValueError(f"{utterance.id}: the corpus gives no units for it")
    if not 0 <= labels.min() <= labels.max() < clusters:
        return ValueError(f"{utterance.id}: units {labels.min()}..{labels.max()} lie outside 0..{clusters - 1}")
    return collapse(labels)


def _through_textless(utterance: Utterance, units: UnitSpec, machine: Machine) -> Units | ValueError:
    if utterance.audio is None or utterance.member or utterance.start or utterance.seconds is not None:
        return ValueError(f"{utterance.id}: textlesslib reads whole recordings; cut it into files of its own first")
    (found,) = _textless(units, machine).encode([utterance.audio])
    return found


def _too_short(utterance: Utterance, speech: Speech) -> ValueError:
    return ValueError(f"{utterance.id}: {speech.seconds:.3f} s of sound are shorter than one frame")


def _identity(utterance: Utterance, corpora: Path | None) -> list:
    told = [utterance.id, utterance.text, utterance.speaker, utterance.labels, utterance.words, utterance.phones]
    if utterance.audio is None:
        return told
    audio, *state = _state(utterance.audio, corpora)
    told += [audio, utterance.start, utterance.seconds, utterance.member, *state]
    return told + (_state(utterance.lead, corpora) if utterance.lead else [])


def _state(audio: Path, corpora: Path | None) -> list:
    """Name, size and time of change of a recording."""
    name = audio.relative_to(corpora) if corpora and audio.is_relative_to(corpora) else audio
    state = audio.stat() if audio.exists() else None
    return [str(name), *([state.st_size, state.st_mtime_ns] if state else [])]


@lru_cache(maxsize=8)
def _encoder(spec: EncoderSpec, machine: Machine) -> Encoder:
    return encoder(spec, machine)


@lru_cache(maxsize=1)
def _textless(units: UnitSpec, machine: Machine):
    from slm.speech.textless import TextlessUnits

    return TextlessUnits(units, machine)


@lru_cache(maxsize=1)
def _synthesiser() -> Synthesiser:
    return Synthesiser()
