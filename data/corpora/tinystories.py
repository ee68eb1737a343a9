"""TinyStories (Eldan & Li 2023, arXiv 2305.07759; huggingface.co/datasets/roneneldan/TinyStories), to be spoken.

In: the published text or parquet files, or a sample of them. Out: one utterance per story. Held out: the official
validation split.
"""

from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, found, inside
from data.corpora.parquet import rows
from data.utterance import Utterance

REVISION = "1"
FILES = {
    "train": ("TinyStoriesV2-GPT4-train.txt", "TinyStories-train.txt", "train_sample.txt"),
    "validation": ("TinyStoriesV2-GPT4-valid.txt", "TinyStories-valid.txt", "val_sample_first_half.txt"),
}
"""Accepted names per split, the first one found is read: the two published versions, then a sample of them."""
_SEPARATOR = "<|endoftext|>"
_OPENING = "Once upon a time"
_MOJIBAKE = {"â€œ": '"', "â€™": "'", "â€”": "-", "â€": '"'}  # UTF-8 quotes and dashes once read as Windows-1252
_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "–": "-", "—": "-", "…": "..."})
CHUNK = 1 << 22
"""Characters that are read at once (a choice)."""


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Stories with collapsed white space and plain quotes; `ValueError` when no file of the split is there.

    Layout: `tinystories/` with one of FILES, or with the hub's `data/{train,validation}-*.parquet` (column `text`). In
    text, stories are parted by `<|endoftext|>`. In a file without it (a known sample of the validation split) a story
    begins where a paragraph begins with "Once upon a time"; the one in six that opens otherwise joins the one before.
    """
    chosen("tinystories", split, tuple(FILES))
    folder = corpus_folder("tinystories", root, "tinystories")
    number = 0
    for story in _stories(folder, split):
        for wrong, right in _MOJIBAKE.items():
            story = story.replace(wrong, right)
        words = " ".join(story.translate(_PLAIN).split())
        if words:
            yield Utterance(id=f"tinystories-{split}-{number:07d}", text=words)
            number += 1


def _stories(folder: Path, split: str) -> Iterator[str]:
    for name in FILES[split]:
        path = folder / name
        if path.is_file() and path.stat().st_size:
            return _parted(inside(folder, path, folder))
    shards = [inside(folder, path, folder) for path in found(folder, "data", f"{split}-*.parquet")]
    if shards:
        return (row["text"] or "" for path in shards for row in rows(path, {"text": str}))
    names = (*FILES[split], f"data/{split}-*.parquet")
    raise ValueError(f"{folder}: none of {', '.join(names)} is there, or it is empty")


def _parted(path: Path) -> Iterator[str]:
    """Stories of a text file. Damaged bytes are replaced, because samples are cut inside of characters."""
    text, is_parted = "", False
    with open(path, encoding="utf-8", errors="replace") as file:
        while chunk := file.read(CHUNK):
            *stories, text = (text + chunk).split(_SEPARATOR)
            is_parted |= bool(stories)
            yield from stories
    if not is_parted:  # else what comes after the last separator is white space, or a story that a sample cuts off
        yield from (_OPENING + story for story in text.split(f"\n\n{_OPENING}")[1:])  # the first begins in its middle
