"""Our own token stores of units, as one more format.

In and out: collapsed units with durations, seconds, speakers, texts and word starts, as `python -m data prepare`
writes them; ids as they are, K ends every document and stays out of the neutral type.
"""

import reprlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from data.formats.document import Stated, UnitDocument, UnitStream, checked
from data.formats.files import json_lines, member
from slm.spec import StoreSpec, to_json
from slm.store import Document, TokenStore, write_store


def read(path: Path, stated: Stated) -> UnitStream:
    """A store of units; `ValueError` for stores of pieces, phones or text, and for altered ones."""
    try:
        store = TokenStore(path)
        store.verify()
        store.check_spec(store.spec)
        files = store.manifest["files"]
        _check_index(store)
    except (ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise ValueError(f"{path}: no whole token store ({type(error).__name__}: {error})") from None
    if store.spec.tokenizer.kind != "units":
        kind = store.spec.tokenizer.kind
        raise ValueError(f"{path}: holds {kind} tokens; convert the store of units that it was made from (…/units)")
    clusters = stated.clusters(path, store.vocab_size - 1)
    alignment = {member(row, "id", str, place): (place, row) for place, row in _rows(store, "alignment")}
    skips = [{key: member(row, key, str, place) for key in ("id", "reason")} for place, row in _rows(store, "skips")]
    phones = any(row.get("phones") for _, row in alignment.values())
    return UnitStream(
        documents=checked(_read_documents(store, alignment), clusters),
        clusters=clusters,
        collapsed=True,
        files=tuple(path / name for name in files),
        header={"preprocessing": {"store": store.fingerprint, "units": to_json(store.spec.units)}},
        skips=tuple(row | {"detail": ""} for row in skips),
        notes=["the phones of the alignment are not converted"] if phones else [],
    )


def _check_index(store: TokenStore) -> None:
    counts, ends = store.index["tokens"], np.cumsum(store.index["tokens"])
    if counts.min() < 1 or (store.index["start"] != ends - counts).any() or ends[-1] != len(store.tokens):
        raise ValueError("documents.idx does not cover tokens.bin")
    if "durations.bin" in store.manifest["files"] and len(store.all_durations) != len(store.tokens):
        raise ValueError("durations.bin and tokens.bin differ in length")


def _rows(store: TokenStore, name: str) -> Iterator[tuple[str, dict]]:
    file = f"{name}.jsonl"
    return json_lines(store.folder / file) if file in store.manifest["files"] else iter(())


def _read_documents(store: TokenStore, alignment: dict[str, tuple[str, dict]]) -> Iterator[tuple[str, UnitDocument]]:
    """Documents of a store without `documents.jsonl` are named by their number."""
    has_frames, number = "durations.bin" in store.manifest["files"], -1
    rows = _rows(store, "documents") if "documents.jsonl" in store.manifest["files"] else _numbered(store)
    for number, (place, row) in enumerate(rows):
        if number >= len(store):
            raise ValueError(f"{place}: more rows than the {len(store)} documents of the store")
        name, text, speaker = member(row, "id", str, place), row.get("text"), row.get("speaker")
        if not all(value is None or type(value) is str for value in (text, speaker)):
            raise ValueError(f"{place}: text and speaker are strings or null")
        document = UnitDocument(
            id=name,
            units=np.asarray(store.document(number)),
            durations=np.asarray(store.durations(number)) if has_frames else None,
            seconds=float(store.index[number]["seconds"]) or None,
            text=text,
            speaker=speaker,
            words=_words(*alignment[name], text or "") if name in alignment else (),
        )
        yield f"{store.folder}, document {number} ({name!r})", document
    if number + 1 != len(store):
        raise ValueError(f"{store.folder / 'documents.jsonl'}: {number + 1} rows for {len(store)} documents")


def _numbered(store: TokenStore) -> Iterator[tuple[str, dict]]:
    return ((str(store.folder), {"id": f"{number:07d}"}) for number in range(len(store)))


def _words(place: str, row: dict, text: str) -> tuple[tuple[float, None, str], ...]:
    found = []
    for entry in member(row, "words", list, place):
        match entry:
            case [int() | float() as start, int(first), int(length)] if 0 <= first <= first + length <= len(text):
                found.append((float(start), None, text[first : first + length]))
            case _:
                raise ValueError(f"{place}: field 'words' holds {reprlib.repr(entry)}, no [start, character, length]")
    return tuple(found)


def write(path: Path, stream: UnitStream, *, spec: StoreSpec) -> list[str]:
    """The store of that recipe; `ValueError` unless all documents have durations or none has.

    Lengths in seconds that are unknown are counted from the frames where there are durations.
    """
    if path.exists():
        raise ValueError(f"{path} exists already: delete it or choose another name")
    path.parent.mkdir(parents=True, exist_ok=True)
    side = {"documents": [], "alignment": [], "skips": [_skip(row) for row in stream.skips]}
    counts = {"counted": 0, "unknown": 0, "unplaced": 0, "ends": 0}
    rate = spec.units.encoder.rate_hz
    write_store(path, spec, _written(stream, side, counts, rate), side)
    notes = {
        "counted": f"the seconds of {counts['counted']} documents are their frames at {rate:g} Hz",
        "unknown": f"the seconds of {counts['unknown']} documents are unknown: 0 in the store",
        "unplaced": f"the word times of {counts['unplaced']} documents are left out: their words are not in their text",
        "ends": f"the ends of words of {counts['ends']} documents are lost: a store holds their starts",
    }
    return [note for name, note in notes.items() if counts[name]]


def _written(stream: UnitStream, side: dict, counts: dict, rate: float) -> Iterator[Document]:
    """Documents for the writer; their rows of the side tables are there when it asks for them, which is afterwards."""
    with_frames = None
    for document in stream.documents:
        has_frames = document.durations is not None
        if with_frames not in (None, has_frames):
            raise ValueError(f"{document.id!r} differs from the documents before it in having durations or not")
        with_frames, seconds = has_frames, document.seconds
        if seconds is None:
            seconds = float(document.durations.sum()) / rate if has_frames else 0.0
            counts["counted" if has_frames else "unknown"] += 1
        row = {"id": document.id, "units": len(document.units), "seconds": round(seconds, 6)}
        side["documents"].append(row | {"speaker": document.speaker, "text": document.text})
        placed = _placed(document)
        counts["unplaced"] += placed is None
        counts["ends"] += any(end is not None for _, end, _ in document.words)
        if placed:
            side["alignment"].append({"id": document.id, "words": placed, "phones": []})
        yield Document(
            id=document.id,
            tokens=document.units,
            units=len(document.units),
            seconds=seconds,
            durations=document.durations,
        )


def _placed(document: UnitDocument) -> list[tuple[float, int, int]] | None:
    """(start in seconds, first character of the text, length) of the words; None if they are not in the text."""
    rows, after = [], 0
    for start, _, word in document.words:
        first = (document.text or "").find(word, after)
        if first < 0:
            return None
        rows.append((start, first, len(word)))
        after = first + len(word)
    return rows


def _skip(row: dict) -> dict:
    return {"id": row["id"], "reason": ": ".join(part for part in (row["reason"], row["detail"]) if part)}
