"""Supervised tokens: what a token may depend on, released folders, streams, and a codebook that follows its vectors."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn
from torch.multiprocessing import spawn
from torch.nn import functional

from slm.atomic import read_json
from slm.checkpoint import read_checkpoint
from slm.machine import Machine
from slm.spec import CorpusSpec, EncoderSpec, Init, SupervisedSpec
from slm.speech import supervised
from slm.speech.codebook import RunningMeans
from slm.speech.encoder import encoder
from slm.speech.kmeans import nearest
from slm.speech.recogniser import mels_of
from slm.speech.supervised import Heard, OnDisk, learn_tokenizer, perplexity_of
from slm.speech.whisper_vq import (
    FRAME_SAMPLES,
    Shape,
    TokenStream,
    VqEncoder,
    own_log_mels,
    padded_log_mels,
    shape_of,
    tokenizer_folder,
    whisper_log_mels,
)
from slm.store import checksum

CORPUS = CorpusSpec(name="stories", revision="1", split="train", documents=10)
TOLD = SupervisedSpec(
    learnt_on=CORPUS,
    codes=12,
    layers=3,
    quantised_after=2,
    decoder_layers=1,
    width=16,
    heads=2,
    hidden=24,
    block_seconds=0.64,
    updates=4,
    batch_seconds=3.0,
    learning_rate=1e-3,
    ctc=1.0,
)


def spec_of(rate_hz: float = 25.0, **changes) -> EncoderSpec:
    return EncoderSpec(kind="whisper_vq", rate_hz=rate_hz, revision="1", supervised=replace(TOLD, **changes))


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """Sound whose loudness changes, so that its tokens do."""
    random = np.random.default_rng(seed)
    samples = random.normal(size=int(seconds * 16000))
    loudness = np.repeat(random.uniform(-4, -1, len(samples) // 1000 + 1), 1000)[: len(samples)]
    return (samples * 10**loudness).astype(np.float32)


def documents(count: int = 10, seconds: float = 1.5) -> list[Heard]:
    words = ("a cat", "two dogs sat", "no", "it's 7 books")
    return [Heard(log_mels=own_log_mels(noise(seconds, i), 80), text=words[i % 4]) for i in range(count)]


def learnt(folder: Path, spec: EncoderSpec, heard: list[Heard] | None = None, models: Path | None = None) -> Machine:
    machine = Machine(accelerator="cpu", encoders=folder, models=models)
    learn_tokenizer(tokenizer_folder(spec, machine), heard or documents(), spec, machine)
    return machine


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A tokenizer that was learnt here, at 25 Hz."""
    return encoder(spec_of(), learnt(tmp_path_factory.mktemp("own"), spec_of()))


# --- what a state may depend on


def test_a_state_sees_its_block_and_what_is_before_it():
    model = VqEncoder(shape_of(spec_of(), 80)).eval()
    mels = torch.randn(1, 80, 2 * 32 * 4)
    counts = torch.tensor([32 * 4])
    with torch.no_grad():
        before, _ = model.before(mels, counts)
        for frame in (33, 63):  # of the second of four blocks of 32 frames
            changed = mels.clone()
            changed[:, :, 2 * frame] += 5
            after, _ = model.before(changed, counts)
            moved = (after - before).abs().amax(dim=(0, 2)) > 1e-5  # (P,)
            assert not moved[:16].any(), "a later block"
            assert moved[16:].all(), "the same block, and later ones, which look back"


@pytest.mark.parametrize("rate_hz", [50.0, 25.0, 12.5, 6.25])
def test_frames_are_as_many_as_the_rate_says_and_free_of_their_batch(tmp_path, rate_hz):
    spec = spec_of(rate_hz, updates=2)
    machine = learnt(tmp_path, spec)
    made = encoder(spec, machine)
    sounds = [noise(seconds, i) for i, seconds in enumerate((1.0, 0.37, 2.203, 0.005))]
    together = made.encode(sounds)
    assert [len(states) for states in together] == [int(len(sound) * rate_hz) // 16000 for sound in sounds]
    for sound, states in zip(sounds, together, strict=True):
        np.testing.assert_allclose(made.encode([sound])[0], states, atol=1e-5)
    rows = [own_log_mels(sound, 80) for sound in (sounds[1][: 16000 // 50 * 16], sounds[2][: 16000 // 50 * 104])]
    for row, padded in zip(rows, made.states(rows), strict=True):  # as a GPU reads them
        np.testing.assert_allclose(made.states([row])[0], padded, atol=1e-4)


def test_sizes_that_do_not_go_together_are_told():
    for rate_hz, changes, reason in (
        (30.0, {}, "30 Hz: choose 50, 25, 12.5, 6.25"),
        (6.25, {"block_seconds": 0.4}, "blocks of 0.4 s: choose whole 0.16 s tokens"),
        (25.0, {"block_seconds": 31.0}, "blocks of 31 s"),
        (25.0, {"quantised_after": 4}, "after layer 4 of 3"),
        (25.0, {"heads": 3}, "3 heads"),
    ):
        with pytest.raises(ValueError, match=reason):
            shape_of(spec_of(rate_hz, **changes), 80)


def test_log_mels_are_whispers():
    from transformers import WhisperFeatureExtractor

    sound = noise(2.3)
    for mels in (80, 128):
        theirs = WhisperFeatureExtractor(feature_size=mels)(sound, sampling_rate=16000, padding="longest")
        theirs = np.asarray(theirs["input_features"])[0].T  # (T, M)
        ours = whisper_log_mels(sound, mels)
        np.testing.assert_allclose(ours, theirs, atol=2e-3)
        plain = own_log_mels(sound, mels)
        np.testing.assert_allclose(np.maximum(plain, ours.max() - 2)[2:-2], ours[2:-2], atol=1e-6)


# --- streaming


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seconds=st.floats(0.0, 4.0), cuts=st.lists(st.integers(1, 20000), max_size=8), seed=st.integers(0, 99))
def test_a_stream_gives_the_tokens_of_the_whole_sound(own, seconds, cuts, seed):
    check_stream(own, noise(seconds, seed), cuts or [777])


def test_a_stream_goes_on_over_the_places_where_long_sound_is_cut(own):
    assert check_stream(own, noise(31.0), [5000, 12345]) > 700


def check_stream(own, sound: np.ndarray, cuts: list[int]) -> int:
    (states,) = own.encode([sound])
    whole = nearest(states, own.codebook)
    distances = np.sort(((states[:, None] - own.codebook) ** 2).sum(axis=2), axis=1)
    clear = distances[:, 1] - distances[:, 0] > 1e-4
    stream, heard, start, number = TokenStream(own), [], 0, 0
    block = own.shape.block * FRAME_SAMPLES
    while start < len(sound):
        stop = min(len(sound), start + cuts[number % len(cuts)])
        heard.append(stream.push(sound[start:stop]))
        start, number = stop, number + 1
        late = start - sum(map(len, heard)) * own.shape.pooling * FRAME_SAMPLES
        assert late < block + 40, "no token is later than its block and the reach of a log-mel frame"
    told = np.concatenate([*heard, stream.finish()])
    assert len(told) == len(whole)
    assert (told == whole)[clear].all() and (told == whole).mean() >= 0.9999 if len(whole) else True
    return len(whole)


# --- released folders


def released(folder: Path, seed: int = 0) -> tuple[dict, dict[str, torch.Tensor]]:
    """A folder in the layout of GLM-4-Voice's tokenizer, with random weights; its config and weights."""
    torch.manual_seed(seed)
    width, hidden, codes = 16, 24, 30
    config = {
        "model_type": "whisper",
        "num_mel_bins": 80,
        "d_model": width,
        "encoder_layers": 4,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": hidden,
        "max_source_positions": 60,
        "activation_function": "gelu",
        "pooling_kernel_size": 4,
        "pooling_type": "avg",
        "pooling_position": 2,
        "quantize_position": 2,
        "quantize_vocab_size": codes,
        "quantize_causal_block_size": 20,
        "quantize_causal_encoder": False,
        "quantize_encoder_only": True,
        "quantize_ema_decay": 0.99,
        "quantize_commit_coefficient": 0.25,
        "quantize_loss_scale": 10.0,
        "encoder_causal_convolution": True,
        "encoder_causal_attention": False,
    }
    shapes = {
        "conv1.weight": (width, 80, 3),
        "conv1.bias": (width,),
        "conv2.weight": (width, width, 3),
        "conv2.bias": (width,),
        "embed_positions.weight": (60, width),
        "embed_positions2.weight": (15, width),
        "codebook.weight": (codes, width),
    }
    for layer in range(2):
        for name in ("self_attn_layer_norm", "final_layer_norm"):
            shapes |= {f"layers.{layer}.{name}.{kind}": (width,) for kind in ("weight", "bias")}
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes[f"layers.{layer}.self_attn.{name}.weight"] = (width, width)
            if name != "k_proj":
                shapes[f"layers.{layer}.self_attn.{name}.bias"] = (width,)
        shapes |= {f"layers.{layer}.fc1.weight": (hidden, width), f"layers.{layer}.fc1.bias": (hidden,)}
        shapes |= {f"layers.{layer}.fc2.weight": (width, hidden), f"layers.{layer}.fc2.bias": (width,)}
    weights = {f"encoder.{name}": 0.5 * torch.randn(shape) for name, shape in shapes.items()}
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    training = {"encoder.ema_count": torch.ones(codes), "encoder.ema_weight": torch.ones(codes, width)}
    save_file(weights | training, folder / "model.safetensors")
    return config, {name.removeprefix("encoder."): weight for name, weight in weights.items()}


def forward(config: dict, weights: dict[str, torch.Tensor], mels: torch.Tensor) -> torch.Tensor:
    """The published computation, written out for one sound: mels (M, 2 T) to pooled states (P, D)."""
    heads, width = config["encoder_attention_heads"], config["d_model"]

    def linear(name: str, hidden: torch.Tensor) -> torch.Tensor:
        return functional.linear(hidden, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    def norm(name: str, hidden: torch.Tensor) -> torch.Tensor:
        return functional.layer_norm(hidden, (width,), weights[f"{name}.weight"], weights[f"{name}.bias"])

    hidden = functional.pad(mels[None], (2, 0))
    hidden = functional.gelu(functional.conv1d(hidden, weights["conv1.weight"], weights["conv1.bias"]))
    hidden = functional.pad(hidden, (2, 0))
    hidden = functional.gelu(functional.conv1d(hidden, weights["conv2.weight"], weights["conv2.bias"], stride=2))
    hidden = hidden[0].T  # (T, D)
    length, block = len(hidden), config["quantize_causal_block_size"]
    hidden = hidden + weights["embed_positions.weight"][:length]
    seen = torch.ones(length, length).tril().bool()
    for start in range(0, length, block):
        seen[start : start + block, start : start + block] = True
    for layer in (f"layers.{number}" for number in range(config["quantize_position"])):
        shown = norm(f"{layer}.self_attn_layer_norm", hidden)
        parts = (linear(f"{layer}.self_attn.{name}_proj", shown).view(length, heads, -1) for name in "qkv")
        queries, keys, values = (part.transpose(0, 1) for part in parts)  # (H, T, D / H)
        scores = queries @ keys.transpose(1, 2) / math.sqrt(width // heads)
        mixed = scores.masked_fill(~seen, -math.inf).softmax(dim=-1) @ values
        hidden = hidden + linear(f"{layer}.self_attn.out_proj", mixed.transpose(0, 1).reshape(length, width))
        inner = functional.gelu(linear(f"{layer}.fc1", norm(f"{layer}.final_layer_norm", hidden)))
        hidden = hidden + linear(f"{layer}.fc2", inner)
    pooling = config["pooling_kernel_size"]
    return hidden[: length // pooling * pooling].view(-1, pooling, width).mean(dim=1)


def released_spec(folder: Path, rate_hz: float = 12.5) -> EncoderSpec:
    digest = checksum(folder / "model.safetensors")
    return EncoderSpec(kind="whisper_vq", rate_hz=rate_hz, revision=digest, checkpoint=folder.name)


def test_a_released_folder_computes_what_is_published(tmp_path):
    config, weights = released(tmp_path / "tokenizer")
    machine = Machine(accelerator="cpu", models=tmp_path)
    made = encoder(released_spec(tmp_path / "tokenizer"), machine)
    sound = noise(3.0)[:-700]  # three parts of 1.2 s, the last one cut inside a token
    (states,) = made.encode([sound])
    parts = [sound[start : start + 19200] for start in range(0, len(sound), 19200)]
    mels = [torch.from_numpy(whisper_log_mels(part, 80)).T for part in parts]
    wanted = torch.cat([forward(config, weights, part[:, : part.shape[1] // 2 * 2]) for part in mels]).numpy()
    assert len(states) == int(len(sound) * 12.5) // 16000 == len(wanted) - 1, "the rest of the sound is no token"
    np.testing.assert_allclose(states, wanted[:-1], atol=2e-4)
    np.testing.assert_array_equal(made.codebook, weights["codebook.weight"])
    with pytest.raises(ValueError, match="normalised over the whole sound"):
        TokenStream(made)


def test_a_folder_that_is_something_else_is_told(tmp_path):
    config, weights = released(tmp_path / "tokenizer")
    machine, spec = Machine(accelerator="cpu", models=tmp_path), released_spec(tmp_path / "tokenizer")
    with pytest.raises(ValueError, match="makes 12.5 frames/s, the recipe 25"):
        encoder(replace(spec, rate_hz=25.0), machine)
    with pytest.raises(ValueError, match="the recipe wants 0000"):
        encoder(replace(spec, revision="0" * 64), machine)
    path = tmp_path / "tokenizer" / "config.json"
    path.write_text(json.dumps(config | {"pooling_type": "max"}))
    with pytest.raises(ValueError, match="pooling_type = 'max'"):
        encoder(spec, machine)
    path.write_text(json.dumps(config | {"quantize_position": 3, "pooling_position": 3}))
    with pytest.raises(ValueError, match="15 weights are missing"):
        encoder(spec, machine)


# --- learning


def test_learning_begins_with_the_weights_of_a_whisper(tmp_path):
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    config = WhisperConfig(
        vocab_size=50,
        num_mel_bins=80,
        d_model=16,
        encoder_layers=4,
        encoder_attention_heads=2,
        encoder_ffn_dim=24,
        decoder_layers=2,
        decoder_attention_heads=2,
        decoder_ffn_dim=24,
        pad_token_id=0,
    )
    WhisperForConditionalGeneration(config).save_pretrained(tmp_path / "models" / "tiny-whisper")
    digest = checksum(tmp_path / "models" / "tiny-whisper" / "model.safetensors")
    start = Init(checkpoint="tiny-whisper", revision=digest)
    spec = spec_of(start=start, updates=1, learning_rate=1e-12)
    machine = learnt(tmp_path / "encoders", spec, models=tmp_path / "models")
    assert mels_of(spec, machine) == 80
    made = encoder(spec, machine).model.state_dict()
    theirs = WhisperForConditionalGeneration.from_pretrained(tmp_path / "models" / "tiny-whisper").state_dict()
    for name in ("conv1.weight", "conv2.bias", "layers.0.fc1.weight", "layers.1.self_attn.q_proj.weight"):
        torch.testing.assert_close(made[name], theirs[f"model.encoder.{name}"], atol=1e-6, rtol=0)
    positions = theirs["model.encoder.embed_positions.weight"]
    torch.testing.assert_close(made["embed_positions.weight"], positions[: len(made["embed_positions.weight"])])
    second = made["embed_positions2.weight"]
    torch.testing.assert_close(second, positions[: len(second)], atol=1e-6, rtol=0)
    with pytest.raises(ValueError, match="conv1.weight is .16, 80, 3., the recipe wants .32, 80, 3."):
        learnt(tmp_path / "other", spec_of(start=start, width=32), models=tmp_path / "models")


def test_learning_is_the_same_again_and_lowers_the_loss(tmp_path):
    spec = spec_of(updates=60, learning_rate=3e-3)
    told = []
    for name in ("first", "second"):
        machine = learnt(tmp_path / name, spec)
        told.append(json.loads((tokenizer_folder(spec, machine) / "recipe.json").read_text()))
    assert told[0]["sha256"] == told[1]["sha256"]
    losses = told[0]["losses"]
    assert losses[-1]["ctc_nats"] < 0.8 * losses[0]["ctc_nats"]
    assert losses[-1]["decoder_nats"] < losses[0]["decoder_nats"]
    assert 0 <= told[0]["held_out_cer"] and told[0]["held_out_documents"] == 2 and told[0]["learnt_documents"] == 8
    assert 1 <= told[0]["perplexity"] <= told[0]["codes_used"] <= told[0]["codes"] == 12


class Killed(BaseException):
    """As a signal would come: in the middle of an update."""


def test_a_killed_training_goes_on_to_the_same_weights(tmp_path, monkeypatch):
    spec = spec_of(updates=230)  # saved after every second update, in the middle of an epoch
    whole = tokenizer_folder(spec, learnt(tmp_path / "whole", spec))
    machine = Machine(accelerator="cpu", encoders=tmp_path / "killed")
    folder, begun = tokenizer_folder(spec, machine), []
    step = supervised._Learning.training_step

    def killed_at(update):
        def training_step(self, *given):
            begun.append(self.global_step)
            if self.global_step == update:
                raise Killed
            return step(self, *given)

        return training_step

    for update, left in ((3, 2), (101, 100)):  # before and behind the first of the quantised ones
        monkeypatch.setattr(supervised._Learning, "training_step", killed_at(update))
        with pytest.raises(Killed):
            learn_tokenizer(folder, documents(), spec, machine)
        assert read_checkpoint(folder / "under-way.ckpt")["global_step"] == left
    monkeypatch.undo()
    learnt(tmp_path / "killed", spec)
    assert begun == [0, 1, 2, 3, *range(2, 102)]
    assert sorted(path.name for path in folder.iterdir()) == ["model.safetensors", "recipe.json"]
    told = [read_json(some / "recipe.json") | {"training_seconds": 0} for some in (whole, folder)]
    assert told[0] == told[1]


def test_a_torn_state_is_told(tmp_path):
    spec, machine = spec_of(), Machine(accelerator="cpu", encoders=tmp_path)
    state = tokenizer_folder(spec, machine) / "under-way.ckpt"
    state.parent.mkdir(parents=True)
    state.write_bytes(b"torn")
    with pytest.raises(ValueError, match="under-way.ckpt is torn or altered .*: delete it"):
        learnt(tmp_path, spec)


def test_two_devices_learn_what_one_learns(tmp_path):
    """Batches of two documents, and the last one of an epoch of one, in which the second device has none."""
    rows = documents(11)
    np.save(tmp_path / "log-mels.npy", np.concatenate([each.log_mels for each in rows]))
    ends = np.cumsum([len(each.log_mels) for each in rows]).tolist()
    lying = [
        replace(each, log_mels=OnDisk(path=tmp_path / "log-mels.npy", first=end - len(each.log_mels), last=end))
        for each, end in zip(rows, ends, strict=True)
    ]
    spec, told = spec_of(updates=12, decoder_layers=0), []
    for name, devices, heard in (("one", 1, rows), ("two", 2, lying)):
        machine = Machine(accelerator="cpu", encoders=tmp_path / name, devices=devices)
        made = []
        learn_tokenizer(tokenizer_folder(spec, machine), heard, spec, machine, made.append)
        told.append(tokenizer_folder(spec, machine))
    assert made == sorted(made) and set(made) <= set(range(13))
    weights = [load_file(folder / "model.safetensors") for folder in told]
    for name, weight in weights[0].items():
        torch.testing.assert_close(weights[1][name], weight, atol=1e-3, rtol=1e-3, msg=name)
    losses = [read_json(folder / "recipe.json")["losses"] for folder in told]
    for one, two in zip(*losses, strict=True):
        assert two == pytest.approx(one, rel=1e-3, abs=1e-3)


def test_documents_that_cannot_be_learnt_from_are_left_out_and_a_torn_folder_is_told(tmp_path):
    good, silent = documents(12), Heard(log_mels=own_log_mels(noise(1.0), 80), text="")
    crowded = Heard(log_mels=own_log_mels(noise(0.2), 80), text="too many letters")
    long = Heard(log_mels=np.zeros((6001, 80), np.float16), text="long")
    spec = spec_of()
    machine = learnt(tmp_path, spec, [silent, crowded, long, *good])
    folder = tokenizer_folder(spec, machine)
    assert json.loads((folder / "recipe.json").read_text())["unfit_documents"] == 3
    with pytest.raises(ValueError, match="0 of 4 documents fit"):
        learnt(tmp_path / "other", spec, [silent] * 5)
    with pytest.raises(ValueError, match="no tokenizer in"):
        encoder(replace(spec, rate_hz=12.5), machine)
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-1] + b"x")
    with pytest.raises(ValueError, match="no readable tokenizer .*checksum"):
        encoder(spec, machine)


def test_a_codebook_that_collapses_is_warned_of(tmp_path):
    flat = [Heard(log_mels=np.zeros((100, 80), np.float16), text="same") for _ in range(10)]
    with pytest.warns(UserWarning, match=r"collapsed: perplexity \d+\.\d of 512 codes"):
        learnt(tmp_path, spec_of(codes=512), flat)
    assert perplexity_of(np.array([3, 0, 3, 3])) == pytest.approx(3)


# --- the codebook


def means_of(codes: int, seed: int = 0) -> RunningMeans:
    return RunningMeans(nn.Embedding.from_pretrained(torch.zeros(codes, 4)), seed)


def batches(updates: int, size: int) -> list[torch.Tensor]:
    random = torch.Generator().manual_seed(1)
    return [torch.randn(size, 4, generator=random) for _ in range(updates)]


def test_running_means_are_the_published_update():
    means, vectors = means_of(3), torch.tensor([[0.0, 0, 0, 0], [1, 1, 1, 1], [9, 9, 9, 9]])
    means.update(vectors)  # the codes start at the vectors, each of which is then the nearest of its own
    torch.testing.assert_close(means.codes.sort(dim=0).values, vectors, atol=1e-3, rtol=0)
    codes, counts, sums = means.codes.clone(), means.counts.clone(), means.sums.clone()
    batch = torch.tensor([[0.2, 0, 0, 0], [0.4, 0, 0, 0], [9, 9, 9, 8]])
    assigned = (batch[:, None] - codes).square().sum(dim=2).argmin(dim=1)
    torch.testing.assert_close(means.nearest(batch), assigned)
    hot = functional.one_hot(assigned, 3).float()
    counts, sums = 0.99 * counts + 0.01 * hot.sum(dim=0), 0.99 * sums + 0.01 * hot.T @ batch
    counts = (counts + 1e-5) / (counts.sum() + 3e-5) * counts.sum()
    means.update(batch)
    torch.testing.assert_close(means.codes, sums / counts[:, None])


def test_dead_codes_start_again_at_live_vectors():
    for codes in (5, 50):  # fewer and more than there are vectors
        means = means_of(codes)
        far = torch.full((8, 4), 100.0) + torch.randn(8, 4)
        means.update(torch.randn(8, 4))
        for _ in range(198):
            means.update(torch.randn(8, 4) * 0.01)
        assert (means.codes.norm(dim=1) < 50).all()
        means.update(far)
        restarted = (means.counts == 1).nonzero().flatten()
        assert len(restarted) >= 1
        assert (means.codes[restarted][:, None] == far).all(dim=2).any(dim=1).all()


SIZES = (3, 7, 25)
"""Codes: an odd number, which two ranks cannot share out, and more than there are vectors."""


def _rank_of_two(rank: int, folder: str) -> None:
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for codes in SIZES:
        means = means_of(codes)
        for batch in batches(101, 9):
            means.update(batch[:5] if rank == 0 else batch[5:])
        save_file({"codes": means.codes, "counts": means.counts}, f"{folder}/{codes}-{rank}.safetensors")
    torch.distributed.destroy_process_group()


def test_two_processes_learn_the_codebook_of_the_joined_batch(tmp_path):
    spawn(_rank_of_two, (str(tmp_path),), nprocs=2)
    for codes in SIZES:
        alone = means_of(codes)
        for batch in batches(101, 9):
            alone.update(batch)
        for rank in (0, 1):
            found = load_file(tmp_path / f"{codes}-{rank}.safetensors")
            torch.testing.assert_close(found["codes"], alone.codes, atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(found["counts"], alone.counts, atol=1e-5, rtol=1e-5)


def test_padded_log_mels_keep_their_counts():
    mels, counts = padded_log_mels([np.zeros((7, 80), np.float16), np.ones((4, 80), np.float16)])
    assert mels.shape == (2, 80, 8) and mels.dtype == torch.float32 and counts.tolist() == [4, 2]


def test_a_shape_is_what_the_recipe_says():
    shape = shape_of(spec_of(12.5, block_seconds=4.0), 128)
    assert (shape.pooling, shape.block, shape.positions) == (4, 200, 1400)
    assert isinstance(shape, Shape) and shape.mels == 128
