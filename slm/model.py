"""RunSpec to a causal language model of transformers: freshly drawn, or with the body of a text model (TWIST).

In: a `RunSpec`, and where checkpoints lie. Out: a `PreTrainedModel` in float32. A fresh one is a Llama decoder drawn as
in Cuervo & Marxer's released code: N(0, 0.02), then the up and output projections again at 0.02 / sqrt(2 · layers),
which transformers itself does not do. A warm one keeps all but the embeddings (Hassid et al. 2023, arXiv 2305.13009).
"""

import math
from pathlib import Path

import torch
from transformers import (
    CONFIG_MAPPING,
    AttentionInterface,
    AutoConfig,
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from slm.flops import params_non_embedding, params_total
from slm.spec import Init, ModelConfig, RunSpec
from slm.store import checksum

CAUSAL = "sdpa_causal"
AttentionInterface.register(CAUSAL, sdpa_attention_forward)
"""transformers' SDPA under a name that it makes no masks for: to see that it needs none, it would wait for the GPU."""
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"  # lies beside weights in parts
_SHAPE = {"layers": "num_hidden_layers", "width": "hidden_size", "heads": "num_attention_heads"}
_HIDDEN = (
    "intermediate_size",
    "ffn_dim",
    "n_inner",
)  # what classes call the inner width; none of them: 4 times the width


def build(run: RunSpec, models: Path | None = None) -> PreTrainedModel:
    """The model that a run starts from; the same run gives the same weights whatever else the process drew.

    `models` is `Machine.models`; only warm starts look there. `ValueError`: see `warm_start`.
    """
    model = from_scratch(run.model, run.train.seed) if run.init is None else warm_start(run, models)
    counted = sum(weight.numel() for weight in model.parameters())
    assert counted == params_total(run.model), f"{counted} parameters, flops.py says {params_total(run.model)}"
    return _ready(model, run)


def skeleton(run: RunSpec, checkpoint: dict) -> PreTrainedModel:
    """The model of a run whose weights a checkpoint of ours brings: a warm start needs its own no more."""
    if run.init is None:
        return _ready(from_scratch(run.model, run.train.seed), run)
    kind = CONFIG_MAPPING[checkpoint["model_config"]["model_type"]]
    model = AutoModelForCausalLM.from_config(kind.from_dict(checkpoint["model_config"]), dtype=torch.float32)
    return _ready(model, run)


def _ready(model: PreTrainedModel, run: RunSpec) -> PreTrainedModel:
    """The model, attending without masks, and told what ends a document: the last id of its tokenizer or tokenizers."""
    if model._supports_sdpa:
        model.set_attn_implementation(CAUSAL)
    ends = sorted({source.store.tokenizer.vocabulary - 1 for source in run.mix})
    model.config.bos_token_id, model.config.eos_token_id = ends[0], ends if len(ends) > 1 else ends[0]
    model.generation_config = GenerationConfig.from_model_config(model.config)
    return model


def from_scratch(config: ModelConfig, seed: int) -> LlamaForCausalLM:
    """A new Llama decoder; `ValueError` if the config is that of a checkpoint's body."""
    if config.body_params is not None:
        raise ValueError(
            f"body_params = {config.body_params:,} belongs to a body from a checkpoint: name one in the run's init, or "
            f"leave body_params out"
        )
    rotary = {"rope_type": "default", "rope_theta": config.rope_theta}
    settings = LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context,
        rms_norm_eps=config.norm_eps,
        rope_theta=config.rope_theta,  # read by transformers 4
        rope_parameters=rotary,  # read by transformers 5
        initializer_range=config.init_std,
        tie_word_embeddings=config.tied,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(settings)
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                scaled = name.endswith(("up_proj.weight", "o_proj.weight"))
                torch.nn.init.normal_(weight, 0.0, config.init_std / (math.sqrt(2 * config.layers) if scaled else 1.0))
    return model


def warm_start(run: RunSpec, models: Path | None = None) -> PreTrainedModel:
    """The body of `run.init`'s checkpoint, bit for bit, in float32, under new embeddings drawn N(0, init_std).

    Learned positions are part of the body. Norms, activations and rotary base are the checkpoint's, whatever
    `run.model` says of them; dropout is off, as everywhere here. `ValueError` when the checkpoint is missing, torn, of
    another revision, or of another shape than `run.model`.
    """
    model, init = run.model, run.init
    folder = _folder(init, models)
    weights = _weights(init, folder, models)
    _check_revision(init, folder, weights, models)
    config = _config(folder)
    _check_shape(init, config, model)
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, int | float):
            setattr(config, name, 0.0)
    found = _load(folder, config)
    body = sum(weight.numel() for weight in found.parameters()) - sum(weight.numel() for weight in set(_ends(found)))
    if body != params_non_embedding(model):
        raise ValueError(
            f"{init.checkpoint} has {body:,} parameters without embeddings, the recipe counts "
            f"{params_non_embedding(model):,}: set body_params={body} in its ModelConfig"
        )
    _embed_anew(found, model, run.train.seed)
    return found.train()


def _embed_anew(found: PreTrainedModel, model: ModelConfig, seed: int) -> None:
    """Give a text model embeddings of `model.vocabulary` ids; its own are dropped, with its padding and special ids."""
    draw = torch.Generator().manual_seed(seed)
    shape = model.vocabulary, model.width
    embedding, head = (torch.empty(shape).normal_(0.0, model.init_std, generator=draw) for _ in range(2))  # (V, D)
    found.set_input_embeddings(torch.nn.Embedding.from_pretrained(embedding, freeze=False))
    found.set_output_embeddings(torch.nn.Linear(model.width, model.vocabulary, bias=False, device="meta"))
    found.get_output_embeddings().weight = _ends(found)[0] if model.tied else torch.nn.Parameter(head)
    config = found.config
    config.vocab_size, config.tie_word_embeddings, config.use_cache = model.vocabulary, model.tied, True
    config.pad_token_id = None  # transformers keeps the row of a padding id at zero
    if hasattr(found, "get_expanded_tied_weights_keys"):  # transformers 5 has read these before the config changed
        found.all_tied_weights_keys = found.get_expanded_tied_weights_keys(all_submodels=False)


def _ends(model: PreTrainedModel) -> list[torch.nn.Parameter]:
    """Weights of the input embedding and of the output head; one tensor twice where they are tied."""
    return [model.get_input_embeddings().weight, model.get_output_embeddings().weight]


def _folder(init: Init, models: Path | None) -> Path:
    """Folder of the checkpoint: `<models>/<its name>` where it lies there, else the hub's cache, else the hub."""
    from huggingface_hub import snapshot_download

    if models and (models / init.checkpoint / "config.json").is_file():
        return models / init.checkpoint
    wanted = ["config.json", _WEIGHTS, _INDEX, "model-*.safetensors"]
    pinned = {"revision": _commit(init), "allow_patterns": wanted}
    try:
        folder = Path(snapshot_download(init.checkpoint, **pinned, local_files_only=True))
        _weights(init, folder, models)
        return folder
    except (OSError, ValueError):
        pass  # not in the cache, or not all of it: the hub is asked
    try:
        return Path(snapshot_download(init.checkpoint, **pinned))
    except Exception as error:  # whatever the hub's client raises, the remedy is the same
        place = f"in {models / init.checkpoint} nor " if models else ""
        raise ValueError(
            f"checkpoint {init.checkpoint} is neither {place}in the hub's cache nor came it from the hub "
            f"({_first_line(error)}): get it with `{_download(init, models)}`"
            + ("" if models else "; then give `--models DIR`")
        ) from None


def _weights(init: Init, folder: Path, models: Path | None) -> list[Path]:
    """The files that transformers reads the weights from."""
    if (folder / _WEIGHTS).is_file():
        return [folder / _WEIGHTS]
    if (folder / _INDEX).is_file():
        return sorted(folder.glob("model-*.safetensors"))
    place = (models or Path("DIR")) / init.checkpoint
    convert = f"m = AutoModelForCausalLM.from_pretrained('{place}'); m.save_pretrained('{place}')"
    raise ValueError(
        f"{folder}: no {_WEIGHTS}, and no other file of weights is read. Fetch them with `{_download(init, models)}`; "
        f'if only pickled ones come, then convert them: `python -c "from transformers import AutoModelForCausalLM; '
        f'{convert}"`'
    )


def _commit(init: Init) -> str | None:
    """The hub commit that a recipe names; None where it names the SHA-256 of the weights instead."""
    lengths = {40: init.revision, 64: None}
    if len(init.revision) not in lengths or not set(init.revision) <= set("0123456789abcdef"):
        raise ValueError(
            f"revision {init.revision!r} of {init.checkpoint} pins nothing: give a commit of the hub (40 hex digits) "
            f"or the SHA-256 of the weights (64)"
        )
    return lengths[len(init.revision)]


def _download(init: Init, models: Path | None) -> str:
    """The command that brings the checkpoint from the hub to where it is looked for."""
    pinned = f" --revision {_commit(init)}" if _commit(init) else ""
    return f"hf download {init.checkpoint}{pinned} --local-dir {(models or Path('DIR')) / init.checkpoint}"


def _check_revision(init: Init, folder: Path, weights: list[Path], models: Path | None) -> None:
    """`ValueError` unless the folder is the recipe's: by SHA-256, or by the commit that the hub's client records beside
    files of `--local-dir` (`.metadata`: commit, then published digest) and in the names of its cache."""
    commit = _commit(init)
    if commit is None:
        digest = checksum(weights[0]) if len(weights) == 1 else f"of {len(weights)} parts has no name"
        if digest != init.revision:
            raise ValueError(
                f"{weights[0] if len(weights) == 1 else folder}: SHA-256 {digest}, the recipe wants {init.revision}; "
                f"fetch the right file"
            )
        return
    if folder.parent.name == "snapshots":
        return
    fetch = f"fetch it with `{_download(init, models)}`"
    for file in (folder / "config.json", *weights):  # converted weights have no record, their config has
        record = folder / ".cache" / "huggingface" / "download" / f"{file.name}.metadata"
        found, published, *_ = [*(record.read_text().split() if record.is_file() else []), "", ""]
        if not found and file.name == "config.json":
            raise ValueError(
                f"{folder} does not say which revision it is: {fetch}, or let the recipe name its weights' SHA-256"
            )
        if found and found != commit:
            raise ValueError(f"{file} is of revision {found}, the recipe wants {commit}: {fetch}")
        if len(published) == 64 and published != checksum(file):
            raise ValueError(f"{file}: altered or torn, SHA-256 {checksum(file)}, published as {published}: {fetch}")


def _config(folder: Path) -> PretrainedConfig:
    try:
        return AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # each version of transformers has its own for a file that is torn or not known
        raise ValueError(
            f"{folder / 'config.json'}: not the config of a model that transformers knows ({_first_line(error)}); "
            f"fetch it again, or choose another checkpoint"
        ) from None


def _check_shape(init: Init, config: PretrainedConfig, model: ModelConfig) -> None:
    """`ValueError` if the recipe declares another shape, or longer windows than the checkpoint has positions for."""
    theirs = {name: getattr(config, field, None) for name, field in _SHAPE.items()}
    width = theirs["width"]
    theirs["hidden"] = next((value for name in _HIDDEN if (value := getattr(config, name, None))), width and 4 * width)
    ours = {name: getattr(model, name) for name in theirs}
    if theirs != ours:
        raise ValueError(f"{init.checkpoint} has {theirs}, the recipe {ours}: give its ModelConfig the checkpoint's")
    embedded = getattr(config, "word_embed_proj_dim", width)
    if embedded != width:
        raise ValueError(
            f"{init.checkpoint} has embeddings of {embedded} features under layers of {width}, which no ModelConfig "
            f"describes: choose another checkpoint"
        )
    positions = getattr(config, "max_position_embeddings", None)
    if positions and model.context > positions:
        raise ValueError(
            f"{init.checkpoint} has {positions} positions, the recipe a context of {model.context}: shorten the context"
        )


def _load(folder: Path, config: PretrainedConfig) -> PreTrainedModel:
    """The checkpoint as it is, in float32; `ValueError` unless its files gave the whole body."""
    try:
        with torch.random.fork_rng(devices=[]):
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                config=config,
                dtype=torch.float32,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # as in _config, for weights that are torn or of another shape
        raise ValueError(
            f"{folder}: transformers cannot load these weights ({_first_line(error)}); fetch them again"
        ) from None
    named = model.named_parameters(remove_duplicate=False)
    replaced = {name for name, weight in named if any(weight is end for end in _ends(model))}
    missing = sorted(set(report["missing_keys"]) - replaced)
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} weights of the body are missing, such as {missing[0]}; fetch it whole"
        )
    return model


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".strip().partition("\n")[0]
