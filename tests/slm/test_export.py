"""Interchange: exported folders give the run's logits, and released checkpoints those of their own architecture.

The released architecture is written anew here, with complex rotations of neighbouring features, as Llama was published.
"""

import json
import math
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from slm.export import export, export_released, import_released, released_config
from slm.flops import params_non_embedding
from slm.machine import CPU, Machine
from slm.runlog import RunLog
from slm.spec import Init, ModelConfig, from_json
from slm.store import checksum
from slm.train import train, trained_model

ARGS = {
    "dim": 16,
    "n_layers": 2,
    "n_heads": 2,
    "n_kv_heads": None,
    "vocab_size": 18,
    "prefix_vocab_size": None,
    "hidden_dim": None,
    "multiple_of": 256,
    "norm_eps": 1e-5,
    "block_size": 32,
    "dropout": 0.0,
    "prefix_pad": None,
}
EMBEDDING, HEAD = "tok_embeddings.weight", "output.weight"


def released_weights(hidden: int = 256) -> dict[str, torch.Tensor]:
    """Random weights under the released names; large enough for attention to look at positions."""
    draw, shapes = torch.Generator().manual_seed(1), {EMBEDDING: (18, 16), "norm.weight": (16,)}
    for layer in range(2):
        blocks = dict.fromkeys(("attention.wq", "attention.wk", "attention.wv", "attention.wo"), (16, 16))
        blocks |= {"feed_forward.w1": (hidden, 16), "feed_forward.w3": (hidden, 16), "feed_forward.w2": (16, hidden)}
        blocks |= {"attention_norm": (16,), "ffn_norm": (16,)}
        shapes |= {f"layers.{layer}.{name}.weight": shape for name, shape in blocks.items()}
    return {
        name: 1 + 0.2 * torch.randn(shape, generator=draw)
        if len(shape) == 1
        else torch.randn(shape, generator=draw) / math.sqrt(shape[1])
        for name, shape in shapes.items()
    }


def native_logits(state: dict[str, torch.Tensor], tokens: torch.Tensor, heads: int = 2) -> torch.Tensor:
    """Logits (B, T, V) of the released architecture."""

    def norm(x, weight):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5) * weight

    def rotate(x):  # (B, T, H, D/H)
        size, length = x.shape[-1], x.shape[1]
        rates = 10000.0 ** (-torch.arange(0, size, 2) / size)
        turns = torch.polar(torch.ones(length, size // 2), torch.outer(torch.arange(length).float(), rates))
        pairs = torch.view_as_complex(x.unflatten(-1, (-1, 2)).contiguous())
        return torch.view_as_real(pairs * turns[:, None]).flatten(3)

    x = state[EMBEDDING][tokens]  # (B, T, D)
    mask = torch.full((tokens.shape[1],) * 2, -torch.inf).triu(1)
    for layer in range(2):
        w = {name.removeprefix(f"layers.{layer}."): weight for name, weight in state.items()}
        h = norm(x, w["attention_norm.weight"])
        q, k, v = ((h @ w[f"attention.{name}.weight"].T).unflatten(-1, (heads, -1)) for name in ("wq", "wk", "wv"))
        scores = torch.einsum("bthd,bshd->bhts", rotate(q), rotate(k)) / math.sqrt(q.shape[-1]) + mask
        mixed = torch.einsum("bhts,bshd->bthd", scores.softmax(-1), v).flatten(2)
        x = x + mixed @ w["attention.wo.weight"].T
        h = norm(x, w["ffn_norm.weight"])
        inner = F.silu(h @ w["feed_forward.w1.weight"].T) * (h @ w["feed_forward.w3.weight"].T)
        x = x + inner @ w["feed_forward.w2.weight"].T
    return norm(x, state["norm.weight"]) @ state[EMBEDDING].T


def write_released(folder: Path, state: dict, shards: int = 1, **args) -> Path:
    """A checkpoint as the released code writes it."""
    folder.mkdir(parents=True)
    config = {"format_version": 1, "model_type": "slm", "architectures": ["TransformerLM"], "model_args": ARGS | args}
    config |= {"torch_dtype": "float32", "tied_weights": [EMBEDDING, HEAD]}
    (folder / "config.json").write_text(json.dumps(config))
    if shards == 1:
        save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
        return folder
    placed = {name: f"model-{i % shards + 1:05d}-of-{shards:05d}.safetensors" for i, name in enumerate(state)}
    for shard in set(placed.values()):
        save_file({name: state[name] for name in state if placed[name] == shard}, folder / shard)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": placed}))
    return folder


@pytest.fixture
def run(run_of):
    """The recipe that `ARGS` belong to: 17 ids of the tokenizer, and the released code's one for padding."""
    return replace(run_of(), model=replace(run_of().model, hidden=256, vocabulary=18))


TOKENS = torch.randint(18, (3, 32), generator=torch.Generator().manual_seed(2))


@torch.no_grad()
def logits(model) -> torch.Tensor:
    return model(input_ids=TOKENS.clamp(max=model.config.vocab_size - 1)).logits  # (B, T, V)


@pytest.mark.parametrize("stored", [[EMBEDDING], [HEAD], [EMBEDDING, HEAD]])
@pytest.mark.parametrize("prefix", ["", "module._orig_mod.", "model."])
@pytest.mark.parametrize("shards", [1, 3])
def test_an_imported_checkpoint_gives_the_logits_of_its_own_architecture(run, tmp_path, stored, prefix, shards):
    state = released_weights()
    rest = {name: weight for name, weight in state.items() if name != EMBEDDING}
    named = {prefix + name: weight for name, weight in (rest | {n: state[EMBEDDING].clone() for n in stored}).items()}
    log = import_released(write_released(tmp_path / "released", named, shards), run, tmp_path / "runs", 100)
    torch.testing.assert_close(logits(trained_model(log)), native_logits(state, TOKENS), atol=2e-5, rtol=0)


@pytest.mark.parametrize("args, hidden", [({"multiple_of": 8}, 48), ({"hidden_dim": 40}, 40)])
def test_the_inner_width_is_theirs_computed_or_given(run, tmp_path, args, hidden):
    run = replace(run, model=replace(run.model, hidden=hidden))
    folder = write_released(tmp_path / "released", released_weights(hidden), **args)
    model = trained_model(import_released(folder, run, tmp_path / "runs", 100))
    torch.testing.assert_close(logits(model), native_logits(released_weights(hidden), TOKENS), atol=2e-5, rtol=0)


def test_rows_of_queries_and_keys_in_the_files_order_give_other_logits(run, tmp_path):
    state = released_weights()
    model = trained_model(import_released(write_released(tmp_path / "released", state), run, tmp_path / "runs", 100))
    for layer, block in enumerate(model.model.layers):
        block.self_attn.q_proj.weight.data = state[f"layers.{layer}.attention.wq.weight"]
        block.self_attn.k_proj.weight.data = state[f"layers.{layer}.attention.wk.weight"]
    assert (logits(model) - native_logits(state, TOKENS)).abs().max() > 0.1


def test_an_imported_run_is_finished_and_says_where_it_came_from(run, tmp_path):
    folder = write_released(tmp_path / "released", released_weights(), 2)
    log = import_released(folder, run, tmp_path / "runs", 100)
    assert log.folder == tmp_path / "runs" / run.name and log.spec == run
    flops = 6.0 * sum(weight.numel() for weight in released_weights().values()) * run.train.tokens
    assert log.done["steps"] == run.train.steps and log.done["tokens"] == run.train.tokens
    assert log.done["flops"] == flops and log.done["flops_here"] == log.done["seconds"] == 0.0
    assert log.done["imported"] is True and log.done["validation"] is None
    env = json.loads((log.folder / "env.json").read_text())
    assert env["imported"]["sha256"] == {path.name: checksum(path) for path in folder.iterdir()}
    assert str(tmp_path) not in json.dumps(env)
    assert not (log.folder / "train.jsonl").exists()


def test_an_import_is_repeated_where_it_was_killed_and_never_replaces_a_run(run, toy_stores, tmp_path):
    folder = write_released(tmp_path / "released", released_weights())
    log = import_released(folder, run, tmp_path, 100)
    (log.folder / "done.json").unlink()
    assert import_released(folder, run, tmp_path, 100).is_done
    with pytest.raises(ValueError, match="holds a run that was trained or imported"):
        import_released(folder, run, tmp_path, 100)
    under_way = RunLog.open(tmp_path, replace(run, name="under-way"))
    under_way.append("train", [{"step": 1}])
    with pytest.raises(ValueError, match="holds a run that was trained or imported"):
        import_released(folder, replace(run, name="under-way"), tmp_path, 100)
    other = replace(run, train=replace(run.train, seed=1))
    (log.folder / "done.json").unlink()
    with pytest.raises(ValueError, match="train.seed"):
        import_released(folder, other, tmp_path, 100)


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


CONFIGS = {
    "format": (lambda c: c.update(format_version=2), "format_version.: 2.*is it a released slm_scaling checkpoint"),
    "type": (lambda c: c.update(model_type="llama"), "llama.*is it a released slm_scaling checkpoint"),
    "no arguments": (lambda c: c.pop("model_args"), "lacks .*'dim'"),
    "unknown field": (lambda c: c["model_args"].update(gated=True), r"unknown fields \['gated'\]"),
    "missing field": (lambda c: c["model_args"].pop("norm_eps"), r"lacks \['norm_eps'\]"),
    "text for a number": (lambda c: c["model_args"].update(dim="16"), "dim = '16' is no positive integer"),
    "other shape": (
        lambda c: c["model_args"].update(dim=512, n_layers=3),
        r"dim 512 \(run: 16\), n_layers 3 \(run: 2\), hidden_dim 1536 \(run: 256\); correct",
    ),
    "heads": (lambda c: c["model_args"].update(n_heads=4), r"n_heads 4 \(run: 2\)"),
    "fewer key heads": (lambda c: c["model_args"].update(n_kv_heads=1), r"n_kv_heads 1 \(run: 2\)"),
    "vocabulary": (lambda c: c["model_args"].update(vocab_size=502), r"vocab_size 502 \(run: 18\)"),
    "window": (lambda c: c["model_args"].update(block_size=2050), r"block_size 2050 \(run: 32\)"),
    "epsilon": (lambda c: c["model_args"].update(norm_eps=1e-6), r"norm_eps 1e-06 \(run: 1e-05\)"),
    "prefixes": (lambda c: c["model_args"].update(prefix_vocab_size=8), r"prefix_vocab_size 8 \(run: None\)"),
}


def refuses(folder: Path, run, root: Path, match: str) -> None:
    """One line, before anything is written."""
    with pytest.raises(ValueError, match=match) as caught:
        import_released(folder, run, root, 100)
    assert "\n" not in str(caught.value)
    assert not root.exists()


@pytest.mark.parametrize("case", CONFIGS)
def test_a_config_of_another_model_is_refused(run, tmp_path, case):
    change, match = CONFIGS[case]
    folder = write_released(tmp_path / "released", released_weights())
    edit(folder / "config.json", change)
    refuses(folder, run, tmp_path / "runs", match)


WQ = "layers.0.attention.wq.weight"
TENSORS = {
    "missing": (lambda s: s.pop(WQ), f"missing tensors: {WQ}"),
    "unknown": (lambda s: s.update(freqs_cos=torch.ones(4)), "unknown tensors: freqs_cos"),
    "no embedding": (lambda s: s.pop(EMBEDDING), f"missing tensors: {EMBEDDING}"),
    "shape": (lambda s: s.update({WQ: torch.ones(16, 8)}), rf"{WQ} is torch.float32 of shape \(16, 8\)"),
    "precision": (lambda s: s.update({WQ: s[WQ].half()}), f"{WQ} is torch.float16"),
    "not finite": (lambda s: s.update({WQ: s[WQ] * torch.nan}), f"{WQ} is .* not finite"),
    "another head": (lambda s: s.update({HEAD: s[EMBEDDING] + 1}), f"{EMBEDDING} and {HEAD} differ"),
    "twice": (lambda s: s.update({f"module.{WQ}": s[WQ].clone()}), f"two tensors are called {WQ}"),
}


@pytest.mark.parametrize("case", TENSORS)
def test_tensors_of_another_model_are_refused_by_name(run, tmp_path, case):
    change, match = TENSORS[case]
    state = released_weights()
    change(state)
    refuses(write_released(tmp_path / "released", state), run, tmp_path / "runs", match)


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def _tamper(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"F64"', 1))


def _redirect(name):
    return lambda index: index["weight_map"].update({"norm.weight": name})


INDEX, SHARD = "model.safetensors.index.json", "model-00001-of-00002.safetensors"
FILES = {
    "cut": (1, _cut, "model.safetensors is torn or altered"),
    "tampered": (1, _tamper, "model.safetensors is torn or altered"),
    "torn config": (1, lambda f: (f / "config.json").write_text('{"format'), "config.json: not valid JSON"),
    "config of no fields": (1, lambda f: (f / "config.json").write_text("[1]"), r"config.json has \[1\]"),
    "no config": (1, lambda f: (f / "config.json").unlink(), "no config.json"),
    "no weights": (1, lambda f: (f / "model.safetensors").unlink(), "holds neither"),
    "two kinds": (2, lambda f: save_file(released_weights(), f / "model.safetensors"), "holds both"),
    "missing shard": (2, lambda f: (f / SHARD).unlink(), f"{SHARD} is missing"),
    "cut shard": (2, lambda f: (f / SHARD).write_bytes((f / SHARD).read_bytes()[:-4]), f"{SHARD} is torn or altered"),
    "no map": (2, lambda f: (f / INDEX).write_text("{}"), "has no weight_map"),
    "misplaced": (2, lambda f: edit(f / INDEX, _redirect(SHARD)), "and the index differ in norm.weight"),
    "elsewhere": (2, lambda f: edit(f / INDEX, _redirect("../model.safetensors")), "is no shard beside it"),
    "no name": (2, lambda f: edit(f / INDEX, _redirect([SHARD])), "has no weight_map"),
}


@pytest.mark.parametrize("case", FILES)
def test_damaged_files_are_named(run, tmp_path, case):
    shards, damage, match = FILES[case]
    folder = write_released(tmp_path / "released", released_weights(), shards)
    damage(folder)
    refuses(folder, run, tmp_path / "runs", match)


def test_pickles_of_training_are_not_read(run, tmp_path):
    class Trap:
        def __reduce__(self):
            return Path.touch, (tmp_path / "sprung",)

    (tmp_path / "checkpoint-00000000.pt").write_bytes(pickle.dumps(Trap()))
    for given in (tmp_path, tmp_path / "checkpoint-00000000.pt"):
        refuses(given, run, tmp_path / "runs", "pickles.*slm-convert")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("change", [{"tied": False}, {"rope_theta": 5000.0}])
def test_models_that_the_released_code_cannot_describe_are_refused(run, tmp_path, change):
    folder = write_released(tmp_path / "released", released_weights())
    other = replace(run, model=replace(run.model, **change))
    refuses(folder, other, tmp_path / "runs", r"tied=True and rope_theta=10000.0")
    warm = replace(run, init=Init(checkpoint="text", revision="0" * 64))
    refuses(folder, warm, tmp_path / "runs", "starts from text")


def test_model_args_of_the_published_models():
    """Widths and inner widths of Cuervo & Marxer 2024, Table 1 and released code: theirs are computed."""
    for layers, width, hidden in [(6, 512, 1536), (12, 768, 2048), (24, 1024, 2816), (16, 2048, 5632)]:
        model = ModelConfig(layers=layers, width=width, heads=width // 64, hidden=hidden, vocabulary=502, context=2050)
        published = {"dim": width, "n_layers": layers, "n_heads": width // 64, "vocab_size": 502, "block_size": 2050}
        assert released_config(model) == ARGS | published
        assert released_config(replace(model, hidden=1000)) == ARGS | published | {"hidden_dim": 1000}


MODELS = {"plain": {}, "theta": {"rope_theta": 5000.0}, "untied": {"tied": False}, "padded": {"vocabulary": 20}}


def go(run, stores, root: Path, machine: Machine = CPU) -> RunLog:
    return train(run, [stores["train"]], {"held-out": stores["validation"]}, root, machine, {})


@pytest.fixture(scope="module")
def trained(run_of, toy_stores, tmp_path_factory):
    """Kind of model -> a toy run that was trained."""
    root = tmp_path_factory.mktemp("trained")
    return {
        kind: go(replace(run_of(), name=kind, model=replace(run_of().model, **change)), toy_stores, root)
        for kind, change in MODELS.items()
    }


@pytest.mark.parametrize("kind", MODELS)
def test_an_exported_run_has_equal_logits_in_plain_transformers(trained, tmp_path, kind):
    folder = export(trained[kind], tmp_path / "deep" / "exported")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits(loaded.eval()), logits(trained_model(trained[kind])))
    assert loaded.config.eos_token_id == loaded.generation_config.eos_token_id == 16, "the tokenizer's, not padding"
    config = json.loads((folder / "config.json").read_text())
    assert config["rope_theta"] == config["rope_parameters"]["rope_theta"] == MODELS[kind].get("rope_theta", 10000.0)
    assert [path.name for path in folder.parent.iterdir()] == ["exported"]
    assert (folder / "model.safetensors").exists() and (folder / "generation_config.json").exists()


def test_an_exported_folder_says_which_run_it_is(trained, tmp_path):
    log = trained["plain"]
    origin = json.loads((export(log, tmp_path / "exported") / "slm.json").read_text())
    assert from_json(type(log.spec), origin["run"]) == log.spec and origin["fingerprint"] == log.spec.fingerprint
    assert (origin["step"], origin["tokens"], origin["flops"]) == (16, 1024, log.rows("train")[-1]["flops"])
    assert str(tmp_path) not in json.dumps(origin)


@pytest.mark.parametrize("write", [export, export_released])
def test_exports_are_whole_or_absent(trained, run, tmp_path, write):
    (tmp_path / "taken").mkdir()
    with pytest.raises(ValueError, match="taken exists: choose another folder"):
        write(trained["plain"], tmp_path / "taken")
    with pytest.raises(ValueError, match="holds no finished run: train it"):
        write(RunLog.open(tmp_path / "runs", run), tmp_path / "exported")
    torn = RunLog.open(tmp_path / "runs", run)
    torn.finish({"steps": 16, "tokens": 1024, "flops": 1.0})
    with pytest.raises(ValueError, match="no checkpoint"):
        write(torn, tmp_path / "exported")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["runs", "taken"]


def test_a_run_in_the_released_format_is_read_by_their_architecture_and_by_us(trained, run_of, tmp_path):
    log = trained["plain"]
    folder = export_released(log, tmp_path / "released")
    state = load_file(folder / "model.safetensors")
    torch.testing.assert_close(
        native_logits(state, TOKENS.clamp(max=16)), logits(trained_model(log)), atol=2e-5, rtol=0
    )
    back = import_released(folder, log.spec, tmp_path / "runs", 100)
    ours, again = trained_model(log).state_dict(), trained_model(back).state_dict()
    assert ours.keys() == again.keys() and all(torch.equal(ours[name], again[name]) for name in ours)
    exported = export(back, tmp_path / "exported")
    assert json.loads((exported / "slm.json").read_text())["imported"] is True
    with pytest.raises(ValueError, match="tied=False"):
        export_released(trained["untied"], tmp_path / "no")


def test_a_warm_started_run_keeps_the_rotary_scaling_of_its_body(run_of, toy_stores, tmp_path):
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0}
    scaling["original_max_position_embeddings"] = 16
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = LlamaConfig(**shape, vocab_size=40, max_position_embeddings=32, num_key_value_heads=1)
    if hasattr(config, "rope_parameters"):  # transformers 5
        config.rope_parameters = scaling | {"rope_theta": 5e5}
    else:
        config.rope_theta, config.rope_scaling = 5e5, scaling
    LlamaForCausalLM(config).save_pretrained(tmp_path / "models" / "text")
    init = Init(checkpoint="text", revision=checksum(tmp_path / "models" / "text" / "model.safetensors"))
    model = run_of().model
    model = replace(model, body_params=params_non_embedding(model) - 2 * 2 * 16 * 8)  # keys and values of one head
    run, machine = replace(run_of(), model=model, init=init), Machine(accelerator="cpu", models=tmp_path / "models")
    log = go(run, toy_stores, tmp_path / "runs", machine)
    folder = export(log, tmp_path / "exported")
    loaded = AutoModelForCausalLM.from_pretrained(folder)
    assert torch.equal(logits(loaded.eval()), logits(trained_model(log)))
    written = json.loads((folder / "config.json").read_text())
    assert written["rope_theta"] == 5e5 and written["rope_scaling"] == scaling
    assert str(tmp_path) not in json.dumps(written)
