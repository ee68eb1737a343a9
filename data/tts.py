"""Text to speech with espeak-ng, each document in a process of its own.

In: text and a voice. Out: 16 kHz audio with the start time of every word and phone. espeak-ng's sound depends on
what its process spoke before, and nothing resets that; so every document is spoken by a fresh child, forked from a
parent that has never spoken and never imported torch (a process of its own, where this one has), and can be spoken
again alone, byte for byte.
"""

import bisect
import ctypes
import gc
import json
import os
import re
import struct
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16000
RATE_WORDS_PER_MINUTE = 175  # espeak-ng's own default
PITCH = 50  # its own default, of 0..99; the variant of a voice shifts it
SYNTHESISER = f"espeak-ng 1.52 rate {RATE_WORDS_PER_MINUTE} pitch {PITCH}"

# Values of enumerations in espeak-ng's speak_lib.h.
_SYNCHRONOUS, _PHONEME_EVENTS, _PHONEME_IPA, _DO_NOT_EXIT = 2, 1, 2, 0x8000
_PARAMETER_RATE, _PARAMETER_PITCH, _CHARACTERS_UTF8, _BY_CHARACTER = 1, 3, 1, 1
_EVENT_END_OF_LIST, _EVENT_WORD, _EVENT_PHONEME = 0, 1, 7


@dataclass(frozen=True, kw_only=True)
class Speech:
    """One spoken document."""

    waveform: np.ndarray
    """float32 in [-1, 1], 16 kHz."""
    words: tuple[tuple[float, int, int], ...]
    """(start in seconds, first character, length in characters) of each word that has a time of its own; espeak-ng
    speaks some small words together with their neighbour."""
    phones: tuple[tuple[float, str], ...]
    """(start in seconds, IPA symbol); pauses are empty symbols."""

    @property
    def seconds(self) -> float:
        return len(self.waveform) / SAMPLE_RATE


class _Event(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    ]


_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class Synthesiser:
    """espeak-ng, loaded but silent; `speak` forks a child for every document."""

    def __init__(self) -> None:
        try:
            import espeakng_loader
        except ImportError:
            raise ValueError("no speech synthesiser here: pip install 'slm[tts]' (espeak-ng, GPL-3)") from None
        self._library = ctypes.CDLL(espeakng_loader.get_library_path())
        options = _PHONEME_EVENTS | _PHONEME_IPA | _DO_NOT_EXIT
        self._data = Path(espeakng_loader.get_data_path())
        self._native_rate = self._library.espeak_Initialize(_SYNCHRONOUS, 1000, str(self._data).encode(), options)
        if self._native_rate <= 0:
            raise ValueError(f"espeak-ng did not start with the data in {self._data}: reinstall espeakng-loader")
        self._server: _Server | None = None

    def speak(self, text: str, voice: str) -> Speech:
        """The sound of `text`; `ValueError` for an unknown voice or text without sound."""
        import soxr

        if "torch" in sys.modules:  # forking so large a process would take longer than speaking
            if self._server is None or self._server.has_ended:
                self._server = _Server()
            header, samples = self._server.speak(text, voice)
        else:
            header, samples = self.samples(text, voice)
        if "error" in header:
            raise ValueError(header["error"])
        native = np.frombuffer(samples, dtype="<i2").astype(np.float32) / 32768
        waveform = soxr.resample(native, self._native_rate, SAMPLE_RATE)
        return Speech(
            waveform=np.clip(waveform, -1, 1),
            words=_whole_words(header["words"], text),
            phones=tuple((start, symbol) for start, symbol in header["phones"]),
        )

    def samples(self, text: str, voice: str) -> tuple[dict, bytes]:
        """What a child says of a text: its events, or what is wrong with it, and 16-bit samples at the native rate."""
        return _in_child(lambda: self._speak_here(text, voice))

    def _has_variant(self, voice: str) -> bool:
        """espeak-ng falls back to the plain voice, without a word, when the variant after `+` does not exist."""
        _, plus, variant = voice.partition("+")
        return not plus or (self._data / "voices" / "!v" / variant).is_file()

    def _speak_here(self, text: str, voice: str) -> tuple[dict, bytes]:
        chunks: list[bytes] = []
        words: list[tuple[float, int]] = []
        phones: list[tuple[float, str]] = []

        def receive(waveform, count, events) -> int:
            if waveform and count > 0:
                chunks.append(ctypes.string_at(waveform, 2 * count))
            index = 0
            while events[index].type != _EVENT_END_OF_LIST:
                event = events[index]
                seconds = round(event.sample / self._native_rate, 4)
                if event.type == _EVENT_WORD:
                    words.append((seconds, event.text_position - 1))
                elif event.type == _EVENT_PHONEME:
                    phones.append((seconds, event.id.decode("utf-8", "replace")))
                index += 1
            return 0

        library, callback = self._library, _CALLBACK(receive)
        library.espeak_SetSynthCallback(callback)
        if not self._has_variant(voice) or library.espeak_SetVoiceByName(voice.encode()) != 0:
            return {"error": f"espeak-ng has no voice {voice!r}: names look like en-us or en-us+f2"}, b""
        library.espeak_SetParameter(_PARAMETER_RATE, RATE_WORDS_PER_MINUTE, 0)
        library.espeak_SetParameter(_PARAMETER_PITCH, PITCH, 0)
        library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else the clock seeds the noise of its consonants
        encoded = text.encode()
        library.espeak_Synth(encoded, len(encoded) + 1, 0, _BY_CHARACTER, 0, _CHARACTERS_UTF8, None, None)
        library.espeak_Synchronize()
        if not chunks:
            return {"error": f"no sound came out of the text {text[:40]!r}"}, b""
        return {"words": words, "phones": phones}, b"".join(chunks)


def _whole_words(events: list[tuple[float, int]], text: str) -> tuple[tuple[float, int, int], ...]:
    """Events at the words that they belong to, the first event of each.

    espeak-ng places the first word of a sentence on the space before it, and some others in the middle of a word.
    """
    words = [match.span() for match in re.finditer(r"[^\s.,;:!?\"()]+", text)]
    ends, times = [end for _, end in words], {}
    for start, position in events:
        index = bisect.bisect_right(ends, position)
        if index < len(words):
            times.setdefault(words[index], start)
    return tuple((start, first, end - first) for (first, end), start in sorted(times.items()))


class _Server:
    """A small process that forks a child for every document; it ends with this one, whose end of the pipe closes."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", "from data.tts import serve; serve()"]
        root = Path(__file__).parents[1]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def speak(self, text: str, voice: str) -> tuple[dict, bytes]:
        self._process.stdin.write(_packed({"text": text, "voice": voice}, b""))
        self._process.stdin.flush()
        found = _read(self._process.stdout)
        if found is None:
            raise ChildProcessError(f"the synthesiser's process ended with status {self._process.wait()}: run again")
        return found


def serve() -> None:
    """Speak what comes over standard input, until it closes."""
    synthesiser = Synthesiser()
    while (asked := _read(sys.stdin.buffer)) is not None:
        sys.stdout.buffer.write(_packed(*synthesiser.samples(**asked[0])))
        sys.stdout.buffer.flush()


def _packed(header: dict, body: bytes) -> bytes:
    head = json.dumps(header).encode()
    return struct.pack("<qq", len(head), len(body)) + head + body


def _read(pipe) -> tuple[dict, bytes] | None:
    """The next packed message; None where there is no more."""
    sizes = pipe.read(16)
    if len(sizes) < 16:
        return None
    head, body = struct.unpack("<qq", sizes)
    return json.loads(pipe.read(head)), pipe.read(body)


def _in_child(work) -> tuple[dict, bytes]:
    """Result of `work()` computed in a forked child: a JSON header and bytes, over a pipe."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            gc.disable()  # a collection would touch, and so copy, every page of the parent
            os.close(reading)
            with open(writing, "wb") as pipe:
                pipe.write(_packed(*work()))
            status = 0
        finally:
            os._exit(status)
    os.close(writing)
    with open(reading, "rb") as pipe:
        found = _read(pipe)
    _, status = os.waitpid(child, 0)
    if status != 0 or found is None:
        raise ChildProcessError(f"the synthesiser's process ended with status {status}: is there enough memory?")
    return found
