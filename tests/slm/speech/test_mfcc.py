"""The cepstral encoder: frames on a 40 ms clock that depend on nothing but their own neighbourhood."""

import numpy as np
import pytest

from slm.speech.mfcc import Mfcc


def chirp(seconds: float) -> np.ndarray:
    time = np.arange(int(seconds * 16000)) / 16000
    return (0.3 * np.sin(2 * np.pi * (200 + 400 * time) * time)).astype(np.float32)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (639, 0), (640, 1), (16000, 25), (16639, 25), (16640, 26)])
def test_a_frame_stands_for_640_samples(samples, frames):
    (found,) = Mfcc().encode([chirp(2)[:samples]])
    assert found.shape == (frames, 52) and found.dtype == np.float32


def test_frames_do_not_depend_on_batch_mates_or_on_what_comes_later():
    long, short = chirp(2), chirp(0.7)
    alone, together = Mfcc().encode([short]), Mfcc().encode([long, short])
    assert np.array_equal(alone[0], together[1])
    (cut,) = Mfcc().encode([long[: 16000 + 640]])
    near = 22  # smoothing, deltas and the window reach four 50 Hz frames ahead; sums of other shapes round differently
    np.testing.assert_allclose(cut[:near], together[0][:near], atol=1e-3)
    assert np.abs(cut[-1] - together[0][len(cut) - 1]).max() > 0.01


def test_frames_tell_sounds_apart_and_stand_still_on_a_steady_one():
    time = np.arange(16000) / 16000
    low, high = (np.sin(2 * np.pi * hertz * time).astype(np.float32) for hertz in (300, 3000))
    one, other = Mfcc().encode([low, high])
    inside = slice(4, -4)
    assert np.linalg.norm(one[inside] - one[inside].mean(0), axis=1).max() < 2
    assert np.linalg.norm(one[10] - other[10]) > 50


def test_features_are_those_that_the_fingerprint_names():
    """Change the features, and these numbers and the fingerprint must change with them."""
    (found,) = Mfcc().encode([chirp(1)])
    assert Mfcc().fingerprint == "mfcc-25hz-v1"
    pinned = [-22.468, 65.565, 50.806, 42.684, -33.63, 54.379, 18.911, -58.588, -26.215, 34.589, -37.994, -90.324]
    np.testing.assert_allclose(found[[0, 12, 24], :4].ravel(), pinned, rtol=1e-3)


@pytest.mark.parametrize(("rate_hz", "features"), [(50.0, 26), (25.0, 52), (12.5, 104)])
def test_another_rate_stacks_other_numbers_of_the_same_frames(rate_hz, features):
    (fast,), (found,) = Mfcc(50.0).encode([chirp(1)]), Mfcc(rate_hz).encode([chirp(1)])
    assert found.shape == (int(rate_hz), features)
    stacked = fast[: len(found) * (features // 26)].reshape(len(found), features)
    np.testing.assert_allclose(found[:-1], stacked[:-1], atol=1e-4)  # the last one may lack its right neighbour


@pytest.mark.parametrize("rate_hz", [100.0, 30.0, 0.0])
def test_a_rate_that_is_no_whole_fraction_is_refused(rate_hz):
    with pytest.raises(ValueError, match="whole fraction"):
        Mfcc(rate_hz)
