"""Stores of units: parts of a corpus encoded by worker processes or an array of jobs, then merged.

In: names of stores of units. Out: finished stores, the same bytes for any number of processes and jobs and after any
kill. Stores over the same documents are encoded together, so that speech is read or spoken once.
"""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np

from data import documents as sources
from data.audio import recorded_seconds
from data.centres import centres_folder, centres_of
from data.items import ending_start, item_rows
from data.units import MOST_SKIPPED, Part, Target, cut, digest, encode_part, read_part, share
from data.utterance import RawItem
from data.workshop import Workshop
from slm.atomic import read_json, read_jsonl
from slm.machine import commit
from slm.spec import CorpusSpec, StoreSpec, fingerprint
from slm.store import Document, TokenStore, checksum, write_store


def extract(shop: Workshop, names: list[str], shard: int = 0, shards: int = 1) -> None:
    """Encode the parts of these stores that are missing: all of them, or those of one of `shards` jobs."""
    by_corpus: dict[CorpusSpec, list[str]] = {}
    for name in names:
        if not (shop.folder(name) / "manifest.json").exists():
            by_corpus.setdefault(shop.table[name].corpus, []).append(name)
    parts = [part for together in by_corpus.values() for part in share(parts_of(shop, together), shard, shards)]
    told = ", ".join(dict.fromkeys(f"{corpus.name} {corpus.split}" for corpus in by_corpus))
    _encode(shop, parts, f"{told}: speech to units" + (f", job {shard} of {shards}" if shards > 1 else ""))


def _encode(shop: Workshop, parts: list[Part], title: str) -> None:
    jobs = [(part,) for part in parts if not all(target.is_done for target in part.targets)]
    if jobs:
        for _ in shop.spread(encode_part, jobs, len(jobs), title):
            pass


def parts_of(shop: Workshop, names: list[str]) -> list[Part]:
    """The parts of stores over one corpus, in order; a folder is named by what is in it: a changed corpus is new."""
    specs = {name: shop.table[name] for name in names}
    centres = {name: centres_of(shop, spec.units) for name, spec in specs.items()}
    marks = {name: checksum(path)[:12] if path else "given" for name, path in centres.items()}
    (corpus,) = {spec.corpus for spec in specs.values()}
    parts = []
    for number, utterances in enumerate(cut(list(sources.documents(corpus, shop.corpora)))):
        content = f"{number:06d}-{digest(utterances, shop.corpora)}"
        targets = tuple(
            Target(
                units=spec.units,
                centres=centres[name],
                folder=_parts_folder(shop, name, spec) / f"{content}-{marks[name]}",
            )
            for name, spec in specs.items()
        )
        parts.append(Part(utterances=utterances, targets=targets, machine=shop.machine))
    return parts


def units_store(shop: Workshop, name: str, spec: StoreSpec) -> TokenStore:
    """Encode what is missing, check every part, and merge them into the store."""
    parts = parts_of(shop, [name])
    _encode(shop, parts, f"{spec.corpus.name} {spec.corpus.split}: speech to units")
    folders = [part.targets[0].folder for part in parts]
    _check_skips(name, folders)
    side = {table: _rows(folders, table) for table in ("documents", "alignment", "skips")}
    documents = _documents(folders)
    if sources.has_items(spec.corpus):
        found = list(documents)
        words = {row["id"]: row["words"] for row in _rows(folders, "alignment")}
        before = partial(_units_before, words, spec)
        documents, side = iter(found), side | item_rows(spec.corpus, shop.corpora, found, before)
    store = write_store(shop.folder(name), spec, documents, side, _provenance(parts))
    shutil.rmtree(_parts_folder(shop, name, spec), ignore_errors=True)  # a late job may still write there
    return store


def check_centres(shop: Workshop, store: TokenStore) -> None:
    """`ValueError` if a store's units were made with other centres than those that are there now."""
    told, units = store.manifest["provenance"].get("centres_sha256"), store.spec.units
    path = centres_folder(shop.root, units) / "centres.safetensors" if told else None
    if path and path.exists() and checksum(path) != told:
        raise ValueError(
            f"{store.folder} was made with other centres than {path} holds now: delete the store, and every other "
            f"store of these units, and prepare again"
        )


def _parts_folder(shop: Workshop, name: str, spec: StoreSpec) -> Path:
    return shop.folder(name).with_name(f".{shop.folder(name).name}.parts-{fingerprint(spec)}")


def _documents(folders: list[Path]) -> Iterator[Document]:
    for folder in folders:
        for row, tokens, frames in read_part(folder):
            yield Document(id=row["id"], tokens=tokens, units=len(tokens), seconds=row["seconds"], durations=frames)


def _rows(folders: list[Path], table: str) -> Iterator[dict]:
    for folder in folders:
        yield from read_jsonl(folder / f"{table}.jsonl")


def _check_skips(name: str, folders: list[Path]) -> None:
    done = [read_json(folder / "done.json") for folder in folders]
    skipped = sum(counts["skips"] for counts in done)
    total = skipped + sum(counts["documents"] for counts in done)
    if skipped > MOST_SKIPPED * total:
        first = next(_rows(folders, "skips"))
        raise ValueError(
            f"{name}: {skipped} of {total} documents are unusable, the first because: {first['reason']}; see the "
            f"skips.jsonl files below {folders[0].parent}, mend the corpus, delete that folder and prepare again"
        )


def _provenance(parts: list[Part]) -> dict:
    """What the recipe cannot say: the code's commit, the encoder's own fingerprint, the centres' checksum, how well a
    supervised tokenizer reads."""
    centres = parts[0].targets[0].centres if parts else None
    if centres is None:
        return {"commit": commit()}
    told = read_json(centres.with_name("recipe.json"))
    made = {"commit": commit(), "encoder": told["encoder_fingerprint"], "centres_sha256": checksum(centres)}
    return made | {name: told[name] for name in ("reading",) if name in told}


def _units_before(words: dict[str, list], spec: StoreSpec, document: Document, item: RawItem) -> int:
    """Units whose run starts before the ending, on the encoder's clock; a recorded prompt ends with its recording."""
    is_heard = item.lead is not None and not spec.corpus.voices
    start = recorded_seconds(item.lead) if is_heard else ending_start(words.get(document.id, []), item)
    starts = np.cumsum(document.durations) - document.durations
    return int((starts < round(start * spec.units.encoder.rate_hz)).sum())
