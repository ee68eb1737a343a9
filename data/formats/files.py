"""Files of other people's formats: read with every defect named, written whole or not at all.

In: paths. Out: lines and JSON objects with the place where they stand; new files and folders that appear under their
names when they are complete. Nothing is overwritten.
"""

import codecs
import json
import math
import os
import re
import reprlib
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import numpy as np

LONGEST_LINE = 1 << 28
"""Bytes: more than any utterance needs. A choice, so that a file without line ends cannot fill the memory."""
_NOT_INTEGERS = re.compile(r"[^0-9 ]|^ | $|  |[0-9]{19}")  # 18 digits fit into 64 bits


def plain_file(path: Path, folder: Path | None = None) -> Path:
    """The path, if a file is there and, given a folder, no link leads it out of that; else `ValueError`."""
    if not path.is_file():
        raise ValueError(f"{path}: {'a file is expected, this is none' if path.exists() else 'no such file'}")
    if folder is not None and not path.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"{path}: a link that leads out of {folder}: copy the file there instead")
    return path


def lines(path: Path, folder: Path | None = None) -> Iterator[tuple[str, str]]:
    """(place, text without its line end) of each line of a UTF-8 file, `\\n` or `\\r\\n`.

    `ValueError` for a byte-order mark, other encodings, and a last line without its end: it may have been cut.
    """
    with open(plain_file(path, folder), "rb") as file:
        for number, line in enumerate(iter(lambda: file.readline(LONGEST_LINE + 1), b""), start=1):
            place = f"{path}, line {number}"
            if len(line) > LONGEST_LINE:
                raise ValueError(f"{place}: longer than {LONGEST_LINE} bytes, so no line of units")
            if number == 1 and line.startswith((codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
                raise ValueError(f"{place}: begins with a byte-order mark: save it as UTF-8 without one")
            if not line.endswith(b"\n"):
                raise ValueError(f"{place}: ends without a newline, so the file may be cut off: fetch or make it again")
            try:
                yield place, line.decode().removesuffix("\n").removesuffix("\r")
            except UnicodeDecodeError as error:
                raise ValueError(f"{place}: not UTF-8 ({error})") from None


def integers(text: str, place: str) -> np.ndarray:
    """Whole numbers with one blank between them: (T,) int64."""
    if bad := _NOT_INTEGERS.search(text):
        near = text[max(0, bad.start() - 10) : bad.end() + 10]
        raise ValueError(f"{place}: expected whole numbers with one blank between them, found {near!r}")
    return np.fromstring(text, dtype=np.int64, sep=" ") if text else np.zeros(0, np.int64)


def json_object(content: bytes, place: str) -> dict:
    """One JSON object; `ValueError` for anything else, and for NaN, infinities and half characters inside."""
    try:
        value = json.loads(content.decode(), parse_constant=_finite, parse_float=_finite)
        if b"\\u" in content:  # only an escape can make half a character
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{place}: not valid JSON ({error})") from None
    if type(value) is not dict:
        raise ValueError(f"{place}: expected a JSON object, found {reprlib.repr(value)}")
    return value


def json_lines(path: Path, folder: Path | None = None) -> Iterator[tuple[str, dict]]:
    """(place, object) of each line; blank lines are passed over."""
    return ((place, json_object(text.encode(), place)) for place, text in lines(path, folder) if text.strip())


def member(row: dict, name: str, kind: type, place: str) -> Any:
    """Field `name` of exactly that type (1 is no float, True no int)."""
    if type(row.get(name)) is not kind:
        raise ValueError(f"{place}: field {name!r} is {reprlib.repr(row.get(name))}, expected {kind.__name__}")
    return row[name]


def integer_list(row: dict, name: str, place: str) -> np.ndarray:
    """Field `name` as (T,) int64."""
    values = member(row, name, list, place)
    bad = [value for value in values if type(value) is not int or abs(value) >= 1 << 62]
    if bad:
        raise ValueError(f"{place}: field {name!r} holds {reprlib.repr(bad[0])}, expected 64-bit integers")
    return np.array(values, dtype=np.int64)


def recording(name: str) -> tuple[str, str]:
    """(id, name to keep) of a recording's file name: its stem; and the name, of absolute ones the last part only."""
    path = PurePosixPath(name)
    return path.stem, path.name if path.is_absolute() else name


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under `path` when the block ends well; `ValueError` if something is there already."""
    beside = _beside(path)
    try:
        with open(beside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


@contextmanager
def new_files(*paths: Path) -> Iterator[list[BinaryIO]]:
    """Several such files; none appears unless the block ends well."""
    with ExitStack() as stack:
        yield [stack.enter_context(new_file(path)) for path in paths]


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill, which appears under `path` when the block ends well."""
    beside = _beside(path)
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        yield beside
        beside.rename(path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _beside(path: Path) -> Path:
    if path.exists():
        raise ValueError(f"{path} exists already: delete it or choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.with_name(f".{path.name}.{os.getpid()}.tmp")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text[:20]} is not finite")
    return value
