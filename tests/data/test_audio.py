"""Recorded audio: one clear reason for each defect."""

import numpy as np
import pytest
import soundfile

from data.audio import read_audio


def write(path, samples, rate=16000, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def test_flac_comes_back_and_channels_are_averaged(tmp_path):
    stereo = np.stack([np.full(1600, 0.5), np.zeros(1600)], axis=1)
    waveform = read_audio(write(tmp_path / "a.flac", stereo))
    assert waveform.dtype == np.float32 and np.allclose(waveform, 0.25, atol=1e-4)


def test_each_defect_is_named_with_the_file(tmp_path):
    whole = write(tmp_path / "whole.flac", np.random.default_rng(0).normal(0, 0.1, 16000))
    torn = tmp_path / "torn.flac"
    torn.write_bytes(whole.read_bytes()[:20])
    noise = tmp_path / "noise.flac"
    noise.write_bytes(bytes(range(256)) * 8)
    nothing = tmp_path / "nothing.flac"
    nothing.touch()
    infinite = np.zeros(100)
    infinite[3] = np.inf
    for path, reason in {
        tmp_path / "absent.flac": "no such audio file",
        torn: "not readable",
        noise: "not readable",
        nothing: "not readable",
        write(tmp_path / "fast.wav", np.zeros(100), rate=22050): "22050 Hz, 16000 Hz expected",
        write(tmp_path / "silent.wav", np.zeros(0)): "no samples",
        write(tmp_path / "infinite.wav", infinite, subtype="FLOAT"): "not finite",
    }.items():
        with pytest.raises(ValueError, match=reason) as caught:
            read_audio(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
