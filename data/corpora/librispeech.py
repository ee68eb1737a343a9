"""LibriSpeech (Panayotov et al. 2015, openslr.org/12) in its official layout.

In: chapters with transcripts and recordings. Out: one utterance per line of each chapter's transcripts, in sorted
order, whether or not its recording is there. Held out: the official dev and test sets.
"""

from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, found, inside, lines
from data.utterance import Utterance

REVISION = "1"
SPLITS = (
    *("train-clean-100", "train-clean-360", "train-other-500"),
    *("dev-clean", "dev-other", "test-clean", "test-other"),
)


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Utterances of a split of SPLITS; `ValueError` when its folder holds no transcripts.

    Layout: `LibriSpeech/<split>/<speaker>/<chapter>/`, below `librispeech/` or directly in the corpora folder, with
    `<speaker>-<chapter>.trans.txt` (`<utterance> <TRANSCRIPT>` a line) and `<utterance>.flac`. What was not downloaded
    may be missing.
    """
    chosen("librispeech", split, SPLITS)
    layouts = [f"{parent}LibriSpeech/{split}" for parent in ("librispeech/", "")]
    folder = corpus_folder("librispeech", root, *layouts)
    transcripts = list(found(folder, "*", "*", "*.trans.txt"))
    if not transcripts:
        raise ValueError(f"no transcripts (<speaker>/<chapter>/*.trans.txt) in {folder}")
    for path in transcripts:
        speaker, chapter = path.parent.parts[-2:]
        seen: set[str] = set()
        for number, line in lines(inside(folder, path, folder)):
            where = f"{path}, line {number}"
            name, _, text = line.strip().partition(" ")
            if not text:
                raise ValueError(f"{where}: expected `<utterance> <TRANSCRIPT>`, found {line[:200]!r}")
            if not name.startswith(f"{speaker}-{chapter}-") or name in seen:
                raise ValueError(f"{where}: utterance {name!r} is of another chapter, or there twice")
            seen.add(name)
            audio = inside(folder, path.parent / f"{name}.flac", where)
            yield Utterance(id=name, text=text, audio=audio, speaker=speaker)
