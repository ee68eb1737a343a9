"""TokenStore: documents as one memory-mapped stream of token ids, with a manifest and checksums.

In: a `StoreSpec` and documents. Out: a folder that appears whole or not at all. Every document ends with the
end-of-document token; opening costs the same for any size; a torn or altered file is named, never read.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from slm.atomic import read_json, read_jsonl, write_json
from slm.spec import StoreSpec, differences, fingerprint, from_json, to_json

SCHEMA = 2
LONGEST_TOKEN = (1 << 16) - 1  # frames: durations are two bytes each
_INDEX = np.dtype([("start", "<i8"), ("tokens", "<i8"), ("units", "<i8"), ("seconds", "<f8")])


@dataclass(frozen=True, kw_only=True)
class Document:
    """What goes into a store."""

    id: str
    tokens: np.ndarray
    """Ids below the end-of-document id, which the writer adds."""
    units: int = 0
    """Collapsed encoder units under these tokens; 0 for text that was never spoken, and for phones."""
    seconds: float = 0.0
    """Of speech; 0 for text that was never spoken."""
    durations: np.ndarray | None = None
    """Frames of each token, for speech."""
    parts: np.ndarray | None = None
    """Of each token, whether it is something to be predicted: 0 no, 1 as text, 2 as speech."""


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Many documents at once, one behind the other: what millions of them are written as."""

    ids: list[str]
    tokens: np.ndarray
    """Ids of all documents, without ends."""
    counts: np.ndarray
    """Tokens of each document."""
    units: np.ndarray
    seconds: np.ndarray
    durations: np.ndarray | None = None
    """Frames of each token."""
    parts: np.ndarray | None = None
    """See `Document.parts`."""

    @staticmethod
    def of(document: Document) -> "Documents":
        """One document."""
        count, units, seconds = ([value] for value in (len(document.tokens), document.units, document.seconds))
        return Documents(
            ids=[document.id],
            tokens=np.asarray(document.tokens),
            counts=np.array(count),
            units=np.array(units),
            seconds=np.array(seconds),
            durations=document.durations,
            parts=document.parts,
        )

    def holding(self, token: int) -> str:
        """Id of the document that holds the token at a place of `tokens`."""
        return self.ids[int(np.searchsorted(np.cumsum(self.counts), token, side="right"))]


class TokenStore:
    """A store on disk, opened for reading in constant time."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "manifest.json"
        if not path.exists():
            raise ValueError(f"no token store at {self.folder}: make it with `python -m data prepare`")
        self.manifest = read_json(path)
        schema = self.manifest.get("schema") if isinstance(self.manifest, dict) else None
        if schema != SCHEMA:
            raise ValueError(f"{path}: schema {schema!r}, this version reads {SCHEMA}: prepare the store again")
        if self.manifest.get("checksum") != _sealed(self.manifest)["checksum"]:
            raise _altered(path, "its content differs from its own checksum")
        for name, entry in self.manifest["files"].items():
            size = (self.folder / name).stat().st_size if (self.folder / name).exists() else None
            if size != entry["bytes"]:
                raise _altered(self.folder / name, f"{size} bytes, {entry['bytes']} in the manifest")
        self.tokens = np.memmap(self.folder / "tokens.bin", dtype=self.manifest["dtype"], mode="r")  # (num_tokens,)
        self.index = np.memmap(self.folder / "documents.idx", dtype=_INDEX, mode="r")  # (num_documents,)

    @property
    def spec(self) -> StoreSpec:
        return from_json(StoreSpec, self.manifest["spec"])

    @property
    def fingerprint(self) -> str:
        return self.manifest["fingerprint"]

    @property
    def vocab_size(self) -> int:
        return self.manifest["vocab_size"]

    @property
    def eos(self) -> int:
        """The id that ends every document: the last of the vocabulary."""
        return self.vocab_size - 1

    @property
    def num_tokens(self) -> int:
        """All tokens, the end of each document included."""
        return self.manifest["num_tokens"]

    @property
    def num_units(self) -> int:
        return self.manifest["num_units"]

    @property
    def seconds(self) -> float:
        return self.manifest["seconds"]

    @property
    def frame_hz(self) -> float | None:
        """Frames per second that durations count; None for text."""
        return self.manifest["frame_hz"]

    def __len__(self) -> int:
        return len(self.index)

    @property
    def is_of_questions(self) -> bool:
        """Whether the items are questions with accepted answers, not options."""
        items = self.rows("items")
        return bool(items) and "answers" in items[0]

    def document(self, i: int) -> np.ndarray:
        """Token ids of document `i` without its end."""
        row = self.index[i]
        return self.tokens[row["start"] : row["start"] + row["tokens"] - 1]

    def durations(self, i: int) -> np.ndarray:
        """Frames of each token of document `i`; `ValueError` for stores of text, which have none."""
        row = self.index[i]
        return self.all_durations[row["start"] : row["start"] + row["tokens"] - 1]

    @cached_property
    def all_durations(self) -> np.ndarray:
        """Frames of every token of the store, 0 for ends of documents: (num_tokens,)."""
        if "durations.bin" not in self.manifest["files"]:
            raise ValueError(f"{self.folder}: tokens of {self.spec.tokenizer.kind} have no durations here")
        return np.memmap(self.folder / "durations.bin", dtype="<u2", mode="r")

    @cached_property
    def parts(self) -> np.ndarray:
        """Of every token of the store, 0: given, 1: to be predicted as text, 2: as speech; (num_tokens,) uint8. The end
        of a document is part of what precedes it. `ValueError` for stores without."""
        if "parts.bin" not in self.manifest["files"]:
            raise ValueError(f"{self.folder}: nothing tells which of its tokens are targets: its loss is of all")
        return np.memmap(self.folder / "parts.bin", dtype="<u1", mode="r")

    def array(self, name: str) -> np.ndarray:
        """A side array, memory-mapped; `ValueError` for stores without."""
        if f"{name}.npy" not in self.manifest["files"]:
            raise ValueError(f"{self.folder} holds no {name}: it is of form {self.spec.form}")
        return np.load(self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)

    def rows(self, name: str) -> list[dict]:
        """A side table: `documents`, `alignment`, `items` or `skips`."""
        return read_jsonl(self.folder / f"{name}.jsonl")

    def verify(self) -> None:
        """Compare every file with its checksum; unchanged files (size and time) that passed once are not read again.

        `ValueError` names the file that was altered.
        """
        stamp = self.folder / ".verified.json"
        now = {
            n: [(self.folder / n).stat().st_size, (self.folder / n).stat().st_mtime_ns] for n in self.manifest["files"]
        }
        if stamp.exists() and read_json(stamp) == now:
            return
        for name, entry in self.manifest["files"].items():
            if checksum(self.folder / name) != entry["sha256"]:
                raise _altered(self.folder / name, "its checksum differs from the manifest's")
        if len(self.tokens) and int(self.tokens.max()) >= self.vocab_size:
            raise _altered(self.folder / "tokens.bin", f"id {int(self.tokens.max())} outside {self.vocab_size} ids")
        write_json(stamp, now)

    def check_spec(self, spec: StoreSpec) -> None:
        """`ValueError` with the differing fields unless this store was made by that recipe."""
        if self.fingerprint != fingerprint(spec):
            lines = differences(self.manifest["spec"], to_json(spec))
            raise ValueError(
                f"{self.folder} was made by another recipe:\n  " + "\n  ".join(lines) + "\ndelete the folder and run "
                "`python -m data prepare` to make it anew"
            )


def write_store(
    folder: Path,
    spec: StoreSpec,
    documents: Iterable[Document | Documents],
    side: Mapping[str, Iterable[dict] | Path],
    provenance: dict | None = None,
    frame_hz: float | None = None,
    arrays: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType({}),
) -> TokenStore:
    """Write a store beside `folder` and rename it into place, holding no more of it than is handed over at once.

    `side` holds the rows of the side tables by name, or the file to copy them from, and is read after the documents,
    as `arrays` are; `provenance` is what the manifest should tell of the origin; `frame_hz` the clock of the durations,
    where it is not the encoder's. `ValueError` for ids outside the vocabulary, duplicate document ids or a store
    without documents.
    """
    folder, beside = Path(folder), Path(folder).with_name(f".{Path(folder).name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        index = _write_tokens(beside, spec.tokenizer.vocabulary, documents)
        counts = {name: _write_side(beside / f"{name}.jsonl", rows) for name, rows in side.items()}
        for name, array in arrays.items():
            np.save(beside / f"{name}.npy", array(), allow_pickle=False)
        assert counts.get("documents") in (None, len(index)), "the rows of `documents` are those of the store, in order"
        frame_hz = frame_hz or (spec.units.encoder.rate_hz if spec.units else None)
        told = {"skipped": counts.get("skips", 0), "frame_hz": frame_hz, "provenance": provenance or {}}
        write_json(beside / "manifest.json", _sealed(_manifest(beside, spec, index, told)))
        beside.rename(folder)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return TokenStore(folder)


def _write_tokens(folder: Path, vocabulary: int, documents: Iterable[Document | Documents]) -> np.ndarray:
    """Write `tokens.bin`, `documents.idx` and, where documents have them, `durations.bin`; the index."""
    dtype, seen, start = _dtype(vocabulary), set(), 0
    parts = [np.zeros(0, dtype=_INDEX)]
    names = ("tokens.bin", "durations.bin", "parts.bin")
    with ExitStack() as stack:
        tokens, durations, parts_ = (stack.enter_context(open(folder / name, "wb")) for name in names)
        for given in documents:
            some = Documents.of(given) if isinstance(given, Document) else given
            _check(some, vocabulary, seen)
            tokens.write(_with_ends(some.tokens, some.counts, vocabulary - 1, dtype).tobytes())
            if some.durations is not None:
                durations.write(_with_ends(some.durations, some.counts, 0, "<u2").tobytes())
            if some.parts is not None:
                last = some.parts[np.cumsum(some.counts) - 1]
                parts_.write(_with_ends(some.parts, some.counts, last, "<u1").tobytes())
            rows = np.zeros(len(some.ids), dtype=_INDEX)
            rows["tokens"], rows["units"], rows["seconds"] = some.counts + 1, some.units, some.seconds
            rows["start"] = start + np.cumsum(rows["tokens"]) - rows["tokens"]
            start += int(rows["tokens"].sum())
            parts.append(rows)
    index = np.concatenate(parts)
    if not len(index):
        raise ValueError("no documents; is the corpus empty, or were all of them skipped?")
    for name in names:
        if not (folder / name).stat().st_size:
            (folder / name).unlink()
    (folder / "documents.idx").write_bytes(index.tobytes())
    return index


def _with_ends(stream: np.ndarray, counts: np.ndarray, end: int | np.ndarray, dtype: str) -> np.ndarray:
    """The stream with `end`, or that of the document, after each document."""
    ends = np.cumsum(counts + 1) - 1
    inside = np.ones(len(stream) + len(counts), dtype=bool)
    inside[ends] = False
    found = np.empty(len(inside), dtype=dtype)
    found[ends], found[inside] = end, stream
    return found


def _check(some: Documents, vocabulary: int, seen: set[str]) -> None:
    for id_ in some.ids:
        if id_ in seen:
            raise ValueError(f"two documents are named {id_!r}")
        seen.add(id_)
    assert int(some.counts.sum()) == len(some.tokens), "counts are those of the tokens"
    if len(some.tokens) and not 0 <= int(some.tokens.min()) <= int(some.tokens.max()) < vocabulary - 1:
        wrong = int(np.flatnonzero((some.tokens < 0) | (some.tokens >= vocabulary - 1))[0])
        raise ValueError(f"document {some.holding(wrong)!r}: id {some.tokens[wrong]} lies outside 0..{vocabulary - 2}")
    if some.durations is None:
        return
    if len(some.durations) != len(some.tokens):
        raise ValueError(f"document {some.ids[0]!r}: {len(some.durations)} durations, {len(some.tokens)} tokens")
    if len(some.durations) and not 0 <= int(some.durations.min()) <= int(some.durations.max()) <= LONGEST_TOKEN:
        wrong = int(np.flatnonzero((some.durations < 0) | (some.durations > LONGEST_TOKEN))[0])
        frames = some.durations[wrong]
        raise ValueError(f"document {some.holding(wrong)!r} holds a token of {frames} frames: cut the silence")


def _write_side(path: Path, rows: Iterable[dict] | Path) -> int:
    """Write the rows of a side table, or copy its file; the number of rows."""
    if isinstance(rows, Path):
        shutil.copyfile(rows, path)
        with open(path, "rb") as file:
            return sum(1 for _ in file)
    count = 0
    with open(path, "w", encoding="utf-8") as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def _manifest(folder: Path, spec: StoreSpec, index: np.ndarray, told: dict) -> dict:
    return {
        "schema": SCHEMA,
        "fingerprint": fingerprint(spec),
        "vocab_size": spec.tokenizer.vocabulary,
        "dtype": _dtype(spec.tokenizer.vocabulary),
        "num_documents": len(index),
        "num_tokens": int(index["tokens"].sum()),
        "num_units": int(index["units"].sum()),
        "seconds": float(index["seconds"].sum()),
        **told,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": checksum(path)} for path in sorted(folder.iterdir())
        },
        "spec": to_json(spec),
    }


def _sealed(manifest: dict) -> dict:
    """The manifest with the checksum of everything else in it."""
    rest = {key: value for key, value in manifest.items() if key != "checksum"}
    return rest | {"checksum": fingerprint(rest)}


def _dtype(vocabulary: int) -> str:
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _altered(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} was altered or torn ({what}): delete the store's folder and prepare it again")
