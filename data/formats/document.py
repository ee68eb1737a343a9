"""The neutral type between all formats of speech units.

In: what a reader found, unchecked. Out: one utterance at a time, its ids in 0..K-1 without any special token, and
whether the stream is runs or frames said, not guessed. K comes from the caller or the format, never from the ids.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from slm.speech.kmeans import collapse

MOST_FRAMES = 1 << 24
"""Of one utterance: 186 hours at 25 Hz. A choice, so that an absurd duration cannot fill the memory."""


@dataclass(frozen=True, kw_only=True, eq=False)
class TextColumn:
    """Text tokens along the stored units, as the aligned shards of interleaved_lm hold them."""

    tokens: np.ndarray
    """(N,) ids of the text tokenizer, its padding and end of word among them."""
    steps: np.ndarray
    """(N,) stored units under each text token; they add up to the utterance's units and its end of stream."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitDocument:
    """The units of one utterance."""

    id: str
    """Unique in its stream; where a format names recordings, the stem of the file's name."""
    units: np.ndarray
    """(T,) ids from 0, without any special token."""
    durations: np.ndarray | None = None
    """(T,) frames of each unit; None where the format does not hold them."""
    seconds: float | None = None
    text: str | None = None
    speaker: str | None = None
    words: tuple[tuple[float, float | None, str], ...] = ()
    """(start in seconds, end in seconds if known, word without blanks around it)."""
    audio: str | None = None
    """Name of the recording as the source gives it, relative to the source's own root."""
    text_column: TextColumn | None = None
    metadata: dict = field(default_factory=dict)
    """Free JSON fields, which survive a round trip of the same format."""


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitStream:
    """What a reader returns and a writer takes."""

    documents: Iterable[UnitDocument]
    """Read while they are asked for, and once: errors of the content come up then."""
    clusters: int
    """K: ids are 0..K-1."""
    collapsed: bool
    """True: a unit is a run of frames, as many as `durations` says where there are any. False: one unit per frame."""
    files: tuple[Path, ...] = ()
    """Everything that the content depends on."""
    header: dict = field(default_factory=dict)
    """Free fields of the whole, by name, which survive a round trip of the same format."""
    skips: tuple[dict, ...] = ()
    """Utterances that the source left out: id, reason, detail."""
    notes: list[str] = field(default_factory=list)
    """Plain-language warnings; complete when all documents are read."""


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What the caller knows and a format may not say."""

    units: int | None = None
    """K."""
    collapsed: bool | None = None
    manifest: Path | None = None
    """fairseq `.tsv` whose rows are the lines of the source."""
    sidecars: Path | None = None
    """Folder of SlamKit's `<stem>.json` alignments."""

    def clusters(self, where: Path, declared: int | None = None) -> int:
        """K by the format or by the caller; `ValueError` when neither says it, or they differ."""
        known = _agreed(where, "number of units", "units", declared, self.units)
        if not 1 <= known < 1 << 31:
            raise ValueError(f"{where}: {known} is no number of units")
        return known

    def state(self, where: Path, declared: bool | None = None) -> bool:
        """Whether runs are collapsed, by the format or by the caller; `ValueError` as above."""
        return _agreed(where, "collapse state (units of runs, or of frames)", "collapsed", declared, self.collapsed)


def _agreed(where: Path, what: str, option: str, declared: int | None, stated: int | None) -> int:
    if declared is None and stated is None:
        raise ValueError(f"{where}: the format does not tell the {what}: say it with the option `{option}`")
    if None not in (declared, stated) and declared != stated:
        raise ValueError(f"{where}: declares {option} = {declared}, the option says {stated}: correct the option")
    return stated if declared is None else declared


def checked(found: Iterable[tuple[str, UnitDocument]], clusters: int) -> Iterator[UnitDocument]:
    """The documents of (place, document) pairs; `ValueError` names the place of one that breaks the contract."""
    seen: dict[str, str] = {}
    for place, document in found:
        if not document.id:
            raise ValueError(f"{place}: the utterance has no name")
        if document.id in seen:
            raise ValueError(
                f"{place}: utterance {document.id!r} was already at {seen[document.id]}; names must differ "
                f"(of recordings, the stems of their files)"
            )
        seen[document.id] = place
        outside = (document.units < 0) | (document.units >= clusters)
        if outside.any():
            unit = int(document.units[outside.argmax()])
            raise ValueError(f"{place}: unit {unit} is outside 0..{clusters - 1} (K = {clusters})")
        if document.durations is not None:
            _check_durations(document.durations, len(document.units), place)
        if document.seconds is not None and not (math.isfinite(document.seconds) and document.seconds >= 0):
            raise ValueError(f"{place}: {document.seconds} is no length in seconds")
        yield document


def _check_durations(durations: np.ndarray, units: int, place: str) -> None:
    if len(durations) != units:
        raise ValueError(f"{place}: {len(durations)} durations for {units} units")
    if not units:
        return
    if durations.min() < 1 or durations.max() > MOST_FRAMES or durations.sum(dtype=np.int64) > MOST_FRAMES:
        raise ValueError(
            f"{place}: durations from {durations.min()} to {durations.max()} frames; each is at least 1, and all of an "
            f"utterance at most {MOST_FRAMES}"
        )


def as_runs(document: UnitDocument, collapsed: bool) -> UnitDocument:
    """The document with runs of equal units merged, and with durations unless runs of unknown length came in."""
    units, lengths = collapse(document.units)
    durations = document.durations
    if durations is None:
        durations = None if collapsed else lengths
    elif len(durations):
        durations = np.add.reduceat(durations, np.cumsum(lengths) - lengths, dtype=np.int64)
    return replace(document, units=units, durations=durations)


def as_frames(document: UnitDocument, collapsed: bool) -> UnitDocument:
    """The document with one unit per frame; `ValueError` for runs of unknown length."""
    if document.durations is not None:
        return replace(document, units=np.repeat(document.units, document.durations), durations=None)
    if collapsed:
        raise ValueError(
            f"utterance {document.id!r} is collapsed and its durations are not known, so its frames cannot be written: "
            f"choose a format of collapsed units"
        )
    return document
