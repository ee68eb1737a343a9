"""Documents to units: spoken or read, encoded, nearest centre, runs collapsed; in shards that survive a kill.

In: utterances, voices, an encoder and centres. Out: shard folders of units with durations, alignments and skips,
each whole or absent, identical for any number of worker processes. No waveform is kept.
"""

import shutil
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from data.audio import read_audio
from data.tts import Speech, Synthesiser
from data.utterance import Utterance
from slm.atomic import read_json, read_jsonl, write_json, write_jsonl
from slm.speech.encoder import encoder
from slm.speech.kmeans import collapse, nearest
from slm.store import checksum

SHARD_DOCUMENTS = 100


@dataclass(frozen=True, kw_only=True)
class ShardJob:
    """What one worker call encodes."""

    utterances: tuple[Utterance, ...]
    encoder: str
    centres: Path
    folder: Path


def speech_of(utterance: Utterance) -> Speech:
    """The sound of an utterance: read from its file, or spoken in its voice."""
    if utterance.audio is not None:
        return Speech(waveform=read_audio(utterance.audio), words=(), phones=())
    if not (utterance.text or "").strip():
        raise ValueError(f"{utterance.id}: neither audio nor text to speak")
    return _synthesiser().speak(utterance.text, utterance.speaker)


def encode_shard(job: ShardJob) -> None:
    """Write the shard at `job.folder`; a bad utterance becomes a row of its `skips.jsonl`."""
    beside = job.folder.with_name(f".{job.folder.name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    frames_to_units, centres = encoder(job.encoder), np.load(job.centres, allow_pickle=False)
    units, durations = [], []
    tables: dict[str, list[dict]] = {"documents": [], "alignment": [], "skips": []}
    with threadpool_limits(1):  # so that sums run in one order, whatever the machine
        for utterance in job.utterances:
            try:
                speech = speech_of(utterance)
                (frames,) = frames_to_units.encode([speech.waveform])
                if len(frames) == 0:
                    raise ValueError(f"{utterance.id}: {speech.seconds:.3f} s of sound are shorter than one frame")
            except ValueError as error:
                tables["skips"].append({"id": utterance.id, "reason": str(error)})
                continue
            collapsed, lengths = collapse(nearest(frames, centres))
            units.append(collapsed)
            durations.append(lengths)
            tables["documents"].append(_document_row(utterance, speech, len(collapsed)))
            if speech.words:
                tables["alignment"].append({"id": utterance.id, "words": speech.words, "phones": speech.phones})
    for name, arrays in (("units", units), ("durations", durations)):
        stream = np.concatenate(arrays) if arrays else np.zeros(0)
        (beside / f"{name}.bin").write_bytes(stream.astype("<u2").tobytes())
    for name, rows in tables.items():
        write_jsonl(beside / f"{name}.jsonl", rows)
    write_json(beside / "done.json", {path.name: checksum(path) for path in sorted(beside.iterdir())})
    beside.rename(job.folder)


def read_shard(folder: Path) -> tuple[list[np.ndarray], list[np.ndarray], dict[str, list[dict]]]:
    """(units of each document, durations of each document, side tables) of a finished shard.

    `ValueError` names a file that is not what was written.
    """
    for name, expected in read_json(folder / "done.json").items():
        if not (folder / name).is_file() or checksum(folder / name) != expected:
            raise ValueError(f"{folder / name} was altered or torn: delete {folder} and prepare again")
    tables = {name: read_jsonl(folder / f"{name}.jsonl") for name in ("documents", "alignment", "skips")}
    ends = np.cumsum([row["units"] for row in tables["documents"]])[:-1]
    units, durations = (np.fromfile(folder / f"{name}.bin", dtype="<u2") for name in ("units", "durations"))
    if not tables["documents"]:
        return [], [], tables
    return np.split(units, ends), np.split(durations, ends), tables


def frames_of(utterances: tuple[Utterance, ...], name: str) -> np.ndarray:
    """All frames of some utterances under an encoder, for k-means; unreadable ones are left out."""
    frames_to_units, found = encoder(name), []
    with threadpool_limits(1):
        for utterance in utterances:
            try:
                found += frames_to_units.encode([speech_of(utterance).waveform])
            except ValueError:
                continue
    return np.concatenate(found) if found else np.zeros((0, 1), np.float32)


def _document_row(utterance: Utterance, speech: Speech, units: int) -> dict:
    row = {"id": utterance.id, "units": units, "seconds": round(speech.seconds, 6)}
    return row | {"speaker": utterance.speaker, "text": utterance.text}


@lru_cache(maxsize=1)
def _synthesiser() -> Synthesiser:
    return Synthesiser()
