"""LibriSpeech (Panayotov et al. 2015) in its official layout.

In: a corpora folder with `LibriSpeech/<split>/<speaker>/<chapter>/`, directly or below `librispeech/`. Out: one
utterance per line of each chapter's `.trans.txt`, in sorted order, whether or not its FLAC file is there.
"""

from collections.abc import Iterator
from pathlib import Path

from data.utterance import Utterance

REVISION = "1"


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Utterances of a split, e.g. `test-other`; `ValueError` when the split's folder holds no transcripts."""
    if root is None:
        raise ValueError("librispeech is read from files: say where they are with --corpora DIR")
    folders = [root / "librispeech" / "LibriSpeech" / split, root / "LibriSpeech" / split]
    transcripts = sorted(path for folder in folders for path in folder.glob("*/*/*.trans.txt"))
    if not transcripts:
        raise ValueError(f"no transcripts (*.trans.txt) in {folders[0]} or {folders[1]}")
    for path in transcripts:
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            name, _, text = line.strip().partition(" ")
            if not text:
                raise ValueError(f"{path}, line {number}: expected `<utterance> <TRANSCRIPT>`, found {line!r}")
            yield Utterance(id=name, text=text, audio=path.parent / f"{name}.flac", speaker=name.split("-")[0])
