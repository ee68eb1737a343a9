"""Models from and to other people's formats: folders of transformers, and checkpoints of Cuervo & Marxer's slm_scaling.

In: a finished run, or a released checkpoint and the recipe that it followed. Out: a folder that is whole or absent, or
a finished run. Names and rotary layouts are translated here alone, and nothing is unpickled.
"""

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from slm.atomic import read_json, write_json
from slm.checkpoint import AtomicCheckpointIO
from slm.flops import training_flops
from slm.head import SharedHead
from slm.machine import commit
from slm.runlog import RunLog
from slm.spec import ModelConfig, RunSpec, to_json
from slm.store import checksum
from slm.train import trained_model

# Released format, https://github.com/tiagoCuervo/slm_scaling, `src/slm/model.py`.
_FORMAT = {"format_version": 1, "model_type": "slm"}
_THETA = 10000.0  # rotary base of their code, which no config of theirs names
_MULTIPLE = 256
_EMBEDDING, _HEAD = "tok_embeddings.weight", "output.weight"  # one tensor; files hold it under either name
_WRAPPED = re.compile(r"^((_orig_mod|module|model)\.)+")
_BLOCK = {  # their name within a layer: (name in transformers, kind of shape)
    "attention.wq": ("self_attn.q_proj", "square"),
    "attention.wk": ("self_attn.k_proj", "square"),
    "attention.wv": ("self_attn.v_proj", "square"),
    "attention.wo": ("self_attn.o_proj", "square"),
    "feed_forward.w1": ("mlp.gate_proj", "up"),
    "feed_forward.w2": ("mlp.down_proj", "down"),
    "feed_forward.w3": ("mlp.up_proj", "up"),
    "attention_norm": ("input_layernorm", "norm"),
    "ffn_norm": ("post_attention_layernorm", "norm"),
}
_ROTATED = ("attention.wq.weight", "attention.wk.weight")


def export(log: RunLog, folder: Path) -> Path:
    """A finished run as a folder that `AutoModelForCausalLM.from_pretrained` loads, in transformers 4.57 and 5.

    A shared codebook is expanded to a plain head, whose rows of the ids of a code are equal: the probabilities are the
    same, the file is larger.
    `slm.json` beside the weights says where they come from. `ValueError` if the run is unfinished or the folder exists.
    """
    origin = _origin(log)
    with _whole(folder) as beside:
        model = trained_model(log)
        if isinstance(head := model.get_output_embeddings(), SharedHead):
            model.set_output_embeddings(head.expanded())
        model.save_pretrained(beside)
        write_json(beside / "config.json", _for_transformers_4(read_json(beside / "config.json")))
        write_json(beside / "slm.json", origin)
    return Path(folder)


def export_released(log: RunLog, folder: Path) -> Path:
    """A finished run as a released slm_scaling checkpoint: `config.json`, `model.safetensors`, and our `slm.json`.

    `ValueError` as from `export` and `released_config`, and for runs that did not start from scratch.
    """
    origin, run = _origin(log), log.spec
    args = _released_args(run)
    with _whole(folder) as beside:
        weights = trained_model(log).state_dict()
        state = {theirs: weights[ours] for theirs, (ours, _) in _tensors(run.model).items()}
        state |= {name: _pairs(state[name], run.model.heads) for name in state if name.endswith(_ROTATED)}
        save_file(state, beside / "model.safetensors", metadata={"format": "pt"})
        described = _FORMAT | {"architectures": ["TransformerLM"], "model_args": args, "torch_dtype": "float32"}
        write_json(beside / "config.json", described | {"tied_weights": [_EMBEDDING, _HEAD]})
        write_json(beside / "slm.json", origin)
    return Path(folder)


def import_released(folder: Path, run: RunSpec, runs_root: Path, unique_tokens: int) -> RunLog:
    """A released slm_scaling checkpoint as the finished run that `run` describes, without curves and losses.

    `folder` holds `config.json` and `model.safetensors`, or shards and their index. Nothing is written unless all of it
    agrees with `run.model`; `ValueError` names the file, and what it has and the run has. Their `.pt` files of training
    are pickles and are not read. `env.json` keeps the files' SHA-256. How
    many `unique_tokens` training saw is what its publisher says; how long it took is unknown.
    """
    folder, log = Path(folder), RunLog(Path(runs_root) / run.name)
    if log.is_done or (log.folder / "train.jsonl").exists():  # which training begins with, and an import never writes
        raise ValueError(f"{log.folder} holds a run that was trained or imported: give this one another name")
    config = _config_file(folder)
    _check_config(config, run)
    files = _weight_files(folder)
    state = _translated(_read_weights(folder, files), run.model, folder)
    log = RunLog.open(runs_root, run)
    saved = {"state_dict": state, "global_step": run.train.steps}
    saved["recipe"] = {"run": run.fingerprint, "trunk": run.trunk}
    AtomicCheckpointIO().save_checkpoint(saved, log.checkpoint)
    sources = {path.name: checksum(path) for path in (config, *files)}
    env = {"commit": commit(), "stores": {}, "imported": {"format": "slm_scaling 1", "sha256": sources}}
    log.write("env.json", env | {"started_from": {"step": 0, "flops": 0.0, "time": 0.0}})
    done = {"steps": run.train.steps, "tokens": run.train.tokens}
    done |= {"flops": training_flops(run.model, run.train.tokens)["flops_6n"], "flops_here": 0.0, "seconds": 0.0}
    seen = {"tokens": run.train.tokens, "unique_tokens": unique_tokens, "dropped_tokens": 0}
    log.finish(done | {"sources": [seen], "validation": None, "imported": True})
    return log


def released_config(model: ModelConfig) -> dict:
    """The `model_args` of a released checkpoint of this model: fields and values of their `ModelArgs`.

    `ValueError` for models that their code has no words for.
    """
    if not model.tied or model.rope_theta != _THETA or model.body_params is not None:
        raise ValueError(
            f"released checkpoints are Llama decoders with tied=True and rope_theta={_THETA}; this model has "
            f"tied={model.tied}, rope_theta={model.rope_theta}, body_params={model.body_params}"
        )
    return {
        "dim": model.width,
        "n_layers": model.layers,
        "n_heads": model.heads,
        "n_kv_heads": None,
        "vocab_size": model.vocabulary,
        "prefix_vocab_size": None,
        "hidden_dim": None if model.hidden == _default_hidden(model.width, _MULTIPLE) else model.hidden,
        "multiple_of": _MULTIPLE,
        "norm_eps": model.norm_eps,
        "block_size": model.context,
        "dropout": 0.0,
        "prefix_pad": None,
    }


def _released_args(run: RunSpec) -> dict:
    if run.init is not None:
        raise ValueError(f"run {run.name} starts from {run.init.checkpoint}: released checkpoints start from scratch")
    return released_config(run.model)


def _default_hidden(dim: int, multiple_of: int) -> int:
    """Inner width where `hidden_dim` is null: 8d/3 without its fraction, up to a multiple."""
    return multiple_of * -(-(8 * dim // 3) // multiple_of)


def _resolved(args: dict) -> dict:
    """`model_args` without the nulls that stand for a computed value."""
    hidden, key_heads = args["hidden_dim"], args["n_kv_heads"]
    computed = {
        "hidden_dim": _default_hidden(args["dim"], args["multiple_of"]) if hidden is None else hidden,
        "n_kv_heads": args["n_heads"] if key_heads is None else key_heads,
    }
    return {name: value for name, value in (args | computed).items() if name != "multiple_of"}


def _origin(log: RunLog) -> dict:
    if not log.is_done:
        raise ValueError(f"{log.folder} holds no finished run: train it to its end first")
    run, done = log.spec, log.done
    reached = {"step": done["steps"], "tokens": done["tokens"], "flops": done["flops"]}
    return {"fingerprint": run.fingerprint, "run": to_json(run)} | reached | {"imported": done.get("imported", False)}


@contextmanager
def _whole(folder: Path) -> Iterator[Path]:
    """A folder to fill, which gets its name when it is full; `ValueError` if the name is taken."""
    folder = Path(folder)
    if folder.exists():
        raise ValueError(f"{folder} exists: choose another folder, or delete it")
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)  # a killed export's, where process ids come again
    beside.mkdir(parents=True)
    try:
        yield beside
        for path in beside.iterdir():
            with open(path, "rb") as file:
                os.fsync(file.fileno())
        os.rename(beside, folder)
    finally:
        shutil.rmtree(beside, ignore_errors=True)


def _for_transformers_4(config: dict) -> dict:
    """`config.json` with rotary settings under the names of version 4 too, which else takes its defaults in silence."""
    rotary = config.get("rope_parameters") or {}
    if "rope_theta" in rotary:
        config["rope_theta"] = rotary["rope_theta"]
    if rotary.get("rope_type", "default") != "default":
        config["rope_scaling"] = {name: value for name, value in rotary.items() if name != "rope_theta"}
    return config


def _config_file(folder: Path) -> Path:
    path = folder / "config.json"
    if folder.suffix == ".pt" or (not path.exists() and list(folder.glob("*.pt"))):
        raise ValueError(
            f"{folder}: checkpoints of training (.pt) are pickles, which run code when they are read; convert one with "
            f"slm_scaling's own `slm-convert CHECKPOINT FOLDER`, and give that folder"
        )
    if not path.exists():
        raise ValueError(f"{folder}: no config.json; give the folder of a released slm_scaling checkpoint")
    return path


def _check_config(path: Path, run: RunSpec) -> None:
    """`ValueError` unless the released config is of the format that we know and of the model of the run."""
    ours, config = _released_args(run), read_json(path)
    found = {name: config.get(name) for name in _FORMAT} if isinstance(config, dict) else config
    if found != _FORMAT:
        raise ValueError(f"{path} has {found}, and only {_FORMAT} is read: is it a released slm_scaling checkpoint?")
    args = config.get("model_args")
    names = set(args) if isinstance(args, dict) else set()
    if names != set(ours):
        unknown, missing = sorted(names - set(ours)), sorted(set(ours) - names)
        raise ValueError(f"{path}: model_args has unknown fields {unknown} and lacks {missing}; fetch the file again")
    for name in ("dim", "n_heads", "multiple_of"):
        if type(args[name]) is not int or args[name] < 1:
            raise ValueError(f"{path}: model_args.{name} = {args[name]!r} is no positive integer; fetch the file again")
    theirs, ours = _resolved(args), _resolved(ours)
    different = [f"{name} {theirs[name]!r} (run: {ours[name]!r})" for name in ours if theirs[name] != ours[name]]
    if different:
        raise ValueError(f"{path} is of another model than run {run.name}: {', '.join(different)}; correct the recipe")


def _weight_files(folder: Path) -> list[Path]:
    """`model.safetensors`, or the index and the shards that it names."""
    single, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if single.exists() == index.exists():
        found = f"both {single.name} and {index.name}" if single.exists() else f"neither {single.name} nor {index.name}"
        raise ValueError(f"{folder} holds {found}, and one of them is needed: fetch the checkpoint again")
    if single.exists():
        return [single]
    shards = set(_weight_map(index).values())
    bad = [name for name in shards if type(name) is not str or not re.fullmatch(r"[\w.-]+\.safetensors", name)]
    if bad:
        raise ValueError(f"{index} names {bad[0]!r}, which is no shard beside it: fetch the file again")
    return [index, *(folder / name for name in sorted(shards))]


def _weight_map(index: Path) -> dict[str, str]:
    content = read_json(index)
    placed = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(placed, dict) or not placed or any(isinstance(name, dict | list) for name in placed.values()):
        raise ValueError(f"{index} has no weight_map of names to shards: fetch the file again")
    return placed


def _read_weights(folder: Path, files: list[Path]) -> dict[str, torch.Tensor]:
    """Tensors by their released names, without the prefixes of wrappers."""
    placed = _weight_map(files[0]) if files[0].suffix == ".json" else None
    state: dict[str, torch.Tensor] = {}
    for path in files if placed is None else files[1:]:
        found = _read_safetensors(path)
        expected = found.keys() if placed is None else {name for name, shard in placed.items() if shard == path.name}
        if found.keys() != expected:
            raise ValueError(f"{path} and the index differ in {_some(found.keys() ^ expected)}: fetch both again")
        for name, weight in found.items():
            bare = _WRAPPED.sub("", name)
            if bare in state:
                raise ValueError(f"{folder}: two tensors are called {bare}, prefixes aside; fetch the checkpoint again")
            state[bare] = weight
    return state


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError:
        raise ValueError(f"{path} is missing, and the index names it: fetch the checkpoint again") from None
    except Exception as error:  # safetensors raises several kinds for torn and altered files
        first_line = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"{path} is torn or altered ({first_line}): fetch it again") from None


def _translated(state: dict[str, torch.Tensor], model: ModelConfig, folder: Path) -> dict[str, torch.Tensor]:
    """The `state_dict` of a training checkpoint of ours; `ValueError` unless these are all tensors of `model`."""
    head = state.pop(_HEAD, None)
    if head is not None and not torch.equal(head, state.setdefault(_EMBEDDING, head)):
        raise ValueError(f"{folder}: {_EMBEDDING} and {_HEAD} differ, and such models tie them; fetch it again")
    tensors = _tensors(model)
    if state.keys() != tensors.keys():
        unknown, missing = _some(state.keys() - tensors.keys()), _some(tensors.keys() - state.keys())
        raise ValueError(
            f"{folder}: unknown tensors: {unknown}; missing tensors: {missing}; fetch the checkpoint again"
        )
    translated = {}
    for theirs, (ours, shape) in tensors.items():
        weight = state[theirs]
        if weight.shape != shape or weight.dtype != torch.float32 or not weight.isfinite().all():
            what = f"{weight.dtype} of shape {tuple(weight.shape)}"
            raise ValueError(f"{folder}: {theirs} is {what}, not finite float32 of {shape}; fetch the checkpoint again")
        translated[f"model.{ours}"] = _halves(weight, model.heads) if theirs.endswith(_ROTATED) else weight
    return translated | {"model.lm_head.weight": state[_EMBEDDING]}


def _tensors(model: ModelConfig) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Released name -> (name in transformers, shape), without the tied head."""
    shapes = {"square": (model.width, model.width), "norm": (model.width,)}
    shapes |= {"up": (model.hidden, model.width), "down": (model.width, model.hidden)}
    layers = {
        f"layers.{layer}.{theirs}.weight": (f"model.layers.{layer}.{ours}.weight", shapes[kind])
        for layer in range(model.layers)
        for theirs, (ours, kind) in _BLOCK.items()
    }
    embedding = {_EMBEDDING: ("model.embed_tokens.weight", (model.vocabulary, model.width))}
    return embedding | layers | {"norm.weight": ("model.norm.weight", shapes["norm"])}


def _halves(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Query or key rows of each head from rotated neighbours (0 1)(2 3) to rotated halves: 0 2 1 3."""
    return weight.unflatten(0, (heads, -1, 2)).transpose(1, 2).flatten(0, 2)  # (D, D)


def _pairs(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """The inverse of `_halves`."""
    return weight.unflatten(0, (heads, 2, -1)).transpose(1, 2).flatten(0, 2)  # (D, D)


def _some(names: Iterable[str]) -> str:
    """The first names, for one line."""
    first, rest = sorted(names)[:4], sorted(names)[4:]
    return (", ".join(first) or "none") + (f" and {len(rest)} more" if rest else "")
