"""Packed shards: slm_scaling (schema 2) and interleaved_lm (schema 1, units only or with aligned text).

In and out: a shard's folder, of int16 units with EOS = K after every sample; PAD = K + 1 and vocabulary K + 2 are
declared. Reading, also a folder of shards. Layout: github.com/tiagoCuervo/slm_scaling @ 3357a2f5, src/slm_data, and
github.com/tiagoCuervo/interleaved_lm @ 07fd8df, src/interleaved_speech_data (`schema.py`, `packing.py` of both).
"""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Literal

import numpy as np

from data.formats.document import Stated, TextColumn, UnitDocument, UnitStream, checked
from data.formats.files import json_lines, json_object, member, new_folder, plain_file
from slm.store import checksum

Schema = Literal[1, 2]
_TYPES = {"audio.bin": "<i2", "audio.len": "<i8", "text.bin": "<i4", "text.len": "<i8", "dur.bin": "<i4"}
_ARRAYS = {"units-only": ("audio.bin", "audio.len"), "aligned": tuple(_TYPES)}
_MOST_UNITS = (1 << 15) - 2  # so that PAD fits into int16
_RESERVED = {"id", "audio_steps", "text_tokens", "prepared_audio"}


def read(path: Path, stated: Stated, *, schema: Schema) -> UnitStream:
    """One shard, or all shards below a folder in the order of their names; `ValueError` for one that breaks the rules.

    A sample's `speaker` and `source_duration` become the document's speaker and seconds, all other free fields its
    metadata. Of `preprocessing`, the header keeps what all shards share.
    """
    shards = [path] if (path / "meta.json").exists() else sorted(p.parent for p in path.glob("[!.]*/meta.json"))
    if not shards:
        raise ValueError(f"{path}: neither a shard (meta.json) nor a folder of shards")
    for shard in shards:
        if not shard.resolve().is_relative_to(path.resolve()):
            raise ValueError(f"{shard}: a link that leads out of {path}: copy the shard there instead")
    metas = [_meta(shard, schema) for shard in shards]
    pairs = list(zip(shards, metas, strict=True))
    shared, place = _shared(pairs), shards[0] / "meta.json"
    declared = member(shared, "collapsed", bool, str(place)) if "collapsed" in shared else None
    clusters = stated.clusters(place, shared["eos_token"])
    names = ("meta.json", "samples.jsonl", "skips.jsonl")
    return UnitStream(
        documents=checked(chain.from_iterable(_samples(shard, meta, schema) for shard, meta in pairs), clusters),
        clusters=clusters,
        collapsed=stated.state(place, declared),
        files=tuple(shard / name for shard, meta in pairs for name in (*names, *_ARRAYS[meta["profile"]])),
        header={"preprocessing": shared},
        skips=tuple(chain.from_iterable(_skips(shard, meta) for shard, meta in pairs)),
        notes=["waveforms in the shards are not converted"] if any(meta.get("keep_audio") for meta in metas) else [],
    )


def _shared(pairs: list[tuple[Path, dict]]) -> dict:
    """The fields of `preprocessing` that all shards share; `ValueError` when they differ in what units mean."""
    all_of_them = [meta["preprocessing"] for _, meta in pairs]
    first = all_of_them[0]
    for name in ("vocab_size", "eos_token", "pad_token", "collapsed"):
        for (shard, _), other in zip(pairs, all_of_them, strict=True):
            if other.get(name) != first.get(name):
                raise ValueError(
                    f"{shard / 'meta.json'}: {name} is {other.get(name)!r}, {first.get(name)!r} in {pairs[0][0]}"
                )
    return {k: v for k, v in first.items() if all(k in other and other[k] == v for other in all_of_them)}


def _meta(shard: Path, schema: Schema) -> dict:
    """`meta.json` with its types and sums checked against the sizes of the files, before anything is read."""
    path = plain_file(shard / "meta.json", shard)
    meta, place = json_object(path.read_bytes(), str(path)), str(path)
    if member(meta, "schema_version", int, place) != schema:
        raise ValueError(f"{place}: schema_version {meta['schema_version']}, this format is version {schema}")
    if schema == 2:
        meta = meta | {"profile": "units-only", "n_codebooks": 1, "num_text_tokens": 0}
    if member(meta, "profile", str, place) not in _ARRAYS:
        raise ValueError(f"{place}: profile {meta['profile'][:80]!r}, expected units-only or aligned")
    if member(meta, "n_codebooks", int, place) != 1:
        raise ValueError(f"{place}: n_codebooks = {meta['n_codebooks']}; only streams of one codebook can be converted")
    counts = ("num_samples", "num_audio_steps", "num_text_tokens", "num_skipped")
    samples, steps, text, _ = (member(meta, name, int, place) for name in counts)
    declared = member(meta, "preprocessing", dict, place)
    eos, pad, vocabulary = (member(declared, name, int, place) for name in ("eos_token", "pad_token", "vocab_size"))
    if (pad, vocabulary) != (eos + 1, eos + 2) or not 1 <= eos <= _MOST_UNITS:
        raise ValueError(f"{place}: EOS {eos}, PAD {pad}, vocabulary {vocabulary}; expected K, K + 1, K + 2 in int16")
    if samples < 1:
        raise ValueError(f"{place}: num_samples = {samples}; shards without samples are not published")
    lengths = {"audio.bin": steps, "audio.len": samples, "text.bin": text, "text.len": samples, "dur.bin": text}
    for name in _ARRAYS[meta["profile"]]:
        size = plain_file(shard / name, shard).stat().st_size
        if size != lengths[name] * np.dtype(_TYPES[name]).itemsize or not size:
            raise ValueError(f"{shard / name}: {size} bytes, not {lengths[name]} entries as in meta.json")
    return meta


def _verify(shard: Path, meta: dict) -> None:
    checksums = member(meta, "checksums", dict, f"{shard / 'meta.json'}")
    for name in ("samples.jsonl", "skips.jsonl", *_ARRAYS[meta["profile"]]):
        if checksum(plain_file(shard / name, shard)) != checksums.get(name):
            raise ValueError(f"{shard / name}: its sha256 is not the one in meta.json: fetch or make the shard again")


def _skips(shard: Path, meta: dict) -> Iterator[dict]:
    rows = list(json_lines(shard / "skips.jsonl", shard))
    if len(rows) != meta["num_skipped"]:
        raise ValueError(f"{shard / 'skips.jsonl'}: {len(rows)} rows, {meta['num_skipped']} in meta.json")
    for place, row in rows:
        yield {name: member(row, name, str, place) for name in ("id", "reason", "detail")}


def _samples(shard: Path, meta: dict, schema: Schema) -> Iterator[tuple[str, UnitDocument]]:
    _verify(shard, meta)
    arrays = {name: np.memmap(shard / name, _TYPES[name], mode="r") for name in _ARRAYS[meta["profile"]]}
    ends, eos, number = _ends(shard, "audio", arrays), meta["preprocessing"]["eos_token"], -1
    text_ends = _ends(shard, "text", arrays) if "text.len" in arrays else None
    for number, (line, row) in enumerate(json_lines(shard / "samples.jsonl", shard)):
        if number >= len(ends):
            raise ValueError(f"{line}: more rows than the {len(ends)} samples")
        name = member(row, "id", str, line)
        place = f"{shard}, sample {number} ({name[:80]!r})"
        codes = _part(arrays["audio.bin"], ends, number)
        column = _column(arrays, text_ends, number, row, line, len(codes)) if text_ends is not None else None
        if member(row, "audio_steps", int, line) != len(codes):
            raise ValueError(f"{line}: audio_steps {row['audio_steps']}, {len(codes)} in audio.len")
        if codes[-1] != eos:
            raise ValueError(f"{place}: ends with {codes[-1]}, not with the declared EOS {eos}")
        yield place, _document(name, codes[:-1], row, column, schema)
    if number + 1 != len(ends):
        raise ValueError(f"{shard / 'samples.jsonl'}: {number + 1} rows for {len(ends)} samples")


def _ends(shard: Path, what: str, arrays: dict[str, np.ndarray]) -> np.ndarray:
    lengths, total = arrays[f"{what}.len"], len(arrays[f"{what}.bin"])
    if lengths.min() < 1 or lengths.max() > total or lengths.sum() != total:
        raise ValueError(f"{shard / what}.len: lengths from {lengths.min()} to {lengths.max()} for {total} entries")
    return np.cumsum(lengths)


def _part(array: np.ndarray, ends: np.ndarray, number: int) -> np.ndarray:
    return np.asarray(array[ends[number - 1] if number else 0 : ends[number]])


def _column(arrays: dict, ends: np.ndarray, number: int, row: dict, line: str, steps: int) -> TextColumn:
    column = TextColumn(tokens=_part(arrays["text.bin"], ends, number), steps=_part(arrays["dur.bin"], ends, number))
    if member(row, "text_tokens", int, line) != len(column.tokens):
        raise ValueError(f"{line}: text_tokens {row['text_tokens']}, {len(column.tokens)} in text.len")
    _check_column(column, steps, line)
    return column


def _check_column(column: TextColumn, steps: int, place: str) -> None:
    covered = int(column.steps.sum(dtype=np.int64))
    if column.tokens.min(initial=0) < 0 or column.steps.min(initial=1) < 1 or covered != steps:
        raise ValueError(f"{place}: its text tokens cover {covered} of {steps} steps, or are negative")


def _document(name: str, units: np.ndarray, row: dict, column: TextColumn | None, schema: Schema) -> UnitDocument:
    reserved = _RESERVED if schema == 1 else _RESERVED - {"text_tokens"}
    metadata = {key: value for key, value in row.items() if key not in reserved}
    speaker = metadata.pop("speaker") if type(metadata.get("speaker")) is str else None
    seconds = metadata.pop("source_duration") if type(metadata.get("source_duration")) is float else None
    return UnitDocument(id=name, units=units, speaker=speaker, seconds=seconds, text_column=column, metadata=metadata)


def write(path: Path, stream: UnitStream, *, schema: Schema) -> list[str]:
    """One shard; of schema 1 it is aligned if all documents have text columns, units only if none has."""
    eos = stream.clusters
    if eos > _MOST_UNITS:
        raise ValueError(f"{path}: K = {eos} and its EOS and PAD do not fit into int16")
    with new_folder(path) as folder:
        counts = _write_samples(folder, path, stream, schema)
        rows = [json.dumps(row, sort_keys=True) + "\n" for row in stream.skips]
        (folder / "skips.jsonl").write_text("".join(rows), encoding="utf-8")
        profile = {"profile": "aligned" if counts["num_text_tokens"] else "units-only"} if schema == 1 else {}
        for name in _TYPES:
            if name not in _ARRAYS[profile.get("profile", "units-only")]:
                (folder / name).unlink()
        given = {k: v for k, v in stream.header.get("preprocessing", {}).items() if k != "profile"}
        ids = {"vocab_size": eos + 2, "eos_token": eos, "pad_token": eos + 1, "collapsed": stream.collapsed}
        meta = {
            "schema_version": schema,
            **profile,
            **({"n_codebooks": 1} if schema == 1 else {}),
            **{name: count for name, count in counts.items() if schema == 1 or name != "num_text_tokens"},
            "num_skipped": len(rows),
            "keep_audio": False,
            "preprocessing": given | profile | ids,
            "checksums": {file.name: checksum(file) for file in sorted(folder.iterdir())},
        }
        (folder / "meta.json").write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    return []


def _write_samples(folder: Path, path: Path, stream: UnitStream, schema: Schema) -> dict[str, int]:
    """Write the arrays and `samples.jsonl`; the counts for `meta.json`."""
    samples = steps = text = aligned = 0
    files = {name: open(folder / name, "wb") for name in (*_TYPES, "samples.jsonl")}
    try:
        for document in stream.documents:
            row = _row(path, document)
            parts = {"audio.bin": np.append(document.units, stream.clusters), "audio.len": [len(document.units) + 1]}
            column = document.text_column if schema == 1 else None
            if column is not None:
                _check_column(column, len(document.units) + 1, f"{path}: {document.id!r}")
                parts |= {"text.bin": column.tokens, "text.len": [len(column.tokens)], "dur.bin": column.steps}
                row["text_tokens"] = len(column.tokens)
                aligned, text = aligned + 1, text + len(column.tokens)
            for name, values in parts.items():
                files[name].write(np.asarray(values).astype(_TYPES[name]).tobytes())
            files["samples.jsonl"].write((json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n").encode())
            samples, steps = samples + 1, steps + len(document.units) + 1
    finally:
        for file in files.values():
            file.close()
    if not samples:
        raise ValueError(f"{path}: no documents, and shards without samples are not published")
    if aligned not in (0, samples):
        raise ValueError(f"{path}: {aligned} of {samples} documents have text columns; all of a shard or none")
    return {"num_samples": samples, "num_audio_steps": steps, "num_text_tokens": text}


def _row(path: Path, document: UnitDocument) -> dict:
    own = {"id": document.id, "audio_steps": len(document.units) + 1}
    if document.speaker is not None:
        own["speaker"] = document.speaker
    if document.seconds is not None:
        own["source_duration"] = document.seconds
    if overlap := document.metadata.keys() & (own.keys() | _RESERVED):
        raise ValueError(f"{path}: {document.id!r} has free fields named {sorted(overlap)}, which are the format's own")
    return document.metadata | own
