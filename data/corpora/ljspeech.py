"""LJ Speech 1.1 (keithito.com/LJ-Speech-Dataset): one reader, 13,100 clips of 1 to 10 s at 22.05 kHz.

In: clips and their list. Out: one utterance per clip, with the normalised text. No official held-out set: 1 % of the
clips, by hash.
"""

from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, inside, is_held_out, lines, table
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("train", "validation")


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """The clips of `train` or `validation`, in the order of the list.

    Layout: `LJSpeech-1.1/`, below `ljspeech/` or directly in the corpora folder, with `metadata.csv` (`id|text|
    normalised text`, nothing quoted) and `wavs/<id>.wav`. Or a sample, `ljspeech/` with `transcripts.tsv` (header `utt
    split text`) and `wavs/`; of it only clips that are there are read.
    """
    chosen("ljspeech", split, SPLITS)
    folder = corpus_folder("ljspeech", root, "ljspeech/LJSpeech-1.1", "ljspeech", "LJSpeech-1.1")
    seen: set[str] = set()
    for where, name, text in _clips(folder):
        if not name or not text or name in seen:
            raise ValueError(f"{where}: clip {name!r} has no name, no text, or occurs twice")
        seen.add(name)
        audio = inside(folder, folder / "wavs" / f"{name}.wav", where)
        if is_held_out(name) == (split == "validation"):
            yield Utterance(id=name, text=text, audio=audio, speaker="LJ")


def _clips(folder: Path) -> Iterator[tuple[str, str, str]]:
    """(file and line, id, text) of each clip."""
    metadata, sample = folder / "metadata.csv", folder / "transcripts.tsv"
    if metadata.is_file():
        for number, line in lines(inside(folder, metadata, folder)):
            cells = line.split("|")
            if len(cells) != 3:
                raise ValueError(f"{metadata}, line {number}: expected `id|text|normalised text`, found {line[:200]!r}")
            yield f"{metadata}, line {number}", cells[0], cells[2].strip()
    elif sample.is_file():
        there = {path.stem for path in (folder / "wavs").glob("*.wav")}
        for number, (name, text) in table(inside(folder, sample, folder), ("utt", "text")):
            if name in there:
                yield f"{sample}, line {number}", name, text.strip()
    else:
        raise ValueError(f"{folder}: neither {metadata.name} nor {sample.name} is there")
