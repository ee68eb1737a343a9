"""fairseq2's wav2vec 2.0: the frames of transformers for the same weights, whatever the batch; clear refusals."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from slm.machine import Machine
from slm.spec import EncoderSpec
from slm.speech.fairseq2 import Fairseq2
from slm.store import checksum

CONVOLUTIONS = [(16, 10, 5), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 3, 2), (16, 2, 2), (16, 2, 2)]
BASE = {"norm_order": "POST"}
LARGE = {
    "norm_order": "PRE",
    "layer_norm_features": False,
    "feature_extractor_bias": True,
    "feature_extractor_layer_norm_convs": True,
}
CONFORMER = {"use_conformer": True, "depthwise_conv_kernel_size": 7, "pos_encoder_depth": 3}

in_fairseq2s_environment = pytest.mark.fairseq2


def waveform(seconds: float, seed: int) -> np.ndarray:
    samples = np.random.default_rng(seed).normal(0, 0.1 * (seed + 1), int(seconds * 16000))
    return (samples + 0.05 * seed).astype(np.float32)


def settings(options: dict) -> dict:
    small = {"model_dim": 32, "feature_dim": 16, "num_encoder_layers": 3, "num_encoder_attn_heads": 4}
    small |= {"ffn_inner_dim": 64, "pos_conv_kernel_size": 16, "num_pos_conv_groups": 4}
    return small | {"feature_extractor_layer_descs": [list(row) for row in CONVOLUTIONS]} | options


def save(models: Path, options: dict, card: dict | None = None) -> tuple[torch.nn.Module, EncoderSpec]:
    """A small model of fairseq2's, saved as a user's checkpoint: `model.yaml` beside the weights."""
    import soundfile  # noqa: F401  brings libsndfile
    import yaml
    from fairseq2.models.transformer import TransformerNormOrder
    from fairseq2.models.wav2vec2 import Wav2Vec2Config, Wav2Vec2EncoderConfig, get_wav2vec2_model_hub

    torch.manual_seed(0)
    values = settings(options)
    order = TransformerNormOrder[values.get("norm_order", "POST")]
    encoder = Wav2Vec2EncoderConfig(**values | {"norm_order": order})
    model = get_wav2vec2_model_hub().create_new_model(Wav2Vec2Config(encoder_config=encoder)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # biases and norms begin as zeros and ones, which would hide mistakes
            parameter.add_(0.1 * torch.randn(parameter.shape))
    folder = models / "me" / "small"
    folder.mkdir(parents=True)
    torch.save({"model": model.state_dict()}, folder / "weights.pt")
    card = {
        "name": "small",
        "model_family": "wav2vec2",
        "model_config": {"encoder_config": values},
        "checkpoint": "weights.pt",
    } | (card or {})
    (folder / "model.yaml").write_text(yaml.safe_dump(card))
    revision = checksum(folder / "weights.pt")
    return model, EncoderSpec(kind="fairseq2", rate_hz=50.0, revision=revision, checkpoint="me/small", layer=2)


def machine(models: Path) -> Machine:
    return Machine(accelerator="cpu", models=models)


def transformers_twin(model: torch.nn.Module, options: dict) -> torch.nn.Module:
    """transformers' wav2vec2 with the weights of fairseq2's."""
    from transformers import Wav2Vec2Config, Wav2Vec2Model

    large = options is LARGE
    twin = Wav2Vec2Model(
        Wav2Vec2Config(
            hidden_size=32,
            num_hidden_layers=3,
            num_attention_heads=4,
            intermediate_size=64,
            conv_dim=[row[0] for row in CONVOLUTIONS],
            conv_kernel=[row[1] for row in CONVOLUTIONS],
            conv_stride=[row[2] for row in CONVOLUTIONS],
            conv_bias=large,
            feat_extract_norm="layer" if large else "group",
            do_stable_layer_norm=large,
            num_conv_pos_embeddings=16,
            num_conv_pos_embedding_groups=4,
        )
    ).eval()
    names = {
        "encoder_frontend.feature_extractor.layers": "feature_extractor.conv_layers",
        "group_norm": "layer_norm",
        "encoder_frontend.post_extract_layer_norm": "feature_projection.layer_norm",
        "encoder_frontend.model_dim_proj": "feature_projection.projection",
        "encoder_frontend.pos_encoder.conv.weight_g": "encoder.pos_conv_embed.conv.parametrizations.weight.original0",
        "encoder_frontend.pos_encoder.conv.weight_v": "encoder.pos_conv_embed.conv.parametrizations.weight.original1",
        "encoder_frontend.pos_encoder.conv": "encoder.pos_conv_embed.conv",
        "encoder_frontend.layer_norm": "encoder.layer_norm",
        "self_attn_layer_norm": "layer_norm",
        "ffn_layer_norm": "final_layer_norm",
        "self_attn.output_proj": "attention.out_proj",
        "self_attn": "attention",
        "ffn.inner_proj": "feed_forward.intermediate_dense",
        "ffn.output_proj": "feed_forward.output_dense",
        "masker.temporal_mask_embed": "masked_spec_embed",
    }
    weights = {}
    for key, value in model.state_dict().items():
        for ours, theirs in names.items():
            key = key.replace(ours, theirs)
        weights[key] = value
    report = twin.load_state_dict(weights, strict=False)
    assert not report.missing_keys
    assert all(key.startswith(("quantizer", "final_")) for key in report.unexpected_keys)
    return twin


@in_fairseq2s_environment
@pytest.mark.parametrize("options", [BASE, LARGE], ids=["base", "large"])
def test_frames_are_those_of_transformers_with_the_same_weights(tmp_path, options):
    model, spec = save(tmp_path, options)
    sounds = [waveform(1.3, 1), waveform(0.4, 0)]
    twin = transformers_twin(model, options)
    kept = {}  # outputs of the layers themselves: 4.57 gives the last hidden state of the large kind after a norm
    for number, layer in enumerate(twin.encoder.layers, start=1):
        layer.register_forward_hook(lambda _, __, output, number=number: kept.update({number: output[0]}))
        layer.register_forward_pre_hook(lambda _, inputs, number=number: kept.setdefault(number - 1, inputs[0]))
    for normalise in (False, True):
        found = {
            layer: Fairseq2(replace(spec, layer=layer, normalise=normalise), machine(tmp_path)).encode(sounds)
            for layer in range(4)
        }
        for i, sound in enumerate(sounds):
            inputs = torch.from_numpy(sound)
            inputs = torch.nn.functional.layer_norm(inputs, inputs.shape) if normalise else inputs
            kept.clear()
            with torch.no_grad():
                twin(inputs[None])
            for layer in range(4):
                expected = kept[layer].reshape(-1, 32).numpy()
                assert found[layer][i].shape == expected.shape and found[layer][i].dtype == np.float32
                np.testing.assert_allclose(found[layer][i], expected, atol=2e-5)


@in_fairseq2s_environment
@pytest.mark.parametrize("options", [BASE, LARGE, CONFORMER], ids=["base", "large", "conformer"])
def test_frames_do_not_depend_on_batch_mates(tmp_path, options):
    _, spec = save(tmp_path, options)
    encoder = Fairseq2(spec, machine(tmp_path))
    sounds = [waveform(seconds, seed) for seed, seconds in enumerate((0.3, 2.1, 0.9))]
    together = encoder.encode(sounds)
    for sound, found in zip(sounds, together, strict=True):
        np.testing.assert_allclose(encoder.encode([sound])[0], found, atol=2e-5)


@in_fairseq2s_environment
def test_padding_of_fairseq2s_own_front_end_would_change_frames(tmp_path):
    """The reason why the front end runs on one waveform at a time; without it the test above would prove nothing."""
    from fairseq2.nn import BatchLayout

    model, spec = save(tmp_path, BASE)
    short, long = waveform(0.3, 0), waveform(2.1, 2)
    padded = torch.zeros(2, len(long))
    padded[0, : len(short)], padded[1] = torch.from_numpy(short), torch.from_numpy(long)
    with torch.no_grad():
        naive, _ = model.encoder_frontend(padded, BatchLayout.of(padded, [len(short), len(long)]))
    (ours,) = Fairseq2(replace(spec, layer=0), machine(tmp_path)).encode([short])
    assert np.abs(naive[0, : len(ours)].numpy() - ours).max() > 0.05


@in_fairseq2s_environment
def test_rate_and_number_of_frames_follow_the_strides(tmp_path):
    _, spec = save(tmp_path, BASE)
    encoder = Fairseq2(spec, machine(tmp_path))
    assert encoder.rate_hz == 50.0
    sounds = [np.zeros(samples, np.float32) for samples in (0, 399, 400, 719, 720, 16000)]
    assert [found.shape for found in encoder.encode(sounds)] == [(n, 32) for n in (0, 0, 1, 1, 2, 49)]
    assert encoder.encode([]) == []
    _, slow = save(
        tmp_path / "25", BASE | {"feature_extractor_layer_descs": [list(c) for c in [*CONVOLUTIONS, (16, 2, 2)]]}
    )
    assert Fairseq2(replace(slow, rate_hz=25.0), machine(tmp_path / "25")).rate_hz == 25.0


@in_fairseq2s_environment
def test_long_sound_has_the_frames_of_one_pass_and_of_its_windows(tmp_path):
    _, spec = save(tmp_path, BASE)
    encoder = Fairseq2(spec, machine(tmp_path))
    sound = waveform(41.0, 0)
    (found,) = encoder.encode([sound])
    assert len(found) == (len(sound) - 400) // 320 + 1
    assert np.isfinite(found).all() and np.abs(found).sum(axis=1).min() > 0
    (first,) = encoder.encode([sound[: 1498 * 320 + 400]])  # the samples of the frames of 30 s
    np.testing.assert_allclose(found[: 24 * 50], first[: 24 * 50], atol=2e-5)


@in_fairseq2s_environment
def test_the_fingerprint_names_weights_layer_and_normalisation(tmp_path):
    _, spec = save(tmp_path, BASE)
    _, other = save(tmp_path / "other", LARGE)
    variants = [spec, replace(spec, layer=1), replace(spec, normalise=True)]
    prints = {Fairseq2(variant, machine(tmp_path)).fingerprint for variant in variants}
    prints.add(Fairseq2(other, machine(tmp_path / "other")).fingerprint)
    assert len(prints) == 4
    assert Fairseq2(spec, machine(tmp_path)).fingerprint in prints


@in_fairseq2s_environment
def test_every_defect_of_a_checkpoint_is_refused_in_one_line(tmp_path):
    model, spec = save(tmp_path, BASE)
    folder = tmp_path / "me" / "small"

    def refusal(spec: EncoderSpec, models: Path | None = tmp_path) -> str:
        with pytest.raises(ValueError) as caught:
            Fairseq2(spec, Machine(accelerator="cpu", models=models))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "no hidden state 4, choose 0 to 3" in refusal(replace(spec, layer=4))
    assert "no hidden state None" in refusal(replace(spec, layer=None))
    assert f"SHA-256 {spec.revision}, the recipe wants 00" in refusal(replace(spec, revision="00"))
    assert "needs the name of a checkpoint" in refusal(replace(spec, checkpoint=None))
    absent = replace(spec, checkpoint="nobody_knows_it")
    assert f"{tmp_path / 'nobody_knows_it' / 'model.yaml'}" in refusal(absent)
    assert "give `--models DIR`" in refusal(absent, models=None)

    weights = model.state_dict()
    del weights["encoder.layers.1.ffn.inner_proj.bias"]
    torch.save({"model": weights}, folder / "weights.pt")
    torn = replace(spec, revision=checksum(folder / "weights.pt"))
    assert "encoder.layers.1.ffn.inner_proj.bias" in refusal(torn)
    (folder / "weights.pt").write_bytes(b"torn")
    assert "fetch its weights again" in refusal(replace(spec, revision=checksum(folder / "weights.pt")))
    (folder / "weights.pt").unlink()
    assert "no file of weights" in refusal(spec)
    (folder / "model.yaml").write_text("name: small\n")
    assert "checkpoint" in refusal(spec)
    (folder / "model.yaml").write_text("name: [")
    assert f"{folder / 'model.yaml'} is not one asset card" in refusal(spec)
    (folder / "model.yaml").write_text("")
    assert f"{folder / 'model.yaml'} is not one asset card" in refusal(spec)


@in_fairseq2s_environment
def test_other_families_are_refused(tmp_path):
    _, spec = save(tmp_path, BASE, card={"model_family": "wav2vec2_asr"})
    with pytest.raises(ValueError, match="wav2vec2"):
        Fairseq2(spec, machine(tmp_path))


@pytest.mark.skipif(importlib.util.find_spec("fairseq2") is not None, reason="fairseq2 is installed here")
def test_without_fairseq2_the_remedy_is_said(tmp_path):
    spec = EncoderSpec(kind="fairseq2", rate_hz=50.0, revision="0" * 64, checkpoint="wav2vec2_base", layer=6)
    with pytest.raises(ValueError, match="make .venv-fairseq2"):
        Fairseq2(spec, machine(tmp_path))
