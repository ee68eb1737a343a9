"""The table of stores that mix speech and text: supervised tokens at several rates, pairs, interleaved documents.

In: the corpora of a scale, and how tokenizers and text-to-token models are learnt there. Out: `StoreSpec`s, for the
table in `data/stores.py`, and the runs whose models speak. A scheme is named by its frames a second: `joint-vq25`.
"""

from dataclasses import dataclass, field, replace

from data.vocabulary import joined
from slm.spec import (
    CorpusSpec,
    EncoderSpec,
    ModelConfig,
    RunSpec,
    Source,
    SpanSpec,
    SpokenSpec,
    StoreSpec,
    TokenizerSpec,
    TrainConfig,
    UnitSpec,
)

SPANS = SpanSpec()
"""Lambda 10 words, eta 0.3."""
SHARES = {"I": 0.3, "I20": 0.2, "I40": 0.4}
"""Form in the name of a store -> eta: what is stated of Zeng et al. (2025), and the range they are said to ablate."""
TEMPERATURE = 0.5
"""Of text-to-token models (a choice: higher ones say more wrong words, greedy ones always the same; LOG.md)."""


@dataclass(frozen=True, kw_only=True)
class Mixed:
    """What a scale fixes for its stores of speech and text."""

    tokenizers: dict[float, EncoderSpec]
    """Frames per second -> supervised tokenizer."""
    speaker_at: dict[float, TrainConfig] = field(default_factory=dict)
    """Frames per second -> how the text-to-token model of these learns, where that is otherwise."""
    compared: tuple[EncoderSpec, ...] = ()
    """Further tokenizers, which are only compared: their stores are of units of held-out speech."""
    text: TokenizerSpec
    heard: dict[str, CorpusSpec]
    """Corpora with sound, word times and text, by the name of their stores; those to train on have `train` in it."""
    recorded: dict[str, CorpusSpec]
    """Corpora with sound, and text for whole recordings, but no word times."""
    read: dict[str, CorpusSpec]
    """Corpora of text alone, which a text-to-token model speaks."""
    asked: dict[str, CorpusSpec]
    """Benchmarks with prompts and endings."""
    pairs: dict[str, CorpusSpec]
    """Benchmarks of whole sentences."""
    questions: dict[str, CorpusSpec]
    dialogues: dict[str, CorpusSpec]
    """Spoken dialogues, as utterances."""
    speaker: tuple[ModelConfig, TrainConfig]
    """Of the text-to-token models; the vocabulary is that of the store."""
    learns_from: str
    """Name of the corpus in `heard` that they learn from."""
    rates_in_full: tuple[float, ...]
    """Rates whose stores are made with every eta; the others with the default one."""


def scheme(rate_hz: float) -> str:
    """`vq12.5` of 12.5 frames a second."""
    return f"vq{rate_hz:g}"


def table(mixed: Mixed) -> dict[str, StoreSpec]:
    """name -> recipe of every store of speech and text."""
    found: dict[str, StoreSpec] = {}
    for rate_hz in mixed.tokenizers:
        found |= _of_rate(mixed, rate_hz)
    return found | _compared(mixed)


def _compared(mixed: Mixed) -> dict[str, StoreSpec]:
    """Held-out speech in the units of further tokenizers, which are named by rate and codes: `vq25-k64`."""
    held_out = {name: corpus for name, corpus in mixed.heard.items() if "train" not in name}
    found = {}
    for encoder in mixed.compared:
        label = f"{scheme(encoder.rate_hz)}-k{encoder.supervised.codes}"
        found |= {f"{name}/{label}": _spoken(corpus, encoder) for name, corpus in held_out.items()}
    return found


def _spoken(corpus: CorpusSpec, encoder: EncoderSpec) -> StoreSpec:
    """Speech in the codes of a supervised tokenizer."""
    codes = encoder.supervised.codes
    tokenizer = TokenizerSpec(kind="units", vocabulary=codes + 1)
    return StoreSpec(corpus=corpus, units=UnitSpec(encoder=encoder, clusters=codes), tokenizer=tokenizer)


def _of_rate(mixed: Mixed, rate_hz: float) -> dict[str, StoreSpec]:
    spoken = mixed.heard | mixed.recorded | mixed.asked | mixed.pairs | mixed.questions | mixed.dialogues
    spoken |= {f"{benchmark}-apart": replace(corpus, apart=True) for benchmark, corpus in mixed.asked.items()}
    name = scheme(rate_hz)
    found = {f"{c}/{name}": _spoken(corpus, mixed.tokenizers[rate_hz]) for c, corpus in spoken.items()}
    units, plain = found[f"{mixed.learns_from}/{name}"].units, found[f"{mixed.learns_from}/{name}"].tokenizer

    def joint(form: str, corpora: dict[str, CorpusSpec], label: str | None = None, **more) -> None:
        for corpus_name, corpus in corpora.items():
            key = f"{corpus_name}-{label or form}/joint-{name}"
            found[key] = StoreSpec(corpus=corpus, units=units, tokenizer=joined(plain, mixed.text), form=form, **more)

    for form in ("S", "T"):
        joint(form, mixed.heard | mixed.recorded | mixed.pairs)
    joint("T", mixed.read)
    for form in ("SS", "ST", "TS", "TT"):
        joint(form, mixed.asked | mixed.questions)
    for form in ("ST", "TS"):
        joint(form, mixed.heard, spans=replace(SPANS, seed=1))
        joint(form, mixed.recorded)
    train = {c: corpus for c, corpus in mixed.heard.items() if "train" in c}
    joint("C", mixed.dialogues)
    joint("A", train | {c: corpus for c, corpus in mixed.recorded.items() if "train" in c})
    speaks = _speaks(mixed, rate_hz, found)
    for label, share in SHARES.items():
        if label == "I" or rate_hz in mixed.rates_in_full:
            joint("I", train | mixed.read, label, spans=replace(SPANS, share=share), spoken=speaks)
    return found


def text_to_token(mixed: Mixed, rate_hz: float, stores: dict[str, StoreSpec]) -> RunSpec:
    """The run that learns to say text in the units of a rate."""
    model, train = mixed.speaker
    train = mixed.speaker_at.get(rate_hz, train)
    store = stores[f"{mixed.learns_from}-TS/joint-{scheme(rate_hz)}"]
    return RunSpec(
        name=f"text-to-token/{scheme(rate_hz)}",
        family="text-to-token",
        size=f"w{model.width}",
        budget=f"{train.tokens // 1024}k",
        model=replace(model, vocabulary=store.tokenizer.vocabulary),
        mix=(Source(store=store, loss="target"),),
        train=train,
    )


def token_to_text(mixed: Mixed, rate_hz: float, stores: dict[str, StoreSpec]) -> RunSpec:
    """The run that learns the reverse, a transcriber: the same documents the other way round."""
    run = text_to_token(mixed, rate_hz, stores)
    store = stores[f"{mixed.learns_from}-ST/joint-{scheme(rate_hz)}"]
    return replace(
        run,
        name=f"token-to-text/{scheme(rate_hz)}",
        family="token-to-text",
        mix=(Source(store=store, loss="target"),),
    )


def _speaks(mixed: Mixed, rate_hz: float, stores: dict[str, StoreSpec]) -> SpokenSpec:
    run = text_to_token(mixed, rate_hz, stores)
    return SpokenSpec(run=run.name, fingerprint=run.fingerprint, temperature=TEMPERATURE)
