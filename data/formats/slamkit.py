"""SlamKit: features and tokens as JSON lines, and `<stem>.json` sidecars of word times.

In and out: features are `units`, `duration` (frames), `file_name`; tokens are `audio_repr`, `<Un17><Un4>`, collapsed.
Both hold bare units: PAD = 0, `<S>` = 1 at both ends and unit i = i + 2 come in when its tokenizer reads them.
Layout: github.com/slp-rl/slamkit @ 388b4022, cli/extract_features.py, cli/prepare_tokens.py, slamkit/tokeniser.
"""

import json
import reprlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path, PurePosixPath

import numpy as np

from data.formats.document import Stated, UnitDocument, UnitStream, checked
from data.formats.files import (
    integer_list,
    integers,
    json_lines,
    json_object,
    member,
    new_file,
    new_folder,
    plain_file,
    recording,
)

MOST_SECONDS = 1e9
"""A choice: later times are errors."""
_FIELDS = {"units", "duration", "file_name", "audio_repr"}


def read_features(path: Path, stated: Stated) -> UnitStream:
    """Units with durations; with the option `sidecars`, the text and word times that are in that folder."""
    return _read(path, stated, _features)


def read_tokens(path: Path, stated: Stated) -> UnitStream:
    """Collapsed units; `ValueError` for interleaved rows, whose text is no units."""
    return _read(path, stated, _tokens)


def _read(path: Path, stated: Stated, parse: Callable[[dict, str], dict]) -> UnitStream:
    clusters, folder, notes = stated.clusters(path), stated.sidecars, []
    if folder is not None and not folder.is_dir():
        raise ValueError(f"{folder}: no folder of sidecars")

    sidecars = {file.name for file in folder.glob("*.json")} if folder else set()

    def documents() -> Iterator[tuple[str, UnitDocument]]:
        missing = 0
        for place, row in json_lines(path):
            name, audio = recording(member(row, "file_name", str, place))
            found = parse(row, place)
            if f"{name}.json" in sidecars:
                found |= _sidecar(folder / f"{name}.json", folder)
            else:
                missing += 1
            metadata = {key: value for key, value in row.items() if key not in _FIELDS}
            yield place, UnitDocument(id=name, audio=audio, metadata=metadata, **found)
        if folder is not None and missing:
            notes.append(f"{missing} documents have no sidecar in {folder}, so no text and no word times")

    return UnitStream(
        documents=checked(documents(), clusters),
        clusters=clusters,
        collapsed=True,
        files=(path, *(folder / name for name in sorted(sidecars))),
        notes=notes,
    )


def _features(row: dict, place: str) -> dict:
    return {"units": integer_list(row, "units", place), "durations": integer_list(row, "duration", place)}


def _tokens(row: dict, place: str) -> dict:
    text = member(row, "audio_repr", str, place)
    if not text:
        return {"units": np.zeros(0, np.int64)}
    if not text.startswith("<Un") or not text.endswith(">") or " " in text:
        raise ValueError(f"{place}: field 'audio_repr' is {reprlib.repr(text)}, expected `<Un17><Un4>` and no text")
    return {"units": integers(text[3:-1].replace("><Un", " "), f"{place}, field 'audio_repr'")}


def _sidecar(path: Path, folder: Path) -> dict:
    content = json_object(plain_file(path, folder).read_bytes(), str(path))
    words = []
    for entry in member(content, "aligned_text", list, str(path)):
        match entry:
            case [str(word), int() | float() as start, int() | float() as end] if 0 <= start <= end < MOST_SECONDS:
                words.append((float(start), float(end), word.strip()))
            case _:
                raise ValueError(f"{path}: 'aligned_text' holds {reprlib.repr(entry)}, expected [word, start, end]")
    return {"words": tuple(words), "text": member(content, "text", str, str(path)).strip()}


def write_features(path: Path, stream: UnitStream) -> list[str]:
    """Features; and sidecars, in the folder of the same name without its suffix, of documents with word times."""
    untimed = 0
    with ExitStack() as stack:
        folder, file = None, stack.enter_context(new_file(_jsonl(path)))
        for document in stream.documents:
            if document.durations is None:
                raise ValueError(f"{path}: {document.id!r} has no durations, which features need: write tokens")
            row = {"units": document.units.tolist(), "duration": document.durations.tolist()}
            file.write(_line(row | {"file_name": _file_name(path, document)} | document.metadata))
            if document.words and all(end is not None for _, end, _ in document.words):
                folder = folder or stack.enter_context(new_folder(path.with_suffix("")))
                (folder / f"{document.id}.json").write_bytes(_line(_sidecar_of(document)))
            else:
                untimed += bool(document.text or document.words)
    note = f"{untimed} documents have text without start and end of every word: no sidecar was written for them"
    return [note] if untimed else []


def write_tokens(path: Path, stream: UnitStream) -> list[str]:
    """Tokens, one row per document."""
    with new_file(_jsonl(path)) as file:
        for document in stream.documents:
            tokens = "".join(f"<Un{unit}>" for unit in document.units.tolist())
            file.write(_line({"file_name": _file_name(path, document), "audio_repr": tokens} | document.metadata))
    return []


def _jsonl(path: Path) -> Path:
    if path.suffix != ".jsonl":
        raise ValueError(f"{path}: SlamKit's files end in `.jsonl`")
    return path


def _line(row: dict) -> bytes:
    return (json.dumps(row, ensure_ascii=False) + "\n").encode()


def _file_name(path: Path, document: UnitDocument) -> str:
    name = document.audio or f"{document.id}.flac"
    if PurePosixPath(name).stem != document.id:
        raise ValueError(f"{path}: {name!r} is no file name with the stem {document.id!r}")
    if document.metadata.keys() & _FIELDS:
        raise ValueError(f"{path}: {document.id!r} has free fields named {sorted(document.metadata.keys() & _FIELDS)}")
    return name


def _sidecar_of(document: UnitDocument) -> dict:
    """Words carry their blank, because SlamKit puts nothing between them."""
    return {
        "file_name": PurePosixPath(document.audio or f"{document.id}.flac").name,
        "aligned_text": [[f" {word}", start, end] for start, end, word in document.words],
        "text": f" {document.text or ' '.join(word for _, _, word in document.words)}",
    }
