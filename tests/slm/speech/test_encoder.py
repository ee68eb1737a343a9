"""The table of encoders: what needs no weights keeps the contract, and what is missing says how to get it."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from slm.machine import Machine
from slm.spec import EncoderSpec, PublishedCentres
from slm.speech.encoder import ENCODERS, KINDS, MHUBERT_CENTRES, encoder, published_centres_path

CPU = Machine(accelerator="cpu")
MHUBERT = ENCODERS["mhubert-25hz"]
WEIGHTLESS = sorted(name for name, spec in ENCODERS.items() if spec.checkpoint is None)


@pytest.mark.parametrize("name", WEIGHTLESS)
@pytest.mark.parametrize("rate_hz", [25.0, 50.0])
def test_encoders_without_weights_keep_the_contract(name, rate_hz):
    found = encoder(replace(ENCODERS[name], rate_hz=rate_hz), CPU)
    waveforms = [np.sin(np.arange(n) / 9).astype(np.float32) for n in (0, 100, 16000, 7777)]
    frames = found.encode(waveforms)
    assert found.rate_hz == rate_hz and found.fingerprint.startswith(name)
    assert [len(part) for part in frames[:3]] == [0, 0, rate_hz] and len(frames[3]) <= 7777 / 16000 * rate_hz
    assert len({part.shape[1] for part in frames}) == 1 and all(part.dtype == np.float32 for part in frames)


def test_every_entry_can_be_made_by_its_kind():
    assert {spec.kind for spec in ENCODERS.values()} <= set(KINDS)
    with pytest.raises(ValueError, match="'given' units come without frames; frames are made by mfcc, logmel, hubert"):
        encoder(EncoderSpec(kind="given", rate_hz=50.0, revision="1"), CPU)


def test_listing_encoders_imports_neither_torch_nor_transformers():
    code = "import sys, slm.speech.encoder; sys.exit('torch' in sys.modules or 'transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3]).returncode == 0


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_published_centres_lie_in_the_folder_of_their_checkpoint_or_in_the_cache(cache, tmp_path):
    file = cache / "models--slprl--mhubert-base-25hz" / "snapshots" / MHUBERT.revision / MHUBERT_CENTRES.file
    file.parent.mkdir(parents=True)
    file.touch()
    assert published_centres_path(MHUBERT, MHUBERT_CENTRES, CPU) == file
    machine = replace(CPU, models=tmp_path / "models")
    assert published_centres_path(MHUBERT, MHUBERT_CENTRES, machine) == file
    nearer = tmp_path / "models" / "slprl" / "mhubert-base-25hz" / MHUBERT_CENTRES.file
    nearer.parent.mkdir(parents=True)
    nearer.touch()
    assert published_centres_path(MHUBERT, MHUBERT_CENTRES, machine) == nearer


def test_missing_centres_say_how_to_get_them(cache, tmp_path):
    with pytest.raises(ValueError) as caught:
        published_centres_path(MHUBERT, MHUBERT_CENTRES, CPU)
    assert f"`curl -L --create-dirs -o DIR/slprl/mhubert-base-25hz/{MHUBERT_CENTRES.file} https" in str(caught.value)
    assert str(caught.value).endswith(f"/{MHUBERT_CENTRES.file}`; then give `--models DIR`")
    other = PublishedCentres(file="km.bin", sha256="0" * 64)
    place = tmp_path / "slprl" / "mhubert-base-25hz" / "km.bin"
    with pytest.raises(ValueError, match=f"put their publisher's file at {place}$"):
        published_centres_path(MHUBERT, other, replace(CPU, models=tmp_path))
    with pytest.raises(ValueError, match="need the checkpoint"):
        published_centres_path(ENCODERS["mfcc"], other, CPU)


def test_a_missing_checkpoint_says_how_to_get_it(cache):
    command = "hf download slprl/mhubert-base-25hz --revision a319086e1d343190047d02b7f81133fb310c1b90 --local-dir DIR"
    with pytest.raises(ValueError, match=command):
        encoder(MHUBERT, CPU)
