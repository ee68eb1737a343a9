"""fairseq: `.tsv` manifests, quantised lines of GSLM, and `.km` labels of HuBERT pre-training.

In and out: one label per frame of the encoder, not collapsed; ids as they are, no special ids. A manifest is a root
directory, then `path<TAB>samples` (at 16 kHz) per recording. Layout: github.com/facebookresearch/fairseq @ 3d262bb2,
examples/textless_nlp/gslm/speech2unit and examples/hubert/simple_kmeans.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from data.formats.document import Stated, UnitDocument, UnitStream, as_frames, checked
from data.formats.files import integers, lines, new_file, recording
from slm.atomic import write_text

SAMPLE_RATE = 16000
"""Of HuBERT, and so of the sample counts of a manifest."""


@dataclass(frozen=True, kw_only=True)
class Recording:
    """A row of a manifest."""

    id: str
    audio: str
    samples: int


def read_manifest(path: Path) -> tuple[str, list[Recording]]:
    """(root directory, rows) of a `.tsv`; `ValueError` names a bad line."""
    found = lines(path)
    root = next(found, (None, None))[1]
    if root is None:
        raise ValueError(f"{path}: empty; a manifest begins with the root directory")
    rows = []
    for place, line in found:
        name, tab, samples = line.partition("\t")
        count = integers(samples, place)
        if not tab or not name or len(count) != 1 or count[0] < 1:
            raise ValueError(f"{place}: expected `path<TAB>number of samples`, found {line[:80]!r}")
        key, audio = recording(name)
        rows.append(Recording(id=key, audio=audio, samples=int(count[0])))
    return root, rows


def read_gslm(path: Path, stated: Stated) -> UnitStream:
    """Lines `name|17 17 4 9`, or without `name|` (`--hide-fname`) where a manifest tells the names.

    GSLM cuts the extension off as a set of characters: `an-alf.flac` becomes `an-`. With the manifest the true stem
    is found again, on the line's own row first; without it the name is taken as it is.
    """
    clusters, notes = stated.clusters(path), []
    root, rows = read_manifest(stated.manifest) if stated.manifest else (None, None)

    def documents() -> Iterator[tuple[str, UnitDocument]]:
        known, number, named = _names(rows or []), -1, True
        for number, (place, line) in enumerate(lines(path)):
            name, bar, labels = line.rpartition("|")
            units, named = integers(labels, place), named and bool(bar)
            if rows is None:
                if not bar:
                    raise ValueError(f"{place}: no `name|` before the units: give the manifest they were made from")
                yield place, UnitDocument(id=name, units=units)
                continue
            row = _named(rows, known, name, number, place) if bar else _row(rows, number, place)
            yield place, _document(row, units)
        if rows is not None and number + 1 < len(rows):
            found = f"{path}: {number + 1} lines for the {len(rows)} rows of {stated.manifest}"
            if not named:
                raise ValueError(f"{found}: without names they must be as many")
            notes.append(found)

    files = (path, stated.manifest) if stated.manifest else (path,)
    return _stream(documents(), clusters, files, root, notes)


def read_km(path: Path, stated: Stated) -> UnitStream:
    """One line of labels per row of the manifest, which is the `.tsv` of the same name unless another is given."""
    clusters, manifest = stated.clusters(path), stated.manifest or path.with_suffix(".tsv")
    root, rows = read_manifest(manifest)

    def documents() -> Iterator[tuple[str, UnitDocument]]:
        number = -1
        for number, (place, line) in enumerate(lines(path)):
            yield place, _document(_row(rows, number, place), integers(line, place))
        if number + 1 != len(rows):
            raise ValueError(f"{path}: {number + 1} lines for the {len(rows)} rows of {manifest}: fetch both again")

    return _stream(documents(), clusters, (path, manifest), root, [])


def write_gslm(path: Path, stream: UnitStream) -> list[str]:
    """Lines with names; and the manifest, beside them under `.tsv`, if every document has its length in seconds."""
    _check_names(path)
    rows, missing = [], 0
    with new_file(path) as file:
        for document in stream.documents:
            name, units = _one_line(path, document.id), as_frames(document, stream.collapsed).units
            file.write(f"{name}|{' '.join(map(str, units.tolist()))}\n".encode())
            missing += document.seconds is None
            rows += [] if missing else [_manifest_row(path, document)]
        if not missing:
            _write_manifest(path, stream, rows)
    if missing:
        return [f"no manifest was written: {missing} documents have no length in seconds; file names are lost"]
    return []


def write_km(path: Path, stream: UnitStream) -> list[str]:
    """Labels, and the manifest of the same name; `ValueError` for a document without its length in seconds."""
    _check_names(path)
    rows = []
    with new_file(path) as file:
        for document in stream.documents:
            rows.append(_manifest_row(path, document))
            file.write(f"{' '.join(map(str, as_frames(document, stream.collapsed).units.tolist()))}\n".encode())
        _write_manifest(path, stream, rows)
    return []


def _stream(found: Iterator, clusters: int, files: tuple[Path, ...], root: str | None, notes: list[str]) -> UnitStream:
    return UnitStream(
        documents=checked(found, clusters),
        clusters=clusters,
        collapsed=False,
        files=files,
        header={} if root is None else {"root": root},
        notes=notes,
    )


def _names(rows: list[Recording]) -> dict[str, list[int]]:
    """Row numbers by every name that GSLM may have made of a recording's file name, and by the true stem."""
    found: dict[str, list[int]] = {}
    for number, row in enumerate(rows):
        name = PurePosixPath(row.audio).name
        for key in {row.id, name.rstrip(PurePosixPath(name).suffix), name.rstrip(".flac")}:
            found.setdefault(key, []).append(number)
    return found


def _named(rows: list[Recording], known: dict[str, list[int]], name: str, number: int, place: str) -> Recording:
    candidates = known.get(name, [])
    if number in candidates:
        return rows[number]
    if len(candidates) != 1:
        raise ValueError(f"{place}: {name[:80]!r} names {len(candidates)} rows of the manifest, expected one")
    return rows[candidates[0]]


def _row(rows: list[Recording], number: int, place: str) -> Recording:
    if number >= len(rows):
        raise ValueError(f"{place}: the manifest has {len(rows)} rows only: give the one that the units were made from")
    return rows[number]


def _document(row: Recording, units: np.ndarray) -> UnitDocument:
    return UnitDocument(id=row.id, units=units, seconds=row.samples / SAMPLE_RATE, audio=row.audio)


def _manifest_row(path: Path, document: UnitDocument) -> str:
    audio = document.audio or f"{document.id}.flac"
    samples = round((document.seconds or 0) * SAMPLE_RATE)
    if samples < 1:
        raise ValueError(f"{path}: a manifest needs the length of every recording, {document.id!r} has none in seconds")
    if "\t" in audio or PurePosixPath(audio).stem != document.id:
        raise ValueError(f"{path}: {audio!r} is no file name with the stem {document.id!r}")
    return f"{_one_line(path, audio)}\t{samples}\n"


def _check_names(path: Path) -> None:
    manifest = path.with_suffix(".tsv")
    if manifest == path:
        raise ValueError(f"{path}: `.tsv` is the ending of the manifest that lies beside the units: choose another")
    if manifest.exists():
        raise ValueError(f"{manifest} exists already: delete it or choose another name")


def _write_manifest(path: Path, stream: UnitStream, rows: list[str]) -> None:
    write_text(path.with_suffix(".tsv"), f"{stream.header.get('root', '.')}\n{''.join(rows)}")


def _one_line(path: Path, name: str) -> str:
    if "\n" in name or "\r" in name:
        raise ValueError(f"{path}: the name {name!r} has a line break, which a line cannot hold")
    return name
