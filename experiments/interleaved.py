"""Does interleaving speech and text carry to speech what was only ever written?

`make interleaved`, or `python -m experiments train interleaved --scale micro` once its stores are prepared. Text,
speech and pairs of both, and more and more interleaved tokens made from text alone (Zeng et al. 2025: 0, 100, 200, 600
of 1,000 B); then one change at a time: share of speech, frame rate, each part left out, real words for synthetic ones,
a text LM or the text-to-token model to start from, the mixtures of Spirit-LM and SIMS, a share of text that falls.
Facts occur in text alone and are asked in speech. Cost at `micro`: about 10 minutes on 2 cores. Expected: the more is
interleaved, the more facts.
"""

from dataclasses import dataclass, replace

from data.mixed import SHARES, scheme, text_to_token
from data.stores import MIXED, stores
from experiments.recipe import DECAY_FRACTION, LADDER, LEARNING_RATE, Family
from experiments.recipe import run as recipe_run
from experiments.scales import Scale
from experiments.warm import BODIES, CONTEXT
from slm.spec import Init, ModelConfig, RunSpec, Source, SpanSpec, TrainConfig

ZENG = (0.0, 1 / 6, 1 / 3, 1.0)
"""Interleaved tokens of the ablation, as shares of its 600 B (0, 100, 200, 600; second-hand)."""
SIMS = {"T": 0.2024, "I": 0.5433, "S": 0.2543}
"""Of text, interleaved and speech: SIMS's shares of examples, chosen there "such that the number of tokens matches"
(SlamKit, `config/train_inter_scale.yaml`); taken as shares of tokens here (a choice)."""
SPIRIT_LM = {"S": 1 / 3, "T": 1 / 3, "A": 1 / 3}
"""A third each of speech, text and aligned speech and text (Spirit-LM, appendix A)."""
LEFT_OUT = {"pairs": "P", "speech": "S", "text": "T"}
"""Name of the run without a part -> the part."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a scale trains on. A part is store -> its share of the part's tokens; stores without their scheme."""

    sizes: tuple[str, ...]
    """That the amounts of interleaved tokens are compared at; the last one has the ablations."""
    rates: tuple[float, ...]
    """Frames per second of the tokens: those of all runs but one, then those of one run each."""
    parts: dict[str, dict[str, float]]
    """`S` speech, `T` text, `P` pairs, `I` interleaved by a text-to-token model, `A` by word times, `K` as `I` without
    what only occurs in text, `R` as `I` with word times wherever there are some."""
    base: dict[str, int]
    """Part -> tokens of what every run has: `S`, `T`, `P`."""
    most: int
    """Interleaved tokens of the largest amount."""
    context: int | None = None
    batch_tokens: int | None = None
    """None: as the scale has it for speech and text, and for the size."""
    slower: float = 1.0
    """Factor of the scale's peak rates. At `micro` facts are only learnt in short windows, small updates and at a lower
    rate: in windows of 512 tokens and updates of 2,048 none was, after 116 times each (LOG.md)."""
    text_lm: tuple[str, int] | str
    """The text LM that one run starts from: ours, of a mixture of text and so many tokens of it, or one of `BODIES`."""


_OWN = {
    "S": {"stories-train-S": 1.0},
    "T": {"knowledge-train-T": 0.8, "stories-train-T": 0.2},
    "P": {"stories-train-ST": 0.5, "stories-train-TS": 0.5},
    "I": {"knowledge-train-I": 2 / 3, "stories-train-I": 1 / 3},
    "A": {"stories-train-A": 1.0},
    "K": {"stories-train-I": 1.0},
    "R": {"knowledge-train-I": 2 / 3, "stories-train-A": 1 / 3},
}


def _published(stories: str, recorded: str) -> dict[str, dict[str, float]]:
    """Parts of published corpora: spoken stories, recordings, and answers that are only written."""
    return {
        "S": {f"{stories}-S": 0.5, f"{recorded}-S": 0.5},
        "T": {"told-train-T": 0.1, f"{stories}-T": 0.9},
        "P": {f"{corpus}-{form}": 0.25 for corpus in (stories, recorded) for form in ("ST", "TS")},
        "I": {"told-train-I": 0.1, f"{stories}-I": 0.9},
        "A": {f"{stories}-A": 1.0},
        "K": {f"{stories}-I": 1.0},
        "R": {"told-train-I": 0.1, f"{stories}-A": 0.9},
    }


PARTS = {
    "tiny": Parts(
        sizes=("w32",),
        rates=(12.5, 25.0),
        parts=_OWN,
        base={"S": 2048, "T": 2048, "P": 1024},
        most=3072,
        text_lm=("stories", 2048),
    ),
    "micro": Parts(
        sizes=("w32", "w64"),
        rates=(12.5, 25.0),
        parts=_OWN,
        base={"S": 100_000, "T": 220_000, "P": 100_000},
        most=420_000,
        text_lm=("stories", 262_144),
        context=256,
        batch_tokens=1024,
        slower=0.5,
    ),
    "mini": Parts(
        sizes=("w64", "w80"),
        rates=(25.0, 50.0, 12.5, 6.25),
        parts=_published("tinystories-train", "librispeech-train"),
        base={"S": 2_000_000, "T": 2_000_000, "P": 1_000_000},
        most=6_000_000,
        text_lm=("tinystories", 524_288),
    ),
    "paper": Parts(
        sizes=("155M", "823M"),
        rates=(12.5, 50.0, 25.0, 6.25),
        parts=_published("tinystories-train", "librispeech-train"),
        base={"S": 1_000_000_000, "T": 3_000_000_000, "P": 500_000_000},
        most=6_000_000_000,
        text_lm="opt-125m",
    ),
}
"""Scale -> parts. Amounts are choices; of the published 1,000 B tokens 300 B are text, and 42 B speech and pairs."""


def runs(scale: Scale) -> list[RunSpec]:
    """The amounts at every size, the ablations, and the text LM; `ValueError` at scales without such stores."""
    if scale.name not in PARTS:
        raise ValueError(f"scale {scale.name} has no price for the study interleaved: it is in {', '.join(PARTS)}")
    parts = PARTS[scale.name]
    size, full = parts.sizes[-1], parts.base | {"I": parts.most}
    total = sum(full.values())
    found = [
        _run(scale, size, "interleaved", parts.base | {"I": share * parts.most})
        for size in parts.sizes
        for share in ZENG
    ]
    tokens = {
        "base-longer": {part: count * total / sum(parts.base.values()) for part, count in parts.base.items()},
        "facts-apart": parts.base | {"K": parts.most},
        "real-words": parts.base | {"R": parts.most},
        **{f"no-{name}": {p: n for p, n in full.items() if p != part} for name, part in LEFT_OUT.items()},
        "sims": {part: share * total for part, share in SIMS.items()},
        "spirit-lm": {part: share * total for part, share in SPIRIT_LM.items()},
    }
    found += [_run(scale, size, name, some) for name, some in tokens.items()]
    found += [_run(scale, size, f"eta-{share:g}", full, label=label) for label, share in SHARES.items() if label != "I"]
    found += [_run(scale, size, f"rate-{rate:g}", full, rate_hz=rate) for rate in parts.rates[1:]]
    found += [_run(scale, size, "text-falls", full, falls=True)]
    untied = _run(scale, size, "untied", full)
    untied = replace(untied, model=replace(untied.model, tied=False))
    found += [untied, _shared_head(untied)]
    found += [_from_speaker(scale, size, tokens) for tokens in (parts.base, full)]
    return found + _from_text(scale, size, _run(scale, size, "from-text-lm", full))


def _shared_head(run: RunSpec) -> RunSpec:
    """The run with half as many rows in its output head as it has text ids; speech, marks and the end keep their own
    (VQ-Logits, see `slm/head.py`)."""
    tokenizer = run.mix[0].store.tokenizer
    own = tokenizer.vocabulary - tokenizer.text.vocabulary + 1
    codes = own + (tokenizer.text.vocabulary - 1) // 2
    name = run.name.replace("untied", "shared-head")
    return replace(run, name=name, family="shared-head", model=replace(run.model, codes=codes, own_codes=own))


def largest(scale: Scale) -> RunSpec:
    """The run with the most interleaved tokens, of the last size."""
    return next(run for run in reversed(runs(scale)) if run.family == "interleaved")


def _from_speaker(scale: Scale, size: str, tokens: dict[str, float]) -> RunSpec:
    """A run that starts from the model that says text in speech tokens, in its size."""
    parts, run = PARTS[scale.name], _run(scale, size, "from-speaker", tokens)
    speaker = text_to_token(MIXED[scale.name], parts.rates[0], stores(scale.name))
    return replace(
        run,
        name=run.name.replace(f"/{size}", f"/{speaker.size}"),
        size=speaker.size,
        model=replace(speaker.model, context=run.model.context),
        init=Init(checkpoint=speaker.name, revision=speaker.fingerprint),
        train=replace(run.train, learning_rate=speaker.train.learning_rate * parts.slower),
    )


def _from_text(scale: Scale, size: str, scratch: RunSpec) -> list[RunSpec]:
    """A run that starts from a text LM, and before it that text LM, where it is one of ours."""
    told = PARTS[scale.name].text_lm
    if isinstance(told, str):
        body = BODIES[told]
        shape = {name: getattr(body, name) for name in ("layers", "width", "heads", "hidden", "body_params")}
        model = replace(scratch.model, **shape, context=CONTEXT)
        batch = round(scratch.train.batch_tokens / CONTEXT) * CONTEXT
        train = replace(scratch.train, batch_tokens=batch, tokens=round(scratch.train.tokens / batch) * batch)
        labels = {"name": scratch.name.replace(f"/{size}", f"/{told}"), "size": told}
        return [replace(scratch, **labels, model=model, train=train, init=replace(body.init, keeps_text=True))]
    mixture, tokens = told
    family = Family(name="text-lm", mixture=mixture, scheme="text")
    text = recipe_run(scale, family, size, f"{tokens // 1024}k", tokens, seed=1)  # 0 is that of the study text
    text = replace(text, model=replace(text.model, context=scratch.model.context))
    init = Init(checkpoint=text.name, revision=text.fingerprint, keeps_text=True)
    return [text, replace(scratch, init=init)]


def _run(
    scale: Scale,
    size: str,
    family: str,
    tokens: dict[str, float],
    *,
    rate_hz: float | None = None,
    label: str = "I",
    falls: bool = False,
) -> RunSpec:
    """A run on so many tokens of each part, in whole updates; `falls`: text begins with twice its weight, which falls
    to nothing. Weights are relative, so that over the run it has a little less than its share, and the others more."""
    parts = PARTS[scale.name]
    batch = parts.batch_tokens or scale.batch_tokens[size]
    mix = _mix(scale, tokens, rate_hz or parts.rates[0], label, falls)
    steps = round(sum(tokens.values()) / batch)
    amount = sum(tokens.get(part, 0) for part in "IAKR")
    named = f"i{amount / 1e9:.3g}B" if amount >= 1e9 else f"i{round(amount / 1000, 1):g}k"
    return RunSpec(
        name=f"{family}/{named}/{size}",
        family=family,
        size=size,
        budget=named,
        model=ModelConfig(
            **LADDER[size],
            vocabulary=mix[0].store.tokenizer.vocabulary,
            context=parts.context or scale.context.get("joint", scale.context["units"]),
            init_std=scale.init_std,
        ),
        mix=mix,
        train=TrainConfig(
            tokens=steps * batch,
            batch_tokens=batch,
            learning_rate=LEARNING_RATE[size] * parts.slower,
            warmup_steps=scale.warmup_steps,
            schedule="wsd",
            decay_fraction=DECAY_FRACTION,
            final_rate=scale.final_rate,
            precision=scale.precision,
        ),
    )


def _mix(scale: Scale, tokens: dict[str, float], rate_hz: float, label: str, falls: bool) -> tuple[Source, ...]:
    """The sources of so many tokens of each part; see `_run`."""
    parts, table = PARTS[scale.name].parts, stores(scale.name)
    mix = []
    for part, count in tokens.items():
        for store, share in parts[part].items() if count else ():
            corpus, _, form = store.rpartition("-")
            spec = table[f"{corpus}-{label if form == 'I' else form}/joint-{scheme(rate_hz)}"]
            weight = {"weight": count * share}
            if falls and part == "T":
                weight = {"weight": 2 * count * share, "final_weight": 0.0}
            loss, spans = "target" if form in ("ST", "TS") else "all", SpanSpec() if form == "A" else None
            mix.append(Source(store=spec, loss=loss, spans=spans, **weight))
    return tuple(mix)
