"""Libri-Light (Kahn et al. 2020): unlabelled audiobooks, cut where nobody speaks.

In: whole chapters and the times of speech in them. Out: stretches of speech without text. No official held-out set:
1 % of the recordings, by hash (the paper tests on LibriSpeech's).
"""

import math
from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import (
    LONGEST_STRETCH,
    chosen,
    corpus_folder,
    found,
    inside,
    is_held_out,
    json_object,
    stretches,
    time,
)
from data.utterance import Utterance

REVISION = "1"
SUBSETS = {
    **{name: (name,) for name in ("small", "medium", "large", "duplicate")},
    "unlab-600": ("small",),
    "unlab-6k": ("small", "medium"),
    "unlab-60k": ("small", "medium", "large"),
}
"""Names of subsets -> folders; the last three as in Kahn et al. (2020), to whom each holds the one before."""
SPLITS = tuple(f"{name}-{part}" for name in SUBSETS for part in ("train", "validation"))


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Stretches of at most 30 s of a split of SPLITS, e.g. `unlab-60k-train`, in order of folders and time.

    Layout (github.com/facebookresearch/libri-light, data_preparation/README.md):
    `librilight/{small,medium,large,duplicate}/<speaker>/<book>/<file>.flac` with `<file>.json` beside. Segments of the
    JSON's `voice_activity` are joined, with the pauses between them, as `files.stretches` says; a segment of more than
    30 s is cut into equal parts.
    """
    name, _, part = chosen("librilight", split, SPLITS).rpartition("-")
    for subset in SUBSETS[name]:
        folder = corpus_folder("librilight", root, f"librilight/{subset}")
        is_empty = True
        for path in found(folder, "*", "*", "*.json"):
            is_empty = False
            recording = path.relative_to(folder.parent).with_suffix("").as_posix()
            if is_held_out(recording) == (part == "validation"):
                yield from _stretches(folder, path, recording)
        if is_empty:
            raise ValueError(f"no recordings (<speaker>/<book>/*.json) in {folder}")


def _stretches(folder: Path, path: Path, recording: str) -> Iterator[Utterance]:
    audio = inside(folder, path.with_suffix(".flac"), path)
    segments = voice_activity(inside(folder, path, path))
    number = 0
    for first, end in stretches(segments):
        start, seconds = segments[first][0], segments[end - 1][1] - segments[first][0]
        parts = math.ceil(seconds / LONGEST_STRETCH)
        for part in range(parts):
            yield Utterance(
                id=f"{recording}/{number:04d}",
                audio=audio,
                speaker=path.parts[-3],
                start=start + part * seconds / parts,
                seconds=seconds / parts,
            )
            number += 1


def voice_activity(path: Path) -> list[tuple[float, float]]:
    """(start, end) in seconds of the stretches in which a recording's JSON says that somebody speaks, in order."""
    listed = json_object(path.read_bytes(), path).get("voice_activity")
    if not isinstance(listed, list):
        raise ValueError(f"{path}: no list `voice_activity`; fetch the file again")
    segments: list[tuple[float, float]] = []
    for number, pair in enumerate(listed):
        where = f"{path}, voice_activity[{number}]"
        if not isinstance(pair, list) or len(pair) != 2:
            raise ValueError(f"{where}: [start, end] expected, found {str(pair)[:80]}")
        start, end = time(pair[0], where), time(pair[1], where)
        if not (segments[-1][1] if segments else 0.0) <= start < end:
            raise ValueError(f"{where}: [{start:g}, {end:g}] is empty, or begins before the segment before it ends")
        segments.append((start, end))
    return segments
