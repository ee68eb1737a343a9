"""Files inside a tar, read where they lie: nothing is unpacked, so no name in it can lead anywhere.

In: an uncompressed tar. Out: the bytes of its regular files by name. Its table of contents is read once per process.
"""

import os
import tarfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path


class Member(tarfile.TarInfo):
    """A member whose header must be whole: Python's reader takes a damaged one, and a missing end, for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "Member":
        try:
            return super().fromtarfile(archive)
        except tarfile.EOFHeaderError:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f"{error} at byte {archive.offset}") from None


def members(path: Path) -> dict[str, tuple[int, int]]:
    """name -> (offset, size) of the regular files of a tar; `ValueError` for a damaged or compressed one."""
    status = os.stat(path)
    return _members(path, status.st_size, status.st_mtime_ns)


def member_bytes(path: Path, name: str) -> bytes:
    """Content of one file of a tar; `ValueError` when there is none of that name."""
    place = members(path).get(name)
    if place is None:
        raise ValueError(f"{path}: holds no file {name!r}; archive and manifest do not belong together")
    with open(path, "rb") as file:
        file.seek(place[0])
        return file.read(place[1])


@lru_cache(maxsize=8)
def _members(path: Path, size: int, changed: int) -> dict[str, tuple[int, int]]:
    """`size` and `changed` are there so that an altered archive is read anew."""
    try:
        with tarfile.open(path, "r:", tarinfo=Member) as archive:
            return dict(_files(archive, size))
    except (tarfile.TarError, ValueError, EOFError, OSError, RuntimeError, OverflowError, MemoryError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path}: not readable as an uncompressed tar ({reason}); fetch or decompress it") from None


def _files(archive: tarfile.TarFile, size: int) -> Iterator[tuple[str, tuple[int, int]]]:
    seen: set[str] = set()
    for member in archive:
        if member.size < 0 or member.offset_data + member.size > size:  # tarfile itself may loop on these
            raise ValueError(f"{member.name!r} passes the end of the archive")
        name = member.name.removeprefix("./")
        if member.isreg() and not member.issparse():
            if name in seen:
                raise ValueError(f"{name!r} is there twice")
            seen.add(name)
            yield name, (member.offset_data, member.size)
