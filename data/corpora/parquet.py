"""Rows of parquet shards, with pyarrow's many errors turned into one.

In: a shard as the Hugging Face hub serves them. Out: its rows, or the recording of one row. pyarrow is an extra:
`pip install 'slm[parquet]'`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

_BATCH = 1024  # rows decoded at once (a choice)


def rows(path: Path, columns: dict[str, type]) -> Iterator[dict[str, Any]]:
    """The rows of a shard in order, as the columns asked for; a value is of its column's type, or None.

    `ValueError` names the file, and the row where one is wrong (counted from 0).
    """
    with _reading(path) as file:
        missing = [name for name in columns if name not in file.schema_arrow.names]
        if missing:
            raise ValueError(f"{path}: no column {', '.join(missing)}; it has {', '.join(file.schema_arrow.names)}")
        number = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=list(columns)):
            for row in batch.to_pylist():
                for name, kind in columns.items():
                    if row[name] is not None and type(row[name]) is not kind:
                        raise ValueError(f"{path}, row {number}: {name} is {row[name]!r}, {kind.__name__} expected")
                yield row
                number += 1


def recording(path: Path, name: str) -> bytes:
    """The encoded audio of the row whose `id` is `name`: its `audio.bytes`, as `datasets` stores audio.

    Reads one row group, and keeps the last one: rows read in order cost one decoding each.
    """
    status = os.stat(path)
    version = (path, status.st_size, status.st_mtime_ns)
    place = _places(*version).get(name)
    if place is None:
        raise ValueError(f"{path}: no row with id {name!r}; was the shard replaced?")
    content = _recordings(*version, place[0])[place[1]]
    if not content:
        raise ValueError(f"{path}, {name}: the row holds no audio")
    return content


@lru_cache(maxsize=8)
def _places(path: Path, size: int, changed: int) -> dict[str, tuple[int, int]]:
    """id -> (row group, row in it); `size` and `changed` are there so that an altered shard is read anew."""
    places: dict[str, tuple[int, int]] = {}
    with _reading(path) as file:
        for group in range(file.num_row_groups):
            for row, name in enumerate(file.read_row_group(group, columns=["id"])["id"].to_pylist()):
                if name in places:
                    raise ValueError(f"{path}: id {name!r} occurs twice; fetch it again")
                places[name] = (group, row)
    return places


@lru_cache(maxsize=1)
def _recordings(path: Path, size: int, changed: int, group: int) -> list[bytes | None]:
    with _reading(path) as file:
        audio = file.read_row_group(group, columns=["audio.bytes"])["audio"].to_pylist()
    return [row["bytes"] if row else None for row in audio]


@contextmanager
def _reading(path: Path):
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise ValueError(f"{path}: reading parquet needs pyarrow: pip install 'slm[parquet]'") from None
    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            yield file
    except (pyarrow.ArrowException, OSError, UnicodeError, KeyError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not readable as parquet ({reason}); fetch it again") from None
