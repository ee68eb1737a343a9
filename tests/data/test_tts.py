"""The synthesiser: any document can be spoken again alone, byte for byte, with times that belong to its words."""

import subprocess
import sys
import time

import numpy as np
import pytest

from data.tts import SAMPLE_RATE, Synthesiser

TEXT = "tom is a kind boy at the farm. one morning tom lost a red ball. so tom was sad."
SCRIPT = f"""
import hashlib
from data.tts import Synthesiser
speech = Synthesiser().speak({TEXT!r}, "en-us+f2")
print(hashlib.sha256(speech.waveform.tobytes()).hexdigest())
"""


@pytest.fixture(scope="module")
def synthesiser() -> Synthesiser:
    return Synthesiser()


def test_a_document_does_not_depend_on_what_was_spoken_before(synthesiser):
    alone = synthesiser.speak(TEXT, "en-us+f2")
    synthesiser.speak("mia saw many horses near the pond.", "en-us+m3")
    again = synthesiser.speak(TEXT, "en-us+f2")
    assert np.array_equal(alone.waveform, again.waveform)
    assert (alone.words, alone.phones) == (again.words, again.phones)


def test_a_document_does_not_depend_on_process_or_clock():
    """espeak-ng seeds its noise from the clock in seconds, so two processes a second apart would differ."""
    hashes = set()
    for _ in range(2):
        hashes.add(subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True).stdout)
        time.sleep(1.1)
    assert len(hashes) == 1 and "" not in hashes


def test_times_follow_the_words_and_end_with_the_sound(synthesiser):
    speech = synthesiser.speak(TEXT, "en-us")
    spoken = [TEXT[first : first + length] for _, first, length in speech.words]
    assert spoken == TEXT.replace(".", "").split()
    for times in ([start for start, *_ in speech.words], [start for start, _ in speech.phones]):
        assert times == sorted(times) and 0 <= times[0] and times[-1] <= speech.seconds
    assert {"t", "m", "b"} <= {symbol for _, symbol in speech.phones}
    assert speech.waveform.dtype == np.float32 and 3 < len(speech.waveform) / SAMPLE_RATE < 12
    assert 0.05 < np.abs(speech.waveform).max() <= 1


def test_voices_differ(synthesiser):
    one, other = (synthesiser.speak(TEXT, voice).waveform for voice in ("en-us", "en-us+f4"))
    assert len(one) != len(other) or not np.allclose(one, other, atol=0.01)


@pytest.mark.parametrize("voice", ["klingon-x", "en-us+nobody"])
def test_an_unknown_voice_is_refused_rather_than_replaced(synthesiser, voice):
    with pytest.raises(ValueError, match="no voice"):
        synthesiser.speak(TEXT, voice)
