"""Recipes to stores: builds what a store needs, in order, and nothing twice.

In: names of the table and a root folder. Out: finished stores, and the centres and tokenizers they share under
`encoders/`. Everything is resumable; with all stores there, it takes no time and imports no encoder.
"""

import io
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress

from data import stores as tables
from data.phones import Phones, learn_inventory
from data.unigram import TextPieces, UnitPieces, learn_text_pieces, learn_unit_pieces
from data.units import SHARD_DOCUMENTS, ShardJob, encode_shard, frames_of, read_shard
from data.utterance import Utterance
from slm.atomic import write_bytes, write_json
from slm.spec import CorpusSpec, StoreSpec, UnitSpec, fingerprint, to_json
from slm.speech.encoder import encoder
from slm.speech.kmeans import fit_centres
from slm.store import Document, TokenStore, write_store
from slm.workers import stop, worker_pool

MOST_SKIPPED = 0.05
"""Largest share of a corpus' documents that may be unusable before its store is refused (a choice)."""


@dataclass(frozen=True, kw_only=True)
class Workshop:
    """What every builder needs: where things are, and how many processes may work."""

    root: Path
    corpora: Path | None
    workers: int
    progress: Progress
    scale: str
    table: dict[str, StoreSpec]

    def folder(self, name: str) -> Path:
        return tables.store_folder(self.root, self.scale, name)


def prepare(shop: Workshop, name: str) -> TokenStore:
    """The store of that name, built if it is not there; `ValueError` if its folder holds another recipe."""
    if name not in shop.table:
        raise ValueError(f"no store {name!r}: `python -m data list` shows the names")
    spec, folder = shop.table[name], shop.folder(name)
    if (folder / "manifest.json").exists():
        store = TokenStore(folder)
        store.check_spec(spec)
        return store
    return _BUILDERS[spec.tokenizer.kind](shop, name, spec)


def _units_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    shards = shop.folder(name).with_name(f".{shop.folder(name).name}.shards-{fingerprint(spec)}")
    jobs = _jobs(spec, _centres(shop, spec.units), shards, list(tables.documents(spec.corpus, shop.corpora)))
    _run_shards(shop, name, [job for job in jobs if not (job.folder / "done.json").exists()], len(jobs))
    documents, side = _gathered(jobs)
    skipped, total = len(side["skips"]), len(side["skips"]) + len(documents)
    if skipped > MOST_SKIPPED * total:
        raise ValueError(
            f"{name}: {skipped} of {total} documents are unusable, the first because: {side['skips'][0]['reason']}; "
            f"see the skips.jsonl files below {shards}, mend the corpus, delete that folder and prepare again"
        )
    if spec.corpus.name in tables.BENCHMARKS:
        words = {row["id"]: row["words"] for row in side["alignment"]}
        rate = encoder(spec.units.encoder).rate_hz
        side["items"] = _items(shop, spec.corpus, documents, partial(_units_before, words, rate))
    store = write_store(shop.folder(name), spec, documents, side)
    shutil.rmtree(shards)
    return store


def _jobs(spec: StoreSpec, centres: Path, shards: Path, utterances: list[Utterance]) -> list[ShardJob]:
    """Shards of the corpus in order; a shard's folder is named by what is in it, so that a changed corpus is new."""
    jobs = []
    for first in range(0, len(utterances), SHARD_DOCUMENTS):
        chosen = tuple(utterances[first : first + SHARD_DOCUMENTS])
        digest = fingerprint([[u.id, u.text, u.speaker, *_stamp(u.audio)] for u in chosen])
        folder = shards / f"{first:08d}-{digest}"
        jobs.append(ShardJob(utterances=chosen, encoder=spec.units.encoder, centres=centres, folder=folder))
    return jobs


def _stamp(audio: Path | None) -> list:
    """What tells one state of a recording from another: its path, size and time of change."""
    if audio is None or not audio.exists():
        return [str(audio)]
    return [str(audio), audio.stat().st_size, audio.stat().st_mtime_ns]


def _gathered(jobs: list[ShardJob]) -> tuple[list[Document], dict[str, list[dict]]]:
    """The documents and side tables of finished shards, in order."""
    documents: list[Document] = []
    side: dict[str, list[dict]] = {"documents": [], "alignment": [], "skips": []}
    for job in jobs:
        units, durations, rows = read_shard(job.folder)
        documents += [
            Document(id=row["id"], tokens=tokens, units=len(tokens), seconds=row["seconds"], durations=frames)
            for row, tokens, frames in zip(rows["documents"], units, durations, strict=True)
        ]
        for key in side:
            side[key] += rows[key]
    return documents, side


def _run_shards(shop: Workshop, name: str, jobs: list[ShardJob], total: int) -> None:
    """Encode the shards that are missing, in worker processes."""
    if not jobs:
        return
    task = shop.progress.add_task(f"{name}: speech to units", total=total, completed=total - len(jobs))
    pool = worker_pool(min(shop.workers, len(jobs)))
    try:
        for done in [pool.submit(encode_shard, job) for job in jobs]:
            done.result()
            shop.progress.advance(task)
    finally:
        stop(pool)


def _centres(shop: Workshop, units: UnitSpec) -> Path:
    """The file of a `UnitSpec`'s k-means centres, learnt if need be."""
    folder = shop.root / "encoders" / f"{units.encoder}-k{units.clusters}-{fingerprint(units)}"
    path = folder / "centres.npy"
    if path.exists():
        return path
    found = encoder(units.encoder)
    if found.fingerprint != units.encoder_revision:
        raise ValueError(f"encoder {units.encoder} is {found.fingerprint}, the recipe wants {units.encoder_revision}")
    utterances = list(tables.documents(units.learnt_on, shop.corpora))
    task = shop.progress.add_task(f"k-means, {units.clusters} centres of {units.encoder}", total=None)
    pool = worker_pool(shop.workers)
    try:
        parts = [tuple(utterances[i : i + 20]) for i in range(0, len(utterances), 20)]
        frames = [found for found in pool.map(frames_of, parts, [units.encoder] * len(parts)) if len(found)]
    finally:
        stop(pool)
    if not frames:
        raise ValueError(f"none of the {len(utterances)} documents of {units.learnt_on.name} can be read as speech")
    frames = np.concatenate(frames)
    centres = fit_centres(frames, units.clusters, units.seed)
    write_json(folder / "recipe.json", to_json(units) | {"frames": len(frames)})
    content = io.BytesIO()
    np.save(content, centres, allow_pickle=False)
    write_bytes(path, content.getvalue())
    shop.progress.update(task, total=1, completed=1)
    return path


def _unigram_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    pieces = UnitPieces(_unit_pieces(shop, spec))
    base = _sibling(shop, spec.corpus, spec.units)
    spans: dict[str, np.ndarray] = {}

    def documents() -> Iterator[Document]:
        for i, row in enumerate(base.rows("documents")):
            units = base.document(i)
            ids = pieces.encode(units)
            if not np.array_equal(pieces.decode(ids), units):
                raise ValueError(f"{name}: document {row['id']!r} does not survive encoding and decoding")
            spans[row["id"]] = pieces.lengths(ids)
            yield Document(id=row["id"], tokens=ids, units=len(units), seconds=row["seconds"])

    found = list(documents())
    side = {"documents": base.rows("documents")}
    if spec.corpus.name in tables.BENCHMARKS:
        side["items"] = [
            row
            | {
                # A piece that straddles the boundary is scored with the ending.
                "prompt_tokens": [
                    int((np.cumsum(spans[option]) <= units).sum())
                    for option, units in zip(row["options"], row["prompt_tokens"], strict=True)
                ]
            }
            for row in base.rows("items")
        ]
    return write_store(shop.folder(name), spec, found, side, {"units": base.fingerprint})


def _unit_pieces(shop: Workshop, spec: StoreSpec) -> Path:
    path = shop.root / "encoders" / f"unigram-{fingerprint([to_json(spec.units), to_json(spec.tokenizer)])}.model"
    if not path.exists():
        base = _learning_store(shop, spec)
        count = spec.tokenizer.learnt_on.documents or len(base)
        documents = (base.document(i) for i in range(min(count, len(base))))
        task = shop.progress.add_task(f"unigram, {spec.tokenizer.vocabulary - 1} pieces", total=None)
        learn_unit_pieces(path, documents, spec.tokenizer.vocabulary - 1, spec.units.clusters)
        shop.progress.update(task, total=1, completed=1)
    return path


def _phones_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    path = shop.root / "encoders" / f"phones-{fingerprint(spec.tokenizer)}.json"
    if not path.exists():
        learning = _learning_store(shop, spec).rows("alignment")[: spec.tokenizer.learnt_on.documents]
        learn_inventory(path, (row["phones"] for row in learning), spec.tokenizer.vocabulary)
    inventory, base = Phones(path), _sibling(shop, spec.corpus, None)
    alignment = base.rows("alignment")
    encoded = {row["id"]: inventory.encode(row["phones"]) for row in alignment}
    seconds = {row["id"]: row["seconds"] for row in base.rows("documents")}
    documents = [Document(id=key, tokens=ids, seconds=seconds[key]) for key, (ids, _) in encoded.items()]
    side = {"documents": [row for row in base.rows("documents") if row["id"] in encoded]}
    if spec.corpus.name in tables.BENCHMARKS:
        words = {row["id"]: row["words"] for row in alignment}

        def phones_before(document: Document, characters: int) -> int:
            return int((encoded[document.id][1] < _ending_start(words[document.id], characters)).sum())

        side["items"] = _items(shop, spec.corpus, documents, phones_before)
    return write_store(shop.folder(name), spec, documents, side)


def _text_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    path = shop.root / "encoders" / f"text-{fingerprint(spec.tokenizer)}.model"
    if not path.exists():
        learning = (utterance.text for utterance in tables.documents(spec.tokenizer.learnt_on, shop.corpora))
        learn_text_pieces(path, learning, spec.tokenizer.vocabulary - 1)
    pieces, texts = TextPieces(path), {u.id: u.text for u in tables.documents(spec.corpus, shop.corpora)}
    documents = [Document(id=key, tokens=pieces.encode(text)) for key, text in texts.items()]
    side = {"documents": [{"id": key, "text": text} for key, text in texts.items()]}
    if spec.corpus.name in tables.BENCHMARKS:
        side["items"] = _items(
            shop, spec.corpus, documents, lambda d, characters: len(pieces.encode(texts[d.id][:characters].rstrip()))
        )
    return write_store(shop.folder(name), spec, documents, side)


def _items(
    shop: Workshop, corpus: CorpusSpec, documents: list[Document], tokens_before: Callable[[Document, int], int]
) -> list[dict]:
    """Rows of `items.jsonl`: document ids of the options, the answer, and how many tokens of each are the prompt.

    `tokens_before(document, characters)` counts the tokens of a document before a character of its text. Items with
    an option that was skipped are left out whole.
    """
    by_id = {document.id: document for document in documents}
    rows = []
    for item in tables.items(corpus, shop.corpora):
        options = [tables.option_id(item, number) for number in range(len(item.options))]
        if all(option in by_id for option in options):
            start = len(item.prompt) + 1 if item.prompt else 0
            prompts = [tokens_before(by_id[option], start) if start else 0 for option in options]
            rows.append({"id": item.id, "subset": item.subset, "options": options, "answer": item.answer})
            rows[-1]["prompt_tokens"] = prompts
    return rows


def _units_before(words: dict[str, list], rate_hz: int, document: Document, characters: int) -> int:
    """Units whose run starts before the first word at or after a character, on the encoder's clock."""
    starts = np.cumsum(document.durations) - document.durations
    return int((starts < round(_ending_start(words[document.id], characters) * rate_hz)).sum())


def _ending_start(words: list[tuple[float, int, int]], characters: int) -> float:
    return min(start for start, first, _ in words if first >= characters)


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


_BUILDERS = {"units": _units_store, "unigram": _unigram_store, "phones": _phones_store, "text": _text_store}
