"""Cepstral frames at 50 Hz or a whole fraction of it: the encoder that needs no weights.

In: 16 kHz waveforms. Out: stacked 50 Hz frames of cepstra and their deltas. At 25 Hz, frame i covers the samples
[640 i, 640 (i + 1)), so that unit boundaries and word times share one clock.
"""

import numpy as np
from scipy.fft import dct, rfft
from scipy.ndimage import uniform_filter1d

_HOP = 320  # 20 ms
_HOP_HZ = 50
_WINDOW = 512  # 32 ms, centred on the hop
VERSION = "1"  # of the features; `EncoderSpec.revision` names it
_MELS = 40
_CEPSTRA = 13
_LIFTER = 22  # of the cepstra, HTK's default; it gives the higher ones, which tell phones apart, more weight
_SMOOTHING = 3  # frames averaged: units then depend less on where the frames fall in a phone (a choice, by loss)
_FLOOR = 1e-6  # of the mel power of full-scale audio: about 16-bit quantisation noise


class Mfcc:
    """13 liftered cepstra and their deltas, as many 50 Hz frames stacked as a frame is long: 52 features at 25 Hz.

    Nothing is normalised over the utterance: its end would change the units of its beginning, and two endings of one
    prompt would be compared by how they change the prompt.
    """

    def __init__(self, rate_hz: float = 25.0) -> None:
        self._stacked = round(_HOP_HZ / rate_hz) if rate_hz > 0 else 0
        if self._stacked < 1 or rate_hz * self._stacked != _HOP_HZ:
            raise ValueError(f"cepstra come at {_HOP_HZ} frames/s or a whole fraction of it, not at {rate_hz:g}")
        self.rate_hz = rate_hz
        self.fingerprint = f"mfcc-{rate_hz:g}hz-v{VERSION}"
        self._filters = _mel_filters()
        self._taper = np.hanning(_WINDOW).astype(np.float32)
        self._lift = 1 + _LIFTER / 2 * np.sin(np.pi * np.arange(_CEPSTRA) / _LIFTER)  # (cepstra,)
        self._lift[0] = 0.5  # loudness tells least about the phone (a choice, by phone purity of 100 clusters)

    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """See `slm.speech.encoder.Encoder`; a waveform shorter than a frame gives none."""
        return [self._frames(waveform) for waveform in waveforms]

    def _frames(self, waveform: np.ndarray) -> np.ndarray:
        stacked = self._stacked
        count = len(waveform) // (stacked * _HOP) * stacked
        if count == 0:
            return np.zeros((0, stacked * 2 * _CEPSTRA), np.float32)
        margin = (_WINDOW - _HOP) // 2
        padded = np.pad(waveform[: count * _HOP].astype(np.float32, copy=False), margin)
        windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * self._taper  # (T, window)
        spectrum = rfft(windows, axis=1)
        power = spectrum.real**2 + spectrum.imag**2
        cepstra = dct(np.log(power @ self._filters + _FLOOR), axis=1, norm="ortho")[:, :_CEPSTRA]
        cepstra = uniform_filter1d(cepstra, _SMOOTHING, axis=0, mode="nearest")
        around = np.pad(cepstra, ((2, 2), (0, 0)), mode="edge")
        deltas = (around[3:-1] - around[1:-3] + 2 * (around[4:] - around[:-4])) / 10
        frames = np.hstack([cepstra * self._lift, deltas])
        return frames.reshape(count // stacked, stacked * 2 * _CEPSTRA).astype(np.float32)


def _mel_filters() -> np.ndarray:
    """Triangular filters, equally spaced on O'Shaughnessy's mel scale from 20 Hz to 8 kHz: (bins, mels)."""

    def mel(hertz: np.ndarray | float) -> np.ndarray:
        return 2595 * np.log10(1 + np.asarray(hertz) / 700)

    edges = np.linspace(mel(20.0), mel(8000.0), _MELS + 2)
    bins = mel(np.fft.rfftfreq(_WINDOW, 1 / 16000))[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    return np.clip(np.minimum(rising, falling), 0, None).astype(np.float32)
