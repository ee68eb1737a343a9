"""What an encoder of speech is, and the tables of them.

In: 16 kHz waveforms. Out: frames, one row per 1/rate_hz seconds. Encoders are imported late: listing stores must not
import torch.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from slm.machine import Machine
from slm.spec import EncoderSpec, PublishedCentres

SAMPLE_RATE = 16000


class Encoder(Protocol):
    """Speech to frames. The frames of a waveform never depend on what it is batched with, nor on padding."""

    rate_hz: float
    fingerprint: str
    """Names everything that changes the frames: weights, layer, normalisation, window. Centres carry it."""

    def encode(self, waveforms: list[np.ndarray]) -> list[np.ndarray]:
        """float32 waveforms in [-1, 1] at 16 kHz to float32 frames (T_i, features).

        Frame t begins at t / rate_hz; T_i is at most seconds * rate_hz, and 0 for sound shorter than a frame.
        """
        ...


def _mfcc(spec: EncoderSpec, machine: Machine) -> Encoder:
    from slm.speech.mfcc import VERSION, Mfcc

    return _own(spec, VERSION, Mfcc)


def _logmel(spec: EncoderSpec, machine: Machine) -> Encoder:
    from slm.speech.logmel import VERSION, LogMel

    return _own(spec, VERSION, LogMel)


def _own(spec: EncoderSpec, version: str, kind: Callable[[float], Encoder]) -> Encoder:
    if spec.revision != version:
        raise ValueError(f"the recipe wants revision {spec.revision} of {spec.kind} frames, this code makes {version}")
    return kind(spec.rate_hz)


def _hubert(spec: EncoderSpec, machine: Machine) -> Encoder:
    from slm.speech.hubert import Hubert

    return Hubert(spec, machine)


def _fairseq2(spec: EncoderSpec, machine: Machine) -> Encoder:
    from slm.speech.fairseq2 import Fairseq2

    return Fairseq2(spec, machine)


def _whisper_vq(spec: EncoderSpec, machine: Machine) -> Encoder:
    from slm.speech.whisper_vq import WhisperVq

    return WhisperVq(spec, machine)


KINDS: dict[str, Callable[[EncoderSpec, Machine], Encoder]] = {
    "mfcc": _mfcc,
    "logmel": _logmel,
    "hubert": _hubert,
    "fairseq2": _fairseq2,
    "whisper_vq": _whisper_vq,
}

MHUBERT_CENTRES = PublishedCentres(
    file="mhubert_base_25hz_cp_mls_cv_sp_fisher_L11_km500.bin",
    sha256="03cc04a9c24fec4285e73e709c485756d8f116aa8e724eac555de6a7cf8d28ad",
)
"""500 centres of `mhubert-25hz` (github.com/tiagoCuervo/slm_scaling @ 3357a2f5, src/slm_data/backends.py)."""

_PUBLISHERS = {
    MHUBERT_CENTRES.sha256: "https://dl.fbaipublicfiles.com/textless_nlp/twist/speech_tokenizer/" + MHUBERT_CENTRES.file
}
"""Where centres lie that are not beside their checkpoint on the hub, by their SHA-256. textlesslib's
textless/checkpoint_manager/__init__.py gives this address and the same SHA-256, and so does slm_scaling's DATA.md."""

ENCODERS: dict[str, EncoderSpec] = {
    "mfcc": EncoderSpec(kind="mfcc", rate_hz=25.0, revision="1"),
    "logmel": EncoderSpec(kind="logmel", rate_hz=25.0, revision="1"),
    # The encoder of Cuervo & Marxer (2024, section 3.1), as their released code pins it (same source as its centres).
    "mhubert-25hz": EncoderSpec(
        kind="hubert",
        rate_hz=25.0,
        checkpoint="slprl/mhubert-base-25hz",
        revision="a319086e1d343190047d02b7f81133fb310c1b90",
        layer=11,
    ),
}


def encoder(spec: EncoderSpec, machine: Machine) -> Encoder:
    """The encoder of a recipe, its weights loaded and checked; `ValueError` says what is missing or differs."""
    if spec.kind not in KINDS:
        raise ValueError(f"{spec.kind!r} units come without frames; frames are made by {', '.join(KINDS)}")
    found = KINDS[spec.kind](spec, machine)
    if found.rate_hz != spec.rate_hz:
        raise ValueError(f"{spec.checkpoint or spec.kind} makes {found.rate_hz} frames/s, the recipe {spec.rate_hz}")
    return found


def published_centres_path(spec: EncoderSpec, published: PublishedCentres, machine: Machine) -> Path:
    """File of published centres: in `<models>/<checkpoint>/`, else beside the checkpoint in the hub's cache.

    `ValueError` says how to get it. The content is not checked here: `slm.speech.centres.read_published` does that.
    """
    from huggingface_hub import try_to_load_from_cache

    if not spec.checkpoint:
        raise ValueError(f"published centres {published.file} need the checkpoint whose frames they divide")
    place = Path(machine.models or "DIR") / spec.checkpoint
    if machine.models and (place / published.file).is_file():
        return place / published.file
    cached = try_to_load_from_cache(spec.checkpoint, published.file, revision=hub_revision(spec))
    if isinstance(cached, str):
        return Path(cached)
    if published.sha256 in _PUBLISHERS:
        remedy = f"get them with `curl -L --create-dirs -o {place / published.file} {_PUBLISHERS[published.sha256]}`"
    else:
        remedy = f"put their publisher's file at {place / published.file}"
    raise ValueError(
        f"centres {published.file} are neither in {place} nor in the hub's cache: {remedy}"
        + ("" if machine.models else "; then give `--models DIR`")
    )


def hub_revision(spec: EncoderSpec) -> str | None:
    """The hub commit of a recipe's checkpoint; None where the recipe names the SHA-256 of its weights instead."""
    lengths = {40: spec.revision, 64: None}
    if len(spec.revision) not in lengths or not set(spec.revision) <= set("0123456789abcdef"):
        raise ValueError(
            f"revision {spec.revision!r} of {spec.checkpoint} pins nothing: give a commit of the hub (40 hex digits) "
            f"or the SHA-256 of the weights (64)"
        )
    return lengths[len(spec.revision)]


def how_to_download(spec: EncoderSpec, folder: Path) -> str:
    """The command that brings a recipe's checkpoint from the hub into a folder."""
    pinned = hub_revision(spec)
    return f"hf download {spec.checkpoint}" + (f" --revision {pinned}" if pinned else "") + f" --local-dir {folder}"
