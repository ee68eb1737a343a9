"""Checkpoints that are whole or absent, and that are read without unpickling code.

In: Lightning's checkpoint dictionary and a path. Out: a file renamed into place. Lightning's own writer moves from
the system's temporary folder, which is not atomic across file systems.
"""

import os
import zipfile
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO


class AtomicCheckpointIO(CheckpointIO):
    """Writes beside the final name, flushes, renames."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            with open(beside, "wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(beside, path)
        except (RuntimeError, OSError) as error:  # torch makes either of a failed write
            raise OSError(f"cannot write {path} ({str(error).splitlines()[0]}): is the disk full?") from None
        finally:
            beside.unlink(missing_ok=True)

    def load_checkpoint(self, path: str | Path, map_location: Any = None, weights_only: bool | None = True) -> dict:
        return read_checkpoint(Path(path), mmap=True)  # several devices of a node share its pages

    def remove_checkpoint(self, path: str | Path) -> None:
        Path(path).unlink(missing_ok=True)


def verify(path: Path) -> None:
    """Compare a checkpoint with the checksums (CRC-32) in it, which torch writes and does not read.

    `ValueError` names a file that is torn or altered.
    """
    try:
        with zipfile.ZipFile(path) as records:
            wrong = records.testzip()
    except Exception as error:  # of many kinds, for torn and altered archives
        wrong = str(error) or type(error).__name__
    if wrong:
        raise ValueError(f"{path} is torn or altered ({wrong}): delete it and train again")


def read_checkpoint(path: Path, mmap: bool = False) -> dict:
    """The tensors and plain values of a checkpoint, on the CPU; `ValueError` names a file that cannot be read.

    With `mmap`, tensors are read when they are looked at.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except FileNotFoundError:
        raise ValueError(f"no checkpoint at {path}: train the run first") from None
    except Exception as error:  # torch raises many kinds for torn and altered files
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is torn or altered ({first_line}): delete it and train again") from None
