"""How text is named as a corpus: spoken by the synthesiser in some voices, or read.

In: a module of `data/corpora` or `data/evalsets`. Out: `CorpusSpec`s.
"""

from dataclasses import replace
from types import ModuleType

from data.tts import SYNTHESISER
from slm.spec import CorpusSpec

VOICES = ("en-us", "en-us+f2", "en-us+m3")


def spoken(module: ModuleType, split: str, documents: int | None, voices: tuple[str, ...] = VOICES) -> CorpusSpec:
    """So many documents of a split, or items of a benchmark, spoken; None: all."""
    return CorpusSpec(
        name=name_of(module),
        revision=module.REVISION,
        split=split,
        documents=documents,
        voices=voices,
        synthesiser=SYNTHESISER,
    )


def unspoken(corpus: CorpusSpec) -> CorpusSpec:
    """The same documents as text."""
    return replace(corpus, voices=(), synthesiser=None)


def name_of(module: ModuleType) -> str:
    """The entry of the tables in `data/documents.py` that a module is."""
    return module.__name__.rpartition(".")[2]
