"""Units of textlesslib, made in the interpreter in which it is installed; its Python and torch are too old for ours.

In: audio files. Out: units without equal neighbours, and the frames of each. A child process runs
`bridge/textless_bridge.py` there; the two speak JSON lines. Only a written stand-in of textlesslib was tested with it.
"""

import contextlib
import json
import queue
import subprocess
import threading
from pathlib import Path
from typing import IO, Any

import numpy as np

from slm.machine import Machine
from slm.spec import UnitSpec

Units = tuple[np.ndarray, np.ndarray]
"""(units without equal neighbours, frames of each)."""

_BRIDGE = Path(__file__).parent / "bridge" / "textless_bridge.py"
_PROTOCOL = 1
_TAIL_BYTES = 8192  # of the child's stderr that are kept (a choice)
_SLACK_FRAMES, _SLACK = 2, 0.01  # frames that may be missing or too many: convolutions lose one a pass (a choice)


class TextlessUnits:
    """textlesslib's `SpeechEncoder` for one recipe of units; no encoder in our sense, since its frames stay inside.

    `spec.encoder.checkpoint` is textlesslib's name of the dense model, `spec.encoder.revision` the SHA-256 of that
    model's file, and `spec.published` names the centres by SHA-256. textlesslib fetches missing files itself, into its
    own folder. One file is under way at a time, so a pipe cannot fill, and the child ends when this process does.
    """

    versions: dict[str, str | None]
    """Of Python, textlesslib, torch and torchaudio in that interpreter."""

    def __init__(
        self, spec: UnitSpec, machine: Machine, *, start_seconds: float = 1800.0, file_seconds: float = 600.0
    ) -> None:
        """Start the child; it is killed when it is silent for `start_seconds`, in which it may have to download a
        model, or for `file_seconds` over one file (both are choices). `ValueError` says what is missing or differs."""
        encoder, published = spec.encoder, spec.published
        if machine.textless_python is None:
            raise ValueError("textlesslib runs in an interpreter of its own: give its path with `--textless-python`")
        if not encoder.checkpoint or published is None:
            raise ValueError("units of textlesslib need the name of its dense model and the centres that it publishes")
        self._clusters, self._rate_hz, self._file_seconds = spec.clusters, encoder.rate_hz, file_seconds
        self._asked = 0
        self._child = _started(spec, machine)
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        threading.Thread(target=_listen, args=(self._child.stdout, self._lines), daemon=True).start()
        self._complaints = bytearray()
        self._listener = threading.Thread(target=_keep_tail, args=(self._child.stderr, self._complaints), daemon=True)
        self._listener.start()
        greeting = self._answer(start_seconds, "while it loaded the model")
        wanted = {
            "protocol": _PROTOCOL,
            "rate_hz": encoder.rate_hz,
            "clusters": spec.clusters,
            "dense_sha256": encoder.revision,
            "centres_sha256": published.sha256,
        }
        for name, value in wanted.items():
            if greeting.get(name) != value:
                raise self._failure(f"has {name} {greeting.get(name)} for {encoder.checkpoint}, {value} is wanted")
        self.versions = greeting["versions"]

    def encode(self, paths: list[Path]) -> list[Units | ValueError]:
        """(units, frames of each unit) of each file, or what is wrong with that file.

        Raises `ValueError` when the child dies, hangs or talks nonsense; it is not started again.
        """
        return [self._encoded(Path(path)) for path in paths]

    def close(self) -> None:
        """End the child."""
        with contextlib.suppress(OSError):
            self._child.stdin.close()  # tells it to end
        try:
            self._child.wait(timeout=5.0)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()

    def _encoded(self, path: Path) -> Units | ValueError:
        import soundfile

        try:
            seconds = soundfile.info(path).duration
        except (OSError, RuntimeError) as error:
            return ValueError(f"{path}: not readable as audio ({error})")
        self._asked += 1
        try:
            self._child.stdin.write(json.dumps({"id": self._asked, "path": str(path.absolute())}).encode() + b"\n")
            self._child.stdin.flush()
        except OSError:
            raise self._failure(f"had ended before {path}") from None
        answer = self._answer(self._file_seconds, f"over {path}")
        if answer.get("id") != self._asked:
            raise self._failure(f"answered request {answer.get('id')!r} instead of {self._asked}, {path}")
        if "error" in answer:
            return ValueError(f"{path}: textlesslib cannot encode it ({answer['error']})")
        return self._checked(path, seconds, answer.get("units"), answer.get("durations"))

    def _checked(self, path: Path, seconds: float, units: Any, durations: Any) -> Units | ValueError:
        if not (_are_integers(units) and _are_integers(durations) and len(units) == len(durations)):
            return ValueError(f"{path}: textlesslib gave no two equally long lists of units and durations")
        if not units:
            return ValueError(f"{path}: {seconds:.3f} s of sound are shorter than one frame")
        if not 0 <= min(units) <= max(units) < self._clusters:
            return ValueError(f"{path}: units {min(units)}..{max(units)} lie outside 0..{self._clusters - 1}")
        if min(durations) < 1 or any(one == other for one, other in zip(units, units[1:], strict=False)):
            return ValueError(f"{path}: textlesslib gave a unit of no frames, or one unit twice in a row")
        frames, expected = sum(durations), seconds * self._rate_hz
        if abs(frames - expected) > _SLACK_FRAMES + _SLACK * expected:
            return ValueError(f"{path}: {frames} frames for {seconds:.3f} s of sound, about {expected:.0f} expected")
        return np.array(units), np.array(durations)

    def _answer(self, seconds: float, when: str) -> dict:
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            raise self._failure(f"was silent for {seconds:g} s {when} and was killed") from None
        if line is None:
            raise self._failure(f"ended {when}")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise self._failure(f"wrote {line[:80]!r} {when}, a JSON object expected")
        return message

    def _failure(self, what: str) -> ValueError:
        """Kill the child; what it did, and the end of what it complained about."""
        self._child.kill()
        status = self._child.wait()
        self._listener.join(timeout=1.0)  # its stderr has ended, unless a process of its own holds it open
        complaints = " ".join(self._complaints.decode(errors="replace").split())[-400:]
        return ValueError(
            f"textlesslib's interpreter {self._child.args[0]} {what} (exit status {status}); the end of its stderr: "
            f"{complaints or 'nothing'}"
        )


def _started(spec: UnitSpec, machine: Machine) -> subprocess.Popen:
    options = {
        "--dense": spec.encoder.checkpoint,
        "--clusters": spec.clusters,
        "--centres-sha256": spec.published.sha256,
        "--accelerator": machine.accelerator,
        "--threads": machine.threads or 1,
    }
    command = [str(machine.textless_python), str(_BRIDGE)]
    command += [str(part) for option in options.items() for part in option]
    try:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    except OSError as error:
        raise ValueError(f"textlesslib's interpreter {command[0]} cannot be started ({error.strerror})") from None


def _listen(pipe: IO[bytes], lines: queue.Queue) -> None:
    for line in pipe:
        lines.put(line)
    lines.put(None)


def _keep_tail(pipe: IO[bytes], tail: bytearray) -> None:
    """Read all that a process complains about, so that it is never blocked, and keep the end."""
    while block := pipe.read1(_TAIL_BYTES):
        tail += block
        del tail[:-_TAIL_BYTES]


def _are_integers(value: Any) -> bool:
    return isinstance(value, list) and all(type(item) is int for item in value)
