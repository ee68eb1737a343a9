"""The tables of corpora, benchmarks and question sets, and the documents that each of them is.

In: a `CorpusSpec`, the folder of real corpora. Out: utterances to be read or spoken, items, questions. Nothing here
imports torch.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from data import questions as prompts
from data.corpora import (
    almanac,
    dialogues,
    folder,
    hubert_labels,
    knowledge,
    librilight,
    librispeech,
    ljspeech,
    peoples_speech,
    stories,
    swc,
    tedlium,
    tinystories,
    told,
    voxpopuli,
)
from data.evalsets import (
    blimp,
    facts,
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
from data.utterance import RawItem, RawQuestion, Utterance
from slm.spec import CorpusSpec

CORPORA: dict[str, Callable[[Path | None, str], Iterator[Utterance]]] = {
    "stories": stories.utterances,
    "knowledge": knowledge.utterances,
    "dialogues": dialogues.utterances,
    "almanac": almanac.utterances,
    "tinystories": tinystories.utterances,
    "librispeech": librispeech.utterances,
    "librilight": librilight.utterances,
    "ljspeech": ljspeech.utterances,
    "peoples_speech": peoples_speech.utterances,
    "swc": swc.utterances,
    "told_webquestions": told.webquestions,
    "tedlium": tedlium.utterances,
    "voxpopuli": voxpopuli.utterances,
    "hubert_labels": hubert_labels.utterances,
    "folder": folder.utterances,
}
BENCHMARKS: dict[str, Callable[[Path | None, str], Iterator[RawItem]]] = {
    "minimal_pairs": minimal_pairs.items,
    "facts": facts.items,
    "topic_cloze": topic_cloze.items,
    "story_cloze": story_cloze.items,
    "blimp": blimp.items,
    "zorro": zorro.items,
    "sblimp": slm21.syntactic,
    "swuggy": slm21.lexical,
    "storycloze": storycloze.items,
    "storycloze_topics": storycloze.topic_items,
}
"""Which option is likelier?"""
QUESTIONS: dict[str, Callable[[Path | None, str], Iterator[RawQuestion]]] = {
    "webquestions": webquestions.questions,
    "triviaqa": triviaqa.questions,
    "nq_open": nq_open.questions,
    "llama_questions": llama_questions.questions,
}
"""What is the answer?"""


def is_benchmark(corpus: CorpusSpec) -> bool:
    """Whether models are asked about these documents, and never trained on them."""
    return corpus.name in BENCHMARKS or corpus.name in QUESTIONS


def has_items(corpus: CorpusSpec) -> bool:
    """Whether a store of the corpus can be asked by itself: of prompts and endings apart it cannot."""
    return is_benchmark(corpus) and not corpus.apart


def documents(corpus: CorpusSpec, corpora_root: Path | None, is_written: bool = False) -> Iterator[Utterance]:
    """The documents of a corpus; the options of a benchmark's items; questions as they are asked, aloud or in writing.

    Those to be spoken get a voice that depends on their id alone; the options of one item share theirs. Recordings of
    a benchmark are spoken anew where the recipe names voices.
    """
    if corpus.name in BENCHMARKS:
        for item in items(corpus, corpora_root):
            yield from (_parts if corpus.apart else _options)(item, corpus.voices)
    elif corpus.name in QUESTIONS:
        told = list(islice(QUESTIONS[corpus.name](corpora_root, "train"), corpus.shots)) if corpus.shots else []
        for question in questions(corpus, corpora_root):
            text = (prompts.written if is_written else prompts.spoken)(question, told)
            recording = None if corpus.voices or told else question.recording
            yield Utterance(id=question.id, text=text, audio=recording, speaker=voice_of(question.id, corpus.voices))
    else:
        for utterance in islice(CORPORA[corpus.name](corpora_root, corpus.split), corpus.documents):
            is_spoken = utterance.audio is None and utterance.labels is None
            voice = voice_of(utterance.id, corpus.voices) if is_spoken else utterance.speaker
            yield replace(utterance, speaker=voice)


def _options(item: RawItem, voices: tuple[str, ...]) -> Iterator[Utterance]:
    recordings = () if voices else item.recordings
    speaker = item.speaker if recordings else voice_of(item.id, voices)
    for number, option in enumerate(item.options):
        text = f"{item.prompt} {option}".strip()
        audio = recordings[number] if recordings else None
        lead = item.lead if recordings else None
        yield Utterance(id=option_id(item, number), text=text, audio=audio, lead=lead, speaker=speaker)


def _parts(item: RawItem, voices: tuple[str, ...]) -> Iterator[Utterance]:
    """The prompt of an item and its endings, each by itself; recordings that hold both cannot be parted."""
    recordings = () if voices else item.recordings
    if recordings and item.lead is None:
        raise ValueError(
            f"{item.id}: its recordings hold prompt and ending in one: only items of two halves can be read"
        )
    speaker = item.speaker if recordings else voice_of(item.id, voices)
    yield Utterance(id=prompt_id(item), text=item.prompt, audio=item.lead if recordings else None, speaker=speaker)
    for number, option in enumerate(item.options):
        audio = recordings[number] if recordings else None
        yield Utterance(id=option_id(item, number), text=option, audio=audio, speaker=speaker)


def voice_of(key: str, voices: tuple[str, ...]) -> str | None:
    """One of `voices`, drawn by a hash of `key`; None where nothing is spoken."""
    if not voices:
        return None
    return voices[int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % len(voices)]


def items(corpus: CorpusSpec, corpora_root: Path | None) -> Iterator[RawItem]:
    """The items of a benchmark; `corpus.documents` of them, where that is given."""
    return islice(BENCHMARKS[corpus.name](corpora_root, corpus.split), corpus.documents)


def questions(corpus: CorpusSpec, corpora_root: Path | None) -> Iterator[RawQuestion]:
    """The questions of a set; `corpus.documents` of them, where that is given."""
    return islice(QUESTIONS[corpus.name](corpora_root, corpus.split), corpus.documents)


def option_id(item: RawItem, number: int) -> str:
    """Document id of an option of an item."""
    return f"{item.id}#{number}"


def prompt_id(item: RawItem) -> str:
    """Document id of the prompt of an item, where it is a document of its own."""
    return f"{item.id}#prompt"
