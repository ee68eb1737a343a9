"""The table of every store: scale -> name -> recipe; and the tables of corpora and benchmarks.

In: nothing. Out: `StoreSpec`s. A store is named corpus/scheme; training reads `…-train/…`, a run's own loss is
measured on `…-validation/…`. Nothing here touches a file or imports torch.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from data.corpora import almanac, librispeech, stories, tinystories
from data.evalsets import minimal_pairs, story_cloze, topic_cloze
from data.tts import SYNTHESISER
from data.utterance import RawItem, Utterance
from slm.spec import CorpusSpec, StoreSpec, TokenizerSpec, UnitSpec

MFCC = "mfcc-25hz-v1"  # fingerprint of slm.speech.mfcc.Mfcc, here so that listing stores imports no encoder
VOICES = ("en-us", "en-us+f2", "en-us+m3")
PHONES = 64
"""Ids of the oracle scheme: espeak-ng's English inventory fits with room to spare."""
HELD_OUT_VOICE = ("en-us+f4",)

CORPORA: dict[str, Callable[[Path | None, str], Iterator[Utterance]]] = {
    "stories": stories.utterances,
    "almanac": almanac.utterances,
    "tinystories": tinystories.utterances,
    "librispeech": librispeech.utterances,
}
BENCHMARKS: dict[str, Callable[[Path | None], Iterator[RawItem]]] = {
    "minimal_pairs": minimal_pairs.items,
    "topic_cloze": topic_cloze.items,
    "story_cloze": story_cloze.items,
}


def _spoken(module, split: str, documents: int | None, voices: tuple[str, ...] = VOICES) -> CorpusSpec:
    name = module.__name__.rpartition(".")[2]
    return CorpusSpec(
        name=name,
        revision=module.REVISION,
        split=split,
        documents=documents,
        voices=voices,
        synthesiser=SYNTHESISER,
    )


def _schemes(
    corpora: dict[str, CorpusSpec],
    learnt_on: CorpusSpec,
    clusters: int,
    pieces: int,
    phones: int,
    pieces_learnt_on: CorpusSpec,
) -> dict[str, StoreSpec]:
    """Every corpus under units, unigram pieces over them and, where it is spoken, the oracle phones."""
    units = UnitSpec(encoder="mfcc", encoder_revision=MFCC, clusters=clusters, seed=0, learnt_on=learnt_on)
    table = {}
    for name, corpus in corpora.items():
        plain = TokenizerSpec(kind="units", vocabulary=clusters + 1)
        merged = TokenizerSpec(kind="unigram", vocabulary=pieces + 1, learnt_on=pieces_learnt_on)
        table[f"{name}/units"] = StoreSpec(corpus=corpus, units=units, tokenizer=plain)
        table[f"{name}/unigram"] = StoreSpec(corpus=corpus, units=units, tokenizer=merged)
        if corpus.voices:
            oracle = TokenizerSpec(kind="phones", vocabulary=phones, learnt_on=learnt_on)
            table[f"{name}/phones"] = StoreSpec(corpus=corpus, units=None, tokenizer=oracle)
    return table


def _own_world(
    stories_: int, almanac_: int, held_out: int, items: int | None, clusters: int, pieces: int, texts: int
) -> dict[str, StoreSpec]:
    """The suite's own corpora and benchmarks: so many documents of each, under every scheme."""
    benchmarks = {m.__name__.rpartition(".")[2]: m for m in (minimal_pairs, topic_cloze, story_cloze)}
    spoken = {
        "stories-train": _spoken(stories, "train", stories_),
        "stories-validation": _spoken(stories, "validation", held_out),
        "stories-othervoice": _spoken(stories, "validation", held_out, HELD_OUT_VOICE),
        "almanac-train": _spoken(almanac, "train", almanac_),
        "almanac-validation": _spoken(almanac, "validation", held_out),
    } | {name: _spoken(module, "test", items) for name, module in benchmarks.items()}
    few, many = (replace(spoken["stories-train"], documents=min(count, stories_)) for count in (300, 2000))
    table = _schemes(spoken, few, clusters, pieces, PHONES, many)
    text = TokenizerSpec(kind="text", vocabulary=513, learnt_on=replace(many, voices=(), synthesiser=None))
    written = {
        "stories-train": replace(text.learnt_on, documents=texts),
        "stories-validation": replace(text.learnt_on, split="validation", documents=5 * held_out),
    } | {name: replace(spoken[name], voices=(), synthesiser=None) for name in benchmarks}
    return table | {
        f"{name}/text": StoreSpec(corpus=corpus, units=None, tokenizer=text) for name, corpus in written.items()
    }


def _micro() -> dict[str, StoreSpec]:
    return _own_world(8300, 4100, 200, None, clusters=50, pieces=500, texts=18000)


def _tiny() -> dict[str, StoreSpec]:
    return _own_world(60, 20, 4, 12, clusters=20, pieces=40, texts=200)


def _mini() -> dict[str, StoreSpec]:
    corpora = {
        "tinystories-train": _spoken(tinystories, "train", None),
        "tinystories-validation": _spoken(tinystories, "validation", None),
    } | {
        f"librispeech-{split}": CorpusSpec(name="librispeech", revision=librispeech.REVISION, split=split)
        for split in ("train-clean-100", "test-other")
    }
    return _schemes(corpora, _spoken(tinystories, "train", 300), 100, 2000, PHONES, corpora["tinystories-train"])


STORES: dict[str, Callable[[], dict[str, StoreSpec]]] = {"tiny": _tiny, "micro": _micro, "mini": _mini}


def stores(scale: str) -> dict[str, StoreSpec]:
    """name -> recipe of a scale's stores; `ValueError` lists the scales that exist."""
    if scale not in STORES:
        raise ValueError(f"no stores for scale {scale!r}: choose one of {', '.join(STORES)}")
    return STORES[scale]()


def store_folder(root: Path, scale: str, name: str) -> Path:
    """Where a store of a scale lies."""
    return root / "stores" / scale / name


def documents(corpus: CorpusSpec, corpora_root: Path | None) -> Iterator[Utterance]:
    """The documents of a corpus, or the options of a benchmark's items as documents.

    Those to be spoken get a voice that depends on their id alone; the options of one item share theirs.
    """
    if corpus.name in BENCHMARKS:
        for item in items(corpus, corpora_root):
            voice = voice_of(item.id, corpus.voices)
            for number, option in enumerate(item.options):
                yield Utterance(id=option_id(item, number), text=f"{item.prompt} {option}".strip(), speaker=voice)
    else:
        for utterance in islice(CORPORA[corpus.name](corpora_root, corpus.split), corpus.documents):
            yield utterance if utterance.audio else replace(utterance, speaker=voice_of(utterance.id, corpus.voices))


def voice_of(key: str, voices: tuple[str, ...]) -> str | None:
    """One of `voices`, drawn by a hash of `key`; None where nothing is spoken."""
    if not voices:
        return None
    return voices[int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % len(voices)]


def items(corpus: CorpusSpec, corpora_root: Path | None) -> Iterator[RawItem]:
    """The items of a benchmark; `corpus.documents` of them, where that is given."""
    return islice(BENCHMARKS[corpus.name](corpora_root), corpus.documents)


def option_id(item: RawItem, number: int) -> str:
    """Document id of an option of an item."""
    return f"{item.id}#{number}"
