"""Conversion between formats: the recipe of the store it makes, what it warns of, what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from data.convert import FORMATS, convert
from data.formats.document import Stated
from slm.spec import TokenizerSpec
from slm.store import Document, TokenStore, write_store
from tests.data.formats.documents import CLUSTERS, content, document, recipe, stream, target

RECIPE = {"corpus": "libri", "split": "dev-clean", "rate_hz": 50.0}
GSLM = "84-1|17 17 17 4 9 9\n84-2|3\n"
MANIFEST = "/data\n84/84-1.flac\t1920\n84/84-2.flac\t400\n"


@pytest.fixture
def gslm(tmp_path) -> Path:
    (tmp_path / "u.txt").write_text(GSLM)
    (tmp_path / "u.tsv").write_text(MANIFEST)
    return tmp_path / "u.txt"


@pytest.fixture
def store(tmp_path) -> Path:
    words = ((0.1, None, "the"), (0.3, None, "cat"))
    found = document("a", [1, 2, 1], durations=[3, 1, 2], seconds=0.25, text="the cat", speaker="s", words=words)
    FORMATS["store"].write(tmp_path / "store", stream(found), spec=recipe())
    return tmp_path / "store"


def test_frames_become_a_store_of_collapsed_units(gslm, tmp_path):
    notes = convert(
        gslm, "gslm", tmp_path / "store", "store", 500, manifest=tmp_path / "u.tsv", checkpoint="hubert", **RECIPE
    )
    assert notes == ["the file names of 2 recordings are lost, but for their stems: store has no place for them"]
    store = TokenStore(tmp_path / "store")
    store.verify()
    assert [store.document(i).tolist() for i in range(2)] == [[17, 4, 9], [3]]
    assert [store.durations(i).tolist() for i in range(2)] == [[3, 1, 2], [1]]
    assert (store.vocab_size, store.num_units, store.seconds) == (501, 4, pytest.approx(2320 / 16000))
    assert store.rows("documents") == [
        {"id": "84-1", "units": 3, "seconds": 0.12, "speaker": None, "text": None},
        {"id": "84-2", "units": 1, "seconds": 0.025, "speaker": None, "text": None},
    ]
    spec = store.spec
    assert (spec.corpus.name, spec.corpus.split, spec.tokenizer) == (
        "libri",
        "dev-clean",
        TokenizerSpec(kind="units", vocabulary=501),
    )
    encoder = spec.units.encoder
    assert (encoder.kind, encoder.rate_hz, encoder.checkpoint, spec.units.clusters) == ("given", 50.0, "hubert", 500)
    assert encoder.revision == spec.corpus.revision and len(encoder.revision) == 12


def test_the_revision_is_the_content_of_all_files_and_nothing_else(gslm, tmp_path):
    def revision(name: str, source: Path, manifest: Path) -> str:
        convert(source, "gslm", tmp_path / name, "store", 500, manifest=manifest, **RECIPE)
        return TokenStore(tmp_path / name).spec.corpus.revision

    first = revision("s1", gslm, tmp_path / "u.tsv")
    copy, manifest = tmp_path / "other" / "copy.txt", tmp_path / "other" / "copy.tsv"
    copy.parent.mkdir()
    copy.write_text(GSLM)
    manifest.write_text(MANIFEST)
    assert revision("s2", copy, manifest) == first
    manifest.write_text(MANIFEST.replace("400", "401"))
    assert revision("s3", copy, manifest) != first


def test_seconds_that_no_file_tells_are_counted_or_said_to_be_missing(gslm, tmp_path):
    notes = convert(gslm, "gslm", tmp_path / "counted", "store", 500, **RECIPE)
    assert notes == ["the seconds of 2 documents are their frames at 50 Hz"]
    assert TokenStore(tmp_path / "counted").seconds == pytest.approx(7 / 50)
    FORMATS["slamkit-tokens"].write(tmp_path / "t.jsonl", stream(document("a", [1, 2])))
    notes = convert(tmp_path / "t.jsonl", "slamkit-tokens", tmp_path / "unknown", "store", CLUSTERS, **RECIPE)
    assert "the seconds of 1 documents are unknown: 0 in the store" in notes
    assert TokenStore(tmp_path / "unknown").seconds == 0


def test_everything_that_is_lost_is_said(store, tmp_path):
    assert convert(store, "store", tmp_path / "shard", "slm_scaling") == [
        "the frames of each unit are lost for 1 documents: slm_scaling has no place for them",
        "the texts of 1 documents are lost: slm_scaling has no place for them",
        "the word times of 1 documents are lost: slm_scaling has no place for them",
    ]
    meta = json.loads((tmp_path / "shard" / "meta.json").read_text())
    assert meta["preprocessing"]["store"] == TokenStore(store).fingerprint
    row = json.loads((tmp_path / "shard" / "samples.jsonl").read_text())
    assert row == {"id": "a", "audio_steps": 4, "speaker": "s", "source_duration": 0.25}


def test_nothing_is_said_where_nothing_is_lost(tmp_path):
    plain = stream(document("a", [1, 2], metadata={"group_id": "g"}), skips=({"id": "b", "reason": "r", "detail": ""},))
    FORMATS["slm_scaling"].write(tmp_path / "one", plain)
    assert convert(tmp_path / "one", "slm_scaling", tmp_path / "two", "slm_scaling") == []
    for name in ("audio.bin", "audio.len", "samples.jsonl", "skips.jsonl", "meta.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_word_times_of_sidecars_become_the_alignment_of_a_store(tmp_path):
    words = ((0.1, 0.2, "the"), (0.3, 0.5, "cat"))
    found = [
        document("a", [1], durations=[9], text="the cat", words=words),
        document("b", [1], durations=[9], text="a dog", words=words),
        document("c", [1], durations=[9]),
    ]
    FORMATS["slamkit-features"].write(tmp_path / "f.jsonl", stream(*found))
    notes = convert(
        tmp_path / "f.jsonl", "slamkit-features", tmp_path / "s", "store", CLUSTERS, sidecars=tmp_path / "f", **RECIPE
    )
    store = TokenStore(tmp_path / "s")
    assert store.rows("alignment") == [{"id": "a", "words": [[0.1, 0, 3], [0.3, 4, 3]], "phones": []}]
    assert [row["text"] for row in store.rows("documents")] == ["the cat", "a dog", None]
    assert f"1 documents have no sidecar in {tmp_path / 'f'}, so no text and no word times" in notes
    assert "the word times of 1 documents are left out: their words are not in their text" in notes
    (back,) = [d for d in FORMATS["store"].read(tmp_path / "s", Stated()).documents if d.words]
    assert back.words == ((0.1, None, "the"), (0.3, None, "cat"))


def test_repeats_in_a_stream_that_is_said_to_be_collapsed_are_merged_and_told(tmp_path):
    (tmp_path / "u.units").write_text("1 1 2\n3\n")
    notes = convert(tmp_path / "u.units", "textless", tmp_path / "s", "slm_scaling", CLUSTERS, collapsed=True)
    assert notes == ["1 documents were said to be collapsed and had repeated units: they were merged"]
    assert content(FORMATS["slm_scaling"].read(tmp_path / "s", Stated()))[0]["units"] == [1, 2]


def test_frames_are_not_invented(tmp_path):
    FORMATS["slm_scaling"].write(tmp_path / "s", stream(document("a", [1, 2])))
    with pytest.raises(ValueError, match="'a' is collapsed and its durations are not known"):
        convert(tmp_path / "s", "slm_scaling", tmp_path / "u.txt", "gslm")
    assert not (tmp_path / "u.txt").exists()


def test_a_store_of_pieces_names_the_store_to_take(tmp_path):
    spec = replace(recipe(), tokenizer=TokenizerSpec(kind="unigram", vocabulary=9))
    write_store(tmp_path / "s", spec, [Document(id="a", tokens=np.array([1]))], {})
    with pytest.raises(ValueError, match="holds unigram tokens; convert the store of units"):
        convert(tmp_path / "s", "store", tmp_path / "u.txt", "gslm")


def test_a_store_with_some_durations_is_refused(tmp_path):
    found = [document("a", [1], durations=[1]), document("b", [1])]
    with pytest.raises(ValueError, match="'b' differs from the documents before it in having durations"):
        FORMATS["store"].write(tmp_path / "s", stream(*found), spec=recipe())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("gslm", "npz"), "no format 'npz'; choose one of store, gslm"),
        (("gslm", "parole"), "cannot be converted to 'parole'; choose one of store"),
        (("gslm", "store"), "a store needs the options `corpus`, `split`, `rate_hz`"),
        (("gslm", "km", {"corpus": "x"}), "the option `corpus` is for stores only"),
        (("gslm", "km", {"collapsed": True}), "the option `collapsed` means nothing for 'gslm'"),
        (("gslm", "store", RECIPE | {"manifest": Path("nowhere.tsv")}), "nowhere.tsv: no such file"),
    ],
)
def test_options_that_are_missing_or_have_no_meaning_are_refused(gslm, tmp_path, arguments, message):
    reads, writes, *more = arguments
    with pytest.raises(ValueError, match=message):
        convert(gslm, reads, tmp_path / "out", writes, 500, **(more[0] if more else {}))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("writes", [name for name, known in FORMATS.items() if known.write and name != "store"])
def test_an_empty_source_is_refused_and_leaves_nothing(writes, tmp_path):
    (tmp_path / "u.units").write_text("")
    with pytest.raises(ValueError, match="u.units: holds no utterances"):
        convert(tmp_path / "u.units", "textless", target(tmp_path / "out", writes), writes, 5, collapsed=True)
    assert not any(path.is_file() for path in (tmp_path / "out").rglob("*"))


@pytest.mark.real_data
def test_real_units_survive_the_way_into_a_store_and_back(tmp_path):
    """49,261 units of 70 utterances of LibriSpeech at 50 Hz (SpeechLM's sample)."""
    rows = Path(__file__).parents[2].parent / "shared/data/hubert_units/speechlm_librispeech70/units.tsv"
    lines = [line.replace("\t", "|") for line in rows.read_text().splitlines(keepends=True)[1:]]
    (tmp_path / "u.txt").write_text("".join(lines))
    convert(tmp_path / "u.txt", "gslm", tmp_path / "s", "store", 500, **RECIPE)
    store = TokenStore(tmp_path / "s")
    assert len(store) == 70 and int(store.all_durations.sum()) == 49261 > store.num_units
    assert store.seconds / 60 == pytest.approx(16.4, abs=0.1)
    convert(tmp_path / "s", "store", tmp_path / "f.jsonl", "slamkit-features")
    convert(tmp_path / "f.jsonl", "slamkit-features", tmp_path / "back.txt", "gslm", 500)
    assert (tmp_path / "back.txt").read_text() == (tmp_path / "u.txt").read_text()
