"""Recipes to stores: builds what a store needs, in order, and nothing twice.

In: names of the table and a root folder. Out: finished stores, and the centres and tokenizers they share under
`encoders/`. Everything is resumable; with all stores there, it takes no time and imports no encoder.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np

from data import documents as sources
from data.corpora.dialogues import dialogues
from data.dialogues import dialogue_store
from data.extract import check_centres, extract, units_store
from data.interleave import (
    Speak,
    aligned_store,
    aligned_words,
    interleaved_store,
    pairs_store,
    unspoken_words,
)
from data.items import ending_start, item_rows, pieces_before
from data.joint import joint_store
from data.phones import Phones, learn_inventory
from data.transcripts import learnt_from, own_transcriber
from data.unigram import TextPieces, UnitPieces, learn_text_pieces, learn_unit_pieces, model_path
from data.utterance import RawItem
from data.words import Encode
from data.workshop import Workshop
from slm.atomic import exclusive
from slm.spec import CorpusSpec, StoreSpec, TokenizerSpec, UnitSpec, fingerprint
from slm.store import Document, Documents, TokenStore, write_store

_CHUNK_UNITS = 1 << 20  # units that one worker call cuts into pieces
_PHONE_HZ = 1000.0  # durations of phones are in milliseconds


def prepare_all(shop: Workshop, names: list[str]) -> list[TokenStore]:
    """The stores of these names, built where they are missing."""
    specs = {name: _recipe(shop, name) for name in names}
    extract(shop, [name for name, spec in specs.items() if spec.tokenizer.kind == "units"])
    made = [prepare(shop, name) for name in names]
    for units in dict.fromkeys(
        spec.units for spec in specs.values() if spec.units and spec.corpus.name in sources.QUESTIONS
    ):
        _learn_transcriber(shop, units)
    return made


def _learn_transcriber(shop: Workshop, units: UnitSpec) -> None:
    """What reads spoken answers to questions, with the speech that it learns from."""
    prepare(shop, learnt_from(shop.scale, units))
    task = shop.progress.add_task("transcriber of units, updates", total=None)

    def watch(updates: int, loss: float) -> None:
        shop.progress.update(task, completed=updates)

    own_transcriber(shop.root, shop.scale, units, shop.machine, watch)
    shop.progress.remove_task(task)


def prepare_shard(shop: Workshop, names: list[str], shard: int, shards: int) -> None:
    """One of `shards` jobs' part of the work on stores of units; `prepare_all` merges when all are done."""
    if not 0 <= shard < shards:
        raise ValueError(f"shard {shard}/{shards}: count from 0/{shards} to {shards - 1}/{shards}")
    for name in names:
        if (kind := _recipe(shop, name).tokenizer.kind) != "units":
            raise ValueError(f"{name} is a store of {kind}: only the encoding of units takes shards")
    extract(shop, names, shard, shards)


def prepare(shop: Workshop, name: str) -> TokenStore:
    """The store of that name, built if it is not there; `ValueError` if its folder holds another recipe."""
    spec, folder = _recipe(shop, name), shop.folder(name)
    with exclusive(folder.with_name(f".{folder.name}.lock")):
        if not (folder / "manifest.json").exists():
            return _BUILDERS[spec.tokenizer.kind](shop, name, spec)
    store = TokenStore(folder)
    store.check_spec(spec)
    check_centres(shop, store)
    return store


def _recipe(shop: Workshop, name: str) -> StoreSpec:
    if name not in shop.table:
        raise ValueError(f"no store {name!r}: `python -m data list` shows the names")
    return shop.table[name]


def _pieces_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    model = _unit_pieces(shop, spec)
    base = _sibling(shop, spec.corpus, spec.units)
    side: dict = {"documents": base.folder / "documents.jsonl"}
    documents = _cut_into_pieces(shop, name, model, base)
    if sources.has_items(spec.corpus):
        found = list(documents)
        side |= {"items": _pieces_items(base, model, found), "dropped": base.rows("dropped")}
        documents = iter(found)
    return write_store(shop.folder(name), spec, documents, side, {"units": base.fingerprint}, base.frame_hz)


def _cut_into_pieces(shop: Workshop, name: str, model: Path, base: TokenStore) -> Iterator[Documents]:
    """The documents of a store of units as pieces with their durations, cut by worker processes."""
    ids = [row["id"] for row in base.rows("documents")]
    bounds = np.searchsorted(base.index["start"], np.arange(0, base.num_tokens, _CHUNK_UNITS))
    bounds = np.unique(np.append(bounds, len(base))).tolist()
    chunks = list(zip(bounds[:-1], bounds[1:], strict=True))
    jobs = [(model, base.folder, first, last) for first, last in chunks]
    few = len(jobs) == 1  # then starting processes would take longer than the work
    results = map(_chunk_pieces, *zip(*jobs, strict=True)) if few else _spread(shop, jobs, name)
    for (first, last), (pieces, counts, frames) in zip(chunks, results, strict=True):
        told = base.index[first:last]
        yield Documents(
            ids=ids[first:last],
            tokens=pieces,
            counts=counts,
            units=told["units"],
            seconds=told["seconds"],
            durations=frames,
        )


def _spread(shop: Workshop, jobs: list[tuple], name: str) -> Iterator[tuple]:
    return shop.spread(_chunk_pieces, jobs, len(jobs), f"{name}: units to pieces")


def _chunk_pieces(model: Path, folder: Path, first: int, last: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(pieces, pieces of each document, frames of each piece) of documents `first` to `last` of a store of units."""
    base = TokenStore(folder)
    begin, end = int(base.index["start"][first]), int(base.index["start"][last - 1] + base.index["tokens"][last - 1])
    tokens, durations = base.tokens[begin:end], base.all_durations[begin:end]
    units, frames = tokens[tokens != base.eos], durations[tokens != base.eos].astype(np.int64)
    pieces_of = UnitPieces(model, base.eos)
    pieces, counts = pieces_of.encode_all(units, base.index["tokens"][first:last] - 1)
    starts = np.cumsum(lengths := pieces_of.lengths(pieces)) - lengths
    return (
        pieces.astype(np.int32),
        counts,
        (np.add.reduceat(frames, starts) if len(starts) else frames).astype(np.int32),
    )


def _pieces_items(base: TokenStore, model: Path, documents: list[Documents]) -> list[dict]:
    """Items of the units store with prompts counted in pieces; one that straddles the boundary is of the ending."""
    if base.spec.corpus.name in sources.QUESTIONS:
        return base.rows("items")
    lengths = UnitPieces(model, base.eos).lengths
    ends = {
        id_: np.cumsum(lengths(pieces))
        for some in documents
        for id_, pieces in zip(some.ids, np.split(some.tokens, np.cumsum(some.counts)[:-1]), strict=True)
    }
    return [
        row
        | {
            "prompt_tokens": [
                int((ends[option] <= units).sum())
                for option, units in zip(row["options"], row["prompt_tokens"], strict=True)
            ]
        }
        for row in base.rows("items")
    ]


def _unit_pieces(shop: Workshop, spec: StoreSpec) -> Path:
    tokenizer = spec.tokenizer
    path = model_path(shop.root, tokenizer, spec.units)
    with exclusive(path.with_suffix(".lock")):
        if not path.exists():
            base = _learning_store(shop, spec)
            task = shop.progress.add_task(f"{tokenizer.kind}, {tokenizer.vocabulary - 1:,} pieces", total=None)
            documents = (base.document(i) for i in _learnt_from(spec, len(base)))
            learn_unit_pieces(path, documents, tokenizer.kind, tokenizer.vocabulary - 1, spec.units.clusters)
            shop.progress.update(task, total=1, completed=1)
    return path


def _learnt_from(spec: StoreSpec, there: int) -> list[int]:
    """Numbers of the documents that a tokenizer is learnt from: the first ones, or a seeded sample of those."""
    tokenizer = spec.tokenizer
    count = min(tokenizer.learnt_on.documents or there, there)
    if tokenizer.sample is None or tokenizer.sample >= count:
        return list(range(count))
    drawn = np.random.default_rng(tokenizer.seed).choice(count, tokenizer.sample, replace=False)
    return sorted(drawn.tolist())


def _phones_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    path = shop.root / "encoders" / f"phones-{fingerprint(spec.tokenizer)}.json"
    if not path.exists():
        learning = _learning_store(shop, spec).rows("alignment")[: spec.tokenizer.learnt_on.documents]
        learn_inventory(path, (row["phones"] for row in learning), spec.tokenizer.vocabulary)
    inventory, base = Phones(path), _sibling(shop, spec.corpus, None)
    alignment = base.rows("alignment")
    encoded = {row["id"]: inventory.encode(row["phones"]) for row in alignment}
    seconds = {row["id"]: row["seconds"] for row in base.rows("documents")}
    documents = [
        Document(id=key, tokens=ids, seconds=seconds[key], durations=_milliseconds(starts, seconds[key]))
        for key, (ids, starts) in encoded.items()
    ]
    side: dict = {"documents": [row for row in base.rows("documents") if row["id"] in encoded]}
    if sources.is_benchmark(spec.corpus):
        words = {row["id"]: row["words"] for row in alignment}

        def phones_before(document: Document, item: RawItem) -> int:
            return int((encoded[document.id][1] < ending_start(words[document.id], item)).sum())

        side |= item_rows(spec.corpus, shop.corpora, documents, phones_before)
    return write_store(shop.folder(name), spec, documents, side, frame_hz=_PHONE_HZ)


def _milliseconds(starts: np.ndarray, end: float) -> np.ndarray:
    """How long each phone lasts; the first one begins with the document, the last one ends with it."""
    bounds = np.append(starts, end) if len(starts) else np.zeros(1)
    bounds[0] = 0.0
    return np.diff(np.maximum.accumulate(np.round(bounds * _PHONE_HZ)).astype(np.int64))


def _text_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    return _written(shop, name, spec, _text_pieces(shop, spec.tokenizer).encode)


def _text_pieces(shop: Workshop, tokenizer: TokenizerSpec) -> TextPieces:
    path = model_path(shop.root, tokenizer)
    with exclusive(path.with_suffix(".lock")):
        if not path.exists():
            learning = (utterance.text for utterance in sources.documents(tokenizer.learnt_on, shop.corpora))
            learn_text_pieces(path, learning, tokenizer.vocabulary - 1)
    return TextPieces(path)


def _joint_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    encode, folder, base = _encoder_of_text(shop, spec.tokenizer.text), shop.folder(name), _speech_of(shop, name, spec)
    if spec.form == "C":
        told = islice(dialogues(spec.corpus.split), spec.corpus.documents)
        return dialogue_store(folder, spec, base, encode, told)
    if spec.form not in ("A", "I") and not spec.spans:
        return joint_store(folder, spec, base, encode, shop.corpora)
    if base is None:
        words, told = unspoken_words(spec, encode, shop.corpora)
    else:
        words, told = aligned_words(spec, base, encode, shop.corpora)
        told |= {"speech": base.fingerprint}
    if spec.form == "I":
        return interleaved_store(folder, spec, words, _speaker(shop, spec), told)
    return (aligned_store if spec.form == "A" else pairs_store)(folder, spec, words, told)


def _speech_of(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore | None:
    """The store of the speech in a joint store; None for a corpus that is only read, or spoken by a model."""
    speech = replace(spec, tokenizer=spec.tokenizer.speech, form=None, spans=None, spoken=None, epochs=1)
    halved = spec.corpus.name in sources.BENCHMARKS and spec.form in ("ST", "TS")
    wanted = replace(speech, corpus=replace(spec.corpus, apart=halved))
    found = [other for other, told in shop.table.items() if told == wanted]
    if not found and (spec.form == "T" or spec.spoken):
        return None
    if not found:
        raise ValueError(f"{name} is made of speech that no store in the table holds: {wanted}")
    return prepare(shop, found[0])


def _speaker(shop: Workshop, spec: StoreSpec) -> Speak | None:
    """The text-to-token model of a recipe, with a bar; None where speech is cut from recordings."""
    if spec.spoken is None:
        return None
    from data.speakers import speaker

    speak = speaker(spec, shop.root, shop.scale, shop.machine)
    task = shop.progress.add_task(f"{spec.spoken.run} speaks", total=None)

    def watched(spans: list[np.ndarray], numbers: list[int]) -> list[np.ndarray]:
        shop.progress.update(task, description=f"{spec.spoken.run} speaks {len(spans):,} spans")
        found = speak(spans, numbers)
        shop.progress.update(task, total=1, completed=1)
        return found

    return watched


def _encoder_of_text(shop: Workshop, tokenizer: TokenizerSpec) -> Encode:
    if tokenizer.kind == "pretrained":
        from slm.pretrained import PretrainedPieces  # imports torch and transformers

        return PretrainedPieces(tokenizer.checkpoint, shop.machine.models).encode
    return _text_pieces(shop, tokenizer).encode


def _pretrained_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    return _written(shop, name, spec, _encoder_of_text(shop, spec.tokenizer))


def _written(shop: Workshop, name: str, spec: StoreSpec, encode: Callable[[str], np.ndarray]) -> TokenStore:
    """A store of text: a document is what is written, an option as f"{prompt} {option}".strip()."""
    texts = {u.id: u.text for u in sources.documents(spec.corpus, shop.corpora, is_written=True)}
    documents = [Document(id=key, tokens=encode(text)) for key, text in texts.items()]
    side: dict = {"documents": [{"id": key, "text": text} for key, text in texts.items()]}
    if sources.is_benchmark(spec.corpus):

        def before(document: Document, item: RawItem) -> int:
            return pieces_before(encode(item.prompt), document.tokens)

        side |= item_rows(spec.corpus, shop.corpora, documents, before)
    return write_store(shop.folder(name), spec, documents, side)


def _learning_store(shop: Workshop, spec: StoreSpec) -> TokenStore:
    """The store of units that begins with the documents a tokenizer is learnt on."""
    wanted = spec.tokenizer.learnt_on
    for name, other in shop.table.items():
        whole = replace(other.corpus, documents=wanted.documents) == wanted
        enough = other.corpus.documents is None or (wanted.documents or 1 << 62) <= other.corpus.documents
        if other.tokenizer.kind == "units" and whole and enough and spec.units in (None, other.units):
            return prepare(shop, name)
    raise ValueError(f"no store of units in the table begins with the documents to learn on: {wanted}")


def _sibling(shop: Workshop, corpus: CorpusSpec, units: UnitSpec | None) -> TokenStore:
    """The store of units over the same documents; any units will do where only the alignment is wanted."""
    for name, other in shop.table.items():
        if other.tokenizer.kind == "units" and other.corpus == corpus and units in (None, other.units):
            return prepare(shop, name)
    raise ValueError(f"no store of units in the table holds {corpus}")


_BUILDERS = {
    "units": units_store,
    "unigram": _pieces_store,
    "bpe": _pieces_store,
    "phones": _phones_store,
    "text": _text_store,
    "pretrained": _pretrained_store,
    "joint": _joint_store,
}
