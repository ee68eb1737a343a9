"""Models to start from: drawn as published, or on the body of a text model that is kept bit for bit."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    GPTNeoXConfig,
    LlamaConfig,
    OPTConfig,
    PreTrainedModel,
    Qwen2Config,
)

from slm.flops import params_non_embedding, params_total
from slm.model import build
from slm.spec import CorpusSpec, Init, ModelConfig, RunSpec, Source, StoreSpec, TokenizerSpec, TrainConfig
from slm.store import checksum

VOCABULARY, CONTEXT, WIDTH, HIDDEN, TEXT_VOCABULARY = 17, 32, 16, 24, 40
COMMIT = "0123456789" * 4
# Cuervo & Marxer 2024, Table 1 and released code: layers, width, heads, hidden, parameters at 502 ids.
PUBLISHED = {
    "20M": (6, 512, 8, 1536, 20_710_912),
    "85M": (12, 768, 12, 2048, 85_339_392),
    "155M": (12, 1024, 16, 2816, 154_680_320),
    "309M": (24, 1024, 16, 2816, 308_845_568),
    "823M": (16, 2048, 32, 5632, 823_179_264),
}
SHAPE = {"hidden_size": WIDTH, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": CONTEXT}
SHAPE |= {"vocab_size": TEXT_VOCABULARY, "bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
CLASSES = {
    "llama": LlamaConfig(**SHAPE, intermediate_size=HIDDEN, tie_word_embeddings=False),
    "grouped": LlamaConfig(**SHAPE, intermediate_size=HIDDEN, num_key_value_heads=2, tie_word_embeddings=True),
    "neox": GPTNeoXConfig(**SHAPE, intermediate_size=HIDDEN),
    "opt": OPTConfig(**SHAPE, ffn_dim=HIDDEN, word_embed_proj_dim=WIDTH, dropout=0.1),
    "qwen2": Qwen2Config(**SHAPE, intermediate_size=HIDDEN, num_key_value_heads=2, tie_word_embeddings=True),
}
LLAMA_BODY = 2 * (4 * WIDTH**2 + 3 * WIDTH * HIDDEN + 2 * WIDTH) + WIDTH
GROUPED_BODY = LLAMA_BODY - 2 * 2 * WIDTH * WIDTH // 2  # keys and values of half the heads
BODY = {
    "llama": None,  # the one that the formula knows
    "grouped": GROUPED_BODY,
    # biases of 4 + 1 + 1 + 2 projections' and norms' rows; two matrices instead of SwiGLU's three
    "neox": 2 * (4 * WIDTH**2 + 2 * WIDTH * HIDDEN + 9 * WIDTH + HIDDEN) + 2 * WIDTH,
    "opt": 2 * (4 * WIDTH**2 + 2 * WIDTH * HIDDEN + 9 * WIDTH + HIDDEN) + 2 * WIDTH + (CONTEXT + 2) * WIDTH,
    "qwen2": GROUPED_BODY + 2 * 2 * WIDTH,  # biases of queries, and of half as many keys and values
}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folder of small text models in float16, as many are published; their norms and biases are not trivial."""
    folder = tmp_path_factory.mktemp("models")
    for name, config in CLASSES.items():
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config)
        for weight in model.parameters():
            weight.data.normal_(0, 0.1)
        model.half().save_pretrained(folder / name)
    return folder


def run_of(model: ModelConfig, init: Init | None = None, seed: int = 0) -> RunSpec:
    corpus = CorpusSpec(name="toy", revision="1", split="train")
    store = StoreSpec(corpus=corpus, units=None, tokenizer=TokenizerSpec(kind="units", vocabulary=VOCABULARY))
    train = TrainConfig(
        tokens=8 * model.context,
        batch_tokens=8 * model.context,
        learning_rate=1e-2,
        warmup_steps=0,
        schedule="wsd",
        decay_fraction=0.0,
        final_rate=0.0,
        seed=seed,
    )
    labels = {"name": "run", "family": "family", "size": "size", "budget": "budget"}
    return RunSpec(**labels, model=model, mix=(Source(store=store),), train=train, init=init)


def warm_run(folder: Path, seed: int = 0, revision: str | None = None, **changes) -> RunSpec:
    """A run on the checkpoint of a folder, named as if it lay below `<models>`."""
    shape = {"layers": 2, "width": WIDTH, "heads": 4, "hidden": HIDDEN, "vocabulary": VOCABULARY, "context": CONTEXT}
    config = ModelConfig(**shape | {"body_params": BODY.get(folder.name)} | changes)
    weights = folder / "model.safetensors"
    return run_of(config, Init(checkpoint=folder.name, revision=revision or checksum(weights)), seed)


def ends(model: PreTrainedModel) -> list[torch.Tensor]:
    return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]


def body(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    return {name: w for name, w in model.named_parameters() if not any(w is end for end in ends(model))}


def take_one_step(model: PreTrainedModel) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    ids = torch.randint(VOCABULARY, (8, CONTEXT + 1), generator=torch.Generator().manual_seed(0))  # (B, T + 1)
    logits = model(input_ids=ids[:, :-1]).logits  # (B, T, V)
    F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten()).backward()
    optimizer.step()


def published(name: str) -> ModelConfig:
    layers, width, heads, hidden, _ = PUBLISHED[name]
    return ModelConfig(layers=layers, width=width, heads=heads, hidden=hidden, vocabulary=502, context=2050)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_parameters(name):
    config = published(name)
    with torch.device("meta"):
        tied, untied = build(run_of(config)), build(run_of(replace(config, tied=False)))
    assert sum(weight.numel() for weight in tied.parameters()) == PUBLISHED[name][-1]
    assert sum(weight.numel() for weight in untied.parameters()) == PUBLISHED[name][-1] + 502 * config.width


def test_fresh_weights_have_the_published_deviations():
    for name, weight in build(run_of(published("20M"))).named_parameters():
        if weight.ndim == 1:
            assert (weight == 1).all()
        else:
            scaled = name.endswith(("up_proj.weight", "o_proj.weight"))
            assert weight.std().item() == pytest.approx(0.02 / (12**0.5 if scaled else 1), rel=0.01), name
            assert abs(weight.mean().item()) < 1e-4, name


def test_a_fresh_model_depends_on_its_seed_alone_and_leaves_other_draws_alone():
    config = ModelConfig(layers=2, width=32, heads=2, hidden=96, vocabulary=51, context=64, tied=False)
    torch.manual_seed(1)
    one, drawn = build(run_of(config)), torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    again, other = build(run_of(config)), build(run_of(config, seed=1))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), again.parameters(), strict=True))
    for end, its_other in zip(ends(one), ends(other), strict=True):
        assert not torch.equal(end, its_other)
    assert not torch.equal(*ends(one)) and ends(one)[1].std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_a_warm_start_keeps_the_body_and_draws_new_embeddings(models, name, tied):
    run = warm_run(models / name, tied=tied, init_std=0.5)
    torch.manual_seed(1)
    model, drawn = build(run, models), torch.rand(3)
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(3))
    given = load_file(models / name / "model.safetensors")
    kept = body(model)
    assert all(torch.equal(weight, given[key].float()) for key, weight in kept.items())
    assert sum(weight.numel() for weight in kept.values()) == params_non_embedding(run.model)
    assert sum(weight.numel() for weight in model.parameters()) == params_total(run.model)
    assert {weight.dtype for weight in model.parameters()} == {torch.float32}
    again, other = build(run, models), build(replace(run, train=replace(run.train, seed=1)), models)
    for end, same, different in zip(ends(model), ends(again), ends(other), strict=True):
        assert end.shape == (VOCABULARY, WIDTH) and end.std().item() == pytest.approx(0.5, rel=0.15)
        assert torch.equal(end, same) and not torch.equal(end, different) and end.abs().min() > 0
    assert torch.equal(*ends(model)) == tied


@pytest.mark.parametrize("name", CLASSES)
def test_a_warm_model_computes_as_the_text_model_does(models, name):
    """Up to its embeddings: given those of the text model for the same ids, it gives the same logits for them."""
    model, text = (
        build(warm_run(models / name, tied=False), models),
        AutoModelForCausalLM.from_pretrained(models / name),
    )
    for own, theirs in zip(ends(model), ends(text.float()), strict=True):
        own.data.copy_(theirs[:VOCABULARY])
    ids = torch.arange(CONTEXT)[None] % VOCABULARY  # (B, T); id 1 pads the text
    assert model.training
    with torch.inference_mode():
        expected = text.eval()(input_ids=ids).logits[..., :VOCABULARY]  # (B, T, V)
        assert torch.equal(model(input_ids=ids).logits, expected)  # in training mode: no dropout is left


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", [*CLASSES, None])
def test_a_step_changes_the_body_and_keeps_the_head_as_it_was_tied(models, name, tied):
    run = run_of(replace(warm_run(models / "llama").model, tied=tied)) if name is None else None
    model = build(run or warm_run(models / name, tied=tied), models)
    before = {key: weight.clone() for key, weight in model.state_dict().items()}
    take_one_step(model)
    first, last = ends(model)
    assert (first is last) == tied
    assert torch.equal(first, last) == tied
    for key, weight in model.state_dict().items():
        assert not torch.equal(weight, before[key]), key
    for key, weight in body(model).items():
        assert weight.grad.abs().sum() > 0 or key.endswith("k_proj.bias"), key  # softmax does not feel that one


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", CLASSES)
def test_trained_weights_come_back(models, name, tied, tmp_path):
    """From the state of a checkpoint, and through transformers' own files."""
    run = warm_run(models / name, tied=tied)
    model, again = build(run, models), build(run, models)
    take_one_step(model)
    again.load_state_dict(model.state_dict())
    model.save_pretrained(tmp_path)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path)
    for found in (again, exported):
        assert (ends(found)[0] is ends(found)[1]) == tied
        for key, weight in model.state_dict().items():
            assert torch.equal(weight, found.state_dict()[key]), key
    for settings in (exported.config, exported.generation_config):
        assert (settings.bos_token_id, settings.eos_token_id, settings.pad_token_id) == (16, 16, None)


def test_weights_in_parts_are_pinned_by_their_commit(models, tmp_path):
    place = tmp_path / "org" / "tiny"
    AutoModelForCausalLM.from_pretrained(models / "llama").save_pretrained(place, max_shard_size="8KB")
    assert not (place / "model.safetensors").exists()
    recorded(place, COMMIT)
    run = warm_run(models / "llama")
    parts = build(replace(run, init=Init(checkpoint="org/tiny", revision=COMMIT)), tmp_path)
    whole = build(run, models)
    assert all(torch.equal(a, b) for a, b in zip(parts.parameters(), whole.parameters(), strict=True))
    with pytest.raises(ValueError, match=f"parts has no name, the recipe wants {'0' * 64}"):
        build(replace(run, init=Init(checkpoint="org/tiny", revision="0" * 64)), tmp_path)


def recorded(folder: Path, commit: str, name: str = "config.json", digest: str = "a" * 40) -> None:
    """What `hf download --local-dir` writes beside a file: the commit and the digest that the hub has of it."""
    record = folder / ".cache" / "huggingface" / "download" / f"{name}.metadata"
    record.parent.mkdir(parents=True, exist_ok=True)
    record.write_text(f"{commit}\n{digest}\n1712656091.123\n")


def test_a_checkpoint_must_be_of_the_recipes_revision(models, tmp_path):
    folder = Path(shutil.copytree(models / "llama", tmp_path / "llama"))
    digest = checksum(folder / "model.safetensors")
    with pytest.raises(ValueError, match=f"SHA-256 {digest}, the recipe wants {'0' * 64}"):
        build(warm_run(folder, revision="0" * 64), tmp_path)
    with pytest.raises(ValueError, match="revision 'main' of llama pins nothing"):
        build(warm_run(folder, revision="main"), tmp_path)
    run = warm_run(folder, revision=COMMIT)
    fetch = f"`hf download llama --revision {COMMIT} --local-dir {folder}`"
    with pytest.raises(ValueError, match=f"does not say which revision it is: fetch it with {fetch}"):
        build(run, tmp_path)
    recorded(folder, COMMIT)  # the weights may have been converted here
    build(run, tmp_path)
    recorded(folder, COMMIT, "model.safetensors", digest)
    build(run, tmp_path)
    recorded(folder, COMMIT, "model.safetensors", "b" * 64)
    with pytest.raises(ValueError, match=f"altered or torn, SHA-256 {digest}, published as {'b' * 64}"):
        build(run, tmp_path)
    recorded(folder, "9" * 40, "model.safetensors", digest)
    with pytest.raises(
        ValueError, match=f"is of revision {'9' * 40}, the recipe wants {COMMIT}: fetch it with {fetch}"
    ):
        build(run, tmp_path)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache of the hub, and the hub's own switch for machines without network."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return tmp_path / "cache"


def test_a_checkpoint_comes_from_the_cache_of_the_hub_by_its_commit(models, offline):
    shutil.copytree(models / "opt", offline / "models--org--tiny" / "snapshots" / COMMIT)
    run = warm_run(models / "opt")
    for place in (None, models):
        cached = build(replace(run, init=Init(checkpoint="org/tiny", revision=COMMIT)), place)
        for weight, same in zip(cached.parameters(), build(run, models).parameters(), strict=True):
            assert torch.equal(weight, same)


@pytest.mark.parametrize("revision", [COMMIT, "0" * 64])
def test_a_missing_checkpoint_says_where_it_was_looked_for_and_how_to_get_it(models, offline, tmp_path, revision):
    run = replace(warm_run(models / "opt"), init=Init(checkpoint="org/tiny", revision=revision))
    pinned = f" --revision {COMMIT}" if revision == COMMIT else ""
    for place, where, hint in (
        (None, "neither in the", f"`hf download org/tiny{pinned} --local-dir DIR/org/tiny`; then give `--models DIR`"),
        (tmp_path, f"{tmp_path}/org/tiny", f"`hf download org/tiny{pinned} --local-dir {tmp_path}/org/tiny`"),
    ):
        with pytest.raises(ValueError) as caught:
            build(run, place)
        assert str(caught.value).endswith(hint) and where in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("opt", {"layers": 3}, r"'layers': 2, .*'layers': 3, .*give its ModelConfig the checkpoint's"),
        ("llama", {"width": 32}, r"'width': 16, .*'width': 32"),
        ("qwen2", {"heads": 2}, r"'heads': 4, .*'heads': 2"),
        ("opt", {"hidden": 32}, r"'hidden': 24}, .*'hidden': 32}"),
        ("neox", {"context": 33}, r"has 32 positions, the recipe a context of 33: shorten"),
        (
            "opt",
            {"body_params": None},
            f"has {BODY['opt']:,} parameters .* counts {LLAMA_BODY:,}: set body_params={BODY['opt']}",
        ),
        ("grouped", {"body_params": 7}, f"has {GROUPED_BODY:,} parameters .* counts 7: set body_params={GROUPED_BODY}"),
    ],
)
def test_another_shape_than_the_recipes_is_refused(models, name, changes, message):
    with pytest.raises(ValueError, match=message):
        build(warm_run(models / name, **changes), models)


def test_embeddings_narrower_than_the_layers_are_refused(tmp_path):
    config = OPTConfig(**SHAPE, ffn_dim=HIDDEN, word_embed_proj_dim=8)  # as OPT-350M
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path / "opt")
    with pytest.raises(ValueError, match="embeddings of 8 features under layers of 16"):
        build(warm_run(tmp_path / "opt"), tmp_path)


def test_a_torn_or_partial_checkpoint_is_refused(models, tmp_path):
    folder = Path(shutil.copytree(models / "llama", tmp_path / "llama"))
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot load these weights .*fetch them again"):
        build(warm_run(folder), tmp_path)
    tensors = load_file(models / "llama" / "model.safetensors")
    lacking = "model.layers.1.mlp.down_proj.weight"
    save_file({name: w for name, w in tensors.items() if name != lacking}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match=f"1 weights of the body are missing, such as {lacking}"):
        build(warm_run(folder), tmp_path)
    save_file(tensors | {lacking: tensors[lacking][:1]}, weights, {"format": "pt"})
    with pytest.raises(ValueError, match="cannot load these weights"):
        build(warm_run(folder), tmp_path)
    (folder / "config.json").write_text(json.dumps({"model_type": "of nobody"}))
    with pytest.raises(ValueError, match="not the config of a model that transformers knows"):
        build(warm_run(folder), tmp_path)


def test_pickled_weights_are_not_read_and_the_error_converts_them(models, tmp_path):
    folder = Path(shutil.copytree(models / "opt", tmp_path / "opt"))
    run, tensors = warm_run(folder, revision=COMMIT), load_file(folder / "model.safetensors")
    torch.save(tensors, folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    recorded(folder, COMMIT)
    with pytest.raises(ValueError, match="no model.safetensors, and no other file") as caught:
        build(run, tmp_path)
    exec(str(caught.value).partition('python -c "')[2].partition('"')[0])
    expected = build(warm_run(models / "opt"), models)
    for weight, same in zip(build(run, tmp_path).parameters(), expected.parameters(), strict=True):
        assert torch.equal(weight, same)


def test_a_declared_body_needs_a_checkpoint(models):
    with pytest.raises(ValueError, match="body_params = 7 belongs to a body from a checkpoint"):
        build(run_of(warm_run(models / "llama", body_params=7).model))
