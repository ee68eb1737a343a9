"""TinyStories (Eldan & Li 2023, arXiv 2305.07759) as its publishers lay it out, to be spoken.

In: a corpora folder with `tinystories/`, or the publishers' file names in it, listed in FILES. Out: one utterance per
story. Stories are parted by `<|endoftext|>`. In a file without it (a known sample of the validation split) a story
begins where a paragraph begins with "Once upon a time"; the one in six that opens otherwise joins the one before it.
"""

from collections.abc import Iterator
from pathlib import Path

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


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Stories with collapsed white space and plain quotes; `ValueError` when no file of the split is there."""
    path = _file(root, split)
    text = path.read_text(encoding="utf-8", errors="replace")
    if _SEPARATOR in text:
        stories = text.split(_SEPARATOR)
        if not text.rstrip().endswith(_SEPARATOR):
            stories.pop()  # a sample's last story is cut off
    else:
        stories = [_OPENING + story for story in text.split(f"\n\n{_OPENING}")[1:]]  # the first begins in its middle
    number = 0
    for story in stories:
        for wrong, right in _MOJIBAKE.items():
            story = story.replace(wrong, right)
        words = " ".join(story.translate(_PLAIN).split())
        if words:
            yield Utterance(id=f"tinystories-{split}-{number:07d}", text=words)
            number += 1


def _file(root: Path | None, split: str) -> Path:
    names = FILES.get(split)
    if names is None:
        raise ValueError(f"tinystories has no split {split!r}: choose one of {', '.join(FILES)}")
    if root is None:
        raise ValueError("tinystories is read from files: say where they are with --corpora DIR")
    for name in names:
        path = root / "tinystories" / name
        if path.is_file() and path.stat().st_size:
            return path
    raise ValueError(f"{root / 'tinystories'}: none of {', '.join(names)} is there, or it is empty")
