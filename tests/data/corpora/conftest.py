"""Small copies of every corpus in its publisher's layout, with real sound."""

import gzip
import json
import os
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import soundfile


def sound(seconds: float = 0.5, rate: int = 16000, **options) -> bytes:
    file = BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, round(seconds * rate))
    soundfile.write(file, noise, rate, **({"format": "FLAC"} | options))
    return file.getvalue()


def put(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def librispeech(root: Path) -> None:
    for speaker in ("84", "9"):
        folder = root / "librispeech" / "LibriSpeech" / "dev-clean" / speaker / "10"
        put(folder / f"{speaker}-10.trans.txt", f"{speaker}-10-0000 HELLO THERE\n{speaker}-10-0001 IT'S ME\n")
        put(folder / f"{speaker}-10-0000.flac", sound())


def librilight(root: Path) -> None:
    folder = root / "librilight" / "small" / "100" / "a_book_64kb"
    speech = [[0.5, 12.25], [12.5, 20.0], [20.5, 31.0], [40.0, 41.0], [41.5, 120.5]]
    put(folder / "ch_1.json", json.dumps({"speaker": "100", "book_meta": {}, "voice_activity": speech}))
    put(folder / "ch_1.flac", sound())


SWC = """<?xml version="1.0" encoding="UTF-8"?>
<article><meta><prop key="reader.name" value="Ann O."/></meta><d><section level="1">
<sectiontitle><t>Rome<n pronunciation="rome" start="500" end="900"/></t></sectiontitle>
<sectioncontent><p>
<s><t>It<n pronunciation="it" start="1000" end="1100"/></t> <t>is<n pronunciation="is" start="1100" end="1250"/></t>
<t>old<n pronunciation="old"/></t><t>,</t> <t>in<n pronunciation="in" start="2000" end="2100"/></t>
<t>1999<n pronunciation="nineteen" start="2100" end="2400"/><n pronunciation="nine" start="2400" end="2600"/></t>
<t>.</t></s>
<s><t>So<n pronunciation="so" start="3000" end="3200"/></t> <t>[1]</t></s>
</p></sectioncontent></section></d></article>
"""


def swc(root: Path) -> None:
    put(root / "swc" / "english" / "Rome" / "aligned.swc", SWC)
    put(root / "swc" / "english" / "Rome" / "audio.ogg", sound(4, format="OGG"))
    put(root / "swc" / "english" / "Mars" / "aligned.swc", SWC)
    put(root / "swc" / "english" / "Mars" / "audio1.ogg", sound(format="OGG"))
    put(root / "swc" / "english" / "Mars" / "info.json", json.dumps({"audio_files": [{"offset": 0}, {"offset": 2.9}]}))


def tedlium(root: Path) -> None:
    release = root / "tedlium" / "TEDLIUM_release-3"
    stm = "Ann_2010 1 Ann_2010 0.10 0.30 <o,f0,female> it 's me (Ann_2010-1)\n;; a comment\n"
    stm += "Ann_2010 1 inter_segment_gap 0.3 0.35 <o,,unknown> ignore_time_segment_in_scoring\n"
    put(release / "data" / "stm" / "Ann_2010.stm", stm + "Ann_2010 1 Ann_2010 0.35 0.5 <o,f0,female> and {NOISE} so\n")
    put(release / "data" / "sph" / "Ann_2010.sph", sound(format="NIST", subtype="PCM_16"))
    (release / "legacy" / "train").mkdir(parents=True)
    for kind in ("stm", "sph"):
        os.symlink(f"../../data/{kind}", release / "legacy" / "train" / kind)


def peoples_speech_parquet(root: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for shard in range(2):
        names = [f"talk_{shard}_{row}.flac" for row in range(3)]
        columns = {
            "id": names,
            "audio": [{"bytes": sound(0.5 + row / 10), "path": name} for row, name in enumerate(names)],
            "duration_ms": pyarrow.array([500 + 100 * row for row in range(3)], pyarrow.int32()),
            "text": ["one", "two", "three"],
        }
        path = root / "peoples_speech" / "clean" / f"train-{shard:05d}-of-00804.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(pyarrow.table(columns), path, row_group_size=2)


def tar_of(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))
    return path


def peoples_speech_tar(root: Path) -> None:
    home = root / "peoples_speech" / "train"
    tar_of(home / "clean" / "clean_000000.tar", {"./x/a.flac": sound(), "x/b.flac": sound(0.75)})
    sources = [
        {"duration_ms": [500, 750], "label": ["one", "two"], "name": ["x/a.flac", "x/b.flac"]},
        {"duration_ms": [900], "label": ["of a tar that was not downloaded"], "name": ["y/c.flac"]},
    ]
    rows = [json.dumps({"identifier": "talk", "training_data": data}) for data in sources]
    put(home / "clean.json", "\n".join(rows) + "\n")


def voxpopuli_raw(root: Path) -> None:
    home = root / "voxpopuli"
    event = "20090112-0900-PLENARY_en"
    rows = ("event_id\tsegment_no\tstart\tend", f"{event}\t0\t0.1\t0.3", f"{event}\t1\t0.3\t0.5", "2009-P_de\t0\t1\t2")
    table = "\n".join(rows) + "\n"
    put(home / "unlabelled_data" / "unlabelled_v2.tsv.gz", gzip.compress(table.encode(), mtime=0))
    put(home / "raw_audios" / "en" / "2009" / f"{event}.ogg", sound(format="OGG"))


def voxpopuli_cut(root: Path) -> None:
    put(root / "voxpopuli" / "unlabelled_data" / "en" / "2009" / "20090112-PLENARY_en_3.ogg", sound(format="OGG"))


def voxpopuli_transcribed(root: Path) -> None:
    home = root / "voxpopuli" / "transcribed_data" / "en"
    head = "id\traw_text\tnormalized_text\tspeaker_id\tsplit\tgender\n"
    rows = "2010a\tYes, 2.\tyes two\t7\tdev\tmale\n2010b\tNo.\t\t8\tdev\tmale\n2011c\tGone.\tgone\t8\tdev\tmale\n"
    put(home / "asr_dev.tsv", head + rows)
    put(home / "2010" / "2010a.ogg", sound(format="OGG"))


def ljspeech(root: Path) -> None:
    home = root / "ljspeech" / "LJSpeech-1.1"
    put(home / "metadata.csv", 'LJ001-0001|In 1999, "so|in nineteen ninety-nine, "so\nLJ001-0002|a|a b\n')
    put(home / "wavs" / "LJ001-0001.wav", sound(rate=22050, format="WAV"))


def tinystories(root: Path) -> None:
    story = "One day,\nTom ran.\n<|endoftext|>\n“Hi”, said Mia’s dog.\n<|endoftext|>\nOnce upon a"
    put(root / "tinystories" / "TinyStoriesV2-GPT4-train.txt", story)


def tinystories_parquet(root: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = root / "tinystories" / "data" / "train-00000-of-00004-2d5a1467fff1081b.parquet"
    path.parent.mkdir(parents=True)
    parquet.write_table(pyarrow.table({"text": ["One day,\nTom ran.", "", "“Hi”, said Mia’s dog."]}), path)


def hubert_labels(root: Path) -> None:
    """Two utterances of 0.5 s: 24 units, 48 phone frames, two words each."""
    home, names = root / "hubert_labels", ("103-1-0000", "103-1-0001")
    phones = [1] * 10 + [2] * 10 + [3] * 8 + [1] * 4 + [4] * 16
    rows = {
        "text": ["utt\tsamples\tseconds\ttranscript"] + [f"{name}\t8000\t0.5000\tHI THE" for name in names],
        "units": ["utt\tunits"] + [f"{name}\t{' '.join(map(str, [17, 17, 4] * 8))}" for name in names],
        "phones": ["utt\tphones"] + [f"{name}\t{' '.join(map(str, phones))}" for name in names],
        "phone_symbols": ["id\tsymbol", "1\tSIL", "2\tHH_B", "3\tAY1_E", "4\tSPN_S"],
        "word_alignments": ["utt\tstart_s\tend_s\tword"]
        + [f"{name}\t{times}" for name in names for times in ("0.10\t0.28\tHI", "0.32\t0.48\tTHE")],
    }
    for name, lines in rows.items():
        put(home / f"{name}.tsv", "\n".join(lines) + "\n")


def folder_of_files(root: Path) -> None:
    for name in ("b/2.wav", "a.flac", "b/1.WAV", "notes.txt"):
        put(root / "folder" / "mine" / name, sound(format="WAV" if name.lower().endswith("wav") else "FLAC"))


def folder_tsv(root: Path) -> None:
    put(root / "folder" / "audio" / "with blank" / "a.flac", sound())
    put(root / "folder" / "mine.tsv", "audio\nwith blank/a.flac\t8000\n")


def folder_jsonl(root: Path) -> None:
    put(root / "folder" / "a.flac", sound())
    common = {"dataset": "d", "extra": {}, "sample_rate": 16000, "source_revision": None, "split": "mine"}
    words = [{"text": " the", "start": 0.0, "end": 0.1}, {"text": "cat", "start_ts": 0.1, "end_ts": 0.2}]
    rows = [
        {"id": "d:1", "audio": "a.flac", "offset": 0.1, "duration": 0.3, "speaker": "ann", "transcript": "the cat"},
        {"id": "d:2", "audio": str(root / "folder" / "a.flac"), "offset": 0.0, "duration": None, "transcript": None},
        {"id": "d:3", "audio": None, "transcript": "to be spoken", "speaker": None, "duration": 4.2},
    ]
    rows[0]["words"] = words
    put(root / "folder" / "mine.jsonl", "".join(json.dumps(common | row) + "\n" for row in rows))


LAYOUTS: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "librispeech": (librispeech, "librispeech", "dev-clean"),
    "librilight": (librilight, "librilight", "unlab-600-train"),
    "swc": (swc, "swc", "train"),
    "tedlium": (tedlium, "tedlium", "train"),
    "peoples_speech/parquet": (peoples_speech_parquet, "peoples_speech", "clean-train"),
    "peoples_speech/tar": (peoples_speech_tar, "peoples_speech", "clean-train"),
    "voxpopuli/raw": (voxpopuli_raw, "voxpopuli", "unlabelled-train"),
    "voxpopuli/cut": (voxpopuli_cut, "voxpopuli", "unlabelled-train"),
    "voxpopuli/transcribed": (voxpopuli_transcribed, "voxpopuli", "dev"),
    "ljspeech": (ljspeech, "ljspeech", "train"),
    "tinystories": (tinystories, "tinystories", "train"),
    "tinystories/parquet": (tinystories_parquet, "tinystories", "train"),
    "hubert_labels": (hubert_labels, "hubert_labels", "all"),
    "folder/files": (folder_of_files, "folder", "mine"),
    "folder/tsv": (folder_tsv, "folder", "mine"),
    "folder/jsonl": (folder_jsonl, "folder", "mine"),
}
"""Layout -> (how it is made, module of `data.corpora`, a split that is not empty)."""


@pytest.fixture
def laid_out(tmp_path):
    """A function of a layout's name: makes it, and returns (corpora folder, utterances of a split that has some)."""
    from importlib import import_module

    def make(layout: str):
        build, module, split = LAYOUTS[layout]
        build(tmp_path)
        read = import_module(f"data.corpora.{module}").utterances
        return tmp_path, lambda root=tmp_path, split=split: list(read(root, split))

    return make


def pytest_generate_tests(metafunc):
    if "any_layout" in metafunc.fixturenames:
        metafunc.parametrize("any_layout", list(LAYOUTS))


@pytest.fixture
def real_corpora() -> Path:
    """Real files in their publishers' layout, which CI has."""
    return Path(__file__).parents[3].parent / "shared" / "data"
