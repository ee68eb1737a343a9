"""TokenStore: documents as one memory-mapped stream of token ids, with a manifest and checksums.

In: a `StoreSpec` and documents. Out: a folder that appears whole or not at all. Every document ends with the
end-of-document token; opening costs the same for any size; a torn or altered file is named, never read.
"""

import hashlib
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from slm.atomic import read_json, read_jsonl, write_json, write_jsonl
from slm.spec import StoreSpec, differences, fingerprint, from_json, to_json

SCHEMA = 1
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
    """Encoder frames of each token, for stores of units."""


class TokenStore:
    """A store on disk, opened for reading in constant time."""

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        path = self.folder / "manifest.json"
        if not path.exists():
            raise ValueError(f"no token store at {self.folder}: make it with `python -m data prepare`")
        self.manifest = read_json(path)
        if self.manifest.get("schema") != SCHEMA:
            raise ValueError(f"{path}: schema {self.manifest.get('schema')!r}, this version reads {SCHEMA}")
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

    def __len__(self) -> int:
        return len(self.index)

    def document(self, i: int) -> np.ndarray:
        """Token ids of document `i` without its end."""
        row = self.index[i]
        return self.tokens[row["start"] : row["start"] + row["tokens"] - 1]

    def durations(self, i: int) -> np.ndarray:
        """Frames of each token of document `i`; only stores of units have them."""
        row = self.index[i]
        everything = np.memmap(self.folder / "durations.bin", dtype="<u2", mode="r")
        return everything[row["start"] : row["start"] + row["tokens"] - 1]

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
    documents: Iterable[Document],
    side: dict[str, list[dict]],
    provenance: dict | None = None,
) -> TokenStore:
    """Write a store beside `folder` and rename it into place.

    `side` holds the rows of the side tables by name, `provenance` what the manifest should tell of the origin.
    `ValueError` for ids outside the vocabulary, duplicate document ids or a store without documents.
    """
    folder, beside = Path(folder), Path(folder).with_name(f".{Path(folder).name}.partial")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        index = _write_tokens(beside, spec.tokenizer.vocabulary, documents)
        for name, rows in side.items():
            write_jsonl(beside / f"{name}.jsonl", rows)
        named = side.get("documents", [])
        assert not named or len(named) == len(index), "the rows of `documents` are those of the store, in order"
        skipped = len(side.get("skips", []))
        write_json(beside / "manifest.json", _manifest(beside, spec, index, skipped, provenance or {}))
        beside.rename(folder)
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from None
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return TokenStore(folder)


def _write_tokens(folder: Path, vocabulary: int, documents: Iterable[Document]) -> np.ndarray:
    """Write `tokens.bin`, `documents.idx` and, where documents have them, `durations.bin`; the index."""
    dtype, rows, seen, start = _dtype(vocabulary), [], set(), 0
    with open(folder / "tokens.bin", "wb") as tokens, open(folder / "durations.bin", "wb") as durations:
        for document in documents:
            _check_document(document, vocabulary, seen)
            tokens.write(np.append(document.tokens, vocabulary - 1).astype(dtype).tobytes())
            if document.durations is not None:
                durations.write(np.append(document.durations, 0).astype("<u2").tobytes())
            rows.append((start, len(document.tokens) + 1, document.units, document.seconds))
            start += len(document.tokens) + 1
    if not rows:
        raise ValueError("no documents; is the corpus empty, or were all of them skipped?")
    if not (folder / "durations.bin").stat().st_size:
        (folder / "durations.bin").unlink()
    index = np.array(rows, dtype=_INDEX)
    (folder / "documents.idx").write_bytes(index.tobytes())
    return index


def _manifest(folder: Path, spec: StoreSpec, index: np.ndarray, skipped: int, provenance: dict) -> dict:
    return {
        "schema": SCHEMA,
        "fingerprint": fingerprint(spec),
        "vocab_size": spec.tokenizer.vocabulary,
        "dtype": _dtype(spec.tokenizer.vocabulary),
        "num_documents": len(index),
        "num_tokens": int(index["tokens"].sum()),
        "num_units": int(index["units"].sum()),
        "seconds": float(index["seconds"].sum()),
        "skipped": skipped,
        "provenance": provenance,
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": checksum(path)} for path in sorted(folder.iterdir())
        },
        "spec": to_json(spec),
    }


def _dtype(vocabulary: int) -> str:
    return "<u2" if vocabulary <= 1 << 16 else "<u4"


def _check_document(document: Document, vocabulary: int, seen: set[str]) -> None:
    if document.id in seen:
        raise ValueError(f"two documents are named {document.id!r}")
    seen.add(document.id)
    if len(document.tokens) and not 0 <= int(document.tokens.min()) <= int(document.tokens.max()) < vocabulary - 1:
        raise ValueError(
            f"document {document.id!r} has ids {int(document.tokens.min())}..{int(document.tokens.max())}, "
            f"outside 0..{vocabulary - 2}"
        )


def checksum(path: Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _altered(path: Path, what: str) -> ValueError:
    return ValueError(f"{path} was altered or torn ({what}): delete the store's folder and prepare it again")
