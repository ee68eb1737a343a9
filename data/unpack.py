"""Archives from elsewhere, unpacked without trust: nothing in one can be written, or point, outside of its folder.

In: a tar (plain or compressed), a zip, or any other file. Out: its content in a folder, moved there in whole
folders, and the archive gone. Whatever is odd in a name or a kind of file refuses the whole archive.
"""

import errno
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from lzma import LZMAError
from pathlib import Path

from data.corpora.tar import Member

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_DAMAGE = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, LZMAError, struct.error, EOFError, OSError),
    *(ValueError, KeyError, RuntimeError, OverflowError, MemoryError),
)
"""What Python's readers of archives were seen to raise, or may, on damaged ones."""


class Refused(ValueError):
    """An archive that is damaged, or holds what must not be unpacked."""


def unpack(archive: Path, folder: Path, creates: Path | None = None) -> None:
    """Unpack into `folder`, or move a file there that is no archive; existing files stay as they are.

    `creates`, where given, appears last and in one step; `Refused` when the archive has no such thing in it, or holds
    what must not be unpacked. An archive that was refused stays, so that it can be looked at.
    """
    if not archive.name.endswith((*TARS, ".zip")):
        folder.mkdir(parents=True, exist_ok=True)
        if archive.parent != folder:
            os.replace(archive, folder / archive.name)
        return
    beside = archive.with_name(f".{archive.name}.unpacking")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir()
    try:
        _extract(archive, beside)
        last = None if creates is None else creates.relative_to(folder)
        if last is not None and not (beside / last).exists():
            raise Refused(f"{archive}: holds no {last}; its publisher changed it, or it is the wrong file")
        _merge(beside, folder, () if last is None else last.parts)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    archive.unlink()


def _extract(archive: Path, folder: Path) -> None:
    try:
        if archive.name.endswith(".zip"):
            _unzip(archive, folder)
        else:
            _untar(archive, folder)
    except Refused:
        raise
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise  # a matter of this machine's disk
        reason = " ".join(str(error).split())[:200]
        raise Refused(f"{archive}: cannot be unpacked ({reason}); delete it and fetch it again") from None


def _untar(archive: Path, folder: Path) -> None:
    """Python's `data` filter, and more: absolute names are refused, not cut, and nothing passes through a link."""
    with tarfile.open(archive, tarinfo=Member) as tar:
        for member in tar:
            _check_name(archive, member.name, folder)
            if member.size < 0:
                raise Refused(f"{archive}: {member.name!r} has {member.size} bytes; delete it and fetch it again")
            tar.extract(member, folder, filter="data")


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as container:
        for member in container.infolist():
            _check_name(archive, member.filename, folder)
            kind = stat.S_IFMT(member.external_attr >> 16)  # 0 where the archive was not made on Unix
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise Refused(f"{archive}: {member.filename!r} is a link or a device; it is refused whole, delete it")
            container.extract(member, folder)


def _check_name(archive: Path, name: str, folder: Path) -> None:
    parts = name.split("/")
    if name.startswith("/") or ".." in parts or "\0" in name:
        raise Refused(f"{archive}: {name!r} leads out of its folder; it is refused whole, delete it")
    if any((folder / Path(*parts[: depth + 1])).is_symlink() for depth in range(len(parts))):
        raise Refused(f"{archive}: {name!r} passes through a link; it is refused whole, delete it")


def _merge(source: Path, target: Path, last: tuple[str, ...]) -> None:
    """Move what `target` does not have, whole folders at once, and the way to `last` after everything else."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.iterdir(), key=lambda path: (path.name == (last or ("",))[0], path.name)):
        there = target / path.name
        if not os.path.lexists(there):
            os.rename(path, there)
        elif path.is_dir() and not path.is_symlink() and there.is_dir():
            _merge(path, there, last[1:] if last and last[0] == path.name else ())
