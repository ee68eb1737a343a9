"""Generated tokens as text: by the tokenizer that text was cut with, or by a transcriber of speech units.

In: the recipe of a store of questions, where encoders lie. Out: a function from token ids to text. Our own transcriber
is learnt by `prepare`, from the speech of the scale that has a transcript; Whisper needs a vocoder before it.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from data import documents as sources
from data import stores as tables
from data.questions import ANSWER_ENDS
from data.unigram import TextPieces, UnitPieces, model_path
from data.vocabulary import joint_ids
from slm.atomic import exclusive
from slm.machine import Machine
from slm.spec import StoreSpec, TokenizerSpec, UnitSpec
from slm.store import TokenStore

HELD_OUT_DOCUMENTS = 50
"""Of the speech that our own transcriber learns from, whose error rates are told beside it (a choice)."""
PLACES_HZ = 50
"""Places for characters that our own transcriber has a second, where no units are collapsed (a choice); at least two a
unit. Fast speech has 20 characters a second."""
SUPERVISED = {"updates": 1400, "batch_units": 400}
"""Of our own transcriber of supervised tokens, which are nearly text: half the time of the default, for 7 % instead of
5 % word errors at 12.5 Hz of `micro` (a choice)."""
TINY_UPDATES = 60
"""Of our own transcriber at `tiny`, whose numbers mean nothing."""
OWN = "own"
"""Name of our own transcriber among those that a user may choose; any other is a checkpoint of Whisper."""


Read = Callable[[list[np.ndarray]], list[str]]


def reader(spec: StoreSpec, root: Path, scale: str, transcriber: str, machine: Machine) -> Read:
    """What reads the answers that a store's questions get; a written one ends at `ANSWER_ENDS`."""
    tokenizer = spec.tokenizer
    if tokenizer.kind == "joint" and answers_aloud(spec):
        speech = reader(replace(spec, tokenizer=tokenizer.speech, form=None), root, scale, transcriber, machine)
        first = joint_ids(tokenizer).speech.start
        return lambda documents: speech([document - first for document in documents])
    if tokenizer.kind in ("text", "joint", "pretrained"):
        return _answers(text_decoder(tokenizer.text or tokenizer, root, machine))
    if tokenizer.kind not in ("units", "unigram", "bpe"):
        raise ValueError(f"nothing reads {tokenizer.kind} as text: ask models of units, of pieces of them, or of text")
    transcribe = _transcriber(spec.units, root, scale, transcriber, machine)
    if tokenizer.kind == "units":
        return lambda documents: transcribe([collapsed(document) for document in documents])
    pieces = UnitPieces(model_path(root, tokenizer, spec.units), spec.units.clusters)
    return lambda documents: transcribe([collapsed(pieces.decode(document)) for document in documents])


def text_decoder(tokenizer: TokenizerSpec, root: Path, machine: Machine) -> Callable[[np.ndarray], str]:
    """Ids of a text tokenizer, ours or a published one, to text."""
    if tokenizer.kind == "pretrained":
        from slm.pretrained import PretrainedPieces

        return PretrainedPieces(tokenizer.checkpoint, machine.models).decode
    return TextPieces(model_path(root, tokenizer)).decode


def transcriber_name(spec: StoreSpec, root: Path, scale: str, transcriber: str, machine: Machine) -> str | None:
    """What is recorded of the transcriber that reads the answers to a store's questions; None where they are text."""
    return _transcriber(spec.units, root, scale, transcriber, machine).name if answers_aloud(spec) else None


def answers_aloud(spec: StoreSpec) -> bool:
    """Whether the answers to a store's questions are speech."""
    return spec.units is not None and (spec.form is None or spec.form.endswith("S"))


def answer_ids(spec: StoreSpec) -> range:
    """The ids that an answer to a store's questions is made of."""
    tokenizer = spec.tokenizer
    if tokenizer.kind != "joint":
        return range(tokenizer.vocabulary - 1)
    return joint_ids(tokenizer).speech if answers_aloud(spec) else joint_ids(tokenizer).text


def _answers(decode: Callable[[np.ndarray], str]) -> Read:
    return lambda documents: [ANSWER_ENDS.split(decode(document), maxsplit=1)[0].strip() for document in documents]


def collapsed(units: np.ndarray) -> np.ndarray:
    """Units without equal neighbours, which stores never hold, and models may generate."""
    return units[np.append(True, units[1:] != units[:-1])] if len(units) else units


def learnt_from(scale: str, units: UnitSpec) -> str:
    """Store that our own transcriber of some units learns from: the first of the scale's training stores of them."""
    for name, spec in tables.stores(scale).items():
        own = spec.tokenizer.kind == "units" and spec.units == units
        if own and "train" in spec.corpus.split and not sources.is_benchmark(spec.corpus):
            return name
    raise ValueError(f"scale {scale} has no speech of these units with transcripts, for a transcriber to learn from")


def recipe_of(scale: str, units: UnitSpec):
    """The recipe of our own transcriber of some units."""
    from slm.speech.transcriber import TranscriberSpec

    corpus = tables.stores(scale)[learnt_from(scale, units)].corpus
    told = {"places": max(2, round(PLACES_HZ / units.encoder.rate_hz))}
    told |= SUPERVISED if units.encoder.supervised else {}
    told |= {"updates": TINY_UPDATES} if scale == "tiny" else {}
    return TranscriberSpec(units=units, learnt_on=corpus, held_out=HELD_OUT_DOCUMENTS, **told)


def own_transcriber(root: Path, scale: str, units: UnitSpec, machine: Machine, report: Callable | None = None):
    """Our own transcriber of some units, learnt if it is not there; jobs that want it at the same time wait."""
    from slm.speech.transcriber import learn_transcriber, read_transcriber, transcriber_folder

    name, recipe = learnt_from(scale, units), recipe_of(scale, units)
    folder = transcriber_folder(root, recipe)
    with exclusive(folder.with_name(f"{folder.name}.lock")):
        if not (folder / "recipe.json").exists():
            store = TokenStore(tables.store_folder(root, scale, name))
            learn_transcriber(folder, store, recipe, machine, report or (lambda updates, loss: None))
    return read_transcriber(folder, units, machine)


@lru_cache(maxsize=4)
def _transcriber(units: UnitSpec, root: Path, scale: str, transcriber: str, machine: Machine) -> Read:
    if transcriber == OWN:
        return own_transcriber(root, scale, units, machine)
    from data.centres import centres_folder
    from slm.speech.vocoder import CepstralVocoder, mean_durations
    from slm.speech.whisper import WhisperTranscriber

    speech = TokenStore(tables.store_folder(root, scale, learnt_from(scale, units)))
    vocoder = CepstralVocoder(units, centres_folder(root, units) / "centres.safetensors", mean_durations(speech))
    return WhisperTranscriber(transcriber, machine.models, machine, vocoder)
