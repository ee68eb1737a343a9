"""What readers of published files share: strict lines, times and paths, stretches of speech, held-out recordings.

In: files that others wrote. Out: values that are what they should be, or a `ValueError` that names file and line.
"""

import gzip
import json
import math
import os
import zlib
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

LONGEST_STRETCH = 30.0
"""Seconds: speech is cut into stretches of at most this length, the window that unit encoders read at once (a choice;
Libri-Light's own script aims at 60 s, github.com/facebookresearch/libri-light data_preparation/cut_by_vad.py)."""
LONGEST_PAUSE = 2.0
"""Seconds: a longer pause always ends a stretch (a choice)."""
MOST_SECONDS = 1e6
"""Times beyond 11 days are damage, not recordings (a choice)."""
MOST_LINE = 1 << 26
"""Bytes of a line that is believed (a choice)."""


def corpus_folder(corpus: str, root: Path | None, *layouts: str) -> Path:
    """The first of `root/<layout>` that is there; `ValueError` lists where it looked."""
    if root is None:
        raise ValueError(f"{corpus} is read from files: say where they are with --corpora DIR")
    for layout in layouts:
        if (root / layout).is_dir():
            return root / layout
    places = ", ".join(str(root / layout) for layout in layouts)
    raise ValueError(f"{corpus} is not there: none of {places} is a folder; `python -m data fetch` may get it")


def chosen(corpus: str, split: str, splits: Sequence[str]) -> str:
    """`split`, when the corpus has it."""
    if split not in splits:
        raise ValueError(f"{corpus} has no split {split!r}: choose one of {', '.join(splits)}")
    return split


def found(folder: Path, *patterns: str) -> Iterator[Path]:
    """Files that match one glob pattern a level, lazily, each level in order of its names."""
    first, *rest = patterns
    for path in sorted(folder.glob(first)):
        if rest and path.is_dir():
            yield from found(path, *rest)
        elif not rest and path.is_file():
            yield path


def inside(folder: Path, path: Path, where: object) -> Path:
    """`path`, which lies in `folder`; `ValueError` where its name, or a link that it follows, leads out of it."""
    try:
        str(path).encode()
        is_inside = os.path.realpath(path).startswith(os.path.realpath(folder).rstrip("/") + "/")
        is_inside &= ".." not in path.relative_to(folder).parts  # the folder itself may be `../somewhere`
    except ValueError as error:  # a null byte, a name that is not UTF-8, or one that begins elsewhere
        raise ValueError(f"{where}: {str(path)!r} is not a usable file name ({error})") from None
    if not is_inside:
        raise ValueError(f"{where}: {path} is not inside {folder}, or is a link that leads out of it; copy it there")
    return path


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text without its line end) of each line of a UTF-8 file, or of a `.gz` of one."""
    number = 0
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            while line := file.readline(MOST_LINE):
                number += 1
                if len(line) == MOST_LINE:
                    raise ValueError(f"{path}, line {number}: longer than {MOST_LINE:,} bytes; the file is damaged")
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {number}: not UTF-8 ({error.reason}); fetch the file again") from None
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path}: cannot be read ({error}); fetch it again") from None


def table(path: Path, columns: Sequence[str], separator: str = "\t") -> Iterator[tuple[int, list[str]]]:
    """(line number, cells of `columns`) of a table with a header line and no quoting; it may have more columns."""
    head: list[str] | None = None
    for number, line in lines(path):
        cells = line.split(separator)
        if head is None:
            head = cells
            if missing := [column for column in columns if column not in head]:
                raise ValueError(f"{path}, line 1: no column {', '.join(missing)} in the header {line[:200]!r}")
        elif len(cells) != len(head):
            raise ValueError(f"{path}, line {number}: {len(cells)} cells, the header has {len(head)}")
        else:
            yield number, [cells[head.index(column)] for column in columns]
    if head is None:
        raise ValueError(f"{path}: empty; fetch it again")


def json_object(text: str | bytes, where: object) -> dict[str, Any]:
    """A JSON object."""
    try:
        value = json.loads(text)
        json.dumps(value, ensure_ascii=False).encode()  # half a surrogate pair is JSON, but no text
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise ValueError(f"{where}: a JSON object expected, found {str(value)[:80]!r}")
    return value


def time(value: Any, where: object, unit: float = 1.0) -> float:
    """Seconds, from a number or its text, of which `unit` are a second: finite, not negative, believable."""
    try:
        seconds = math.nan if isinstance(value, bool) else float(value) / unit
    except (TypeError, ValueError, OverflowError):
        seconds = math.nan
    if not 0 <= seconds <= MOST_SECONDS:
        raise ValueError(f"{where}: {str(value)[:80]!r} is not a time of a recording")
    return seconds


def is_held_out(recording: str, one_in: int = 100) -> bool:
    """Whether a recording belongs to the validation split of a corpus that has no official one: a hash of its name
    decides. 1 %, as in Cuervo & Marxer (2024, section 3.3.1)."""
    return int.from_bytes(sha256(recording.encode()).digest()[:8]) % one_in == 0


def stretches(times: Sequence[tuple[float, float]]) -> Iterator[tuple[int, int]]:
    """(first, one after the last) of consecutive pieces of speech, given as (start, end) in seconds, that make one
    utterance: as many as fit into LONGEST_STRETCH without a pause over LONGEST_PAUSE. A longer piece stays whole."""
    first = 0
    for number in range(1, len(times) + 1):
        if (
            number == len(times)
            or times[number][1] - times[first][0] > LONGEST_STRETCH
            or times[number][0] - times[number - 1][1] > LONGEST_PAUSE
        ):
            yield first, number
            first = number
