"""What a reader or writer does not accept, and what it says; and what it must accept though others stumble over it."""

import json

import numpy as np
import pytest

from data.convert import FORMATS
from data.formats.document import MOST_FRAMES, Stated, TextColumn
from slm.store import checksum
from tests.data.formats.documents import CLUSTERS, content, document, stream, target

ELSEWHERE = [name for name in FORMATS if name not in ("store", "parole")]
NAMED = [name for name in ELSEWHERE if name != "textless"]


def utterance(name: str, units: list[int], **more):
    return document(name, units, durations=[1] * len(units), seconds=1.0, **more)


def read(name: str, path, **stated):
    return content(FORMATS[name].read(path, Stated(**{"units": CLUSTERS} | stated)))


def edit(shard, **changes) -> None:
    meta = json.loads((shard / "meta.json").read_text())
    meta["preprocessing"] |= changes.pop("preprocessing", {})
    (shard / "meta.json").write_text(json.dumps(meta | changes))


@pytest.fixture
def shard(tmp_path):
    path = tmp_path / "shard-00000"
    FORMATS["slm_scaling"].write(path, stream(document("a", [1, 2]), document("b", [3])))
    return path


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_unit_outside_k_is_refused_with_its_place(name, tmp_path):
    path = target(tmp_path, name)
    FORMATS[name].write(path, stream(utterance("a", [1, 2]), utterance("b", [1, 50, 2])))
    with pytest.raises(ValueError, match=r"u.*(line 2|sample 1).*: unit 50 is outside 0\.\.49 \(K = 50\)"):
        read(name, path)


@pytest.mark.parametrize("name", NAMED)
def test_duplicate_names_are_refused_with_both_places(name, tmp_path):
    path = target(tmp_path, name)
    FORMATS[name].write(path, stream(utterance("a", [1]), utterance("b", [2]), utterance("a", [3])))
    with pytest.raises(ValueError, match=r"(line 3|sample 2).*: utterance 'a' was already at .*(line 1|sample 0)"):
        read(name, path)


@pytest.mark.parametrize("name", [name for name in ELSEWHERE if not name.startswith(("slm", "inter"))])
def test_k_is_never_taken_from_the_ids(name, tmp_path):
    path = target(tmp_path, name)
    FORMATS[name].write(path, stream(utterance("a", [1, 2])))
    with pytest.raises(ValueError, match="does not tell the number of units: say it with the option `units`"):
        read(name, path, units=None)


def test_what_a_shard_declares_and_the_caller_says_must_agree(shard):
    with pytest.raises(ValueError, match="meta.json: declares units = 50, the option says 100"):
        read("slm_scaling", shard, units=100)
    with pytest.raises(ValueError, match="declares collapsed = True, the option says False"):
        read("slm_scaling", shard, collapsed=False)


def test_the_collapse_state_is_asked_for_where_no_durations_tell_it(tmp_path):
    (tmp_path / "u.units").write_text("1 1 2\n")
    with pytest.raises(ValueError, match="does not tell the collapse state.*option `collapsed`"):
        read("textless", tmp_path / "u.units")


@pytest.mark.parametrize("name", ["gslm", "textless-names", "slamkit-features", "slamkit-tokens"])
def test_lines_that_end_as_on_windows_are_read_and_others_are_named(name, tmp_path):
    path = target(tmp_path, name)
    FORMATS[name].write(path, stream(document("é", [1, 2], durations=[1, 1])))
    good, expected = path.read_bytes(), read(name, path)
    for bad, message in (
        (good[:-1], "line 1: ends without a newline"),
        (b"\xef\xbb\xbf" + good, "line 1: begins with a byte-order mark"),
        (good.decode().encode("utf-16"), "line 1: begins with a byte-order mark"),
        (good.decode().encode("latin-1"), "line 1: not UTF-8"),
    ):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=message):
            read(name, path)
    path.write_bytes(good.replace(b"\n", b"\r\n"))
    assert read(name, path) == expected


GSLM_MANIFEST = "/data\nx/an-alf.flac\t16000\nx/an-ca.flac\t32000\nx/b.flac\t48000\n"


def gslm(folder, lines: str):
    (folder / "u.txt").write_text(lines)
    (folder / "u.tsv").write_text(GSLM_MANIFEST)
    return [(row["id"], row["units"]) for row in read("gslm", folder / "u.txt", manifest=folder / "u.tsv")]


def test_names_that_lost_letters_with_their_extension_find_their_recording(tmp_path):
    """`'an-alf.flac'.rstrip('.flac')` is `an-`, and so is that of `an-ca.flac`: the order tells them apart."""
    assert gslm(tmp_path, "an-|1\nan-|2\nb|3\n") == [("an-alf", [1]), ("an-ca", [2]), ("b", [3])]
    assert gslm(tmp_path, "b|3\nan-alf|1\n") == [("b", [3]), ("an-alf", [1])], "true stems, in another order"
    assert gslm(tmp_path, "1\n2\n3\n") == [("an-alf", [1]), ("an-ca", [2]), ("b", [3])], "--hide-fname"


def test_names_that_cannot_be_told_apart_or_are_unknown_are_refused(tmp_path):
    with pytest.raises(ValueError, match="line 3: 'an-' names 2 rows of the manifest"):
        gslm(tmp_path, "b|3\nan-ca|2\nan-|1\n")
    with pytest.raises(ValueError, match="line 1: 'c' names 0 rows"):
        gslm(tmp_path, "c|3\n")
    with pytest.raises(ValueError, match="line 4: the manifest has 3 rows only"):
        gslm(tmp_path, "1\n2\n3\n4\n")
    with pytest.raises(ValueError, match="u.txt: 2 lines for the 3 rows of .*u.tsv: without names"):
        gslm(tmp_path, "1\n2\n")
    (tmp_path / "u.txt").write_text("1 2\n")
    with pytest.raises(ValueError, match="line 1: no `name|` before the units"):
        read("gslm", tmp_path / "u.txt")


def test_recordings_without_units_are_told(tmp_path):
    gslm(tmp_path, "b|3\n")
    found = FORMATS["gslm"].read(tmp_path / "u.txt", Stated(units=CLUSTERS, manifest=tmp_path / "u.tsv"))
    assert len(content(found)) == 1
    assert found.notes == [f"{tmp_path / 'u.txt'}: 1 lines for the 3 rows of {tmp_path / 'u.tsv'}"]


def test_labels_and_manifest_of_other_lengths_are_refused(tmp_path):
    (tmp_path / "u.tsv").write_text(GSLM_MANIFEST)
    (tmp_path / "u.km").write_text("1\n2\n")
    with pytest.raises(ValueError, match="u.km: 2 lines for the 3 rows of"):
        read("km", tmp_path / "u.km")


@pytest.mark.parametrize("line", ["a.flac 100", "a.flac\t0", "a.flac\t-5", "a.flac\t1\t2", "\t100", "a.flac\t1.5"])
def test_a_bad_row_of_a_manifest_is_named(line, tmp_path):
    (tmp_path / "u.tsv").write_text(f"/data\n{line}\n")
    (tmp_path / "u.km").write_text("1\n")
    with pytest.raises(ValueError, match="u.tsv, line 2"):
        read("km", tmp_path / "u.km")


def test_interleaved_text_is_not_taken_for_units(tmp_path):
    (tmp_path / "u.jsonl").write_text('{"file_name": "a.flac", "audio_repr": "<speech><Un17><text> sat down"}\n')
    with pytest.raises(ValueError, match="line 1: field 'audio_repr'.*no text"):
        read("slamkit-tokens", tmp_path / "u.jsonl")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema_version": 3}, "schema_version 3, this format is version 2"),
        ({"num_samples": 1}, "audio.len: 16 bytes, not 1 entries"),
        ({"num_samples": 0}, "shards without samples"),
        ({"preprocessing": {"pad_token": 0}}, "EOS 50, PAD 0, vocabulary 52; expected K, K"),
        ({"preprocessing": {"collapsed": None}}, "field 'collapsed' is None"),
        ({"num_skipped": 1}, "skips.jsonl: 0 rows, 1 in meta.json"),
        ({"checksums": {}}, "samples.jsonl: its sha256 is not the one in meta.json"),
    ],
)
def test_a_shard_that_breaks_a_rule_is_refused(shard, changes, message):
    edit(shard, **changes)
    with pytest.raises(ValueError, match=message):
        read("slm_scaling", shard)


@pytest.mark.parametrize(
    ("lengths", "units", "message"),
    [
        ([3, 2], [1, 2, 3, 3, 50], "ends with 3, not with the declared EOS 50"),
        ([6, -1], [1, 2, 50, 3, 50], "audio.len: lengths from -1 to 6 for 5 entries"),
        ([5, 0], [1, 2, 50, 3, 50], "audio.len: lengths from 0"),
        ([2, 3], [1, 50, 2, 3, 50], "line 1: audio_steps 3, 2 in audio.len"),
        ([3, 2], [1, -2, 50, 3, 50], "unit -2 is outside"),
    ],
)
def test_arrays_that_break_a_rule_are_refused_even_with_right_checksums(shard, lengths, units, message):
    np.array(lengths, "<i8").tofile(shard / "audio.len")
    np.array(units, "<i2").tofile(shard / "audio.bin")
    sums = {name: checksum(shard / name) for name in ("audio.bin", "audio.len", "samples.jsonl", "skips.jsonl")}
    edit(shard, checksums=sums)
    with pytest.raises(ValueError, match=message):
        read("slm_scaling", shard)


def test_streams_of_several_codebooks_are_refused(tmp_path):
    FORMATS["interleaved_lm"].write(tmp_path / "s", stream(document("a", [1])))
    edit(tmp_path / "s", n_codebooks=8)
    with pytest.raises(ValueError, match="n_codebooks = 8; only streams of one codebook"):
        read("interleaved_lm", tmp_path / "s")


def test_the_shards_of_a_folder_are_read_in_order_and_must_agree(tmp_path):
    for number, more in enumerate(({"hubert_layer": 11, "x": 0}, {"hubert_layer": 11, "x": 1})):
        one = stream(document(f"u{number}", [number]), header={"preprocessing": more})
        FORMATS["slm_scaling"].write(tmp_path / f"shard-0000{number}", one)
    found = FORMATS["slm_scaling"].read(tmp_path, Stated())
    assert [row["id"] for row in content(found)] == ["u0", "u1"]
    assert found.header["preprocessing"]["hubert_layer"] == 11 and "x" not in found.header["preprocessing"]
    FORMATS["slm_scaling"].write(tmp_path / "shard-00002", stream(document("c", [1]), clusters=60))
    with pytest.raises(ValueError, match="shard-00002/meta.json: vocab_size is 62, 52 in .*shard-00000"):
        FORMATS["slm_scaling"].read(tmp_path, Stated())


def test_text_that_does_not_cover_the_units_is_refused(tmp_path):
    column = TextColumn(tokens=np.array([1, 2]), steps=np.array([1, 1]))
    with pytest.raises(ValueError, match="'a': its text tokens cover 2 of 3 steps"):
        FORMATS["interleaved_lm"].write(tmp_path / "s", stream(document("a", [1, 2], text_column=column)))
    column = TextColumn(tokens=np.array([1, 2]), steps=np.array([1, 2]))
    mixed = stream(document("a", [1, 2], text_column=column), document("b", [1]))
    with pytest.raises(ValueError, match="1 of 2 documents have text columns"):
        FORMATS["interleaved_lm"].write(tmp_path / "s", mixed)


@pytest.mark.parametrize(
    ("name", "second", "message"),
    [
        ("slamkit-features", document("b", [1]), "'b' has no durations"),
        ("slamkit-tokens", document("b", [1], audio="x/c.wav"), "'x/c.wav' is no file name with the stem 'b'"),
        ("slamkit-tokens", document("b", [1], metadata={"units": 1}), r"free fields named \['units'\]"),
        ("textless", document("b", [1]), "'b' differs from the first document in having durations"),
        ("textless-names", document("b\tc", [1], durations=[1]), "has a tab or line break"),
        ("gslm", document("b", [1]), "'b' is collapsed and its durations are not known"),
        ("km", document("b", [1], durations=[1]), "needs the length of every recording, 'b' has none"),
        ("km", document("b/c", [1], durations=[1], seconds=1.0), "'b/c.flac' is no file name with the stem 'b/c'"),
        ("slm_scaling", document("b", [1], metadata={"audio_steps": 1}), r"free fields named \['audio_steps'\]"),
    ],
)
def test_a_writer_that_refuses_leaves_nothing_behind(name, second, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        FORMATS[name].write(target(tmp_path, name), stream(utterance("a", [1, 2]), second))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ELSEWHERE)
def test_nothing_is_overwritten(name, tmp_path):
    path = target(tmp_path, name)
    FORMATS[name].write(path, stream(utterance("a", [1, 2])))
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    with pytest.raises(ValueError, match="exists already: delete it or choose another name"):
        FORMATS[name].write(path, stream(utterance("b", [3])))
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_units_that_do_not_fit_into_int16_are_refused(tmp_path):
    with pytest.raises(ValueError, match="K = 32767 and its EOS and PAD do not fit into int16"):
        FORMATS["slm_scaling"].write(tmp_path / "s", stream(document("a", [1]), clusters=32767))


def test_frames_of_an_utterance_have_a_limit(tmp_path):
    for counts in ([MOST_FRAMES + 1], [MOST_FRAMES, 1], [0], [-1]):
        row = {"units": list(range(len(counts))), "duration": counts, "file_name": "a.wav"}
        (tmp_path / "u.jsonl").write_text(json.dumps(row) + "\n")
        with pytest.raises(ValueError, match="line 1: durations from"):
            read("slamkit-features", tmp_path / "u.jsonl")
