"""Talking to a run: one that learnt a few spoken dialogues by heart answers them, from a recording and from a text."""

import wave
from dataclasses import replace
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from rich.progress import Progress

from data import documents as sources
from data import stores as tables
from data import transcripts
from data.corpora import dialogues as corpus
from data.dialogues import SPEECH_BLOCK, TEXT_BLOCK, Answer, asked, dialogue_store, parsed
from data.prepare import prepare
from data.tts import SYNTHESISER, Synthesiser
from data.unigram import TextPieces, learn_text_pieces, model_path
from data.vocabulary import JointIds, joined, joint_ids
from data.workshop import Workshop
from experiments import chat as talking
from experiments.chat import chat, stream_answer, vocoder_of, wav_bytes
from slm.generate import Decoding
from slm.machine import CPU
from slm.model import CAUSAL, from_scratch
from slm.spec import (
    CorpusSpec,
    EncoderSpec,
    ModelConfig,
    RunSpec,
    Source,
    StoreSpec,
    TokenizerSpec,
    TrainConfig,
    UnitSpec,
)
from slm.speech.transcriber import plain_text
from slm.speech.unit_vocoder import UnitVocoder
from slm.speech.vocoder import CepstralVocoder
from slm.store import Document, TokenStore, write_store
from slm.train import train

VOICE = "en-us"
SPOKEN = CorpusSpec(
    name="dialogues", revision="1", split="train", documents=12, voices=(VOICE,), synthesiser=SYNTHESISER
)
UNITS = UnitSpec(encoder=EncoderSpec(kind="mfcc", rate_hz=25.0, revision="1"), clusters=40, learnt_on=SPOKEN)
PLAIN = TokenizerSpec(kind="units", vocabulary=41)
TEXT = TokenizerSpec(kind="text", vocabulary=80, learnt_on=SPOKEN)
TALK = StoreSpec(corpus=SPOKEN, units=UNITS, tokenizer=joined(PLAIN, TEXT), form="C")
PLAIN_STORE = StoreSpec(corpus=SPOKEN, units=UNITS, tokenizer=PLAIN)


@pytest.fixture(autouse=True, scope="module")
def toy_scale():
    """One thread, and scale `toy`: what transcriber and vocoder learn takes a moment."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sources.CORPORA, "dialogues", corpus.utterances)
        patch.setitem(tables.STORES, "toy", lambda: {"dialogues-train/units": PLAIN_STORE})
        patch.setattr(transcripts, "HELD_OUT_DOCUMENTS", 2)
        recipe_of = transcripts.recipe_of
        smaller = {"updates": 100, "width": 48, "layers": 4, "batch_units": 200, "places": 4}
        patch.setattr(transcripts, "recipe_of", lambda *told: replace(recipe_of(*told), **smaller))
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """The speech and a store of its dialogues; two runs, one over the dialogues and one over units alone."""
    root = tmp_path_factory.mktemp("toy")
    shop = Workshop(
        root=root,
        corpora=None,
        workers=1,
        machine=CPU,
        progress=Progress(disable=True),
        scale="toy",
        table=tables.stores("toy"),
    )
    speech = prepare(shop, "dialogues-train/units")
    path = model_path(root, TEXT)
    learn_text_pieces(path, (row["text"] for row in speech.rows("documents")), TEXT.vocabulary - 1)
    talk = dialogue_store(
        root / "stores/toy/talk", TALK, speech, TextPieces(path).encode, islice(corpus.dialogues("train"), 12)
    )
    order = np.random.default_rng(0).permutation(np.repeat(np.arange(len(talk)), 30))  # each after every other one
    rehearsed = [Document(id=str(i), tokens=np.array(talk.document(number))) for i, number in enumerate(order)]
    drill = write_store(root / "stores/toy/drill", TALK, rehearsed, {})
    mark = joint_ids(TALK.tokenizer).mark("S")
    cut = [each.tokens[: np.flatnonzero(each.tokens == mark)[1] + 1] for each in rehearsed[:60]]
    written = [Document(id=str(i), tokens=tokens) for i, tokens in enumerate(cut)]
    silent = write_store(root / "stores/toy/silent", TALK, written, {})
    for name, store, tokens in (("talk", drill, 256 * 200), ("silent", silent, 256 * 60), ("mute", speech, 256)):
        train(run_over(name, store, tokens), [store], {"held-out": store}, root / "runs/toy", CPU, {"stores": {}})
    return root


def run_over(name: str, store: TokenStore, tokens: int) -> RunSpec:
    model = ModelConfig(layers=2, width=48, heads=2, hidden=128, vocabulary=store.vocab_size, context=256)
    training = TrainConfig(
        tokens=tokens,
        batch_tokens=256,
        learning_rate=1e-2,
        warmup_steps=tokens // 256 // 10,
        schedule="wsd",
        decay_fraction=0.5,
        final_rate=0.05,
    )
    mix = (Source(store=store.spec),)
    return RunSpec(name=name, family="toy", size="w48", budget="toy", model=model, mix=mix, train=training)


def known(root: Path) -> list[tuple[str, str]]:
    """First (question, answer) of the dialogues that were learnt."""
    rows = TokenStore(root / "stores/toy/talk").rows("documents")
    return [tuple(row["turns"][0]) for row in rows]


def test_a_question_in_a_recording_gets_the_answer_that_was_learnt(root, tmp_path):
    question, answer = known(root)[0]
    sound = Synthesiser().speak(question, VOICE).waveform
    soundfile.write(tmp_path / "question.flac", np.stack([sound] * 2, axis=1), 16000)
    reply = chat("talk", "toy", root, CPU, wav=tmp_path / "question.flac", out=tmp_path / "answers" / "answer.wav")
    assert plain_text(reply.transcript) == plain_text(answer)
    assert len(set(reply.heard.split()) & set(plain_text(question).split())) > 0 and reply.said
    with wave.open(str(tmp_path / "answers" / "answer.wav")) as file:
        assert (file.getframerate(), file.getsampwidth(), file.getnchannels()) == (16000, 2, 1)
        assert file.getnframes() == reply.samples
    spoken = Synthesiser().speak(answer, VOICE)
    assert 0.6 * len(spoken.waveform) < reply.samples < 1.6 * len(spoken.waveform)
    assert 0 < reply.seconds_to_sound <= reply.seconds
    assert "first sound after" in str(reply) and reply.transcript in str(reply)


def test_a_text_is_spoken_and_gets_the_same_answer_and_only_draws_depend_on_the_seed(root):
    question, answer = known(root)[1]
    told = [chat("talk", "toy", root, CPU, text=question, seed=seed) for seed in (0, 1)]
    assert plain_text(told[0].transcript) == plain_text(answer)
    quick = {"seconds": 0.0, "seconds_to_sound": 0.0}
    assert replace(told[0], **quick) == replace(told[1], **quick)
    drawn = [
        replace(chat("talk", "toy", root, CPU, text=question, temperature=2.0, seed=s), **quick) for s in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def test_the_first_sound_comes_within_the_first_blocks(root):
    early = 0
    for question, _ in known(root)[:2]:
        reply = chat("talk", "toy", root, CPU, text=question)
        pieces = len(TextPieces(model_path(root, TEXT)).encode(reply.transcript))
        wanted = min(pieces, TEXT_BLOCK) + (pieces <= TEXT_BLOCK) + 10
        assert reply.tokens_to_sound == min(wanted, reply.tokens) and reply.transcript
        early += reply.tokens_to_sound < reply.tokens and reply.seconds_to_sound < reply.seconds
    assert early, "sound starts before the answer is whole"


def test_each_mistake_is_told_in_one_line(root, tmp_path):
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    soundfile.write(tmp_path / "short.wav", np.full(300, 0.5), 16000)
    (tmp_path / "text.wav").write_text("hello")
    (root / "runs/toy/begun").mkdir(exist_ok=True)
    mistakes = [
        ({"wav": tmp_path / "none.wav"}, "no such file"),
        ({"wav": tmp_path / "silence.wav"}, "nobody speaks in it"),
        ({"wav": tmp_path / "short.wav"}, "the question: 0.019 s of sound are shorter than one frame"),
        ({"wav": tmp_path / "text.wav"}, "not readable as audio"),
        ({"text": "who works at the farm? " * 12}, "units, in a context of 256 tokens: ask a shorter one"),
        ({}, "either as a recording or as a text"),
        ({"text": " "}, "neither audio nor text"),
        ({"run": "begun", "text": "who?"}, "is no finished run"),
        ({"run": "silent", "text": known(root)[0][0]}, "tokens of text and none of speech: train it on dialogues"),
        ({"run": "mute", "text": "who?"}, "trained on tokens of kind units: to chat takes a run of joint"),
    ]
    for told, message in mistakes:
        with pytest.raises(ValueError, match=message) as raised:
            chat(told.pop("run", "talk"), "toy", root, CPU, out=tmp_path / "out.wav", **told)
        assert "\n" not in str(raised.value)
    assert not (tmp_path / "out.wav").exists()


def test_the_vocoder_is_of_centres_for_cepstra_and_learnt_for_others_once(root, monkeypatch):
    assert isinstance(vocoder_of(UNITS, root, "toy", CPU, None), CepstralVocoder)
    small = {"documents": 8, "held_out": 2, "updates": 2, "width": 16}
    monkeypatch.setattr(talking, "SPECTRA", {})
    recipe_of = talking.vocoder_recipe
    monkeypatch.setattr(talking, "vocoder_recipe", lambda *told: replace(recipe_of(*told), **small))
    made = vocoder_of(UNITS, root, "toy", CPU, None)
    assert isinstance(made, UnitVocoder) and made.recipe.learnt_on == SPOKEN
    (folder,) = (root / "encoders").glob("vocoder-????????????")
    before = (folder / "model.safetensors").stat().st_mtime_ns
    assert len(vocoder_of(UNITS, root, "toy", CPU, None)(np.array([1, 2, 3]))) > 0
    assert (folder / "model.safetensors").stat().st_mtime_ns == before


IDS = JointIds(text=range(20), speech=range(20, 50))


@pytest.fixture(scope="module")
def model():
    """Random weights that make any token likely now and then."""
    config = ModelConfig(
        layers=2, width=16, heads=2, hidden=32, vocabulary=IDS.vocabulary + 3, context=160, init_std=0.5
    )
    model = from_scratch(config, 0).eval()
    model.set_attn_implementation(CAUSAL)
    return model


def naive(model, prompt: np.ndarray, most: int) -> list[int]:
    """The likeliest allowed tokens, without a cache."""
    ids, answer, first = prompt.tolist(), Answer(IDS), IDS.vocabulary - 1
    for _ in range(most):
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([[first, *ids]])).logits[0, -1]
        token = max((token for some in answer.allowed() for token in some), key=lambda token: float(logits[token]))
        if not answer.add(token):
            break
        ids.append(token)
    return ids[len(prompt) :]


def test_answers_are_those_of_a_loop_without_a_cache_and_follow_the_template(model):
    lengths = set()
    for seed in range(4):
        prompt = asked(np.random.default_rng(seed).integers(0, 30, 5 + seed), IDS)
        found = list(stream_answer(model, prompt, IDS.vocabulary - 1, IDS, Decoding(most_tokens=80)))
        assert found == naive(model, prompt, 80)
        drawing = Decoding(most_tokens=80, temperature=1.5, seed=seed)
        drawn = list(stream_answer(model, prompt, IDS.vocabulary - 1, IDS, drawing))
        assert drawn == list(stream_answer(model, prompt, IDS.vocabulary - 1, IDS, drawing))
        for tokens in (found, drawn):
            (turn,) = parsed(np.concatenate([prompt, tokens]), IDS)
            assert len(turn.text) + len(turn.speech) + (IDS.mark("S") in tokens) == len(tokens) <= 80
            lengths.add(len(tokens))
    assert len(lengths) > 1 and min(lengths) < 80, "some end by themselves"


def test_tokens_come_as_they_are_made_and_a_prompt_without_room_is_refused(model):
    prompt = asked(np.arange(20), IDS)
    stream = stream_answer(model, prompt, IDS.vocabulary - 1, IDS, Decoding(most_tokens=TEXT_BLOCK + SPEECH_BLOCK))
    assert next(stream) in IDS.text
    with pytest.raises(ValueError, match="the prompt has 22 tokens and 139 are asked for: the model's context is 160"):
        next(stream_answer(model, prompt, IDS.vocabulary - 1, IDS, Decoding(most_tokens=139)))


def test_a_wav_file_is_quieter_where_it_would_clip():
    with wave.open(BytesIO(wav_bytes(np.array([0.0, 2.0, -1.0], np.float32)))) as file:
        assert np.frombuffer(file.readframes(3), "<i2").tolist() == [0, 32767, -16384]
