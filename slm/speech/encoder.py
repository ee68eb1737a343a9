"""What an encoder of speech is, and the table of them.

In: 16 kHz waveforms. Out: frames, one row per 1/rate_hz seconds. Encoders are imported late: looking up a name or a
fingerprint must not import torch.
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

SAMPLE_RATE = 16000


class Encoder(Protocol):
    """Speech to frames. The frames of a waveform never depend on what it is batched with."""

    rate_hz: int
    fingerprint: str
    """Names everything that changes the frames: weights, layer, normalisation, window."""

    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """float32 waveforms in [-1, 1] at 16 kHz to float32 frames (T_i, features); T_i = floor(seconds * rate_hz)."""
        ...


def _mfcc() -> Encoder:
    from slm.speech.mfcc import Mfcc

    return Mfcc()


ENCODERS: dict[str, Callable[[], Encoder]] = {"mfcc": _mfcc}


def encoder(name: str) -> Encoder:
    """The encoder of that name; `ValueError` lists the names that exist."""
    if name not in ENCODERS:
        raise ValueError(f"no encoder {name!r}: choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name]()
