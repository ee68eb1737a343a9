"""Recorded audio to waveforms, with every defect turned into one clear reason.

In: a file. Out: mono float32 at 16 kHz. Whoever reads a corpus decides whether a bad file ends the work or is one
row of `skips.jsonl`.
"""

from pathlib import Path

import numpy as np

from data.tts import SAMPLE_RATE


def read_audio(path: Path) -> np.ndarray:
    """The waveform of a 16 kHz file, channels averaged; `ValueError` says what is wrong with any other."""
    import soundfile

    if not path.is_file():
        raise ValueError(f"{path}: no such audio file, though the corpus lists it")
    try:
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ValueError(f"{path}: not readable as audio ({error})") from None
    if rate != SAMPLE_RATE:
        raise ValueError(f"{path}: sampled at {rate} Hz, {SAMPLE_RATE} Hz expected; resample it first")
    if len(samples) == 0:
        raise ValueError(f"{path}: holds no samples")
    if not np.isfinite(samples).all():
        raise ValueError(f"{path}: holds samples that are not finite")
    return samples.mean(axis=1)
