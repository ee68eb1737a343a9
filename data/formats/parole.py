"""Flat files of ParoleLM on the Hugging Face hub: `<split>.bin`, `<split>.len` and, where it lies there, `<split>.dur`.

In: int16 units of all utterances, the units of each in 4 bytes, the frames of each unit in one byte. Out: documents;
reading only. The contents are unverified: sizes alone suggest these types, so the sums must agree. Whether special
ids are among the units is unknown: an id >= K is refused. `meta.pkl` is never opened: a pickle can run code.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.formats.document import Stated, UnitDocument, UnitStream, checked
from data.formats.files import plain_file


def read(path: Path, stated: Stated) -> UnitStream:
    """The split whose `.bin` this is; utterances are named by their number, because names are only in `meta.pkl`.

    Lengths add up to the number of units as uint32 (which non-negative int32 are too), else `ValueError`.
    """
    if path.suffix != ".bin":
        raise ValueError(f"{path}: expected the split's `.bin`")
    clusters, folder = stated.clusters(path), path.parent
    lengths_path, frames_path = path.with_suffix(".len"), path.with_suffix(".dur")
    units = _array(plain_file(path), "<i2")
    lengths = _array(plain_file(lengths_path, folder), "<u4")
    total = int(lengths.sum(dtype=np.uint64))
    if total != len(units):
        raise ValueError(f"{lengths_path}: its lengths add up to {total}, {path} holds {len(units)} units")
    frames = _array(plain_file(frames_path, folder), "u1") if frames_path.exists() else None
    if frames is not None and len(frames) != len(units):
        raise ValueError(f"{frames_path}: {len(frames)} durations, {path} holds {len(units)} units")

    def documents() -> Iterator[tuple[str, UnitDocument]]:
        start = 0
        for number, length in enumerate(lengths):
            part = slice(start, start := start + int(length))
            durations = None if frames is None else np.asarray(frames[part])
            place = f"{path}, sample {number}"
            yield place, UnitDocument(id=f"{number:07d}", units=np.asarray(units[part]), durations=durations)

    return UnitStream(
        documents=checked(documents(), clusters),
        clusters=clusters,
        collapsed=stated.state(path, None if frames is None else True),
        files=(path, lengths_path) if frames is None else (path, lengths_path, frames_path),
        notes=[f"{path.parent.name}: names, texts and speakers of ParoleLM are in meta.pkl, which is not opened"],
    )


def _array(path: Path, kind: str) -> np.ndarray:
    size, each = path.stat().st_size, np.dtype(kind).itemsize
    if size == 0 or size % each:
        raise ValueError(f"{path}: {size} bytes are no entries of {each} bytes: fetch it again")
    return np.memmap(path, kind, mode="r")
