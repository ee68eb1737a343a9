"""RunSpec to a causal language model of transformers: freshly drawn, on the body of another, or what a run trained.

In: a `RunSpec`; where checkpoints and runs lie. Out: a `PreTrainedModel` in float32. A fresh one is a Llama drawn as in
Cuervo & Marxer's released code: N(0, 0.02), then the up and output projections at 0.02 / sqrt(2 · layers), which
transformers does not do. A warm one keeps the body (TWIST: Hassid et al. 2023, arXiv 2305.13009), or text's rows too.
"""

import math
from pathlib import Path

import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForCausalLM,
    GenerationConfig,
    LlamaConfig,
    LlamaForCausalLM,
    PretrainedConfig,
    PreTrainedModel,
)

from slm.checkpoint import read_checkpoint, verify
from slm.flops import params_non_embedding, params_total
from slm.head import SharedHead, code_of
from slm.pretrained import (
    CAUSAL,
    WEIGHTS,
    PretrainedPieces,
    check_revision,
    checkpoint_folder,
    embedding_and_head,
    load,
    params_of_body,
    read_config,
    shape_of,
    weight_files,
)
from slm.runlog import RunLog
from slm.spec import Init, ModelConfig, Published, RunSpec, TokenizerSpec, fingerprint


def build(run: RunSpec, models: Path | None = None, runs_root: Path | None = None) -> PreTrainedModel:
    """The model that a run starts from; the same run gives the same weights whatever else the process drew.

    `models` is `Machine.models`, `runs_root` has the runs of the scale; only warm starts look there. `ValueError`: see
    `warm_start`.
    """
    model = from_scratch(run.model, run.train.seed) if run.init is None else warm_start(run, models, runs_root)
    counted = sum(weight.numel() for weight in model.parameters())
    assert counted == params_total(run.model), f"{counted} parameters, flops.py says {params_total(run.model)}"
    return _ready(model, run)


def skeleton(run: RunSpec, checkpoint: dict) -> PreTrainedModel:
    """The model of a run whose weights a checkpoint of ours brings: a warm start needs its own no more."""
    if run.init is None:
        return _ready(from_scratch(run.model, run.train.seed), run)
    kind = CONFIG_MAPPING[checkpoint["model_config"]["model_type"]]
    model = AutoModelForCausalLM.from_config(kind.from_dict(checkpoint["model_config"]), dtype=torch.float32)
    if run.model.codes is not None:
        model.set_output_embeddings(_codebook(run.model))
    return _ready(model, run)


def trained(log: RunLog) -> PreTrainedModel:
    """The model that a finished run trained, on the CPU; `ValueError` for a checkpoint that is missing or torn."""
    saved = read_checkpoint(log.checkpoint)
    verify(log.checkpoint)
    model = skeleton(log.spec, saved)
    model.load_state_dict({name.removeprefix("model."): weight for name, weight in saved["state_dict"].items()})
    return model


def _codebook(model: ModelConfig) -> SharedHead:
    return SharedHead(torch.empty(model.codes, model.width), code_of(model))


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
        if config.codes is not None:
            model.set_output_embeddings(_codebook(config))
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                scaled = name.endswith(("up_proj.weight", "o_proj.weight"))
                torch.nn.init.normal_(weight, 0.0, config.init_std / (math.sqrt(2 * config.layers) if scaled else 1.0))
    return model


def warm_start(run: RunSpec, models: Path | None = None, runs_root: Path | None = None) -> PreTrainedModel:
    """The body of `run.init`, bit for bit, in float32, under new embeddings drawn N(0, init_std).

    With `keeps_text`, rows of text ids are kept (see `_keep_text`); where the run of ours has the same tokenizer, so is
    every other weight. Learned positions are part of the body. Norms, activations and rotary base are the checkpoint's,
    whatever `run.model` says of them; dropout is off, as everywhere here. `ValueError` when the checkpoint is missing,
    torn, unfinished, of another revision, shape or tokenizer than the recipe says.
    """
    model, init = run.model, run.init
    found = _finished(run, runs_root) if init.names_run else _published(run, models)
    body = params_of_body(found)
    if body != params_non_embedding(model):
        raise ValueError(
            f"{init.checkpoint} has {body:,} parameters without embeddings, the recipe counts "
            f"{params_non_embedding(model):,}: set body_params={body} in its ModelConfig"
        )
    if init.keeps_text:
        _keep_text(found, run, models, runs_root)
    else:
        draw = torch.Generator().manual_seed(run.train.seed)
        rows = model.vocabulary, model.codes or model.vocabulary
        ends = [torch.empty(many, model.width).normal_(0.0, model.init_std, generator=draw) for many in rows]
        _embed(found, model, *ends)
    return found.train()


def _finished(run: RunSpec, runs_root: Path | None) -> PreTrainedModel:
    """What the run of ours that `run.init` names trained; `ValueError` unless it is finished and the recipe's."""
    assert runs_root is not None, f"run {run.name} starts from run {run.init.checkpoint}: say where runs lie"
    init, log = run.init, RunLog(Path(runs_root) / run.init.checkpoint)
    if not log.is_done or isinstance(log.spec.train, Published):
        raise ValueError(f"{log.folder} holds no finished run of ours to start {run.name} from: train it to its end")
    if log.spec.fingerprint != init.revision:
        raise ValueError(
            f"{log.folder} holds run {log.spec.fingerprint}, the recipe of {run.name} starts from {init.revision}: "
            f"name the former, or train the latter"
        )
    found = trained(log)
    _check_shape(init, found.config, run.model)
    return found


def _published(run: RunSpec, models: Path | None) -> PreTrainedModel:
    """The checkpoint that `run.init` names, without its dropout and its padding."""
    init = run.init
    folder = checkpoint_folder(init, models, WEIGHTS)
    check_revision(init, folder, weight_files(init, folder, models), models)
    config = read_config(folder)
    _check_shape(init, config, run.model)
    for name, value in config.to_dict().items():
        if "drop" in name and isinstance(value, int | float):
            setattr(config, name, 0.0)
    return _load(folder, config, whole=init.keeps_text)


def _keep_text(found: PreTrainedModel, run: RunSpec, models: Path | None, runs_root: Path | None) -> None:
    """Give a text model the rows of a vocabulary that begins with its own ids; `ValueError` unless the run's does.

    Its rows of text ids stay, the row of its end becomes the last id's, in the embedding and in a head of its own. The
    rows of speech and marks are drawn from a normal with the mean and the standard deviation, per feature, of those: a
    choice after Hewitt 2021 (nlp.stanford.edu/~johnhew/vocab-expansion.html), who takes the whole covariance. A run of
    ours with the very tokenizer of the new one stays as it is.
    """
    model, init, tokenizer = run.model, run.init, _tokenizer(run)
    theirs = _theirs(init, runs_root)
    tied = embedding_and_head(found)[0] is embedding_and_head(found)[1]
    if theirs and _tokenizer(theirs) == tokenizer:
        fields = ("vocabulary", "tied", "codes", "own_codes")
        has, wanted = ({name: getattr(config, name) for name in fields} for config in (theirs.model, model))
        if has != wanted:
            raise ValueError(f"run {init.checkpoint} has {has}, the recipe {wanted}: give its ModelConfig the former")
        return
    if model.codes is not None or isinstance(found.get_output_embeddings(), SharedHead):
        raise ValueError(f"run {run.name}: a shared codebook has no rows of single ids to keep: leave codes out")
    if model.tied and not tied:
        raise ValueError(f"{init.checkpoint} has a head apart from its embedding, the recipe ties them: set tied=False")
    text, end = _text_of(tokenizer, init, theirs, models)
    ids, places = torch.tensor([*range(text), end]), torch.tensor([*range(text), tokenizer.vocabulary - 1])
    draw, ends = torch.Generator().manual_seed(run.train.seed), []
    for weight in embedding_and_head(found):
        if len(weight) <= int(ids.max()):
            raise ValueError(f"{init.checkpoint} has {len(weight)} rows for {int(ids.max()) + 1} ids: choose another")
        kept = weight.detach()[ids]  # (text + 1, D)
        rows = torch.randn(model.vocabulary, model.width, generator=draw) * kept.std(0) + kept.mean(0)  # (V, D)
        rows[places] = kept
        ends.append(rows)
    _embed(found, model, *ends)


def _text_of(tokenizer: TokenizerSpec, init: Init, theirs: RunSpec | None, models: Path | None) -> tuple[int, int]:
    """How many text ids a run has, and the id of the end in the text model it starts from; `ValueError` if they differ
    in what text ids mean, or nothing ends a text there."""
    text = tokenizer.text or tokenizer  # of `joint`, or itself
    if theirs:
        if _tokenizer(theirs) != text:
            raise ValueError(
                f"run {init.checkpoint} has the {_named(_tokenizer(theirs))}, the recipe the {_named(text)} for text: "
                f"start from a run on the same one, or set keeps_text=False"
            )
        return text.vocabulary - 1, text.vocabulary - 1
    if text.checkpoint is None or (text.checkpoint.checkpoint, text.checkpoint.revision) != (
        init.checkpoint,
        init.revision,
    ):
        raise ValueError(
            f"the recipe has the {_named(text)} for text, and {init.checkpoint} keeps its text only under its own "
            f"tokenizer, of the same revision: take kind `pretrained`, or set keeps_text=False"
        )
    pieces = PretrainedPieces(init, models)
    if pieces.vocabulary != text.vocabulary:
        raise ValueError(
            f"the tokenizer of {init.checkpoint} makes a vocabulary of {pieces.vocabulary}, the recipe says "
            f"{text.vocabulary}: correct the recipe"
        )
    return text.vocabulary - 1, pieces.end


def _named(tokenizer: TokenizerSpec) -> str:
    """A tokenizer, in a few words."""
    origin = tokenizer.checkpoint.checkpoint if tokenizer.checkpoint else fingerprint(tokenizer)
    return f"{tokenizer.kind} tokenizer {origin} of {tokenizer.vocabulary} ids"


def _theirs(init: Init, runs_root: Path | None) -> RunSpec | None:
    """The recipe of the run of ours that is started from."""
    return RunLog(Path(runs_root) / init.checkpoint).spec if init.names_run else None


def _tokenizer(run: RunSpec) -> TokenizerSpec:
    """The tokenizer of all stores of a run; `ValueError` if they have several."""
    found = {source.store.tokenizer for source in run.mix}
    if len(found) > 1:
        raise ValueError(
            f"run {run.name} mixes stores of {len(found)} tokenizers: to keep rows of text, an id must mean the same "
            f"in all of them"
        )
    return found.pop()


def _embed(found: PreTrainedModel, model: ModelConfig, embedding: torch.Tensor, head: torch.Tensor) -> None:
    """Give a text model an embedding (V, D) and, unless tied to it, a head (V or K, D); its padding id goes."""
    found.set_input_embeddings(torch.nn.Embedding.from_pretrained(embedding, freeze=False))
    if model.codes is not None:
        found.set_output_embeddings(SharedHead(head, code_of(model)))
    else:
        found.set_output_embeddings(torch.nn.Linear(model.width, model.vocabulary, bias=False, device="meta"))
        found.get_output_embeddings().weight = embedding_and_head(found)[0] if model.tied else torch.nn.Parameter(head)
    config = found.config
    config.vocab_size, config.tie_word_embeddings, config.use_cache = model.vocabulary, model.tied, True
    config.pad_token_id = None  # transformers keeps the row of a padding id at zero
    if hasattr(found, "get_expanded_tied_weights_keys"):  # transformers 5 has read these before the config changed
        found.all_tied_weights_keys = found.get_expanded_tied_weights_keys(all_submodels=False)


def _check_shape(init: Init, config: PretrainedConfig, model: ModelConfig) -> None:
    """`ValueError` if the recipe declares another shape, or longer windows than the checkpoint has positions for."""
    theirs = shape_of(config)
    ours = {name: getattr(model, name) for name in theirs}
    if theirs != ours:
        raise ValueError(f"{init.checkpoint} has {theirs}, the recipe {ours}: give its ModelConfig the checkpoint's")
    width = theirs["width"]
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


def _load(folder: Path, config: PretrainedConfig, whole: bool) -> PreTrainedModel:
    """The checkpoint as it is, in float32; `ValueError` unless its files gave the body, or, if asked, all of it."""
    model, missing = load(folder, config)
    named = model.named_parameters(remove_duplicate=False)
    replaced = {name for name, weight in named if any(weight is end for end in embedding_and_head(model))}
    missing = [name for name in missing if whole or name not in replaced]
    if missing:
        raise ValueError(
            f"{folder}: {len(missing)} weights of the {'model' if whole else 'body'} are missing, such as "
            f"{missing[0]}; fetch it whole"
        )
    if getattr(model.get_output_embeddings(), "bias", None) is not None:
        raise ValueError(f"{folder}: its head has a bias, which no ModelConfig describes: choose another checkpoint")
    return model
