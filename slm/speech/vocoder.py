"""Units to a waveform that a recogniser of speech can read: what a vocoder is, and one that needs no learning.

In: units of cepstra or log-mel frames, their k-means centres, how long each unit lasts. Out: 16 kHz sound. A centre is
turned back into a spectral envelope, and phases that fit the envelopes are found by Griffin & Lim's algorithm (1984).
`slm.speech.unit_vocoder` learns the envelopes of any other units.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from scipy.fft import idct

from slm.machine import CPU
from slm.spec import UnitSpec
from slm.speech import logmel, mfcc
from slm.speech.centres import read_centres
from slm.speech.encoder import SAMPLE_RATE, encoder
from slm.speech.transcriber import ErrorRates, Transcriber, error_rates
from slm.store import TokenStore

_HOP = 160  # 10 ms: closer than the frames of cepstra, because phases are found by the overlap of the windows
_ROUNDS = 32  # of Griffin & Lim's algorithm
_UPDATES = 100  # of the spectrum under the filters
_SILENCE = 1e-12  # of power, where its logarithm is taken


class Vocoder(Protocol):
    """Units to sound."""

    def __call__(self, units: np.ndarray, frames: np.ndarray | None = None) -> np.ndarray:
        """The float32 waveform, at 16 kHz, of units (T,), each lasting so many `frames`; None: its mean, see `carried`.

        No units are no samples. `ValueError` for units outside the recipe's.
        """
        ...


class CepstralVocoder:
    """Sound of units whose centres are `mfcc` or `logmel` frames.

    Lost for good: pitch and voicing, so that everything is whispered; the speaker; what the encoder smooths away, which
    for `mfcc` is the spectrum between 13 cepstra. The deltas of `mfcc` frames are not used: neighbours give the change.
    """

    def __init__(self, units: UnitSpec, centres_path: Path, durations: np.ndarray) -> None:
        """`durations`: mean frames of each unit (K,), as `mean_durations` gives them.

        `ValueError` for units of other encoders, for centres that are not of these units, and durations below a frame.
        """
        if units.encoder.kind not in SPECTRA:
            raise ValueError(
                f"units of {units.encoder.kind} frames cannot be turned into sound: only those of "
                f"{' or '.join(SPECTRA)} frames can"
            )
        centres = read_centres(centres_path, encoder(units.encoder, CPU).fingerprint).array  # (K, features)
        if not len(centres) == len(durations) == units.clusters:
            raise ValueError(
                f"{centres_path}: {len(centres)} centres and {len(durations)} durations for {units.clusters} units"
            )
        if not (np.asarray(durations) >= 1).all():
            raise ValueError(f"a unit lasts {np.min(durations):g} frames on average: each lasts at least one")
        self._durations = np.asarray(durations, np.float64)
        self._spectra, self._window = SPECTRA[units.encoder.kind](centres, units.encoder.rate_hz)
        self._frame_hops = SAMPLE_RATE / _HOP / units.encoder.rate_hz

    def __call__(self, units: np.ndarray, frames: np.ndarray | None = None) -> np.ndarray:
        """See `Vocoder`."""
        check_units(units, len(self._durations))
        frames = carried(self._durations[units]) if frames is None else frames
        spectra = np.repeat(self._spectra[units], frames, axis=0).reshape(-1, self._spectra.shape[-1])  # (steps, bins)
        return sound(spectra, self._frame_hops / self._spectra.shape[1], self._window)


def check_units(units: np.ndarray, clusters: int) -> None:
    """`ValueError` for units that are not below the number of clusters."""
    if len(units) and not 0 <= int(units.min()) <= int(units.max()) < clusters:
        raise ValueError(f"this vocoder speaks units 0 to {clusters - 1}, not {units.min()} to {units.max()}")


def carried(durations: np.ndarray) -> np.ndarray:
    """Fractional durations (T,) as whole frames (T,) whose sums are never more than half a frame away."""
    return np.diff(np.floor(np.cumsum(durations) + 0.5), prepend=0).astype(np.int64)


def sound(spectra: np.ndarray, step_hops: float, window: np.ndarray) -> np.ndarray:
    """The waveform of logarithmic power spectra (steps, bins) that last so many hops of 10 ms each.

    `window` is what they are seen through; no steps are no samples.
    """
    if not len(spectra):
        return np.zeros(0, np.float32)
    hops = round(len(spectra) * step_hops)
    magnitudes = np.exp(_interpolated(spectra, (np.arange(hops + 1) / step_hops) - 0.5) / 2)  # (hops + 1, bins)
    return _griffin_lim(magnitudes, window, hops * _HOP)


def log_mel_spectra(frames: np.ndarray, made: logmel.LogMel) -> tuple[np.ndarray, np.ndarray]:
    """Logarithmic power (..., bins) under log-mel frames (..., mels), and the window that it is seen through."""
    energies = 10 ** (4 * frames.astype(np.float64) - 4) - logmel._FLOOR
    return _under(made._filters, energies), made._taper


def heard_again(
    vocoder: Vocoder,
    units_of: Callable[[np.ndarray], np.ndarray],
    transcribe: Transcriber,
    documents: list[np.ndarray],
    texts: list[str],
) -> tuple[ErrorRates, ErrorRates]:
    """Error rates of a transcriber on units, and on the units that `units_of` makes of their sound.

    The second less the first is what the vocoder costs. Units last as long as their means, as generated ones do.
    """
    again = [units_of(vocoder(units)) for units in documents]
    return error_rates(texts, transcribe(documents)), error_rates(texts, transcribe(again))


def mean_durations(store: TokenStore) -> np.ndarray:
    """Mean frames of each unit of a store of units (K,), 1 of those that never occur; `ValueError` for other stores."""
    if store.spec.tokenizer.kind != "units":
        raise ValueError(f"{store.folder}: tokens of kind {store.spec.tokenizer.kind!r}, a store of units expected")
    frames = np.bincount(store.tokens, store.all_durations, store.vocab_size)[: store.eos]
    counts = np.bincount(store.tokens, minlength=store.vocab_size)[: store.eos]
    return np.where(counts, frames / np.maximum(counts, 1), 1.0)


def _of_cepstra(centres: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """Logarithmic power (K, steps, bins) of the 50 Hz steps of `mfcc` frames, and the window they are seen through."""
    made = mfcc.Mfcc(rate_hz)
    steps = centres.reshape(len(centres), -1, 2 * mfcc._CEPSTRA)[..., : mfcc._CEPSTRA]  # (K, steps, cepstra)
    energies = np.exp(idct(steps / made._lift, axis=-1, n=mfcc._MELS, norm="ortho")) - mfcc._FLOOR
    return _under(made._filters, energies), made._taper


def _of_log_mels(centres: np.ndarray, rate_hz: float) -> tuple[np.ndarray, np.ndarray]:
    """The same of `logmel` frames, of one step each."""
    return log_mel_spectra(centres[:, None], logmel.LogMel(rate_hz))


SPECTRA = {"mfcc": _of_cepstra, "logmel": _of_log_mels}
"""Kinds of frames that are spectra."""


def _under(filters: np.ndarray, energies: np.ndarray) -> np.ndarray:
    """Logarithm of a power spectrum (..., bins) whose energies through filters (bins, mels) are these (..., mels).

    From the smooth spectrum that spreads each energy over its filter, by multiplicative updates (Lee & Seung 2001),
    which keep it positive and lower the Kullback-Leibler divergence of the energies.
    """
    energies = np.maximum(energies, _SILENCE)
    area, cover = filters.sum(axis=0), np.maximum(filters.sum(axis=1), 1e-9)  # (mels,), (bins,)
    power = (energies / area) @ (filters / cover[:, None]).T  # (..., bins)
    for _ in range(_UPDATES):
        power *= (energies / np.maximum(power @ filters, _SILENCE)) @ (filters / cover[:, None]).T
    return np.log(np.maximum(power, _SILENCE))


def _interpolated(rows: np.ndarray, places: np.ndarray) -> np.ndarray:
    """Rows (T, F) at fractional places, linearly; the first and last one hold before and behind."""
    places = places.clip(0, len(rows) - 1)
    left = np.minimum(places.astype(np.int64), max(len(rows) - 2, 0))
    share = (places - left)[:, None]
    return rows[left] * (1 - share) + rows[np.minimum(left + 1, len(rows) - 1)] * share


def _griffin_lim(magnitudes: np.ndarray, taper: np.ndarray, samples: int) -> np.ndarray:
    """A waveform whose short-time spectra every `_HOP` samples have about these magnitudes (frames, bins)."""
    window = torch.from_numpy(taper)
    wanted = torch.from_numpy(magnitudes.T.astype(np.float32))  # (bins, frames)
    angles = torch.rand(wanted.shape, generator=torch.Generator().manual_seed(0)) * 2 * torch.pi
    shape = {"n_fft": len(window), "hop_length": _HOP, "window": window}
    spectra = torch.polar(wanted, angles)
    for _ in range(_ROUNDS):
        waveform = torch.istft(spectra, length=samples, **shape)
        found = torch.stft(waveform, pad_mode="constant", return_complex=True, **shape)
        spectra = torch.polar(wanted, found.angle())
    return torch.istft(spectra, length=samples, **shape).numpy()
