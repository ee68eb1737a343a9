"""What a run is: frozen, typed recipes, their JSON and their fingerprint.

In: plain values. Out: dataclasses that the whole suite shares, and 12 hex digits that name a recipe.
Labels (name, family, budget, size) are for people and tables; everything else is the recipe and is hashed.
"""

import re
from dataclasses import dataclass
from typing import Literal

from slm.canonical import Recipe, fingerprint, later, to_json
from slm.canonical import differences as differences
from slm.canonical import from_json as from_json

NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)*", re.ASCII)
"""Of a run: a relative path that no shell reads otherwise."""


@dataclass(frozen=True, kw_only=True)
class CorpusSpec(Recipe):
    """Which documents, and how they came to be sound."""

    name: str
    """An entry of the tables in `data/stores.py`: a corpus or a benchmark."""
    revision: str
    split: str
    documents: int | None = None
    """The first so many documents of the split, or items of a benchmark; None: all."""
    voices: tuple[str, ...] = ()
    """Synthesiser voices, assigned by document; empty: recorded audio, or text that is not spoken."""
    synthesiser: str | None = None
    shots: int = later(0)
    """Of a set of questions: answered ones, from the start of its `train` split, before each."""
    apart: bool = later(False)
    """Of a benchmark: whether prompts and endings are documents of their own, for items that are half text."""


@dataclass(frozen=True, kw_only=True)
class Init(Recipe):
    """A causal language model of transformers: its body under new embeddings, to start from (TWIST); under `Published`
    the whole of it."""

    checkpoint: str
    """Its name: on the hub, or of its folder below `Machine.models`; or of a run of ours at the same scale."""
    revision: str
    """Its commit on the hub, or the SHA-256 of its weights file; of a run of ours, its fingerprint (12 hex digits)."""
    keeps_text: bool = later(False)
    """Whether the rows of its embeddings are kept for the ids of text, which come first in a joint vocabulary."""

    @property
    def names_run(self) -> bool:
        """Whether it is a run of ours, named by its fingerprint."""
        return len(self.revision) == 12 and set(self.revision) <= set("0123456789abcdef")


@dataclass(frozen=True, kw_only=True)
class SupervisedSpec(Recipe):
    """How a supervised speech tokenizer is learnt: vector quantisation inside the encoder of a Whisper that learns to
    transcribe (Zeng et al. 2025; GLM-4-Voice report, section 3.1). Its rate is the encoder's: pooling is 50 Hz / rate.
    """

    learnt_on: CorpusSpec
    """Speech with transcripts."""
    codes: int
    layers: int
    """Of the encoder; those above the quantiser serve the loss alone."""
    quantised_after: int
    """Layers below the pooling and the quantiser."""
    decoder_layers: int
    width: int
    heads: int
    hidden: int
    """Inner width of the feed-forward blocks."""
    block_seconds: float
    """Attention sees all of its block, and what is before it."""
    updates: int
    batch_seconds: float
    """Speech of an update."""
    learning_rate: float
    """Peak."""
    ctc: float
    """Weight of the auxiliary CTC loss beside the decoder's cross-entropy; held-out speech is read by its head."""
    commitment: float = 2.5
    """Weight of the commitment loss: 10 x 0.25, as the released code multiplies them; the report prints 10."""
    seed: int = 0
    start: Init | None = None
    """A Whisper checkpoint to start from; None: from scratch."""


@dataclass(frozen=True, kw_only=True)
class EncoderSpec(Recipe):
    """Which frames of speech. Where weights lie on this machine is `Machine`'s business."""

    kind: Literal["mfcc", "logmel", "hubert", "fairseq2", "textless", "given", "whisper_vq"]
    """`hubert`: HuBERT, wav2vec2 and WavLM of transformers. `given`: a corpus that comes as labels of its frames.
    `whisper_vq`: states before the quantiser of a supervised tokenizer, whose codebook is the centres."""
    rate_hz: float
    """Frames per second."""
    revision: str
    """Of our own code (`mfcc`, `logmel`), of the checkpoint (its commit on the hub, or its weights' SHA-256), or of
    the labels that are given."""
    checkpoint: str | None = None
    """Name of the model, as its publisher writes it."""
    layer: int | None = None
    """Hidden state that is read: 0 is the input of the first transformer layer, `l` the output of layer l."""
    normalise: bool = False
    """Whether each waveform is brought to zero mean and unit variance first."""
    supervised: SupervisedSpec | None = later(None)
    """How a `whisper_vq` encoder of our own was learnt; None where `checkpoint` is published."""


@dataclass(frozen=True, kw_only=True)
class PublishedCentres(Recipe):
    """k-means centres that somebody else learnt."""

    file: str
    """Their file's name; it lies in the folder of the checkpoint."""
    sha256: str


@dataclass(frozen=True, kw_only=True)
class UnitSpec(Recipe):
    """How sound becomes units: encoder frames, nearest of k centres, runs of equal units collapsed."""

    encoder: EncoderSpec
    clusters: int
    seed: int = 0
    learnt_on: CorpusSpec | None = None
    """Speech that the centres were learnt on; None where they are published, or the units are given."""
    published: PublishedCentres | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        own = self.encoder.kind in ("given", "whisper_vq")
        if (self.learnt_on is not None) + (self.published is not None) + own != 1:
            raise ValueError(
                "units need exactly one origin: centres learnt on a corpus, published centres, labels, or a codebook"
            )
        if self.encoder.supervised and self.encoder.supervised.codes != self.clusters:
            raise ValueError(
                f"{self.clusters} units of a codebook of {self.encoder.supervised.codes}: they are the same"
            )


@dataclass(frozen=True, kw_only=True)
class TokenizerSpec(Recipe):
    """How units, phones or text become token ids. The last id, `vocabulary - 1`, is the end of a document."""

    kind: Literal["units", "unigram", "bpe", "phones", "text", "pretrained", "joint"]
    """`unigram` and `bpe` are SentencePiece models over units; `text` is byte pairs over text; `pretrained` the text
    tokenizer of a language model, whose own end of a document stands for the last id; `joint` holds the ids of `text`,
    then those of `speech`, then a mark before each text and one before each speech."""
    vocabulary: int
    learnt_on: CorpusSpec | None = None
    """Documents that the SentencePiece model or the inventory of phones was learnt on; None for units."""
    sample: int | None = None
    """Documents of `learnt_on` that were drawn by `seed` to learn from; None: all."""
    seed: int = 0
    checkpoint: Init | None = later(None)
    """Whose tokenizer, of `pretrained`."""
    speech: "TokenizerSpec | None" = later(None)
    text: "TokenizerSpec | None" = later(None)
    """What `joint` joins."""


@dataclass(frozen=True, kw_only=True)
class SpanSpec(Recipe):
    """Which words of a document are spoken: spans of Poisson lengths, until a share of the words is (Zeng et al. 2025).

    Both defaults are those that Slam (arXiv 2502.15814, section 4.3) states as Zeng's, and SIMS uses; that they count
    words is SlamKit's choice, and ours.
    """

    mean_words: float = 10.0
    """Lambda: mean words of a span."""
    share: float = 0.3
    """Eta: share of a document's words that is spoken."""
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (self.mean_words > 0 and 0 < self.share < 1):
            raise ValueError(
                f"spans of {self.mean_words} words on average, a share of {self.share}: lambda must be above 0, and "
                f"eta between 0 and 1"
            )


@dataclass(frozen=True, kw_only=True)
class SpokenSpec(Recipe):
    """Which text-to-token model speaks, and how it is sampled."""

    run: str
    """Its name among the runs of the scale."""
    fingerprint: str
    temperature: float
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class StoreSpec(Recipe):
    """Recipe of a token store."""

    corpus: CorpusSpec
    units: UnitSpec | None
    """None for text and for phones, which do not pass through an encoder."""
    tokenizer: TokenizerSpec
    form: Literal["S", "T", "ST", "TS", "SS", "TT", "A", "I", "C"] | None = later(None)
    """Under `joint` tokens, what a document holds: speech, text, or one after the other: of a corpus the same words, of
    a benchmark the prompt and the ending, of a set of questions the question and the answer to come. `A`: text, then
    speech, with the places of their words, to be interleaved on line; `I`: interleaved; `C`: a spoken dialogue."""
    spans: SpanSpec | None = later(None)
    """Of `I`: which words are spoken. Of `ST` and `TS`: documents are cut into spans, each a document of its own."""
    spoken: SpokenSpec | None = later(None)
    """Of `I`: who speaks the spans; None: they are cut from speech that is there."""
    epochs: int = later(1)
    """Of `I`: how often each document occurs, every time with other spans."""


@dataclass(frozen=True, kw_only=True)
class Source(Recipe):
    """A store in a training mixture; weights are relative shares of the training tokens."""

    store: StoreSpec
    weight: float = 1.0
    final_weight: float | None = later(None)
    """Its weight at the end of the run, towards which it changes linearly; None: it stays."""
    loss: Literal["all", "target", "text", "speech"] = later("all")
    """Which tokens are predicted: all; those that the store marks as targets (the second half of a pair, the answers of
    a dialogue); of those the text, or the speech."""
    spans: SpanSpec | None = later(None)
    """A store of form `A` is interleaved while it is read, anew in every epoch."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Recipe):
    """A Llama-style decoder: RMSNorm, rotary positions, SwiGLU, no biases."""

    layers: int
    width: int
    heads: int
    hidden: int
    """Inner width of the SwiGLU block."""
    vocabulary: int
    context: int
    """Tokens that one window predicts."""
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    init_std: float = 0.02
    """Standard deviation of fresh weights; of the fresh embeddings alone where the body comes from a checkpoint."""
    tied: bool = True
    """Whether the output head is the input embedding."""
    body_params: int | None = None
    """Parameters without embeddings and head, where the body comes from a checkpoint of another architecture, whose
    count our formula does not know; checked when it is loaded. None: computed."""
    codes: int | None = later(None)
    """Rows of the output head, which ids share as `slm.head.code_of` says; None: each id has its own."""
    own_codes: int = later(1)
    """So many of the last ids share their row with none: the end; under joint tokens the speech and the marks too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.codes is None and self.own_codes != 1:
            raise ValueError(f"own_codes = {self.own_codes} says which ids share no code: set codes too")
        if self.codes is not None and (self.tied or not 1 <= self.own_codes < self.codes <= self.vocabulary):
            raise ValueError(
                f"codes = {self.codes} of {self.vocabulary} ids, own_codes = {self.own_codes}, tied = {self.tied}: a "
                f"shared codebook needs tied=False and 1 <= own_codes < codes <= vocabulary"
            )


@dataclass(frozen=True, kw_only=True)
class TrainConfig(Recipe):
    """Optimisation recipe: AdamW on `tokens` tokens in updates of `batch_tokens`."""

    tokens: int
    batch_tokens: int
    learning_rate: float
    """Peak."""
    warmup_steps: int
    schedule: Literal["cosine", "wsd"]
    """wsd: warm-up, constant ("stable"), then a linear decay over the last `decay_fraction` of the steps."""
    decay_fraction: float
    """Share of the steps that decay under wsd; cosine decays from the warm-up to the end and ignores it (0.0)."""
    final_rate: float
    """Learning rate at the end, as a fraction of the peak."""
    weight_decay: float = 0.1
    beta1: float = 0.9
    beta2: float = 0.95
    clip: float = 1.0
    """Largest norm of the gradient."""
    precision: Literal["32-true", "bf16-mixed"] = "32-true"
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tokens <= 0 or self.tokens % self.batch_tokens:
            raise ValueError(
                f"tokens = {self.tokens:,} is no positive multiple of batch_tokens = {self.batch_tokens:,}: "
                f"round the budget to whole updates"
            )
        if self.warmup_steps + self.decay_steps > self.steps:
            raise ValueError(
                f"{self.warmup_steps} warm-up and {self.decay_steps} decay steps do not fit into {self.steps} updates: "
                f"take a larger budget, a smaller batch or a shorter warm-up"
            )

    @property
    def steps(self) -> int:
        return self.tokens // self.batch_tokens

    @property
    def decay_steps(self) -> int:
        return round(self.steps * self.decay_fraction) if self.schedule == "wsd" else 0


@dataclass(frozen=True, kw_only=True)
class Published(Recipe):
    """Training by somebody else, who published the weights that `RunSpec.init` names; what is known of it."""

    tokens: int
    seed: int = 0

    @property
    def steps(self) -> int:
        """Updates: not known."""
        return 0

    @property
    def schedule(self) -> str:
        """Not known."""
        return ""


@dataclass(frozen=True, kw_only=True)
class RunSpec(Recipe):
    """One training run: labels for people and tables, then the recipe that its fingerprint hashes."""

    name: str
    """Unique in its scale; the folder of the run."""
    family: str
    """What the runs of one curve share, e.g. `units` or `text`."""
    size: str
    """Label of the model on the ladder, e.g. `w64`."""
    budget: str
    """Label of the token count, e.g. `1200k`."""
    model: ModelConfig
    mix: tuple[Source, ...]
    train: TrainConfig | Published
    init: Init | None = None
    """None: from scratch."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"a run cannot be named {self.name!r}: use letters, digits, `_`, `.`, `-`, and `/` between parts that "
                f"begin with a letter or digit"
            )
        if not self.mix:
            raise ValueError(f"run {self.name}: the mixture is empty")
        if isinstance(self.train, TrainConfig) and self.train.batch_tokens % self.model.context:
            raise ValueError(
                f"run {self.name}: a batch of {self.train.batch_tokens:,} tokens is not a whole number of "
                f"{self.model.context}-token windows"
            )
        published = isinstance(self.train, Published)
        if published and self.init is None:
            raise ValueError(f"run {self.name} was trained by somebody else: its init must name the weights")
        for source in self.mix:
            if source.store.tokenizer.vocabulary - published > self.model.vocabulary:  # whose end is not a store's
                raise ValueError(
                    f"run {self.name}: the store's {source.store.tokenizer.vocabulary} token ids do not fit the "
                    f"model's vocabulary of {self.model.vocabulary}"
                )

    @property
    def recipe(self) -> dict:
        """What the fingerprint hashes."""
        return {key: to_json(getattr(self, key)) for key in ("model", "mix", "train", "init")}

    @property
    def fingerprint(self) -> str:
        return fingerprint(self.recipe)

    @property
    def trunk(self) -> str:
        """Fingerprint of the recipe without its token count: wsd runs that share it share their constant-rate part.

        Where a weight changes during the run, the count stays: what comes when depends on it.
        """
        recipe = self.recipe
        if all(source.final_weight is None for source in self.mix):
            del recipe["train"]["tokens"]
        return fingerprint(recipe)
