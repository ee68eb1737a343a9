"""Files that are either whole or absent: written beside their name, flushed to disk, renamed into place.

Every other module writes through here, so that a killed process never leaves a torn file under a final name.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content` in one step; the old file, if any, stays whole until then."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def write_text(path: Path, content: str) -> None:
    """`write_bytes` of UTF-8 text."""
    write_bytes(path, content.encode())


def write_json(path: Path, content: Any) -> None:
    """`write_bytes` of indented JSON; NaN and infinity are refused."""
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def write_jsonl(path: Path, rows: list[dict]) -> None:
    """`write_bytes` of one JSON object per line."""
    write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file `path`; other processes that want it wait, and a killed holder lets it go."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def read_json(path: Path) -> Any:
    """The content of a JSON file; a `ValueError` that names the file when it is not JSON."""
    try:
        return json.loads(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); delete it and run the command again") from None


def read_jsonl(path: Path) -> list[dict]:
    """The rows of a JSON-lines file, none if it does not exist.

    A last line without its newline is what a killed writer leaves: it is not a row. Any other bad line is an error
    that names the file and the line.
    """
    path = Path(path)
    if not path.exists():
        return []
    *lines, _torn = path.read_bytes().split(b"\n")
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise ValueError(f"{path}, line {number}: not valid JSON ({error})") from None
    return rows
