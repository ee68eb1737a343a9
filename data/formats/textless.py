"""textlesslib: `<name>.units` and, beside it, `<name>.durations`.

In and out: one line of units per recording and one of frames per unit, with `name<TAB>` before both under
`--preserve_name`; ids as they are, no special ids (its `add_bos_eos` would make BOS = K, EOS = K + 1, in memory only).
Layout: github.com/facebookresearch/textlesslib @ ba33d669, tools/distributed_transcribe/transcribe.py.
"""

from collections.abc import Iterator
from itertools import chain, repeat, zip_longest
from pathlib import Path

from data.formats.document import Stated, UnitDocument, UnitStream, checked
from data.formats.fairseq import SAMPLE_RATE, read_manifest
from data.formats.files import integers, lines, new_files


def read(path: Path, stated: Stated) -> UnitStream:
    """Units with the durations that lie beside them, if any; without these the caller says whether runs are collapsed.

    Names are those before the tab, else those of the manifest, else the line's number from 0.
    """
    _check_name(path)
    clusters, beside = stated.clusters(path), path.with_suffix(".durations")
    rows = read_manifest(stated.manifest)[1] if stated.manifest else None
    durations = beside if beside.exists() else None
    return UnitStream(
        documents=checked(_documents(path, durations, rows), clusters),
        clusters=clusters,
        collapsed=stated.state(path, True if durations else None),
        files=tuple(file for file in (path, durations, stated.manifest) if file),
    )


def _documents(path: Path, durations: Path | None, rows: list | None) -> Iterator[tuple[str, UnitDocument]]:
    frames = lines(durations, durations.parent) if durations else repeat(None)
    named, number = None, -1
    for number, (found, found_frames) in enumerate(_pairs(path, lines(path), durations, frames)):
        place, line = found
        name, tab, units = line.rpartition("\t")
        named = bool(tab) if named is None else named
        if named != bool(tab):
            raise ValueError(f"{place}: some lines have `name<TAB>` and some have not")
        document = {"units": integers(units, place)}
        if found_frames:
            other, _, counts = found_frames[1].rpartition("\t")
            if other != name:
                raise ValueError(f"{found_frames[0]}: of {other[:80]!r}, the units beside it are of {name[:80]!r}")
            document["durations"] = integers(counts, found_frames[0])
        if rows is not None:
            if number >= len(rows) or (named and name != rows[number].id):
                raise ValueError(f"{place}: not the recording of row {number + 1} of the manifest")
            name, document["audio"] = rows[number].id, rows[number].audio
            document["seconds"] = rows[number].samples / SAMPLE_RATE
        yield place, UnitDocument(id=name if named or rows is not None else f"{number:07d}", **document)
    if rows is not None and number + 1 != len(rows):
        raise ValueError(f"{path}: {number + 1} lines for {len(rows)} rows of the manifest")


def _pairs(path: Path, units: Iterator, durations: Path | None, frames: Iterator) -> Iterator[tuple]:
    if durations is None:
        yield from zip(units, frames, strict=False)
        return
    for pair in zip_longest(units, frames):
        if None in pair:
            longer, shorter = (durations, path) if pair[0] is None else (path, durations)
            raise ValueError(f"{shorter}: fewer lines than {longer}: fetch or make both again")
        yield pair


def _check_name(path: Path) -> None:
    if path.suffix != ".units":
        raise ValueError(f"{path}: textlesslib's files end in `.units`")


def write(path: Path, stream: UnitStream, *, names: bool) -> list[str]:
    """Units, and durations where documents have them; `ValueError` when only some have."""
    _check_name(path)
    documents = iter(stream.documents)
    first = next(documents, None)
    with_durations = first is not None and first.durations is not None
    paths = (path, path.with_suffix(".durations")) if with_durations else (path,)
    with new_files(*paths) as files:
        for document in chain([] if first is None else [first], documents):
            if with_durations != (document.durations is not None):
                raise ValueError(f"{path}: {document.id!r} differs from the first document in having durations or not")
            if names and set(document.id) & set("\t\r\n"):
                raise ValueError(f"{path}: the name {document.id!r} has a tab or line break, which a line cannot hold")
            prefix = f"{document.id}\t" if names else ""
            for file, values in zip(files, (document.units, document.durations), strict=False):
                file.write(f"{prefix}{' '.join(map(str, values.tolist()))}\n".encode())
    return []
