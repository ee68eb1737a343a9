"""Utterances of units for tests: any that a format can hold, and one way to compare them."""

from dataclasses import fields
from pathlib import Path

import numpy as np
from hypothesis import strategies as st

from data.formats.document import TextColumn, UnitDocument, UnitStream
from slm.spec import CorpusSpec, EncoderSpec, StoreSpec, TokenizerSpec, UnitSpec

CLUSTERS = 50
NAMES = st.text("abcXYZ019-_.é", min_size=1, max_size=12).filter(lambda name: name.strip(".") == name)
TEXT = st.text("abc '.ü\u2028", min_size=1, max_size=20).map(str.strip).filter(bool)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
METADATA = st.dictionaries(st.sampled_from(["group_id", "pair_id", "phenomenon", "correct", "ü"]), JSON)
_LABELS = st.lists(st.integers(0, CLUSTERS - 1), max_size=30)


@st.composite
def documents(draw, *, frames: bool, holds: tuple[str, ...]) -> UnitDocument:
    """A document that is the same after writing and reading in a format that holds these fields."""
    labels = np.array(draw(_LABELS), dtype=np.int64)
    units = labels if frames else labels[np.append(True, np.diff(labels) != 0)[: len(labels)]]
    found = {"id": draw(NAMES), "units": units}
    if "durations" in holds and not frames:
        found["durations"] = np.array([draw(st.integers(1, 300)) for _ in units], dtype=np.int64)
    if "seconds" in holds:
        found["seconds"] = draw(st.integers(1, 10**7)) / 16000
    if "audio" in holds:
        folder, ending = draw(st.sampled_from(["", "dev/84/", "a b/"])), draw(st.sampled_from([".wav", ".flac"]))
        found["audio"] = folder + found["id"] + ending
    if "metadata" in holds:
        found["metadata"] = draw(METADATA)
    if "speaker" in holds:
        found["speaker"] = draw(st.none() | TEXT)
    if "text" in holds:
        found["words"] = tuple(draw(st.lists(_word(), min_size=1, max_size=4)))
        found["text"] = " ".join(word for _, _, word in found["words"])
    if "text_column" in holds:
        found["text_column"] = draw(_column(len(units) + 1))
    return UnitDocument(**found)


@st.composite
def _word(draw) -> tuple[float, float, str]:
    start = draw(st.floats(0, 100))
    return start, start + draw(st.floats(0, 2)), draw(st.text("abcü.", min_size=1, max_size=5))


@st.composite
def _column(draw, steps: int) -> TextColumn:
    cuts = sorted(draw(st.sets(st.integers(1, steps - 1), max_size=4))) if steps > 1 else []
    spans = np.diff([0, *cuts, steps])
    return TextColumn(tokens=np.array([draw(st.integers(0, 50000)) for _ in spans]), steps=spans)


def streams(*, frames: bool, holds: tuple[str, ...]) -> st.SearchStrategy[UnitStream]:
    many = st.lists(
        documents(frames=frames, holds=holds), min_size=1, max_size=5, unique_by=lambda document: document.id
    )
    return many.map(lambda found: UnitStream(documents=found, clusters=CLUSTERS, collapsed=not frames))


def plain(document: UnitDocument) -> dict:
    """All fields, arrays as lists."""
    values = {field.name: getattr(document, field.name) for field in fields(document)}
    column = values["text_column"]
    values["text_column"] = column and (column.tokens.tolist(), column.steps.tolist())
    return values | {key: None if values[key] is None else values[key].tolist() for key in ("units", "durations")}


def content(stream: UnitStream) -> list[dict]:
    return [plain(document) for document in stream.documents]


def stream(*found: UnitDocument, collapsed: bool = True, **more) -> UnitStream:
    return UnitStream(documents=found, clusters=more.pop("clusters", CLUSTERS), collapsed=collapsed, **more)


def document(name: str, units: list[int], **more) -> UnitDocument:
    if "durations" in more:
        more["durations"] = np.array(more["durations"])
    return UnitDocument(id=name, units=np.array(units, dtype=np.int64), **more)


def target(folder: Path, name: str) -> Path:
    """A path as that format wants it."""
    endings = {"gslm": ".txt", "km": ".km", "textless": ".units", "slamkit": ".jsonl", "parole": ".bin"}
    return folder / f"u{endings.get(name.split('-')[0], '')}"


def recipe() -> StoreSpec:
    encoder = EncoderSpec(kind="given", rate_hz=25.0, revision="1")
    return StoreSpec(
        corpus=CorpusSpec(name="toy", revision="1", split="train"),
        units=UnitSpec(encoder=encoder, clusters=CLUSTERS),
        tokenizer=TokenizerSpec(kind="units", vocabulary=CLUSTERS + 1),
    )
