"""Preparing stores: the same bytes for any number of workers and after any kill, skips counted, recipes guarded."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.progress import Progress

from data import units as extraction
from data.centres import centres_of, sample
from data.prepare import prepare, prepare_all, prepare_shard
from data.stores import stores
from data.tts import Synthesiser
from data.units import Part, Target, digest, encode_part, read_part, share
from data.utterance import Utterance
from data.workshop import Workshop
from slm.atomic import read_json, read_jsonl
from slm.machine import Machine
from slm.spec import CorpusSpec, EncoderSpec, StoreSpec, TokenizerSpec, UnitSpec
from slm.speech.centres import read_centres, save_centres
from slm.speech.encoder import ENCODERS
from slm.store import TokenStore, checksum

CLUSTERS = 20


def tiny_table() -> dict[str, StoreSpec]:
    """The micro table with few documents and clusters."""
    table, schemes = {}, ("units", "units-double-rate", "unigram", "bpe", "phones", "text")
    chosen = {name: spec for name, spec in stores("micro").items() if name.split("/")[1] in schemes}
    for name, spec in chosen.items():
        corpus = spec.corpus
        if corpus.name in ("stories", "almanac"):
            corpus = replace(corpus, documents=24 if corpus.split == "train" else 4)
        learnt_on = replace(stores("micro")["stories-train/units"].corpus, documents=8)
        units = spec.units and replace(spec.units, clusters=CLUSTERS, learnt_on=learnt_on)
        sizes = {"units": CLUSTERS + 1, "unigram": 26, "bpe": 26, "phones": 64, "text": 200}
        learns = spec.tokenizer.learnt_on and replace(spec.tokenizer.learnt_on, documents=8)
        tokenizer = replace(spec.tokenizer, vocabulary=sizes[spec.tokenizer.kind], learnt_on=learns)
        table[name] = StoreSpec(corpus=corpus, units=units, tokenizer=tokenizer)
    return table


def shop_at(root: Path, workers: int = 1, table: dict | None = None, corpora: Path | None = None) -> Workshop:
    return Workshop(
        root=root,
        corpora=corpora,
        workers=workers,
        machine=Machine(accelerator="cpu"),
        progress=Progress(disable=True),
        scale="s",
        table=table or tiny_table(),
    )


def contents(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): checksum(p) for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("prepared")
    for name in ("stories-train/unigram", "stories-validation/unigram", "stories-validation/phones"):
        prepare(shop_at(root), name)
    return root


def test_schemes_describe_the_same_speech(prepared):
    units, pieces, phones = (
        TokenStore(prepared / "stores/s" / f"stories-validation/{scheme}") for scheme in ("units", "unigram", "phones")
    )
    assert units.num_units == pieces.num_units == units.num_tokens - len(units)
    assert units.seconds == pytest.approx(pieces.seconds) == pytest.approx(phones.seconds)
    assert phones.num_tokens < pieces.num_tokens < units.num_tokens
    for i, row in enumerate(units.rows("documents")):
        assert row["seconds"] * 25 - 1 < units.durations(i).sum() <= row["seconds"] * 25
        assert not (np.diff(units.document(i)) == 0).any(), "equal neighbours are collapsed"


def test_any_number_of_workers_gives_the_same_bytes(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "PART_DOCUMENTS", 5)
    for name in ("stories-train/unigram", "stories-validation/unigram", "stories-validation/phones"):
        prepare(shop_at(tmp_path, workers=3), name)
    assert contents(tmp_path) == contents(prepared)


def test_every_scheme_knows_how_long_its_tokens_last(prepared):
    validation = [
        TokenStore(prepared / "stores/s/stories-validation" / scheme) for scheme in ("units", "unigram", "phones")
    ]
    for i, row in enumerate(validation[0].rows("documents")):
        frames = int(validation[0].durations(i).sum())
        assert frames == validation[1].durations(i).sum() and frames / 25 == pytest.approx(row["seconds"], abs=0.04)
        assert validation[2].durations(i).sum() / validation[2].frame_hz == pytest.approx(row["seconds"], abs=0.002)


def test_an_array_of_jobs_gives_the_same_bytes_as_one_command(prepared, tmp_path, monkeypatch):
    monkeypatch.setattr(extraction, "PART_DOCUMENTS", 3)
    shop = shop_at(tmp_path)
    for shard in (2, 0, 1, 1):  # in any order, and one of them requeued
        prepare_shard(shop, ["stories-train/units"], shard, 3)
        assert not (tmp_path / "stores/s/stories-train/units").exists()
    encoded = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("units.bin")}
    assert len(encoded) == 8
    merged = prepare(shop, "stories-train/units")
    assert contents(merged.folder) == contents(prepared / "stores/s/stories-train/units")
    assert not list(tmp_path.rglob("*.parts-*")), "merged parts are removed"


def test_shares_are_whole_disjoint_and_balanced():
    lengths = [40.0, 3.0, 7.0, 20.0, 1.0, 9.0, 12.0, 8.0]
    utterances = [Utterance(id=str(i), text="x", seconds=seconds) for i, seconds in enumerate(lengths)]
    parts = [Part(utterances=(u,), targets=(), machine=Machine()) for u in utterances]
    shares = [share(parts, i, 3) for i in range(3)]
    assert sorted(part.utterances[0].id for found in shares for part in found) == [u.id for u in utterances]
    assert sorted(sum(part.seconds for part in found) for found in shares) == [29.0, 31.0, 40.0]


def test_wrong_shards_are_refused(tmp_path):
    with pytest.raises(ValueError, match="shard 3/3: count from 0/3 to 2/3"):
        prepare_shard(shop_at(tmp_path), ["stories-train/units"], 3, 3)
    with pytest.raises(ValueError, match="store of unigram: only the encoding of units"):
        prepare_shard(shop_at(tmp_path), ["stories-train/unigram"], 0, 2)


def test_a_part_altered_after_it_was_encoded_is_refused_by_name(tmp_path):
    shop = shop_at(tmp_path)
    prepare_shard(shop, ["stories-validation/units"], 0, 1)
    (part,) = tmp_path.rglob("durations.bin")
    content = bytearray(part.read_bytes())
    content[0] ^= 1
    part.write_bytes(content)
    with pytest.raises(ValueError, match="durations.bin was altered or torn: delete"):
        prepare(shop, "stories-validation/units")
    assert not (tmp_path / "stores/s/stories-validation/units").exists()


def test_schemes_encoded_together_are_those_encoded_alone(prepared, tmp_path):
    names = ["stories-validation/units", "stories-validation/units-double-rate"]
    slow, fast = prepare_all(shop_at(tmp_path, workers=2), names)
    assert contents(slow.folder) == contents(prepared / "stores/s/stories-validation/units")
    assert (slow.frame_hz, fast.frame_hz) == (25.0, 50.0)
    for i in range(len(slow)):
        assert abs(int(fast.durations(i).sum()) - 2 * int(slow.durations(i).sum())) <= 1


def test_centres_of_another_encoder_are_refused(prepared, tmp_path):
    shop = shop_at(tmp_path)
    prepare_all(shop, ["stories-validation/units", "stories-validation/units-double-rate"])
    table = tiny_table()
    of = {name: centres_of(shop, table[f"stories-validation/{name}"].units) for name in ("units", "units-double-rate")}
    of["units"].write_bytes(of["units-double-rate"].read_bytes())
    with pytest.raises(ValueError, match="mfcc-50hz-v1.*mfcc-25hz-v1|mfcc-25hz-v1.*mfcc-50hz-v1"):
        prepare(shop, "story_cloze/units")


def test_a_kill_before_the_centres_are_declared_learns_them_again(tmp_path):
    shop, units = shop_at(tmp_path), tiny_table()["stories-train/units"].units
    path = centres_of(shop, units)
    before = path.read_bytes()
    path.with_name("recipe.json").unlink()
    path.write_bytes(b"torn")
    assert centres_of(shop, units).read_bytes() == before and path.with_name("recipe.json").exists()


def test_stores_of_other_centres_than_those_that_are_there_are_refused(tmp_path):
    shop = shop_at(tmp_path)
    prepare(shop, "stories-validation/units")
    path = centres_of(shop, tiny_table()["stories-validation/units"].units)
    centres = read_centres(path, "mfcc-25hz-v1")
    save_centres(path, replace(centres, array=centres.array + 1))
    with pytest.raises(ValueError, match="made with other centres than"):
        prepare(shop, "stories-validation/units")


def test_given_labels_are_kept_whatever_their_sound_is_like_and_endless_ones_are_skipped(tmp_path):
    spec = EncoderSpec(kind="given", rate_hz=50.0, revision="1")
    target = Target(units=UnitSpec(encoder=spec, clusters=9), centres=None, folder=tmp_path / "part")
    good = Utterance(id="good", audio=tmp_path / "nowhere.flac", seconds=0.12, labels=(3, 3, 8, 3, 3, 3))
    endless = replace(good, id="endless", labels=(5,) * 70000)
    wrong = replace(good, id="wrong", labels=(3, 9))
    encode_part(Part(utterances=(good, endless, wrong), targets=(target,), machine=Machine(accelerator="cpu")))
    ((row, units, frames),) = read_part(target.folder)
    assert (row["id"], list(units), list(frames)) == ("good", [3, 8, 3], [2, 1, 3])
    reasons = {row["id"]: row["reason"] for row in read_jsonl(target.folder / "skips.jsonl")}
    assert "70000 frames" in reasons["endless"] and "3..9 lie outside 0..8" in reasons["wrong"]


def test_a_corpus_under_another_root_is_the_same_part(tmp_path):
    found = []
    for root in (tmp_path / "a", tmp_path / "b"):
        (root / "x").mkdir(parents=True)
        (root / "x" / "1.flac").write_bytes(b"same")
        os.utime(root / "x" / "1.flac", (1, 1))
        found.append(digest((Utterance(id="1", audio=root / "x" / "1.flac"),), root))
    assert found[0] == found[1]
    other = Utterance(id="1", audio=root / "x" / "1.flac", words=((0.5, 0, 3),))
    assert digest((other,), root) != found[1]


def test_of_too_many_frames_a_seeded_sample_is_learnt_from(tmp_path):
    shards = [np.arange(i * 100, i * 100 + 40, dtype=np.float32).reshape(20, 2) for i in range(5)]
    shards.insert(2, np.zeros((0, 1), np.float32))
    for i, shard in enumerate(shards):
        np.save(tmp_path / f"{i}.npy", shard)
    files = [tmp_path / f"{i}.npy" for i in range(6)]
    everything = np.concatenate([shard for shard in shards if len(shard)])
    assert np.array_equal(sample(files, 1 << 20, 0), everything)
    some = sample(files, 30 * 8, 0)
    assert some.shape == (30, 2) and np.array_equal(some, sample(files, 30 * 8, 0))
    assert not np.array_equal(some, sample(files, 30 * 8, 1))
    assert set(map(tuple, some)) <= set(map(tuple, everything)) and (np.diff(some[:, 0]) > 0).all()


def test_a_store_that_is_there_is_not_made_again(prepared):
    manifest = prepared / "stores/s" / "stories-train/units" / "manifest.json"
    before = manifest.stat().st_mtime_ns
    prepare(shop_at(prepared), "stories-train/units")
    assert manifest.stat().st_mtime_ns == before


def test_a_store_of_another_recipe_is_refused(prepared):
    table = tiny_table()
    spec = table["stories-validation/units"]
    table["stories-validation/units"] = replace(spec, corpus=replace(spec.corpus, documents=3))
    with pytest.raises(ValueError, match="corpus.documents: 4 -> 3"):
        prepare(shop_at(prepared, table=table), "stories-validation/units")


def test_sigkill_in_the_middle_and_again_gives_the_same_bytes(tmp_path):
    """The real command on the real table, killed once the first shard is there, then run to its end."""
    command = [sys.executable, "-m", "data", "prepare", "stories-validation/units", "--workers", "1"]
    one, other = tmp_path / "killed", tmp_path / "whole"
    child = subprocess.Popen(command, env=os.environ | {"SLM_ROOT": str(one)}, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not list(one.glob("stores/micro/*/.units.parts-*/0*/done.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(one.glob("stores/micro/*/.units.parts-*/0*/done.json"))
    child.send_signal(signal.SIGKILL)
    child.wait()
    assert not (one / "stores/micro/stories-validation/units").exists()
    subprocess.run(command, env=os.environ | {"SLM_ROOT": str(one)}, check=True, capture_output=True)
    subprocess.run(command, env=os.environ | {"SLM_ROOT": str(other)}, check=True, capture_output=True)
    assert contents(one) == contents(other)


@pytest.fixture(scope="module")
def cloze(tmp_path_factory) -> dict[str, TokenStore]:
    """All of Story Cloze under three schemes."""
    shop = shop_at(tmp_path_factory.mktemp("cloze"), workers=2)
    return {scheme: prepare(shop, f"story_cloze/{scheme}") for scheme in ("units", "phones", "text")}


def test_items_point_at_their_options_and_endings(cloze):
    for store in cloze.values():
        texts = {row["id"]: row["text"] for row in store.rows("documents")}
        index = {row["id"]: i for i, row in enumerate(store.rows("documents"))}
        items = store.rows("items")
        assert len(items) == 300 and {row["answer"] for row in items} == {0, 1}
        for row in items:
            one, other = (texts[option] for option in row["options"])
            prompts = [". ".join(text.split(". ")[:4]) for text in (one, other)]
            assert prompts[0] == prompts[1] and one != other
            for option, prompt in zip(row["options"], row["prompt_tokens"], strict=True):
                assert 0 < prompt < len(store.document(index[option]))
        shares = [
            p / len(store.document(index[o]))
            for r in items
            for o, p in zip(r["options"], r["prompt_tokens"], strict=True)
        ]
        assert 0.7 < np.mean(shares) < 0.9, "four of five sentences are the prompt"


def test_options_of_an_item_share_the_tokens_of_their_prompt(cloze):
    """A prompt is the same whatever ends it: an encoder that normalises over the utterance would fail here."""
    for scheme in ("units", "phones"):
        store = cloze[scheme]
        index = {row["id"]: i for i, row in enumerate(store.rows("documents"))}
        shared = []
        for row in store.rows("items"):
            one, other = (store.document(index[option]) for option in row["options"])
            length = min(row["prompt_tokens"]) - 2  # the last frames of a prompt hear the ending begin
            shared.append(np.array_equal(one[:length], other[:length]))
        assert np.mean(shared) > 0.9, scheme


def recorded(root: Path, sentences: int) -> Path:
    """A LibriSpeech-like folder spoken by the synthesiser."""
    chapter = root / "LibriSpeech" / "test-other" / "1" / "2"
    chapter.mkdir(parents=True)
    synthesiser, lines = Synthesiser(), []
    for i in range(sentences):
        text = f"the {['cat', 'dog', 'horse', 'cow'][i % 4]} saw {i + 2} birds near the old pond"
        soundfile.write(chapter / f"1-2-{i:04d}.flac", synthesiser.speak(text, "en-us").waveform, 16000)
        lines.append(f"1-2-{i:04d} {text.upper()}")
    (chapter / "1-2.trans.txt").write_text("\n".join(lines) + "\n")
    return root


def recorded_table() -> dict[str, StoreSpec]:
    corpus = CorpusSpec(name="librispeech", revision="1", split="test-other")
    units = UnitSpec(encoder=ENCODERS["mfcc"], clusters=10, learnt_on=corpus)
    return {"r/units": StoreSpec(corpus=corpus, units=units, tokenizer=TokenizerSpec(kind="units", vocabulary=11))}


def test_one_bad_file_among_many_is_a_row_of_skips(tmp_path):
    root = recorded(tmp_path / "corpora", 30)
    chapter = root / "LibriSpeech" / "test-other" / "1" / "2"
    (chapter / "1-2-0007.flac").write_bytes(b"fLaC but torn")
    store = prepare(shop_at(tmp_path, table=recorded_table(), corpora=root), "r/units")
    (row,) = store.rows("skips")
    assert row["id"] == "1-2-0007" and "not readable" in row["reason"]
    assert len(store) == 29 and store.manifest["skipped"] == 1
    assert read_json(store.folder / "manifest.json")["num_documents"] == 29


def test_many_bad_files_are_refused_with_the_first_reason(tmp_path):
    root = recorded(tmp_path / "corpora", 10)
    for i in (2, 5):
        (root / f"LibriSpeech/test-other/1/2/1-2-{i:04d}.flac").unlink()
    with pytest.raises(ValueError, match="2 of the 10 documents of librispeech.*unusable.*no such audio file"):
        prepare(shop_at(tmp_path, table=recorded_table(), corpora=root), "r/units")
    assert not (tmp_path / "stores/s/r/units").exists()


def run_data(*arguments: str, root: Path) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "data", "prepare", *arguments]
    return subprocess.run(command, env=os.environ | {"SLM_ROOT": str(root)}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nothing/units"], "no store 'nothing/units'"),
        (["--scale", "tera"], "choose one of tiny, micro, mini, paper"),
        (["tinystories-train/units", "--scale", "mini"], "say where they are with --corpora"),
        (
            ["tinystories-train/units", "--scale", "mini", "--corpora", "."],
            "none of tinystories is a folder",
        ),
        (["librispeech-test-other/units", "--scale", "mini", "--corpora", "."], "tinystories is not there"),
    ],
)
def test_mistakes_end_in_one_line(tmp_path, arguments, message):
    done = run_data(*arguments, root=tmp_path)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and message in last and "Traceback" not in done.stderr
