"""Talk to a run that was trained on spoken dialogues: a question as sound in, its answer as text and sound out.

In: a finished run of joint tokens, a recording or a text to be spoken. Out: a wav file, transcripts, and how long the
first sound took. The answer follows the template of `data.dialogues`, token by token. V vocabulary, S slots of cache.
"""

import wave
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from data import documents as sources
from data import units as extraction
from data.centres import centres_folder
from data.dialogues import FIRST_SPEECH, TEXT_BLOCK, Answer, Turn, asked, parsed
from data.stores import store_folder
from data.transcripts import OWN, learnt_from, reader, text_decoder
from data.tts import Speech
from data.units import Target, speech_of
from data.utterance import Utterance
from data.vocabulary import JointIds, joint_ids
from data.voices import VOICES
from slm import generate as generation
from slm.atomic import exclusive, write_bytes
from slm.generate import Decoding
from slm.machine import Machine
from slm.pretrained import ends
from slm.runlog import RunLog
from slm.spec import StoreSpec, UnitSpec
from slm.speech.encoder import SAMPLE_RATE
from slm.speech.unit_vocoder import UnitVocoderSpec, learn_unit_vocoder, read_unit_vocoder, unit_vocoder_folder
from slm.speech.vocoder import SPECTRA, CepstralVocoder, Vocoder, mean_durations
from slm.store import TokenStore
from slm.train import trained_model

SILENCE = 0.001
"""Largest sample of a recording in which nobody speaks: 60 dB below full scale (a choice)."""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, and how it came about."""

    heard: str
    """The question as the transcriber reads its units."""
    transcript: str
    """The text that the model wrote."""
    said: str
    """What the transcriber reads in the units that the model spoke."""
    tokens: int
    tokens_to_sound: int
    """That the model generated until the first sound could be made: turn-taking delay."""
    seconds_to_sound: float
    """From the end of the question until that sound was there, on this machine, with everything loaded."""
    seconds: float
    """Until all of it was there."""
    samples: int
    """Of the answer, at 16 kHz."""

    def __str__(self) -> str:
        delay = f"{self.tokens_to_sound} tokens, {self.seconds_to_sound:.2f} s"
        whole = f"{self.tokens} tokens and {self.samples / SAMPLE_RATE:.2f} s of sound in {self.seconds:.2f} s"
        return f"heard: {self.heard}\nwrote: {self.transcript}\nsaid:  {self.said}\nfirst sound after {delay}; {whole}"


def chat(
    run_name: str,
    scale: str,
    root: Path,
    machine: Machine,
    wav: Path | None = None,
    text: str | None = None,
    out: Path | None = None,
    *,
    transcriber: str = OWN,
    voice: str = VOICES[0],
    temperature: float = 0.0,
    seed: int = 0,
    corpora: Path | None = None,
    hifi_gan: Path | None = None,
) -> Reply:
    """Ask a finished run the question in a recording, or a text that `voice` speaks; `out` gets the answer's sound.

    The transcriber, and the vocoder of units that are not cepstra, are learnt where they are missing; of recorded
    speech the vocoder needs `corpora`. `ValueError`, in one line: the run is unfinished or not of joint units and text;
    the recording is missing, silent, shorter than a frame, or leaves no room in the context; no answer in speech.
    """
    log = RunLog(root / "runs" / scale / run_name)
    store = _joint_spec(log)
    speech = _question(wav, text, voice)
    units_of = units_maker(store.units, root, machine)
    speak = vocoder_of(store.units, root, scale, machine, corpora, hifi_gan)
    listen = reader(_speech_alone(store), root, scale, transcriber, machine)
    model, (first, _) = trained_model(log, machine), ends(log.spec, machine.models)

    start = perf_counter()
    ids, room = joint_ids(store.tokenizer), log.spec.model.context
    prompt = asked(units_of(speech.waveform), ids)
    if room - len(prompt) < TEXT_BLOCK + FIRST_SPEECH:
        raise ValueError(f"the question has {len(prompt) - 2} units, in a context of {room} tokens: ask a shorter one")
    decoding = Decoding(most_tokens=room - len(prompt), temperature=temperature, seed=seed)
    tokens, first_sound, at = _until_sound(stream_answer(model, prompt, first, ids, decoding), ids, speak)
    turn = _turn(prompt, tokens, ids)
    waveform = speak(turn.speech)
    seconds = perf_counter() - start

    heard, said = listen([turn.question, turn.speech])
    if out is not None:
        write_bytes(out, wav_bytes(waveform))
    return Reply(
        heard=heard,
        transcript=text_decoder(store.tokenizer.text, root, machine)(turn.text).strip(),
        said=said,
        tokens=len(tokens),
        tokens_to_sound=first_sound or len(tokens),
        seconds_to_sound=at - start if first_sound else seconds,
        seconds=seconds,
        samples=len(waveform),
    )


def _until_sound(stream: Iterator[int], ids: JointIds, speak: Vocoder) -> tuple[list[int], int, float]:
    """All tokens of an answer, how many of them came before its first sound (0: none came), and when that was there."""
    tokens, first_sound, at = [], 0, 0.0
    for token in stream:
        tokens.append(token)
        spoken = [] if first_sound else [token for token in tokens if token in ids.speech]
        if len(spoken) == FIRST_SPEECH:
            speak(np.array(spoken) - ids.speech.start)
            first_sound, at = len(tokens), perf_counter()
    return tokens, first_sound, at


@torch.inference_mode()
def stream_answer(model, prompt: np.ndarray, first: int, ids: JointIds, decoding: Decoding) -> Iterator[int]:
    """The tokens of an answer to a prompt that ends with the mark of text, each as soon as it is there.

    `first` stands before the prompt. Each token is one that the template allows next; the mark of another turn and the
    end of the document, which close an answer, are left out. `ValueError` where the context has no room for it.
    """
    context = model.config.max_position_embeddings
    if len(prompt) + decoding.most_tokens > context:
        raise ValueError(
            f"the prompt has {len(prompt)} tokens and {decoding.most_tokens} are asked for: the model's context is "
            f"{context}"
        )
    draws = np.random.default_rng((decoding.seed, 0))
    body, head, answer = model.base_model, model.get_output_embeddings(), Answer(ids)
    given, cache = torch.tensor([[first, *prompt.tolist()]], device=model.device), {}
    for number in range(decoding.most_tokens):
        out = body(input_ids=given, use_cache=True, **cache)
        logits = head(out.last_hidden_state[:, -1])  # (1, V)
        barred = torch.ones(logits.shape[-1], dtype=torch.bool, device=model.device)  # (V,)
        for some in answer.allowed():
            barred[some.start : some.stop] = False
        uniforms = draws.random(logits.shape, dtype=np.float32) if decoding.temperature else None
        token = int(generation.next_tokens(logits.masked_fill(barred, -torch.inf), decoding.temperature, uniforms))
        if not answer.add(token):
            return
        yield token
        place = len(prompt) + 1 + number
        cache = {
            "past_key_values": out.past_key_values,
            "attention_mask": torch.ones(1, 1, 1, place + 1, dtype=torch.bool, device=model.device),  # (1, 1, 1, S)
            "position_ids": torch.tensor([[place]], device=model.device),
        }
        given = torch.tensor([[token]], device=model.device)


def units_maker(units: UnitSpec, root: Path, machine: Machine) -> Callable[[np.ndarray], np.ndarray]:
    """A function from a waveform to its collapsed units; `ValueError` for units that no waveform gives here."""
    if units.encoder.kind in ("given", "textless"):
        raise ValueError(f"units of kind {units.encoder.kind!r} are not made of new sound: take a run of other units")
    target = Target(units=units, centres=centres_folder(root, units) / "centres.safetensors", folder=root)
    quantise = extraction.quantiser(target, machine)

    def units_of(waveform: np.ndarray) -> np.ndarray:
        with threadpool_limits(1):  # as where stores are made, so that sums run in one order
            (found,) = quantise([(Utterance(id="the question"), Speech(waveform=waveform, words=(), phones=()))])
        if isinstance(found, ValueError):
            raise found
        return found[0]

    return units_of


def vocoder_of(
    units: UnitSpec, root: Path, scale: str, machine: Machine, corpora: Path | None, hifi_gan: Path | None = None
) -> Vocoder:
    """The vocoder of a scale's units: of centres where those are spectra, else the learnt one, made if it is not there.

    `hifi_gan`, a folder for `slm.speech.unit_vocoder.HifiGan`, asks for the learnt one. Jobs that want it at the same
    time wait.
    """
    store = TokenStore(store_folder(root, scale, learnt_from(scale, units)))
    if units.encoder.kind in SPECTRA and hifi_gan is None:
        return CepstralVocoder(units, centres_folder(root, units) / "centres.safetensors", mean_durations(store))
    recipe = vocoder_recipe(units, store)
    folder = unit_vocoder_folder(root, recipe)
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "recipe.json").exists():
            learn_unit_vocoder(folder, spoken_documents(store, corpora), recipe, machine)
    return read_unit_vocoder(folder, units, machine, hifi_gan)


def vocoder_recipe(units: UnitSpec, store: TokenStore) -> UnitVocoderSpec:
    """The recipe of the learnt vocoder of some units, which learns from a store of them."""
    return UnitVocoderSpec(units=units, learnt_on=store.spec.corpus)


def spoken_documents(store: TokenStore, corpora: Path | None) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """(units, frames of each, waveform) of each document of a store of units, spoken or read again."""
    place = {row["id"]: i for i, row in enumerate(store.rows("documents"))}
    for utterance in sources.documents(store.spec.corpus, corpora):
        if utterance.id in place:
            i = place[utterance.id]
            yield np.array(store.document(i)), np.array(store.durations(i)), speech_of(utterance).waveform


def wav_bytes(waveform: np.ndarray) -> bytes:
    """A waveform at 16 kHz as a wav file of 16 bits, made quieter where it would clip."""
    samples = np.round(waveform / max(1.0, float(np.abs(waveform).max(initial=0))) * 32767).astype("<i2")
    content = BytesIO()
    with wave.open(content, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes(samples.tobytes())
    return content.getvalue()


def _joint_spec(log: RunLog) -> StoreSpec:
    """The store of a run that tells its units and its text."""
    if not log.is_done:
        raise ValueError(f"{log.folder} is no finished run: `python -m experiments status` shows how far it is")
    for source in log.spec.mix:
        tokenizer = source.store.tokenizer
        if tokenizer.kind == "joint" and tokenizer.speech.kind == "units" and source.store.units is not None:
            return source.store
    kinds = sorted({source.store.tokenizer.kind for source in log.spec.mix})
    raise ValueError(
        f"{log.folder} was trained on tokens of kind {', '.join(kinds)}: to chat takes a run of joint units and text"
    )


def _question(wav: Path | None, text: str | None, voice: str) -> Speech:
    if (wav is None) == (text is None):
        raise ValueError("give a question either as a recording or as a text, not both and not neither")
    if wav is not None and not wav.is_file():
        raise ValueError(f"{wav}: no such file; give a recording of a question")
    speech = speech_of(Utterance(id="the question", audio=wav, text=text, speaker=voice))
    loudest = float(np.abs(speech.waveform).max(initial=0))
    if loudest < SILENCE:
        raise ValueError(f"{wav}: nobody speaks in it, no sample is above {loudest:.4f}; record the question louder")
    return speech


def _speech_alone(store: StoreSpec) -> StoreSpec:
    """The recipe of the speech of a joint store, as `reader` wants it."""
    return StoreSpec(corpus=store.corpus, units=store.units, tokenizer=store.tokenizer.speech)


def _turn(prompt: np.ndarray, tokens: list[int], ids: JointIds) -> Turn:
    (turn,) = parsed(np.concatenate([prompt, np.array(tokens, np.int64)]), ids)
    if not len(turn.speech):
        raise ValueError(
            f"the run answered in {len(turn.text)} tokens of text and none of speech: train it on dialogues, or ask "
            f"something shorter"
        )
    return turn
