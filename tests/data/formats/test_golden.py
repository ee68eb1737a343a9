"""The very bytes of each format, from its own writer or documentation, both ways."""

import hashlib
import json

import numpy as np
import pytest

from data.convert import FORMATS
from data.formats.document import Stated, TextColumn
from tests.data.formats.documents import content, document, stream, target

ROWS = (
    '{"audio_steps": 4, "correct": true, "dataset": "sblimp", "group_id": "a", "id": "sblimp:dev:a_correct", '
    '"pair_id": "p1", "phenomenon": "anaphor_agreement", "split": "dev"}\n',
    '{"audio_steps": 4, "correct": false, "dataset": "sblimp", "group_id": "a", "id": "sblimp:dev:a_incorrect", '
    '"pair_id": "p1", "phenomenon": "anaphor_agreement", "split": "dev"}\n',
)
SKIP = {"id": "sblimp:dev:b", "reason": "ValueError", "detail": "audio is too short for HuBERT"}


def evaluation_documents():
    free = [{k: v for k, v in json.loads(row).items() if k not in ("id", "audio_steps")} for row in ROWS]
    yield document("sblimp:dev:a_correct", [17, 4, 17], metadata=free[0])
    yield document("sblimp:dev:a_incorrect", [17, 4, 9], metadata=free[1])


def test_slm_scaling_shards_are_those_of_its_own_writer(tmp_path):
    shard = tmp_path / "shard-00000"
    FORMATS["slm_scaling"].write(shard, stream(*evaluation_documents(), clusters=500, skips=(SKIP,)))
    assert (shard / "audio.bin").read_bytes().hex(" ", 2) == "1100 0400 1100 f401 1100 0400 0900 f401"
    assert (shard / "audio.len").read_bytes().hex(" ", 8) == "0400000000000000 0400000000000000"
    assert (shard / "samples.jsonl").read_text() == "".join(ROWS)
    assert json.loads((shard / "skips.jsonl").read_text()) == SKIP
    meta = json.loads((shard / "meta.json").read_text())
    assert meta["checksums"]["audio.bin"].startswith("cefc7f72")
    assert meta["checksums"]["samples.jsonl"] == hashlib.sha256("".join(ROWS).encode()).hexdigest()
    assert set(meta["checksums"]) == {"audio.bin", "audio.len", "samples.jsonl", "skips.jsonl"}
    assert {name: meta[name] for name in meta if name != "checksums"} == {
        "schema_version": 2,
        "num_samples": 2,
        "num_audio_steps": 8,
        "num_skipped": 1,
        "keep_audio": False,
        "preprocessing": {"vocab_size": 502, "eos_token": 500, "pad_token": 501, "collapsed": True},
    }
    back = FORMATS["slm_scaling"].read(shard, Stated())
    assert (back.clusters, back.collapsed, back.skips) == (500, True, (SKIP,))
    assert content(back) == content(stream(*evaluation_documents()))


def test_aligned_shards_of_interleaved_lm_are_those_of_its_own_writer(tmp_path):
    shard = tmp_path / "shard-00000"
    column = TextColumn(tokens=np.array([100, 7, 8, 101, 100]), steps=np.ones(5, int))
    utterance = document("a", [17, 4, 9, 88], text_column=column)
    text = {"text_base_vocab_size": 100, "text_pad_id": 100, "text_end_of_word_id": 101}
    header = {"preprocessing": text}
    FORMATS["interleaved_lm"].write(shard, stream(utterance, clusters=500, header=header))
    hexes = {path.name: path.read_bytes().hex(" ", 4) for path in shard.iterdir() if path.suffix in (".bin", ".len")}
    assert hexes["text.bin"] == "64000000 07000000 08000000 65000000 64000000"
    assert hexes["dur.bin"] == " ".join(["01000000"] * 5)
    assert hexes["text.len"] == hexes["audio.len"] == "05000000 00000000"
    assert (shard / "audio.bin").read_bytes().hex(" ", 2) == "1100 0400 0900 5800 f401"
    meta = json.loads((shard / "meta.json").read_text())
    assert [meta[k] for k in ("schema_version", "profile", "n_codebooks", "num_text_tokens")] == [1, "aligned", 1, 5]
    assert meta["preprocessing"] == text | {
        "profile": "aligned",
        "vocab_size": 502,
        "eos_token": 500,
        "pad_token": 501,
        "collapsed": True,
    }
    assert json.loads((shard / "samples.jsonl").read_text()) == {"id": "a", "audio_steps": 5, "text_tokens": 5}
    assert content(FORMATS["interleaved_lm"].read(shard, Stated())) == content(stream(utterance))


def test_units_only_shards_have_no_text_files(tmp_path):
    shard = tmp_path / "shard-00000"
    FORMATS["interleaved_lm"].write(shard, stream(document("a", [1, 2])))
    names = {path.name for path in shard.iterdir()}
    assert names == {"audio.bin", "audio.len", "samples.jsonl", "skips.jsonl", "meta.json"}
    assert json.loads((shard / "meta.json").read_text())["profile"] == "units-only"


LINES = {
    "gslm": ("84-121123-0000|17 17 4 9\n", {"u.tsv": "/data\ndev/84-121123-0000.flac\t68960\n"}),
    "km": ("17 17 4 9\n", {"u.tsv": "/data\ndev/84-121123-0000.flac\t68960\n"}),
    "textless": ("17 4 9\n", {"u.durations": "2 1 1\n"}),
    "textless-names": ("84-121123-0000\t17 4 9\n", {"u.durations": "84-121123-0000\t2 1 1\n"}),
    "slamkit-features": ('{"units": [17, 4, 9], "duration": [2, 1, 1], "file_name": "84-121123-0000.flac"}\n', {}),
    "slamkit-tokens": ('{"file_name": "84-121123-0000.flac", "audio_repr": "<Un17><Un4><Un9>"}\n', {}),
}


@pytest.mark.parametrize("name", LINES)
def test_text_formats_are_read_and_written_to_the_byte(name, tmp_path):
    text, beside = LINES[name]
    source, copy = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    path = target(source, name)
    for file, lines in {path.name: text, **beside}.items():
        (source / file).write_text(lines)
    manifest = source / "u.tsv" if "u.tsv" in beside else None
    read = FORMATS[name].read(path, Stated(units=500, manifest=manifest))
    FORMATS[name].write(target(copy, name), read)
    assert {file.name: file.read_text() for file in copy.iterdir()} == {path.name: text, **beside}


def test_sidecars_of_slamkit_keep_its_leading_blanks(tmp_path):
    sidecar = {
        "file_name": "a.flac",
        "aligned_text": [[" the", 0.10, 0.25], [" cat", 0.25, 0.61]],
        "text": " the cat",
    }
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "a.json").write_text(json.dumps(sidecar))
    (tmp_path / "u.jsonl").write_text('{"units": [3], "duration": [2], "file_name": "/x/a.flac"}\n')
    stated = Stated(units=5, sidecars=tmp_path / "words")
    (found,) = FORMATS["slamkit-features"].read(tmp_path / "u.jsonl", stated).documents
    assert (found.text, found.words) == ("the cat", ((0.10, 0.25, "the"), (0.25, 0.61, "cat")))
    assert found.audio == "a.flac", "absolute paths do not travel"
    FORMATS["slamkit-features"].write(tmp_path / "out.jsonl", stream(found))
    assert json.loads((tmp_path / "out" / "a.json").read_text()) == sidecar


def test_parole_files_are_read_by_their_sizes(tmp_path):
    np.array([3, 4, 3, 1, 2], "<i2").tofile(tmp_path / "train.bin")
    np.array([3, 0, 2], "<u4").tofile(tmp_path / "train.len")
    stated = Stated(units=5, collapsed=True)
    assert [d.units.tolist() for d in FORMATS["parole"].read(tmp_path / "train.bin", stated).documents] == [
        [3, 4, 3],
        [],
        [1, 2],
    ]
    np.array([9, 1, 1, 2, 255], "u1").tofile(tmp_path / "train.dur")
    (tmp_path / "meta.pkl").write_bytes(b"cos\nsystem\n(S'touch owned'\ntR.")
    found = list(FORMATS["parole"].read(tmp_path / "train.bin", Stated(units=5)).documents)
    assert [d.durations.tolist() for d in found] == [[9, 1, 1], [], [2, 255]]
    assert [d.id for d in found] == ["0000000", "0000001", "0000002"]
    np.array([3, 0, 3], "<u4").tofile(tmp_path / "train.len")
    with pytest.raises(ValueError, match=r"train.len: its lengths add up to 6, .*train.bin holds 5 units"):
        FORMATS["parole"].read(tmp_path / "train.bin", Stated(units=5))
