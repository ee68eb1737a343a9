"""Damaged files: every reader ends in a valid result, or in a `ValueError` that names the file."""

import json
import shutil
import tracemalloc
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest

from data.convert import FORMATS
from data.formats.document import Stated, TextColumn
from slm.store import checksum
from tests.data.formats.documents import CLUSTERS, content, document, recipe, stream, target

MUTATIONS = 100
WORDS = ((0.1, 0.2, "the"), (0.2, 0.5, "cat"))
NAMES = [*FORMATS, "interleaved_lm-aligned"]


def write_example(folder: Path, name: str) -> Path:
    path = target(folder, name)
    if name == "parole":
        folder.mkdir(exist_ok=True)
        np.array([1, 2, 3, 1, 2], "<i2").tofile(path)
        np.array([3, 2], "<u4").tofile(path.with_suffix(".len"))
        np.array([1, 2, 3, 4, 5], "u1").tofile(path.with_suffix(".dur"))
        return path
    units, more = ([17, 4, 49, 4], [0, 3, 8]), {"text": "the cat", "words": WORDS, "seconds": 0.5}
    aligned = name == "interleaved_lm-aligned"
    found = [
        document(
            f"utt-{number}",
            labels,
            durations=range(1, len(labels) + 1),
            metadata={"correct": True, "x": [1.5, None]},
            text_column=TextColumn(tokens=np.array([9, 7]), steps=np.array([2, len(labels) - 1])) if aligned else None,
            **more,
        )
        for number, labels in enumerate(units)
    ]
    skips = ({"id": "lost", "reason": "short", "detail": "0.01 s"},)
    options = {"spec": recipe()} if name == "store" else {}
    FORMATS[name.removesuffix("-aligned")].write(path, stream(*found, skips=skips), **options)
    return path


def outcome(folder: Path, path: Path, name: str) -> list[dict] | str:
    """The documents, or the message of the `ValueError`; any other error is the test's failure."""
    manifest = path.with_suffix(".tsv") if name == "gslm" else None
    sidecars = path.with_suffix("") if name == "slamkit-features" else None
    stated = Stated(units=CLUSTERS, manifest=manifest, sidecars=sidecars)
    try:
        return content(FORMATS[name.removesuffix("-aligned")].read(path, stated))
    except ValueError as error:
        assert str(folder) in str(error), f"no file is named: {error}"
        return str(error)


def sign_again(path: Path) -> None:
    """Let the checksums agree with what is there, so that damage reaches the reader behind them."""
    for name in ("meta.json", "manifest.json"):
        try:
            meta = json.loads((path / name).read_bytes())
            for file, entry in meta.get("checksums", meta.get("files", {})).items():
                if name == "meta.json":
                    meta["checksums"][file] = checksum(path / file)
                else:
                    entry.update(bytes=(path / file).stat().st_size, sha256=checksum(path / file))
        except (OSError, ValueError, AttributeError, RecursionError):
            continue
        (path / name).write_text(json.dumps(meta))


def damaged(content: bytes, random: np.random.Generator) -> bytes:
    at, other = sorted(random.integers(0, len(content) + 1, 2)) if content else (0, 0)
    numbers = (b"-1", b"0", b"50", b"99999999999999999999", b"1e999", b"1" * 5000, b"2.0", b"NaN")
    values = (b"null", b"[]", b"{}", b'"x"', b"true", b'"\\ud800"', b"[" * 3000)
    value = values[random.integers(len(values))]
    digits = [i for i, byte in enumerate(content) if 48 <= byte < 58]
    digit = digits[random.integers(len(digits))] if digits else 0
    flipped = bytearray(content or b"\0")
    flipped[min(at, len(flipped) - 1)] ^= 1 << random.integers(8)
    kinds = (
        lambda: content[:at],
        lambda: bytes(flipped),
        lambda: content[:at] + content[other:],
        lambda: content[:other] + content[at:],
        lambda: content[:at] + random.bytes(3) + content[at:],
        lambda: content[:digit] + numbers[random.integers(len(numbers))] + content[digit + 1 :],
        lambda: content[:digit] + value + content[digit + 1 :],
        lambda: content.replace(b"\n", b"\r\n"),
        lambda: b"\xef\xbb\xbf" + content,
        lambda: content.decode(errors="replace").encode("utf-16"),
        lambda: b"",
    )
    return kinds[random.integers(len(kinds))]()


@pytest.mark.parametrize("name", NAMES)
def test_damage_is_named_or_harmless(name, tmp_path):
    example = write_example(tmp_path / "example", name)
    assert isinstance(outcome(tmp_path, example, name), list)
    random = np.random.default_rng(crc32(name.encode()))
    files = sorted(path for path in (tmp_path / "example").rglob("*") if path.is_file() and path.name[0] != ".")
    for number in range(MUTATIONS):
        folder = tmp_path / str(number)
        shutil.copytree(tmp_path / "example", folder, ignore=shutil.ignore_patterns(".*"))
        victim = folder / files[random.integers(len(files))].relative_to(tmp_path / "example")
        victim.write_bytes(damaged(victim.read_bytes(), random))
        if random.integers(2):
            sign_again(folder / example.name)
        found = outcome(folder, folder / example.name, name)
        for row in found if isinstance(found, list) else []:
            assert all(0 <= unit < CLUSTERS for unit in row["units"])
            assert all(count >= 1 for count in row["durations"] or ())
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", NAMES[1:])
def test_links_out_of_the_folder_and_folders_for_files_are_refused(name, tmp_path):
    """Of formats from elsewhere; our own stores may be linked."""
    example = write_example(tmp_path / "example", name)
    inside = [path for path in (tmp_path / "example").rglob("*") if path.is_file()]
    for number, original in enumerate(inside):
        relative = original.relative_to(tmp_path / "example")
        for kind in ("folder", "link", "dangling"):
            folder = tmp_path / f"{kind}{number}"
            shutil.copytree(tmp_path / "example", folder)
            victim = folder / relative
            victim.unlink()
            if kind == "folder":
                victim.mkdir()
            else:
                victim.symlink_to(original if kind == "link" else tmp_path / "nowhere")
            # What the caller names may be a link; what is found beside it may not.
            named = victim == folder / example.name or victim.suffix == ".tsv"
            absent = kind == "dangling" and victim.suffix in (".durations", ".dur")
            if not (named and kind == "link") and not absent:
                found = outcome(folder, folder / example.name, name)
                assert isinstance(found, str) and victim.name in found, (kind, victim, found)


@pytest.mark.parametrize(
    ("name", "file", "field"),
    [
        ("slm_scaling", "meta.json", "num_samples"),
        ("slm_scaling", "meta.json", "num_audio_steps"),
        ("interleaved_lm-aligned", "meta.json", "num_text_tokens"),
    ],
)
def test_absurd_counts_are_refused_before_anything_is_allocated(name, file, field, tmp_path):
    path = write_example(tmp_path, name)
    meta = json.loads((path / file).read_text())
    (path / file).write_text(json.dumps(meta | {field: 10**15}))
    tracemalloc.start()
    found = outcome(tmp_path, path, name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "1000000000000000 entries" in found and peak < 10**7


@pytest.mark.parametrize("value", [10**12, 1 << 25])
def test_absurd_durations_are_refused_before_frames_are_made(value, tmp_path):
    (tmp_path / "u.units").write_text("1 2\n")
    (tmp_path / "u.durations").write_text(f"1 {value}\n")
    assert "line 1: durations from 1 to" in outcome(tmp_path, tmp_path / "u.units", "textless")
