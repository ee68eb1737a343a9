"""The table of every store: scale -> name -> recipe.

In: nothing. Out: `StoreSpec`s. A store is named corpus/scheme; training reads `…-train/…`, a run's own loss is
measured on `…-validation/…`. Nothing here touches a file or imports torch.
"""

from collections.abc import Callable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from data.corpora import (
    almanac,
    hubert_labels,
    librilight,
    librispeech,
    peoples_speech,
    stories,
    swc,
    tedlium,
    tinystories,
    voxpopuli,
)
from data.evalsets import (
    blimp,
    llama_questions,
    minimal_pairs,
    nq_open,
    slm21,
    story_cloze,
    storycloze,
    topic_cloze,
    triviaqa,
    webquestions,
    zorro,
)
from data.mixed import table as mixed_table
from data.mixtures import MIXED
from data.vocabulary import joined
from data.voices import name_of, spoken, unspoken
from slm.spec import (
    CorpusSpec,
    EncoderSpec,
    StoreSpec,
    TokenizerSpec,
    UnitSpec,
)
from slm.speech.encoder import ENCODERS, MHUBERT_CENTRES

PHONES = 64
"""Ids of the oracle scheme: espeak-ng's English inventory fits with room to spare."""
HELD_OUT_VOICE = ("en-us+f4",)
PIECES = 5000
"""Of the paper's unigram model (Cuervo & Marxer 2024, section 3.1)."""

Scheme = tuple[UnitSpec | None, TokenizerSpec]


def _mfcc(rate_hz: float, clusters: int, learnt_on: CorpusSpec) -> UnitSpec:
    encoder = EncoderSpec(kind="mfcc", rate_hz=rate_hz, revision="1")
    return UnitSpec(encoder=encoder, clusters=clusters, learnt_on=learnt_on)


def _plain(units: UnitSpec) -> Scheme:
    return units, TokenizerSpec(kind="units", vocabulary=units.clusters + 1)


def _pieces(units: UnitSpec, pieces: int, learnt_on: CorpusSpec, kind: str = "unigram", **changes) -> Scheme:
    return units, TokenizerSpec(kind=kind, vocabulary=pieces + 1, learnt_on=learnt_on, **changes)


def _phones(learnt_on: CorpusSpec) -> Scheme:
    return None, TokenizerSpec(kind="phones", vocabulary=PHONES, learnt_on=learnt_on)


def _crossed(corpora: dict[str, CorpusSpec], schemes: dict[str, Scheme]) -> dict[str, StoreSpec]:
    """Every corpus under every scheme; phones only where the synthesiser speaks, because it alone tells them."""
    return {
        f"{name}/{scheme}": StoreSpec(corpus=corpus, units=units, tokenizer=tokenizer)
        for scheme, (units, tokenizer) in schemes.items()
        for name, corpus in corpora.items()
        if tokenizer.kind != "phones" or corpus.voices
    }


def _own_world(
    stories_: int, almanac_: int, held_out: int, items: int | None, clusters: int, pieces: int, texts: int
) -> dict[str, StoreSpec]:
    """The suite's own corpora and benchmarks: so many documents of each, under every scheme."""
    benchmarks = {name_of(module): module for module in (minimal_pairs, topic_cloze, story_cloze)}
    swept = {
        "stories-train": spoken(stories, "train", stories_),
        "stories-validation": spoken(stories, "validation", held_out),
    } | {name: spoken(module, "test", items) for name, module in benchmarks.items()}
    aloud = swept | {
        "stories-othervoice": spoken(stories, "validation", held_out, HELD_OUT_VOICE),
        "almanac-train": spoken(almanac, "train", almanac_),
        "almanac-validation": spoken(almanac, "validation", held_out),
    }
    few, many = (replace(aloud["stories-train"], documents=min(count, stories_)) for count in (300, 2000))
    units = _mfcc(25.0, clusters, few)
    table = _crossed(
        aloud, {"units": _plain(units), "unigram": _pieces(units, pieces, many), "phones": _phones(few)}
    ) | _crossed(swept, _sweep(units, pieces, many))
    text = TokenizerSpec(kind="text", vocabulary=513, learnt_on=unspoken(many))
    table |= _joint(swept, units, text, ("topic_cloze", "story_cloze"))
    read = {
        "stories-train": replace(many, documents=texts),
        "stories-validation": replace(many, split="validation", documents=5 * held_out),
    } | {name: aloud[name] for name in benchmarks}
    return table | _as_text(read, text)


def _joint(
    corpora: dict[str, CorpusSpec], units: UnitSpec, text: TokenizerSpec, clozes: tuple[str, ...], *asked: str
) -> dict[str, StoreSpec]:
    """Speech and text under one vocabulary: corpora as either and as both; prompts or questions in one of them, endings
    or answers in the other. `clozes` are benchmarks with prompts, `asked` sets of questions."""
    tokenizer = joined(_plain(units)[1], text)
    apart = {f"{name}-apart": replace(corpora[name], apart=True) for name in clozes}
    forms = {name: ("S", "T") + (("ST", "TS") if "train" in name else ()) for name in corpora}
    forms |= dict.fromkeys((*clozes, *asked), ("SS", "ST", "TS", "TT"))
    return _crossed(apart, {"units": (units, tokenizer.speech)}) | {
        f"{name}-{form}/joint": StoreSpec(corpus=corpora[name], units=units, tokenizer=tokenizer, form=form)
        for name, some in forms.items()
        for form in some
    }


def _sweep(units: UnitSpec, pieces: int, learnt_on: CorpusSpec) -> dict[str, Scheme]:
    """Schemes that differ from `units` or from `unigram` in one thing: frame rate, features, clusters, pieces, kind."""
    logmel = EncoderSpec(kind="logmel", rate_hz=units.encoder.rate_hz, revision="1")
    half, double = units.encoder.rate_hz / 2, units.encoder.rate_hz * 2
    return {
        "units-half-rate": _plain(_mfcc(half, units.clusters, units.learnt_on)),
        "units-double-rate": _plain(_mfcc(double, units.clusters, units.learnt_on)),
        "units-few": _plain(replace(units, clusters=units.clusters * 2 // 5)),
        "units-many": _plain(replace(units, clusters=units.clusters * 4)),
        "units-logmel": _plain(replace(units, encoder=logmel)),
        "unigram-few": _pieces(units, pieces * 2 // 5, learnt_on),
        "unigram-many": _pieces(units, pieces * 2, learnt_on),
        "bpe": _pieces(units, pieces, learnt_on, "bpe"),
    }


SWEEP = tuple(_sweep(_mfcc(25.0, 50, CorpusSpec(name="stories", revision="", split="train")), 500, None))
"""Names of the schemes of the sweep."""


def _micro() -> dict[str, StoreSpec]:
    return _own_world(8300, 4100, 200, None, clusters=50, pieces=500, texts=18000) | mixed_table(MIXED["micro"])


def _tiny() -> dict[str, StoreSpec]:
    return _own_world(60, 20, 4, 12, clusters=20, pieces=60, texts=200) | mixed_table(MIXED["tiny"])


def _mini() -> dict[str, StoreSpec]:
    recorded = {
        f"librispeech-{split}": CorpusSpec(name="librispeech", revision=librispeech.REVISION, split=split)
        for split in ("train-clean-100", "test-other")
    }
    corpora = {
        "tinystories-train": spoken(tinystories, "train", None),
        "tinystories-validation": spoken(tinystories, "validation", None),
    } | recorded
    corpora |= _published_benchmarks("storycloze_format/topic_cloze_tinystories.csv")
    read = recorded["librispeech-train-clean-100"]
    units, own = _mfcc(25.0, 100, spoken(tinystories, "train", 300)), _mfcc(25.0, 100, read)
    table = _crossed(
        corpora,
        {
            "units": _plain(units),
            "unigram": _pieces(units, 2000, corpora["tinystories-train"]),
            "phones": _phones(units.learnt_on),
        },
    )
    table |= _crossed(recorded, {"own-units": _plain(own), "own-unigram": _pieces(own, 500, read)})
    text = TokenizerSpec(kind="text", vocabulary=2001, learnt_on=unspoken(corpora["tinystories-train"]))
    voiced = {name: corpus for name, corpus in corpora.items() if corpus.voices}
    table |= _joint(voiced, units, text, ("topic_cloze",), "webquestions", "triviaqa", "nq_open")
    return table | _as_text(voiced, text) | _labels(own) | mixed_table(MIXED["mini"])


def _published_benchmarks(topics: str) -> dict[str, CorpusSpec]:
    """Benchmarks that are published as text, to be spoken; `topics` is a file of topic cloze items."""
    return {
        "blimp": spoken(blimp, "all", None),
        "zorro": spoken(zorro, "all", None),
        "topic_cloze": spoken(storycloze, topics, None),
        "webquestions": spoken(webquestions, "test", None),
        "triviaqa": spoken(triviaqa, "test", None),
        "nq_open": spoken(nq_open, "efficientqa-dev", None),
    }


def _as_text(corpora: dict[str, CorpusSpec], tokenizer: TokenizerSpec, scheme: str = "text") -> dict[str, StoreSpec]:
    """The writing of corpora."""
    return {
        f"{name}/{scheme}": StoreSpec(corpus=unspoken(corpus), units=None, tokenizer=tokenizer)
        for name, corpus in corpora.items()
    }


def _labels(own: UnitSpec) -> dict[str, StoreSpec]:
    """HuBERT units that came as labels, with phones and words; beside them cepstral units where there is audio."""
    encoder = EncoderSpec(kind="given", rate_hz=50.0, revision="km500", checkpoint="hubert-base-ls960", layer=9)
    hubert = UnitSpec(encoder=encoder, clusters=500)
    labelled, heard = (
        CorpusSpec(name="hubert_labels", revision=hubert_labels.REVISION, split=split) for split in ("all", "audio")
    )
    pieces = {f"unigram-{count}": _pieces(hubert, count, labelled) for count in (600, 1000)}
    schemes = {"hubert": _plain(hubert), "hubert-bpe": _pieces(hubert, 1000, labelled, "bpe")}
    schemes |= {f"hubert-{name}": scheme for name, scheme in pieces.items()}
    return _crossed({"labels": labelled}, schemes) | _crossed({"labels-audio": heard}, schemes | {"mfcc": _plain(own)})


def _paper() -> dict[str, StoreSpec]:
    """The published corpora under the published units and 5,000 unigram pieces (Cuervo & Marxer 2024, Table 2)."""
    libri = (
        "train-clean-100",
        "train-clean-360",
        "train-other-500",
        "dev-clean",
        "dev-other",
        "test-clean",
        "test-other",
    )
    splits = {
        librispeech: libri,
        librilight: tuple(
            f"{size}-{part}" for size in ("small", "medium", "large") for part in ("train", "validation")
        ),
        swc: ("train", "validation"),
        tedlium: ("train", "dev", "test"),
        peoples_speech: ("clean-train", "clean-test"),
        voxpopuli: ("unlabelled-train", "unlabelled-validation"),
    }
    corpora = {
        f"{name_of(module)}-{split}": CorpusSpec(name=name_of(module), revision=module.REVISION, split=split)
        for module, named in splits.items()
        for split in named
    } | {"tinystories-train": spoken(tinystories, "train", None)}
    benchmarks = _recorded_benchmarks()
    corpora |= benchmarks
    units = UnitSpec(encoder=ENCODERS["mhubert-25hz"], clusters=500, published=MHUBERT_CENTRES)
    pieces = _pieces(units, PIECES, corpora["librispeech-train-clean-360"], sample=20000)
    byte_pairs = TokenizerSpec(kind="text", vocabulary=8001, learnt_on=unspoken(corpora["tinystories-train"]))
    read = {"blimp": spoken(blimp, "all", None), "librispeech-test-clean": corpora["librispeech-test-clean"]}
    read |= {name: corpus for name, corpus in benchmarks.items() if not name.endswith(("-test", "-spoken"))}
    table = _crossed(corpora, {"units": _plain(units), "unigram": pieces})
    return table | _as_text(read, byte_pairs) | mixed_table(MIXED["paper"])


def _recorded_benchmarks() -> dict[str, CorpusSpec]:
    """Benchmarks that are published as sound, and those that are spoken here for want of a release."""
    told = "storycloze/cloze_test_test__spring2016 - cloze_test_ALL_test.csv"
    recorded = {
        "sblimp": ("sblimp", slm21, "dev"),
        "sblimp-test": ("sblimp", slm21, "test"),
        "swuggy": ("swuggy", slm21, "dev"),
        "swuggy-test": ("swuggy", slm21, "test"),
        "llama_questions": ("llama_questions", llama_questions, "test"),
        "sstorycloze-spoken": ("storycloze", storycloze, "storycloze/sSC"),
        "tstorycloze-spoken": ("storycloze", storycloze, "storycloze/tSC"),
    }
    return {
        store: CorpusSpec(name=name, revision=module.REVISION, split=split)
        for store, (name, module, split) in recorded.items()
    } | {
        "sstorycloze": spoken(storycloze, told, None),
        "tstorycloze": replace(spoken(storycloze, told, None), name="storycloze_topics"),
        "webquestions": spoken(webquestions, "test", None),
        "triviaqa": spoken(triviaqa, "test", None),
        "nq_open": spoken(nq_open, "efficientqa-dev", None),
    }


STORES: dict[str, Callable[[], dict[str, StoreSpec]]] = {
    "tiny": _tiny,
    "micro": _micro,
    "mini": _mini,
    "paper": _paper,
}


def stores(scale: str) -> dict[str, StoreSpec]:
    """name -> recipe of a scale's stores; `ValueError` lists the scales that exist."""
    if scale not in STORES:
        raise ValueError(f"no stores for scale {scale!r}: choose one of {', '.join(STORES)}")
    return STORES[scale]()


def default_stores(scale: str) -> list[str]:
    """Names of the stores that are prepared unless others are named: all but those that mix speech and text, which
    need models that are trained first."""
    later = mixed_table(MIXED[scale]) if scale in MIXED else {}
    return [name for name in stores(scale) if name not in later]


def named(scale: str, patterns: list[str]) -> list[str]:
    """Names of the stores that match any of some patterns, in the table's order; a name that matches nothing stays."""
    known = list(stores(scale))
    found = [name for name in known if any(fnmatchcase(name, pattern) for pattern in patterns)]
    return found + [pattern for pattern in patterns if not any(fnmatchcase(name, pattern) for name in known)]


def written_stores(scale: str, tokenizer: TokenizerSpec, name: str) -> dict[str, StoreSpec]:
    """Stores of a scale's benchmarks and held-out documents as text under another tokenizer; `name` is their scheme."""
    own = {spec.corpus: store for store, spec in stores(scale).items() if spec.tokenizer.kind == "text"}
    corpora = {store.partition("/")[0]: corpus for corpus, store in own.items() if "train" not in corpus.split}
    return _as_text(corpora, tokenizer, name)


def store_folder(root: Path, scale: str, name: str) -> Path:
    """Where a store of a scale lies."""
    return root / "stores" / scale / name
