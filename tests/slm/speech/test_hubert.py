"""Encoders on transformers: the hidden states of the model itself, in any company, at any length, of these weights."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, BertConfig, BertModel, HubertConfig, Wav2Vec2Config, WavLMConfig

from slm.machine import Machine
from slm.spec import EncoderSpec
from slm.speech.encoder import encoder
from slm.speech.hubert import Hubert
from slm.store import checksum

CONFIGS = {"hubert": HubertConfig, "wav2vec2": Wav2Vec2Config, "wavlm": WavLMConfig}
LAYERS = 3
SMALL = {
    "hidden_size": 24,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": (12,) * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
}
REACH, STRIDE = 400, 320  # of these convolutions, as of the published models at 50 Hz
MODELS = [(family, norm, stable) for family in CONFIGS for norm, stable in (("group", False), ("layer", True))]
MODELS += [("hubert", "group", True), ("wav2vec2", "layer", False), ("hubert-batch-norm", "group", False)]
COMMIT = "0123456789" * 4


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Folder of tiny models of all families, named `family-norm-stable`."""
    folder = tmp_path_factory.mktemp("models")
    for family, norm, stable in MODELS:
        options = SMALL | {"feat_extract_norm": norm, "do_stable_layer_norm": stable, "conv_bias": norm == "layer"}
        options |= {"conv_pos_batch_norm": True} if family == "hubert-batch-norm" else {}
        torch.manual_seed(0)
        model = AutoModel.from_config(CONFIGS[family.removesuffix("-batch-norm")](**options))
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
        model.save_pretrained(folder / f"{family}-{norm}-{stable}")
    return folder


def spec_of(folder: Path, layer: int = 2, **changes) -> EncoderSpec:
    weights = checksum(folder / "model.safetensors")
    return EncoderSpec(
        **{"kind": "hubert", "rate_hz": 50.0, "revision": weights, "checkpoint": folder.name, "layer": layer} | changes
    )


def hubert(folder: Path, layer: int = 2, **changes) -> Hubert:
    return Hubert(spec_of(folder, layer, **changes), Machine(accelerator="cpu", models=folder.parent))


def sound(samples: int, seed: int = 0) -> np.ndarray:
    """Noise whose loudness changes, so that statistics over time depend on what they are taken over."""
    random, time = np.random.default_rng(seed), np.arange(samples) / 16000
    return (0.1 * random.normal(size=samples) * (1.2 + np.sin(7 * time + seed))).astype(np.float32)


def hidden_states(folder: Path, waveform: np.ndarray) -> list[np.ndarray]:
    """What transformers gives for one waveform without padding; the last one before the final norm."""
    model, last = AutoModel.from_pretrained(folder).eval(), []
    model.encoder.layers[-1].register_forward_hook(lambda module, inputs, output: last.append(output))
    with torch.inference_mode():
        states = model(torch.from_numpy(waveform)[None], output_hidden_states=True).hidden_states
    last = last[0][0] if isinstance(last[0], tuple) else last[0]
    return [state[0].numpy() for state in (*states[:-1], last)]


@pytest.mark.parametrize("name", ["-".join(map(str, model)) for model in MODELS])
def test_frames_are_the_hidden_states_of_transformers_alone_and_in_company(checkpoints, name):
    folder = checkpoints / name
    waveforms = [sound(samples, seed) for seed, samples in enumerate((16000, 16001, 720, 45678, 399, 0, 30000, 8123))]
    expected = {i: hidden_states(folder, waveforms[i]) for i in (0, 1, 2, 3, 7)}
    for layer in range(LAYERS + 1):
        found = hubert(folder, layer).encode(waveforms)
        for i, states in expected.items():
            assert found[i].dtype == np.float32
            np.testing.assert_allclose(found[i], states[layer], atol=2e-5)
        assert found[4].shape == found[5].shape == (0, SMALL["hidden_size"])


@pytest.mark.parametrize("name", ["hubert-group-False", "hubert-layer-True", "wavlm-group-False"])
def test_order_and_company_change_nothing(checkpoints, name):
    model = hubert(checkpoints / name)
    waveforms = [sound(1000 + 2111 * i, i) for i in range(12)]
    together = model.encode(waveforms)
    order = np.random.default_rng(1).permutation(12)
    for i, frames in zip(order, model.encode([waveforms[i] for i in order]), strict=True):
        np.testing.assert_allclose(frames, together[i], atol=2e-5)
    for i in (0, 5, 11):
        np.testing.assert_allclose(model.encode([waveforms[i]])[0], together[i], atol=2e-5)
    assert all(np.array_equal(a, b) for a, b in zip(model.encode(waveforms), together, strict=True)), "the same again"


def test_normalised_waveforms_are_those_of_the_feature_extractor_of_transformers(checkpoints):
    from transformers import Wav2Vec2FeatureExtractor

    folder, waveform = checkpoints / "wav2vec2-layer-False", 0.3 + 0.05 * sound(20000)
    inputs = Wav2Vec2FeatureExtractor(do_normalize=True)(waveform, sampling_rate=16000).input_values[0]
    (found,) = hubert(folder, normalise=True).encode([waveform])
    np.testing.assert_allclose(found, hidden_states(folder, np.float32(inputs))[2], atol=2e-5)
    assert np.abs(found - hubert(folder).encode([waveform])[0]).max() > 1e-3


@pytest.mark.parametrize("samples", [REACH - 1, REACH, REACH + STRIDE - 1, REACH + STRIDE, 16000, 16319, 16320])
def test_a_frame_needs_its_reach(checkpoints, samples):
    (found,) = hubert(checkpoints / "hubert-layer-True").encode([sound(samples)])
    assert len(found) == max(0, (samples - REACH) // STRIDE + 1)


@pytest.mark.parametrize(
    ("name", "samples"),
    [("wav2vec2-layer-False", 480321)]
    + [("hubert-layer-True", samples) for samples in (480000, 480321, 480000 + 320 * 700 + 11, 16000 * 53 + 77)],
)
def test_long_sound_is_stitched_frame_for_frame(checkpoints, name, samples):
    """With few layers of small weights attention is nearly uniform, so one pass and windows differ little anywhere;
    a frame that were doubled, missing or shifted would differ as much as any two neighbours."""
    waveform = sound(samples)
    (found,) = hubert(checkpoints / name).encode([waveform])
    whole = hidden_states(checkpoints / name, waveform)[2]
    assert found.shape == whole.shape
    error = np.abs(found - whole).max(axis=1)
    neighbours = np.abs(np.diff(whole, axis=0)).max(axis=1)
    assert error.max() < 0.25 * np.quantile(neighbours, 0.01)
    if len(whole) == 1499:
        assert error.max() < 2e-5, "30 s are one pass"


def test_windows_have_context_and_no_frame_depends_on_far_away_sound(checkpoints):
    """Frames of long sound are those of the 30 s around them: changing the sound beyond changes nothing."""
    model, waveform = hubert(checkpoints / "hubert-layer-True"), sound(16000 * 100)
    changed = waveform.copy()
    changed[16000 * 60 :] = sound(16000 * 40, 9)
    (before,), (after,) = model.encode([waveform]), model.encode([changed])
    same = np.abs(before - after).max(axis=1) == 0
    assert same[: 50 * 35].all(), "a kept frame sees at most 25 s ahead"
    assert not same[50 * 56 : 50 * 64].any(), "and always 5 s"


def test_the_encoder_of_a_recipe_says_rate_and_fingerprint(checkpoints):
    folder = checkpoints / "hubert-group-False"
    machine = Machine(accelerator="cpu", models=checkpoints)
    found = encoder(spec_of(folder), machine)
    digest = checksum(folder / "model.safetensors")
    config = checksum(folder / "config.json")
    assert (found.rate_hz, found.fingerprint) == (50.0, f"hubert-{digest[:16]}-{config[:8]}-l2-raw-f32-w30c5-v1")
    others = [spec_of(folder, 1), spec_of(folder, normalise=True), spec_of(checkpoints / "wavlm-group-False")]
    assert len({encoder(spec, machine).fingerprint for spec in others} | {found.fingerprint}) == 4
    with pytest.raises(ValueError, match="makes 50.0 frames/s, the recipe 25.0"):
        encoder(spec_of(folder, rate_hz=25.0), machine)


def copied(folder: Path, place: Path, change=lambda weights: weights) -> Path:
    """The checkpoint at another place, its weights changed; returns the folder."""
    place.mkdir(parents=True)
    (place / "config.json").write_bytes((folder / "config.json").read_bytes())
    save_file(change(load_file(folder / "model.safetensors")), place / "model.safetensors", metadata={"format": "pt"})
    return place


def test_older_names_of_the_positional_weights_give_the_same_frames(checkpoints, tmp_path):
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}

    def renamed(weights):
        for new, name in old.items():
            weights = {key.replace(new, name): value for key, value in weights.items()}
        assert any(key.endswith("weight_g") for key in weights)
        return {f"hubert.{key}": value for key, value in weights.items()}  # as a model with a head is saved

    folder = checkpoints / "hubert-group-False"
    place, waveform = copied(folder, tmp_path / "old", renamed), sound(9000)
    assert np.array_equal(hubert(place).encode([waveform])[0], hubert(folder).encode([waveform])[0])


def test_weights_as_torch_saves_them_are_read(checkpoints, tmp_path):
    folder, place = checkpoints / "hubert-group-False", tmp_path / "bin"
    place.mkdir()
    (place / "config.json").write_bytes((folder / "config.json").read_bytes())
    torch.save(load_file(folder / "model.safetensors"), place / "pytorch_model.bin")
    spec = replace(spec_of(folder), revision=checksum(place / "pytorch_model.bin"), checkpoint="bin")
    found = Hubert(spec, Machine(accelerator="cpu", models=tmp_path)).encode([sound(9000)])
    assert np.array_equal(found[0], hubert(folder).encode([sound(9000)])[0])


@pytest.mark.parametrize(
    "lost", ["encoder.layers.1.attention.k_proj.weight", "original0", "feature_projection.projection.bias"]
)
def test_missing_weights_are_refused_and_never_drawn_at_random(checkpoints, tmp_path, lost):
    folder = checkpoints / "hubert-group-False"
    place = copied(folder, tmp_path / "part", lambda all: {k: v for k, v in all.items() if not k.endswith(lost)})
    with pytest.raises(ValueError, match=f"{place}: .*fetch"):
        hubert(place)


def test_the_mask_embedding_of_training_may_be_missing(checkpoints, tmp_path):
    folder = checkpoints / "hubert-group-False"
    place = copied(folder, tmp_path / "m", lambda all: {k: v for k, v in all.items() if k != "masked_spec_embed"})
    assert len(load_file(place / "model.safetensors")) == len(load_file(folder / "model.safetensors")) - 1
    assert np.array_equal(hubert(place).encode([sound(9000)])[0], hubert(folder).encode([sound(9000)])[0])


def test_weights_that_misfit_or_are_torn_are_refused(checkpoints, tmp_path):
    name = "encoder.layers.0.attention.k_proj.weight"
    place = copied(checkpoints / "hubert-group-False", tmp_path / "m", lambda all: all | {name: torch.zeros(3, 3)})
    with pytest.raises(ValueError, match=f"{place}: transformers cannot load"):
        hubert(place)
    (place / "model.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match=f"{place}: transformers cannot load"):
        hubert(place)


def test_another_sha256_than_the_recipes_is_refused_with_both(checkpoints):
    folder = checkpoints / "hubert-group-False"
    digest = checksum(folder / "model.safetensors")
    with pytest.raises(ValueError, match=f"SHA-256 {digest}, the recipe wants {'0' * 64}"):
        hubert(folder, revision="0" * 64)


def test_a_downloaded_folder_must_be_of_the_recipes_commit(checkpoints, tmp_path):
    """`hf download --local-dir` writes the commit and the published SHA-256 of every file beside it."""
    place = copied(checkpoints / "hubert-group-False", tmp_path / "org" / "tiny")
    spec = replace(spec_of(place), checkpoint="org/tiny", revision=COMMIT)
    machine = Machine(accelerator="cpu", models=tmp_path)
    with pytest.raises(ValueError, match=f"does not say which revision.*--revision {COMMIT} --local-dir {place}"):
        Hubert(spec, machine)
    record = place / ".cache" / "huggingface" / "download" / "model.safetensors.metadata"
    record.parent.mkdir(parents=True)
    digest = checksum(place / "model.safetensors")
    record.write_text(f"{COMMIT}\n{digest}\n1712656091.123\n")
    assert len(Hubert(spec, machine).encode([sound(16000)])[0]) == 49
    record.write_text(f"{'9' * 40}\n{digest}\n1712656091.123\n")
    with pytest.raises(ValueError, match=f"is revision {'9' * 40}, the recipe wants {COMMIT}"):
        Hubert(spec, machine)
    record.write_text(f"{COMMIT}\n{'a' * 64}\n1712656091.123\n")
    with pytest.raises(ValueError, match=f"altered or torn, SHA-256 {digest}, published as {'a' * 64}"):
        Hubert(spec, machine)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache of the hub, and the hub's own switch for machines without network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_checkpoint_in_the_cache_of_the_hub_needs_no_folder(checkpoints, offline):
    copied(checkpoints / "hubert-group-False", offline / "models--org--tiny" / "snapshots" / COMMIT)
    spec = replace(spec_of(checkpoints / "hubert-group-False"), checkpoint="org/tiny", revision=COMMIT)
    for models in (None, checkpoints):
        found = Hubert(spec, Machine(accelerator="cpu", models=models)).encode([sound(16000)])[0]
        assert np.array_equal(found, hubert(checkpoints / "hubert-group-False").encode([sound(16000)])[0])


@pytest.mark.parametrize("revision", [COMMIT, "0" * 64])
def test_a_missing_checkpoint_says_how_to_get_it(offline, tmp_path, revision):
    spec = EncoderSpec(kind="hubert", rate_hz=50.0, revision=revision, checkpoint="org/tiny", layer=2)
    pinned = f" --revision {COMMIT}" if revision == COMMIT else ""
    for models, hint in (
        (None, f"`hf download org/tiny{pinned} --local-dir DIR/org/tiny`; then give `--models DIR`"),
        (tmp_path, f"`hf download org/tiny{pinned} --local-dir {tmp_path}/org/tiny`"),
    ):
        with pytest.raises(ValueError) as caught:
            Hubert(spec, Machine(accelerator="cpu", models=models))
        assert str(caught.value).endswith(hint) and "org/tiny is not on this machine" in str(caught.value)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_read_is_refused(checkpoints, tmp_path):
    folder = checkpoints / "hubert-group-False"
    for layer in (LAYERS + 1, -1, None):
        with pytest.raises(ValueError, match=f"no hidden state {layer}, choose 0 to {LAYERS}"):
            hubert(folder, layer)
    with pytest.raises(ValueError, match="revision 'main' .* pins nothing"):
        hubert(folder, revision="main")
    with pytest.raises(ValueError, match="needs the name of a checkpoint"):
        hubert(folder, checkpoint=None)
    tiny = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 1, "intermediate_size": 8, "vocab_size": 9}
    BertModel(BertConfig(**tiny)).save_pretrained(tmp_path / "bert")
    with pytest.raises(ValueError, match="type 'bert', one of hubert, wav2vec2, wavlm expected"):
        hubert(tmp_path / "bert")
    (tmp_path / "bert" / "config.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="config.json: not readable"):
        hubert(tmp_path / "bert")


@pytest.mark.skipif(torch.cuda.is_available() or torch.backends.mps.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused(checkpoints):
    with pytest.raises(ValueError, match="(?i)gpu"):
        Hubert(spec_of(checkpoints / "hubert-group-False"), Machine(accelerator="gpu", models=checkpoints))
