"""Log-mel frames: Whisper's front end without its normalisation over the recording.

In: 16 kHz waveforms. Out: 80 log-mel energies, averaged over the 10 ms frames of each step. Frame t covers the samples
of step t, so that unit boundaries and word times share one clock.
"""

import numpy as np
from scipy.fft import rfft

_HOP = 160  # 10 ms, as Whisper (Radford et al. 2022, section 2.2)
_WINDOW = 400  # 25 ms, centred on the hop
VERSION = "1"  # of the features; `EncoderSpec.revision` names it
_MELS = 80
_FLOOR = 1e-10  # where Whisper clamps; about the quantisation noise of 16 bits in one filter


class LogMel:
    """80 log-mel energies at a rate that divides 100 Hz, scaled as Whisper's: (log10 energy + 4) / 4.

    Nothing is normalised over the utterance (Whisper cuts at 8 decades below the loudest frame): its end would change
    the units of its beginning.
    """

    def __init__(self, rate_hz: float) -> None:
        """`ValueError` for a rate that is not 100 Hz or a whole fraction of it."""
        if rate_hz <= 0 or 100 % rate_hz:
            raise ValueError(f"log-mel frames at {rate_hz} Hz: choose a rate that divides 100, such as 25 or 50")
        self.rate_hz = float(rate_hz)
        self.fingerprint = f"logmel-{rate_hz:g}hz-v{VERSION}"
        self._averaged = round(100 / rate_hz)
        self._filters = _mel_filters()
        self._taper = np.hanning(_WINDOW + 1)[:-1].astype(np.float32)  # periodic

    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """See `slm.speech.encoder.Encoder`; waveforms shorter than a step give no frame."""
        return [self._frames(waveform) for waveform in waveforms]

    def _frames(self, waveform: np.ndarray) -> np.ndarray:
        count = len(waveform) // (self._averaged * _HOP)
        if count == 0:
            return np.zeros((0, _MELS), np.float32)
        used = waveform[: count * self._averaged * _HOP].astype(np.float32, copy=False)
        padded = np.pad(used, (_WINDOW - _HOP) // 2)
        windows = np.lib.stride_tricks.sliding_window_view(padded, _WINDOW)[::_HOP] * self._taper  # (100 Hz, window)
        spectrum = rfft(windows, axis=1)
        energies = (spectrum.real**2 + spectrum.imag**2) @ self._filters  # (100 Hz, mels)
        scaled = (np.log10(energies + _FLOOR) + 4) / 4
        return scaled.reshape(count, self._averaged, _MELS).mean(axis=1).astype(np.float32)


def _mel_filters() -> np.ndarray:
    """Triangles of unit area, equally spaced on Slaney's mel scale from 0 to 8 kHz, as Whisper's: (bins, mels).

    Slaney's scale (Auditory Toolbox, 1998): 3 mels per 200 Hz up to 1 kHz, then 27 mels per factor of 6.4.
    """
    top = 15 + 27 * np.log(8000 / 1000) / np.log(6.4)
    mels = np.linspace(0, top, _MELS + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * 6.4 ** ((mels - 15) / 27))
    bins = np.fft.rfftfreq(_WINDOW, 1 / 16000)[:, None]
    rising = (bins - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - bins) / np.diff(edges)[1:]
    triangles = np.clip(np.minimum(rising, falling), 0, None)
    return (triangles * 2 / (edges[2:] - edges[:-2])).astype(np.float32)
