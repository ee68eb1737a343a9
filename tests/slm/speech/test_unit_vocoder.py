"""Learnt vocoder on espeak-ng's speech and cepstral units: closer to held-out speech than each unit's mean frame."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

from data.corpora.dialogues import utterances
from data.tts import SYNTHESISER, Synthesiser
from slm.atomic import read_json
from slm.machine import CPU
from slm.spec import CorpusSpec, EncoderSpec, UnitSpec
from slm.speech.encoder import encoder
from slm.speech.kmeans import collapse, fit_centres, nearest
from slm.speech.unit_vocoder import (
    HifiGan,
    UnitVocoderSpec,
    learn_unit_vocoder,
    read_unit_vocoder,
    unit_vocoder_folder,
)
from slm.speech.vocoder import heard_again

CLUSTERS, RATE = 30, 25.0
CORPUS = CorpusSpec(name="dialogues", revision="1", split="train", voices=("en-us",), synthesiser=SYNTHESISER)
UNITS = UnitSpec(
    encoder=EncoderSpec(kind="mfcc", rate_hz=RATE, revision="1"), clusters=CLUSTERS, seed=0, learnt_on=CORPUS
)
RECIPE = UnitVocoderSpec(units=UNITS, learnt_on=CORPUS, documents=30, held_out=6, width=48, updates=100, crops=4)


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def speech():
    """(documents of units, frames and sound; a function from sound to labels of its frames)."""
    synthesiser, made = Synthesiser(), encoder(UNITS.encoder, CPU)
    sounds = [synthesiser.speak(u.text, "en-us").waveform for u in islice(utterances(None, "train"), 36)]
    frames = made.encode(sounds)
    centres = fit_centres(np.concatenate(frames[:20]), CLUSTERS, seed=0).centres
    found = [(*collapse(nearest(rows, centres)), sound) for rows, sound in zip(frames, sounds, strict=True)]
    return found, lambda sound: nearest(made.encode([sound])[0], centres)


@pytest.fixture(scope="module")
def learnt(speech, tmp_path_factory):
    folder = unit_vocoder_folder(tmp_path_factory.mktemp("root"), RECIPE)
    return learn_unit_vocoder(folder, speech[0], RECIPE, CPU), folder


def test_it_is_closer_to_held_out_speech_than_the_mean_frame_of_each_unit(learnt, speech):
    told = read_json(learnt[1] / "recipe.json")
    assert told["learnt_documents"] == 30
    assert told["held_out_frames"] == sum(4 * int(frames.sum()) for _, frames, _ in speech[0][30:])
    assert told["held_out_error_db"] < 0.85 * told["held_out_unit_mean_error_db"] < 20


def test_the_encoder_hears_the_units_that_were_spoken(learnt, speech):
    speak, (documents, labels_of) = learnt[0], speech
    right = total = 0
    for units, frames, _ in documents[30:]:
        waveform = speak(units, frames)
        assert waveform.dtype == np.float32 and len(waveform) == frames.sum() * 640
        heard = labels_of(waveform)
        right, total = right + int((heard == np.repeat(units, frames)).sum()), total + len(heard)
    assert right > 0.9 * total  # 0.98 as it is


def test_units_without_durations_last_as_long_as_those_that_were_learnt_from(learnt, speech):
    speak, learnt_from = learnt[0], speech[0][:30]
    units, frames, _ = speech[0][31]
    every, lasting = (np.concatenate([document[i] for document in learnt_from]) for i in (0, 1))
    means = [lasting[every == unit].mean() for unit in units]
    assert abs(len(speak(units)) / 640 - sum(means)) <= 0.5 + 1e-9
    assert np.array_equal(speak(units), speak(units))
    assert len(speak(units[:0])) == 0
    with pytest.raises(ValueError, match="speaks units 0 to 29, not 30 to 30"):
        speak(np.array([30]))


def test_the_same_speech_gives_the_same_weights_and_torn_or_other_ones_are_refused(learnt, speech, tmp_path):
    made, folder = learnt
    short = replace(RECIPE, updates=3, documents=8, held_out=2)
    told = [
        read_json(tmp_path / name / "recipe.json")
        for name in ("a", "b")
        if learn_unit_vocoder(tmp_path / name, iter(speech[0]), short, CPU)
    ]
    assert told[0] == told[1] and told[0]["learnt_documents"] == 8
    units = speech[0][32][0]
    assert np.array_equal(read_unit_vocoder(folder, UNITS, CPU)(units), made(units))
    with pytest.raises(ValueError, match="speaks other units .*clusters: 30 -> 40"):
        read_unit_vocoder(folder, replace(UNITS, clusters=40), CPU)
    with pytest.raises(ValueError, match="no vocoder in .*: learn one"):
        read_unit_vocoder(tmp_path / "none", UNITS, CPU)
    weights = tmp_path / "a" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ValueError, match="no readable vocoder .*checksum.* learn it anew"):
        read_unit_vocoder(tmp_path / "a", UNITS, CPU)


def test_what_cannot_be_learnt_from_is_refused(speech, tmp_path):
    units, frames, sound = speech[0][0]
    with pytest.raises(ValueError, match="document 0: .* s of units, .* s of sound: they do not belong together"):
        learn_unit_vocoder(tmp_path, [(units, frames, sound[: len(sound) // 2])], RECIPE, CPU)
    with pytest.raises(ValueError, match="speaks units 0 to 29"):
        learn_unit_vocoder(tmp_path, [(units + CLUSTERS, frames, sound)], RECIPE, CPU)
    with pytest.raises(ValueError, match="6 documents of speech, 6 held out"):
        learn_unit_vocoder(tmp_path, speech[0][:6], RECIPE, CPU)


def test_other_rates_of_frames_are_spoken_on_the_same_clock(speech, tmp_path):
    found = []
    for rate in (12.5, 50.0, 40.0):
        spec = replace(UNITS, encoder=replace(UNITS.encoder, kind="hubert", revision="0" * 40, rate_hz=rate))
        recipe = replace(RECIPE, units=spec, updates=1, documents=3, held_out=1)
        frames = [int(len(sound) / 16000 * rate) for *_, sound in speech[0][:4]]
        some = [(np.arange(n) % CLUSTERS, np.ones(n, np.uint16), s[2]) for n, s in zip(frames, speech[0], strict=False)]
        made = learn_unit_vocoder(tmp_path / f"{rate:g}", some, recipe, CPU)
        found.append(len(made(np.arange(20), np.ones(20, np.uint16))) / 16000 * rate)
    assert found == [20, 20, 20]


def hifi_gan(folder, **changes):
    """A tiny one with random weights."""
    shape = {"model_in_dim": 80, "sampling_rate": 16000, "upsample_initial_channel": 16}
    shape |= {"upsample_rates": [4, 4, 10], "upsample_kernel_sizes": [8, 8, 20], "resblock_kernel_sizes": [3]}
    torch.manual_seed(0)
    model = SpeechT5HifiGan(SpeechT5HifiGanConfig(**shape | {"resblock_dilation_sizes": [[1, 3]]} | changes))
    model.save_pretrained(folder)
    return model


def test_a_hifi_gan_turns_the_same_frames_into_sound(learnt, speech, tmp_path):
    made, folder = learnt
    units, frames, _ = speech[0][33]
    model = hifi_gan(tmp_path / "hifi-gan")
    sound = read_unit_vocoder(folder, UNITS, CPU, tmp_path / "hifi-gan")(units, frames)
    with torch.no_grad():
        expected = model.eval()(torch.from_numpy(made.mels(units, frames)))
    np.testing.assert_allclose(sound, expected.numpy(), atol=1e-6)
    assert len(sound) == frames.sum() * 640 and len(HifiGan(tmp_path / "hifi-gan", CPU)(np.zeros((0, 80)))) == 0


def test_a_hifi_gan_of_other_frames_or_none_is_refused(tmp_path):
    hifi_gan(tmp_path / "speecht5", upsample_rates=[4, 4, 4, 4], upsample_kernel_sizes=[8, 8, 8, 8])
    with pytest.raises(ValueError, match="80 mels at 16000 Hz, 256 samples a frame; it must be 80 at 16000 Hz, 160"):
        HifiGan(tmp_path / "speecht5", CPU)
    with pytest.raises(ValueError, match="no HiFi-GAN that transformers can load"):
        HifiGan(tmp_path, CPU)


def test_the_price_of_a_vocoder_is_told_by_a_transcriber_before_and_after(learnt, speech):
    documents = [units for units, *_ in speech[0][30:]]
    names = ["".join(chr(97 + unit % 26) for unit in units) for units in documents]
    known = {tuple(units.tolist()): name for units, name in zip(documents, names, strict=True)}

    class Codebook:
        name = "codebook"

        def __call__(self, documents):
            return [known.get(tuple(units.tolist()), "") for units in documents]

    def units_of(sound):
        return collapse(speech[1](sound))[0]

    direct, again = heard_again(learnt[0], units_of, Codebook(), documents, names)
    lost = [not np.array_equal(units_of(learnt[0](units)), units) for units in documents]
    assert direct.wer == 0 and direct.words == len(documents) and again.wer == np.mean(lost)
    none, all_ = heard_again(lambda units: np.zeros(6400, np.float32), units_of, Codebook(), documents, names)
    assert (none.wer, all_.wer) == (0, 1)
