"""Damaged corpora: whatever happens to a file, a reader gives utterances that make sense, or one line of reason."""

import math
import random
from pathlib import Path

import pytest

MUTATIONS = 120  # for every layout
DAMAGE = (
    *(
        b"\xff\xfe",
        b"\x00",
        b"\n",
        b"\t",
        b"|",
        b"-1",
        b"nan",
        b"1e999",
        b"9" * 40,
        b"../",
        b"",
        b'"',
        b"\r",
        b"\xe2\x80",
    ),
    *(b"[", b"}", b"null", b"-0.5", b"\\ud800", b"true", b"<t>", b"start", b"<|endoftext|>"),
)


def damaged(content: bytes, chance: random.Random) -> bytes:
    kind, at = chance.randrange(6), chance.randrange(len(content) + 1)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]
    if kind == 2:
        return content[:at] + chance.choice(DAMAGE) + content[at + chance.randrange(8) :]
    if kind == 3:
        lines = content.split(b"\n")
        lines.insert(chance.randrange(len(lines)), chance.choice(lines))
        return b"\n".join(lines)
    if kind == 4:
        until = min(len(content), at + chance.randrange(200))
        return content[:at] + content[until:]
    return content.decode("latin-1").encode("utf-16")


def check(utterances: list, root: Path) -> None:
    assert len({utterance.id for utterance in utterances}) == len(utterances)
    for utterance in utterances:
        assert utterance.id and utterance.id.encode()
        assert (utterance.text or utterance.audio or utterance.labels) and (utterance.text or "x").encode()
        assert 0 <= utterance.start < math.inf
        assert utterance.seconds is None or 0 < utterance.seconds < math.inf
        starts = [start for start, _, _ in utterance.words]
        assert starts == sorted(starts) and all(0 <= start < math.inf for start in starts)
        assert all(utterance.text[first : first + length] for _, first, length in utterance.words)
        assert utterance.audio is None or ".." not in utterance.audio.parts
        assert utterance.labels is None or all(label >= 0 for label in utterance.labels)


def test_damage_gives_a_reason_or_sense(laid_out, any_layout):
    root, read = laid_out(any_layout)
    sound = (".flac", ".ogg", ".wav", ".sph", ".WAV")
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.suffix not in sound)
    files = [] if any_layout == "folder/files" else files  # nothing is read there but names
    chance = random.Random(any_layout)
    refused = 0
    for _ in range(MUTATIONS if files else 0):
        path = chance.choice(files)
        content = path.read_bytes()
        path.write_bytes(damaged(content, chance))
        try:
            check(read(), root)
        except ValueError as error:
            refused += 1
            assert str(root) in str(error) and len(str(error)) < 2000, error
        path.write_bytes(content)
    check(read(), root)
    assert refused or not files or any_layout == "tinystories", "damage that no reader notices tests nothing"


@pytest.mark.parametrize("content", [b"", b"\n", b"\x00" * 2000, b"[" * 100_000, b"{" * 100_000, b"<a>" * 20_000])
def test_no_content_is_too_odd(laid_out, any_layout, content):
    root, read = laid_out(any_layout)
    files = [
        path for path in root.rglob("*") if path.suffix in (".txt", ".json", ".swc", ".stm", ".tsv", ".csv", ".jsonl")
    ]
    for path in files + list(root.rglob("*.parquet")) + list(root.rglob("*.tar")) + list(root.rglob("*.gz")):
        path.write_bytes(content)
    try:
        check(read(), root)
    except ValueError as error:
        assert str(root) in str(error)
