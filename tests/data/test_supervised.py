"""A supervised tokenizer through `prepare`: learnt once, the same again, and its tokens are those of its codebook."""

from dataclasses import replace

import numpy as np
import pytest
import soundfile
from rich.progress import Progress

from data import documents as sources
from data.centres import _log_mels, _parts, centres_folder, centres_of
from data.compare import compare
from data.measures.columns import READING
from data.mixtures import MIXED
from data.prepare import prepare
from data.stores import stores
from data.tts import Speech
from data.units import speech_of
from data.workshop import Workshop
from slm.atomic import read_json
from slm.machine import Machine
from slm.spec import CorpusSpec, EncoderSpec, StoreSpec, SupervisedSpec, TokenizerSpec, UnitSpec
from slm.speech.centres import read_centres
from slm.speech.encoder import encoder
from slm.speech.kmeans import collapse, nearest
from slm.speech.whisper_vq import shape_of, tokenizer_folder

CODES = 16


def spec_of(**changes) -> EncoderSpec:
    learnt_on = replace(stores("micro")["stories-train/units"].corpus, documents=10)
    told = SupervisedSpec(
        learnt_on=learnt_on,
        codes=CODES,
        layers=2,
        quantised_after=1,
        decoder_layers=1,
        width=16,
        heads=2,
        hidden=32,
        block_seconds=2.0,
        updates=6,
        batch_seconds=20.0,
        learning_rate=1e-3,
        ctc=1.0,
    )
    return EncoderSpec(kind="whisper_vq", rate_hz=25.0, revision="1", supervised=replace(told, **changes))


def shop_at(root, spec: EncoderSpec, workers: int = 1) -> Workshop:
    units = UnitSpec(encoder=spec, clusters=CODES)
    corpus = replace(spec.supervised.learnt_on, split="validation", documents=3)
    store = StoreSpec(corpus=corpus, units=units, tokenizer=TokenizerSpec(kind="units", vocabulary=CODES + 1))
    return Workshop(
        root=root,
        corpora=None,
        workers=workers,
        machine=Machine(accelerator="cpu", encoders=root / "encoders"),
        progress=Progress(disable=True),
        scale="s",
        table={"stories-validation/vq": store},
    )


def test_a_store_of_its_tokens(tmp_path):
    spec = spec_of()
    shop = shop_at(tmp_path, spec)
    store = prepare(shop, "stories-validation/vq")
    made = encoder(spec, shop.machine)
    units = store.spec.units
    centres = read_centres(centres_folder(tmp_path, units) / "centres.safetensors", made.fingerprint).array
    np.testing.assert_array_equal(centres, made.codebook)
    for number, utterance in enumerate(sources.documents(store.spec.corpus, None)):
        (states,) = made.encode([speech_of(utterance).waveform])
        tokens, durations = collapse(nearest(states, centres))
        np.testing.assert_array_equal(store.document(number), tokens)
        np.testing.assert_array_equal(store.durations(number), durations)

    (row,) = compare({"stories-validation/vq": store}, {}).to_dict("records")
    folder = tokenizer_folder(spec, shop.machine)
    told = read_json(folder / "recipe.json")
    assert told["learnt_documents"] == 8 and told["held_out_documents"] == 2
    assert told["held_out_wer"] > 0 and 1 <= told["perplexity"] <= told["codes_used"] <= CODES
    assert {name: row[name] for name in READING} == {name: told[name] for name in READING}
    assert 1 <= row["perplexity"] <= CODES
    assert not list(folder.parent.glob(".log-mels*/*")), "log-mels are removed when the tokenizer is there"
    first = (folder / "model.safetensors").stat().st_mtime_ns
    centres_of(shop, units)
    assert (folder / "model.safetensors").stat().st_mtime_ns == first, "learnt once"

    again = shop_at(tmp_path / "again", spec, workers=2)
    centres_of(again, units)
    assert read_json(tokenizer_folder(spec, again.machine) / "recipe.json")["sha256"] == told["sha256"]


def test_long_speech_is_learnt_from_in_parts_that_begin_with_a_word():
    text = "one two three four five"
    words = tuple((18.0 * number, text.index(word), len(word)) for number, word in enumerate(text.split()))
    long = Speech(waveform=np.arange(80 * 16000, dtype=np.float32), words=words, phones=())
    parts = list(_parts(long, text))
    assert [said for _, said in parts] == ["one two ", "three ", "four five"]
    assert [len(sound) / 16000 for sound, _ in parts] == [36.0, 18.0, 26.0]
    np.testing.assert_array_equal(np.concatenate([sound for sound, _ in parts]), long.waveform)
    for whole in (replace(long, words=()), replace(long, waveform=long.waveform[: 28 * 16000])):
        ((sound, said),) = _parts(whole, text)
        assert said == text and len(sound) == len(whole.waveform)


def test_log_mels_are_shared_and_removed_by_the_last(tmp_path):
    spec = spec_of()
    shop = shop_at(tmp_path, spec)
    with _log_mels(shop, spec.supervised.learnt_on, 80) as files:
        assert files and all(file.exists() for file in files)
        written = [file.stat().st_mtime_ns for file in files]
        with _log_mels(shop, spec.supervised.learnt_on, 80) as again:
            assert again == files
        assert [file.stat().st_mtime_ns for file in files] == written
    assert not files[0].parent.exists()


@pytest.mark.parametrize("scale", MIXED)
def test_every_tokenizer_of_a_scale_can_be_built(scale):
    for each in (*MIXED[scale].tokenizers.values(), *MIXED[scale].compared):
        shape = shape_of(each, 80)
        assert shape.pooling * each.rate_hz == 50 and shape.codes == each.supervised.codes


@pytest.mark.parametrize("content, reason", [(b"no sound", "10 of the 10 documents"), (None, "0 of 8 documents fit")])
def test_recordings_that_are_torn_or_without_transcripts_are_told(tmp_path, content, reason):
    folder = tmp_path / "corpora" / "folder" / "train"
    folder.mkdir(parents=True)
    for number in range(10):
        path = folder / f"{number}.wav"
        if content:
            path.write_bytes(content)
        else:
            soundfile.write(path, np.random.default_rng(number).normal(scale=0.1, size=16000), 16000)
    learnt_on = CorpusSpec(name="folder", revision="1", split="train")
    spec = spec_of(learnt_on=learnt_on)
    shop = replace(shop_at(tmp_path, spec), corpora=tmp_path / "corpora")
    with pytest.raises(ValueError, match=reason):
        centres_of(shop, UnitSpec(encoder=spec, clusters=CODES))
    assert not (tokenizer_folder(spec, shop.machine) / "recipe.json").exists()
