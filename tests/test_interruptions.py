"""What a full disk and Ctrl-C leave behind: one clear line, and nothing half-written taken for whole."""

import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from slm.store import TokenStore

REPOSITORY = Path(__file__).parents[1]


def limited(code: str, *arguments: str, file_bytes: int) -> subprocess.CompletedProcess:
    """Run code in a process whose files may not grow past a size: the kernel fails its writes as a full disk does."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))

    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=REPOSITORY, preexec_fn=limit, capture_output=True, text=True)


WRITE_STORE = """
import sys, numpy as np
from slm.store import Document, write_store
from tests.conftest import store_spec
documents = (Document(id=str(i), tokens=np.arange(16)) for i in range(int(sys.argv[2])))
try:
    write_store(sys.argv[1], store_spec(), documents, {})
except OSError as error:
    print("failed:", error)
"""


def test_a_store_that_does_not_fit_on_the_disk_is_absent_and_can_be_made_later(tmp_path):
    folder = tmp_path / "stores" / "s"
    full = limited(WRITE_STORE, str(folder), "1000", file_bytes=8192)
    assert "File too large" in full.stdout, full.stderr
    assert list(folder.parent.iterdir()) == []
    assert limited(WRITE_STORE, str(folder), "1000", file_bytes=1 << 20).stdout == ""
    assert TokenStore(folder).num_tokens == 17_000


SAVE = """
import sys, torch
from slm.checkpoint import AtomicCheckpointIO
try:
    AtomicCheckpointIO().save_checkpoint({"x": torch.ones(int(sys.argv[2]))}, sys.argv[1])
except OSError as error:
    print("failed:", error)
"""


def test_a_checkpoint_that_does_not_fit_leaves_the_last_one_whole(tmp_path):
    from slm.checkpoint import read_checkpoint

    path = tmp_path / "last.ckpt"
    assert limited(SAVE, str(path), "10", file_bytes=1 << 20).stdout == ""
    assert limited(SAVE, str(path), "100000", file_bytes=8192).stdout.startswith("failed:")
    assert np.array_equal(read_checkpoint(path)["x"], np.ones(10)) and os.listdir(tmp_path) == ["last.ckpt"]


def heed_ctrl_c() -> None:
    """A shell in the background starts its commands deaf to Ctrl-C; a terminal does not."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def workers_of(group: int) -> list[str]:
    """Live processes of a process group, those aside that only wait to be reaped."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True).stdout.splitlines()
    rows = [line.split(None, 2) for line in listed]
    return [row[2] for row in rows if int(row[0]) == group and not row[1].startswith("Z")]


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT to a process group")
def test_ctrl_c_ends_prepare_in_one_line_and_its_workers_with_it(tmp_path):
    command = [sys.executable, "-m", "data", "prepare", "stories-validation/units"]
    environment = os.environ | {"SLM_ROOT": str(tmp_path)}
    child = subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=environment,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=heed_ctrl_c,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("encoders/*/centres.safetensors")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("encoders/*/centres.safetensors"))
    os.killpg(child.pid, signal.SIGINT)
    _, errors = child.communicate(timeout=30)
    assert child.returncode == 130 and "Traceback" not in errors
    assert errors.strip().splitlines()[-1] == "stopped; the same command continues from here"
    while workers_of(child.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert workers_of(child.pid) == []
    assert not (tmp_path / "stores/micro/stories-validation/units").exists()
