"""Recorded audio: what comes back, from where, and one clear reason for each defect."""

import io
import random
import tarfile

import numpy as np
import pytest
import soundfile

from data.audio import SLACK, read_audio

FORMATS = {
    "a.flac": {},
    "a.wav": {},
    "float.wav": {"subtype": "FLOAT"},
    "a.ogg": {"format": "OGG", "subtype": "VORBIS"},
    "a.opus": {"format": "OGG", "subtype": "OPUS"},
    "a.sph": {"format": "NIST", "subtype": "PCM_16"},
    "a.mp3": {"format": "MP3"},
}


def write(path, samples, rate=16000, **options):
    soundfile.write(path, samples, rate, **options)
    return path


def tone(seconds=1.0, rate=16000, hertz=440.0):
    """A tone that rises in loudness, so that every stretch of it differs from every other."""
    t = np.arange(round(seconds * rate)) / rate
    return (0.8 * t / seconds * np.sin(2 * np.pi * hertz * t)).astype(np.float32)


def test_flac_comes_back_and_channels_are_averaged(tmp_path):
    stereo = np.stack([np.full(1600, 0.5), np.zeros(1600)], axis=1)
    waveform = read_audio(write(tmp_path / "a.flac", stereo))
    assert waveform.dtype == np.float32 and np.allclose(waveform, 0.25, atol=1e-4)


@pytest.mark.parametrize("name", FORMATS)
def test_a_segment_is_the_same_part_of_the_whole_in_every_format(tmp_path, name):
    path = write(tmp_path / name, tone(), **FORMATS[name])
    whole = read_audio(path)
    assert len(whole) == 16000 and np.corrcoef(whole, tone())[0, 1] > 0.99
    assert np.allclose(read_audio(path, 0.25, 0.5), whole[4000:12000], atol=0.02)
    assert np.allclose(read_audio(path, 0.75), whole[12000:], atol=0.02)


@pytest.mark.parametrize("rate", [8000, 22050, 44100, 48000])
def test_any_rate_becomes_16_khz(tmp_path, rate):
    path = write(tmp_path / "a.wav", tone(rate=rate), rate)
    waveform = read_audio(path)
    assert len(waveform) == 16000 and waveform.dtype == np.float32
    assert np.abs(waveform[200:-200] - tone()[200:-200]).max() < 0.01
    assert len(read_audio(path, 0.25, 0.5)) == 8000


def test_a_recording_longer_than_one_block_is_whole(tmp_path):
    path = write(tmp_path / "long.flac", tone(70.0))
    assert np.array_equal(read_audio(path), soundfile.read(path, dtype="float32")[0])


def test_a_file_inside_a_tar_is_read_where_it_lies(tmp_path):
    sound = write(tmp_path / "a.flac", tone())
    with tarfile.open(tmp_path / "t.tar", "w") as archive:
        archive.add(sound, "x/a.flac")
        link = tarfile.TarInfo("x/link.flac")
        link.type, link.linkname = tarfile.SYMTYPE, str(sound)
        archive.addfile(link)
    before = sorted(tmp_path.iterdir())
    assert np.array_equal(read_audio(tmp_path / "t.tar", 0.1, 0.2, "x/a.flac"), read_audio(sound, 0.1, 0.2))
    for name in ("x/link.flac", "a.flac", "../a.flac", str(sound), ""):
        with pytest.raises(ValueError, match="t.tar: holds no file"):
            read_audio(tmp_path / "t.tar", member=name)
    assert sorted(tmp_path.iterdir()) == before, "nothing is unpacked"
    with tarfile.open(tmp_path / "t.tar.gz", "w:gz") as archive:
        archive.add(sound, "a.flac")
    with pytest.raises(ValueError, match="uncompressed tar"):
        read_audio(tmp_path / "t.tar.gz", member="a.flac")


def test_an_archive_that_was_replaced_is_read_anew(tmp_path):
    for seconds in (0.5, 0.25):
        sound = write(tmp_path / "a.flac", tone(seconds))
        with tarfile.open(tmp_path / "t.tar", "w") as archive:
            archive.add(sound, "a.flac")
        assert len(read_audio(tmp_path / "t.tar", member="a.flac")) == seconds * 16000


def test_a_row_of_a_parquet_shard_is_read_by_its_id(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    file = io.BytesIO()
    soundfile.write(file, tone(), 16000, format="FLAC")
    audio = [{"bytes": file.getvalue(), "path": "a"}, {"bytes": None, "path": "b"}, None]
    parquet.write_table(pyarrow.table({"id": ["a", "b", "c"], "audio": audio}), tmp_path / "s.parquet")
    assert len(read_audio(tmp_path / "s.parquet", 0.5, 0.25, "a")) == 4000
    for name, reason in {"b": "no audio", "c": "no audio", "d": "no row"}.items():
        with pytest.raises(ValueError, match=f"s.parquet.*{reason}"):
            read_audio(tmp_path / "s.parquet", member=name)


def test_each_defect_is_named_with_the_file(tmp_path):
    whole = write(tmp_path / "whole.flac", np.random.default_rng(0).normal(0, 0.1, 16000))
    files = {
        "torn.flac": (whole.read_bytes()[:20], "not readable"),
        "short.flac": (whole.read_bytes()[:20000], "lost sync"),
        "noise.flac": (bytes(range(256)) * 8, "not readable"),
        "nothing.flac": (b"", "not readable"),
        "shorten.sph": (
            b"NIST_1A\n   1024\nsample_coding -s26 pcm,embedded-shorten-v2.00\nsample_count -i 9\nend_head\n".ljust(
                1024
            ),
            "shorten; decompress it",
        ),
    }
    for name, (content, _) in files.items():
        (tmp_path / name).write_bytes(content)
    infinite = np.zeros(100)
    infinite[3] = np.inf
    reasons = {tmp_path / name: reason for name, (_, reason) in files.items()} | {
        tmp_path / "absent.flac": "no such audio file",
        tmp_path: "no such audio file",
        tmp_path / ("n" * 300): "no such audio file",
        write(tmp_path / "slow.wav", np.zeros(100), rate=100): "at 100 Hz",
        write(tmp_path / "silent.wav", np.zeros(0)): "no samples",
        write(tmp_path / "infinite.wav", infinite, subtype="FLOAT"): "not finite",
    }
    for path, reason in reasons.items():
        with pytest.raises(ValueError, match=reason) as caught:
            read_audio(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_segment_beyond_the_end_is_refused_but_rounding_is_not(tmp_path):
    path = write(tmp_path / "a.flac", tone())
    assert len(read_audio(path, 0.5, 0.5 + SLACK / 2)) == 8000
    for start, seconds in ((0.5, 0.6), (1.0, None), (2.0, None), (0.5, 0.0), (-0.1, 0.2), (0.2, -0.1), (1e9, 1.0)):
        with pytest.raises(ValueError, match="recording has 1 s"):
            read_audio(path, start, seconds)


def test_a_header_that_declares_absurd_counts_costs_nothing(tmp_path):
    """2^36 - 1 samples in FLAC's header, 4 GB in WAV's, over one second of sound."""
    flac = bytearray(write(tmp_path / "a.flac", tone()).read_bytes())
    flac[21:26] = bytes([flac[21] | 0x0F]) + b"\xff\xff\xff\xff"
    wav = bytearray(write(tmp_path / "a.wav", tone()).read_bytes())
    wav[40:44] = b"\xff\xff\xff\xff"
    endless = bytearray(flac)
    endless[21:26] = bytes([endless[21] & 0xF0]) + bytes(4)
    (tmp_path / "endless.flac").write_bytes(endless)
    with pytest.raises(ValueError, match="endless.flac: does not say how long"):
        read_audio(tmp_path / "endless.flac")
    longer = bytearray(flac)
    longer[22:26] = (16001).to_bytes(4)
    longer[21] &= 0xF0
    (tmp_path / "longer.flac").write_bytes(longer)
    with pytest.raises(ValueError, match="longer.flac: ends after 1 of 1.0.* cut off|longer.flac: not readable"):
        read_audio(tmp_path / "longer.flac")
    for name, content in {"huge.flac": flac, "huge.wav": wav}.items():
        (tmp_path / name).write_bytes(content)
        try:
            assert len(read_audio(tmp_path / name)) == 16000
        except ValueError as error:
            assert name in str(error)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "a.mp3"])  # whose decoder prints what it thinks
def test_damage_gives_a_reason_or_finite_samples(tmp_path, name):
    content = write(tmp_path / name, tone(0.25), **FORMATS[name]).read_bytes()
    chance = random.Random(name)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(chance.randrange(1, 6)):
            damaged[chance.randrange(min(len(damaged), chance.choice((64, len(damaged)))))] = chance.randrange(256)
        (tmp_path / name).write_bytes(damaged[: chance.choice((len(damaged), chance.randrange(len(damaged))))])
        try:
            waveform = read_audio(tmp_path / name, *chance.choice(((), (0.1, 0.1))))
            assert len(waveform) and np.isfinite(waveform).all() and waveform.dtype == np.float32
        except ValueError as error:
            assert str(tmp_path / name) in str(error)
