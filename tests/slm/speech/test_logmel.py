"""Log-mel frames: Whisper's energies on our clock, and nothing of what comes later in the recording."""

import numpy as np
import pytest
from transformers import WhisperFeatureExtractor

from slm.speech.logmel import LogMel


def chirp(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * 16000)) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 400 * time) * time)).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (639, 0), (640, 1), (16000, 25), (16639, 25), (16640, 26)])
def test_a_frame_stands_for_40_ms(samples, frames):
    (found,) = LogMel(25.0).encode([chirp(2)[:samples]])
    assert found.shape == (frames, 80) and found.dtype == np.float32


def test_the_energies_are_whispers_half_a_hop_later():
    """Whisper's frames are centred on multiples of 10 ms, ours between them. Noise keeps clear of its cut at 8 decades;
    its first and last frames see a reflection."""
    noise = (0.1 * np.random.default_rng(0).normal(size=32080)).astype(np.float32)
    whisper = WhisperFeatureExtractor()(noise[80:], sampling_rate=16000, padding=False, return_tensors="np")
    (found,) = LogMel(100.0).encode([noise])
    np.testing.assert_allclose(found[2:190], whisper.input_features[0].T[2:190], atol=1e-4)


@pytest.mark.parametrize("rate_hz", [50.0, 25.0, 12.5])
def test_slower_frames_are_averages(rate_hz):
    (fast,), (found,) = LogMel(100.0).encode([chirp(2)]), LogMel(rate_hz).encode([chirp(2)])
    averaged = fast.reshape(len(found), -1, 80).mean(axis=1)
    np.testing.assert_allclose(found, averaged, atol=1e-5)


def test_frames_do_not_depend_on_batch_mates_or_on_what_comes_later():
    long, short = chirp(2), chirp(0.7)
    model = LogMel(25.0)
    alone, together = model.encode([short]), model.encode([long, short])
    assert np.array_equal(alone[0], together[1])
    (cut,) = model.encode([long[:16000]])
    np.testing.assert_allclose(cut[:24], together[0][:24], atol=1e-6)
    assert np.abs(cut[24] - together[0][24]).max() > 0.01, "the last window reaches into what was cut"


def test_features_are_those_that_the_fingerprint_names():
    """Change the features, and these numbers and the fingerprint must change with them."""
    (found,) = LogMel(25.0).encode([chirp(1)])
    assert LogMel(25.0).fingerprint == "logmel-25hz-v1" and LogMel(50.0).fingerprint == "logmel-50hz-v1"
    pinned = [0.2775, 0.5383, -0.441, -1.2287, -0.7725, -0.2671, 0.0125, -1.4961, -0.6125, -0.4427, 0.2048, -1.1292]
    np.testing.assert_allclose(found[[0, 12, 24]][:, [0, 8, 20, 60]].ravel(), pinned, atol=1e-3)


@pytest.mark.parametrize("rate_hz", [30.0, 200.0, 0.0, -25.0])
def test_a_rate_that_does_not_divide_100_is_refused(rate_hz):
    with pytest.raises(ValueError, match="divides 100"):
        LogMel(rate_hz)
