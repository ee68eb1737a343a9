"""Where results live, and how they are written: below `$SLM_ROOT/results/SCALE`, and only when they changed.

In: a root, a scale and bytes. Out: files. An unchanged table, fit or figure is an unchanged file.
"""

import os
from pathlib import Path

from slm.atomic import write_bytes


def root() -> Path:
    """`$SLM_ROOT`, or `./out` where it is not set."""
    return Path(os.environ.get("SLM_ROOT") or "out")


def results_folder(root: Path, scale: str) -> Path:
    """The folder of the tables, fits, figures and report of a scale."""
    return Path(root) / "results" / scale


def write_if_changed(path: Path, content: bytes) -> bool:
    """Make `path` hold `content`; True if it had to be written."""
    path = Path(path)
    if path.exists() and path.read_bytes() == content:
        return False
    write_bytes(path, content)
    return True
