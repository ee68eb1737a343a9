"""Units of textlesslib through its bridge: a real child process, real pipes, real audio files.

textlesslib cannot be installed beside this suite, so a small written package stands where it would be; textlesslib
itself, its models and its interpreter are NOT tested here.
"""

import ast
import contextlib
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from slm.machine import Machine
from slm.spec import EncoderSpec, PublishedCentres, UnitSpec
from slm.speech.textless import TextlessUnits
from slm.store import checksum

BRIDGE = Path(__file__).parents[3] / "slm" / "speech" / "bridge" / "textless_bridge.py"
DEFECTS = {"error": 0.90, "outside": 0.85, "short": 0.80, "twice": 0.75, "crash": 0.70, "hang": 0.65}
"""Peaks of sound at which the stand-in does what textlesslib might."""

STAND_IN = {
    "textless/__init__.py": """
print("textless says hello on stdout")
DENSE_MODELS = {"tiny-25hz": (object, "tiny-weights", 11, {"feat_hop_size": 640})}
QUANTIZER_MODELS = {"kmeans-expresso": object, "kmeans": object}
""",
    "textless/checkpoint_manager/__init__.py": """
import hashlib, os, pathlib, types
class Manager:
    root = pathlib.Path(os.environ["STAND_IN"])
    names = ("tiny-weights", "tiny-25hz-kmeans-10", "tiny-25hz-kmeans-expresso-10")
    @property
    def storage(self):
        return {n: types.SimpleNamespace(sha256=hashlib.sha256(self.get_by_name(n).read_bytes()).hexdigest())
                for n in self.names}
    def get_by_name(self, name):
        return self.root / (name + ".bin")
CHECKPOINT_MANAGER = Manager()
""",
    "textless/data/speech_encoder.py": """
import os, subprocess, sys, time
import torch
class SpeechEncoder(torch.nn.Module):
    vocab_size, code_hop_size, expected_sample_rate = 10, 640, 16000
    @classmethod
    def by_name(cls, dense_model_name, quantizer_model_name, vocab_size, deduplicate, add_bos_eos=False, need_f0=True):
        assert (dense_model_name, quantizer_model_name, vocab_size) == ("tiny-25hz", "kmeans", 10)
        assert deduplicate and not need_f0
        return cls()
    @property
    def device(self):
        return torch.device("cpu")
    def maybe_resample(self, waveform, rate):
        return waveform if rate == 16000 else torch.nn.functional.interpolate(
            waveform[None], scale_factor=16000 / rate)[0]
    def forward(self, waveform):
        print('{"id": 1, "units": [7], "durations": [25]}')
        os.write(1, b"a library that writes past sys.stdout\\n")
        subprocess.run(["echo", "a process of a library"])
        sys.stderr.write("w" * 100_000)
        assert sys.stdin.read() == "" and waveform.shape[0] == 1
        defect = DEFECTS.get(round(float(waveform.abs().max()), 2))
        if defect == "error":
            raise RuntimeError("no sound\\nin here")
        if defect == "crash":
            sys.stderr.write("the GPU is on fire\\n")
            os._exit(3)
        if defect == "hang":
            open(os.path.join(os.environ["STAND_IN"], "hanging"), "w").close()
            time.sleep(600)
        frames = waveform[0, : waveform.shape[1] // 640 * 640].reshape(-1, 640)
        units = (frames.mean(1) * 10).round().long() + (10 if defect == "outside" else 0)
        if defect == "short":
            units = units[: len(units) // 2]
        units, durations = torch.unique_consecutive(units, return_counts=True)
        if defect == "twice":
            units = torch.cat([units, units[-1:]])
            durations = torch.cat([durations[:-1], durations[-1:] - 1, torch.ones(1, dtype=torch.long)])
        return {"units": units, "durations": durations, "dense": frames}
""",
    "torchaudio.py": """
import soundfile, torch
__version__ = "0.0"
def load(path):
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate
""",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A folder in which `textless` and `torchaudio` can be imported, and `tiny` models lie."""
    root = tmp_path_factory.mktemp("library")
    defects = "DEFECTS = " + repr({peak: name for name, peak in DEFECTS.items()})
    for name, source in STAND_IN.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(defects + source)
    for name in ("tiny-weights", "tiny-25hz-kmeans-10", "tiny-25hz-kmeans-expresso-10"):
        (root / f"{name}.bin").write_text(name)
    return root


@pytest.fixture(autouse=True, scope="module")
def importable(library):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(library))
        patch.setenv("STAND_IN", str(library))
        yield


@pytest.fixture(scope="module")
def recipe(library) -> UnitSpec:
    encoder = EncoderSpec(
        kind="textless", rate_hz=25.0, checkpoint="tiny-25hz", revision=checksum(library / "tiny-weights.bin")
    )
    centres = PublishedCentres(file="tiny-25hz-kmeans-10.bin", sha256=checksum(library / "tiny-25hz-kmeans-10.bin"))
    return UnitSpec(encoder=encoder, clusters=10, published=centres)


MACHINE = Machine(accelerator="cpu", textless_python=Path(sys.executable))


@pytest.fixture(scope="module")
def textless(recipe, importable):
    with contextlib.closing(TextlessUnits(recipe, MACHINE)) as found:
        yield found


def write(folder: Path, name: str, units: list[int], peak: float = 0.99, rate: int = 16000) -> Path:
    """Sound in which 40 ms have a mean of a tenth of each unit, and one sample has the peak."""
    samples = np.repeat(np.array(units, dtype=np.float64) / 10, rate // 25)
    samples[0], samples[1] = peak, 2 * samples[1] - peak  # the mean stays
    soundfile.write(folder / name, samples, rate, subtype="FLOAT")
    return folder / name


def test_units_and_durations_come_back_in_order_whatever_libraries_print(tmp_path, textless):
    one = write(tmp_path, "a b.wav", [3, 3, 1, 1, 1, 4, 3])
    other = write(tmp_path, "größe.wav", [2] * 30)
    slow = write(tmp_path, "8k.wav", [2, 2, 5, 5], rate=8000)
    found = textless.encode([one, other, slow])
    assert [[list(part) for part in pair] for pair in found] == [
        [[3, 1, 4, 3], [2, 3, 1, 1]],
        [[2], [30]],
        [[2, 5], [2, 2]],
    ]
    assert textless.encode([]) == []
    assert textless.versions["torchaudio"] == "0.0"


def test_an_hour_of_sound_fits_through_the_pipes(tmp_path, textless):
    """Answers and complaints far larger than a pipe holds."""
    units = np.tile([1, 2, 3, 2], 22500)
    samples = np.repeat((units / 10).astype(np.float32), 640)
    soundfile.write(tmp_path / "long.wav", samples, 16000, subtype="PCM_16")
    ((found, durations),) = textless.encode([tmp_path / "long.wav"])
    assert np.array_equal(found, units) and durations.sum() == 90000


def test_a_bad_file_is_one_value_error_and_the_others_are_encoded(tmp_path, textless):
    good = write(tmp_path, "good.wav", [1, 2])
    (tmp_path / "text.wav").write_text("no sound")
    long = [1, 2] * 20
    cases = {
        tmp_path / "text.wav": "not readable as audio",
        tmp_path / "absent.wav": "not readable as audio",
        write(tmp_path, "error.wav", [1, 2], DEFECTS["error"]): "cannot encode it (RuntimeError: no sound in here)",
        write(tmp_path, "outside.wav", [1, 2], DEFECTS["outside"]): "units 11..12 lie outside 0..9",
        write(tmp_path, "short.wav", long, DEFECTS["short"]): "20 frames for 1.600 s of sound, about 40 expected",
        write(tmp_path, "twice.wav", long, DEFECTS["twice"]): "one unit twice in a row",
        tmp_path / "nothing.wav": "shorter than one frame",
    }
    soundfile.write(tmp_path / "nothing.wav", np.full(600, 0.1), 16000)
    for path, reason in cases.items():
        before, found, after = textless.encode([good, path, good])
        assert isinstance(found, ValueError) and str(found).startswith(f"{path}: ") and reason in str(found)
        assert "\n" not in str(found)
        assert list(before[0]) == list(after[0]) == [1, 2]


def refusal(recipe: UnitSpec, machine: Machine = MACHINE, **seconds: float) -> str:
    with pytest.raises(ValueError) as caught:
        TextlessUnits(recipe, machine, **seconds)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_child_that_dies_is_said_with_its_last_words_and_stays_dead(tmp_path, recipe):
    good, fatal = write(tmp_path, "good.wav", [1]), write(tmp_path, "fatal.wav", [1], DEFECTS["crash"])
    textless = TextlessUnits(recipe, MACHINE)
    with pytest.raises(ValueError, match=r"ended over .*fatal.wav \(exit status 3\).*the GPU is on fire$"):
        textless.encode([good, fatal])
    with pytest.raises(ValueError, match="good.wav"):
        textless.encode([good])
    textless.close()


def test_a_child_that_hangs_is_killed(tmp_path, recipe):
    textless = TextlessUnits(recipe, MACHINE, file_seconds=0.5)
    with pytest.raises(ValueError, match=r"silent for 0.5 s over .*hang.wav and was killed \(exit status -9\)"):
        textless.encode([write(tmp_path, "hang.wav", [1], DEFECTS["hang"])])


def test_what_textlesslib_does_not_have_is_refused(recipe, library, tmp_path, monkeypatch):
    unknown = replace(recipe, encoder=replace(recipe.encoder, checkpoint="huge"))
    assert "no dense model 'huge', this textlesslib has tiny-25hz" in refusal(unknown)
    assert f"no 10 centres of SHA-256 {'0' * 64}" in refusal(
        replace(recipe, published=PublishedCentres(file="c.bin", sha256="0" * 64))
    )
    wrong = replace(recipe, encoder=replace(recipe.encoder, revision="0" * 64))
    assert f"dense_sha256 {recipe.encoder.revision} for tiny-25hz, {'0' * 64} is" in refusal(wrong)
    assert "rate_hz 25.0 for tiny-25hz, 50.0 is wanted" in refusal(
        replace(recipe, encoder=replace(recipe.encoder, rate_hz=50.0))
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert "ModuleNotFoundError: No module named 'textless'" in refusal(recipe)


def interpreter(folder: Path, script: str) -> Machine:
    """A program in the place of the interpreter, as a wrapper of conda's might be."""
    program = folder / "python"
    program.write_text("#!/bin/sh\n" + script)
    program.chmod(0o755)
    return replace(MACHINE, textless_python=program)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo '(base) activated'; exec cat", "wrote b'(base) activated\\n' while it loaded"),
        ("echo '[1]'; exec cat", "a JSON object expected"),
        ("""echo '{"protocol": 2}'; exec cat""", "has protocol 2 for tiny-25hz, 1 is wanted"),
        ("""echo '{"units": []}'; exec cat""", "has protocol None for tiny-25hz, 1 is wanted"),
        ("echo out of luck >&2; exit 7", "(exit status 7); the end of its stderr: out of luck"),
        ("exec sleep 600", "silent for 0.5 s while it loaded the model and was killed"),
    ],
)
def test_an_interpreter_that_speaks_something_else_is_refused(tmp_path, recipe, script, reason):
    seconds = 0.5 if "sleep" in script else 60.0
    assert reason in refusal(recipe, interpreter(tmp_path, script), start_seconds=seconds)


def test_an_answer_to_another_request_is_refused(tmp_path, recipe):
    greeting = (
        f'{{"protocol": 1, "rate_hz": 25.0, "clusters": 10, "dense_sha256": "{recipe.encoder.revision}", '
        f'"centres_sha256": "{recipe.published.sha256}", "versions": {{}}}}'
    )
    script = f"""echo '{greeting}'; read line; echo '{{"id": 5, "units": [1], "durations": [1]}}'; exec cat"""
    textless = TextlessUnits(recipe, interpreter(tmp_path, script))
    with pytest.raises(ValueError, match="answered request 5 instead of 1"):
        textless.encode([write(tmp_path, "a.wav", [1])])


def test_what_the_user_forgot_is_said(tmp_path, recipe):
    assert "--textless-python" in refusal(recipe, Machine())
    absent = replace(MACHINE, textless_python=tmp_path / "absent")
    assert f"{tmp_path / 'absent'} cannot be started (No such file or directory)" in refusal(recipe, absent)


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks for the child in /proc")
def test_the_child_does_not_outlive_its_parent(tmp_path, recipe, library):
    """The parent is killed while the child hangs over a file."""
    (library / "hanging").unlink(missing_ok=True)
    path = write(tmp_path, "hang.wav", [1], DEFECTS["hang"])
    program = f"""
import sys; sys.path.insert(0, {str(BRIDGE.parents[3])!r})
from pathlib import Path
from slm.machine import Machine
from slm.spec import *
from slm.speech.textless import TextlessUnits
textless = TextlessUnits({recipe!r}, {MACHINE!r})
textless.encode([{str(path)!r}])
"""
    program = program.replace("PosixPath", "Path")
    with subprocess.Popen([sys.executable, "-c", program]) as parent:
        wait_until((library / "hanging").exists)
        children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children").read_text().split()
        assert len(children) == 1
        parent.send_signal(signal.SIGKILL)
    wait_until(lambda: not runs(int(children[0])))


def wait_until(condition) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def runs(process: int) -> bool:
    try:
        return "(zombie)" not in Path(f"/proc/{process}/status").read_text()
    except OSError:
        return False


def test_the_bridge_is_written_for_python_3_8_and_needs_the_standard_library_only():
    tree = ast.parse(BRIDGE.read_text(), feature_version=(3, 8))
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    roots = {name.partition(".")[0] for name in imported}
    assert roots - set(sys.stdlib_module_names) == {"textless", "torch", "torchaudio"}
    # its folder comes first on the child's path, and must shadow nothing
    assert list(BRIDGE.parent.glob("*.py")) == [BRIDGE]
