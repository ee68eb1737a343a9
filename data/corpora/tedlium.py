"""TED-LIUM release 3 (Hernandez et al. 2018, openslr.org/51): talks with aligned transcripts.

In: talks and their STM files. Out: one utterance per line of a transcript. Held out: the official dev and test sets.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, found, inside, lines, time
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("train", "dev", "test")
IGNORED = "ignore_time_segment_in_scoring"


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Utterances of `train`, `dev` or `test`, in order of talk and line.

    Layout (github.com/lhotse-speech/lhotse, recipes/tedlium.py): `TEDLIUM_release-3/legacy/<split>/{stm,sph}/
    <talk>.{stm,sph}`, below `tedlium/` or directly in the corpora folder; links within the release are followed. STM:
    `talk channel speaker start end <labels> text`; lines whose text is IGNORED are left out, and a recording's name in
    brackets at the end of a text is taken off.
    """
    chosen("tedlium", split, SPLITS)
    releases = [f"{parent}TEDLIUM_release-3" for parent in ("tedlium/", "")]
    release = corpus_folder("tedlium", root, *releases)
    talks = list(found(release / "legacy" / split / "stm", "*.stm"))
    if not talks:
        raise ValueError(f"no talks (*.stm) in {release / 'legacy' / split / 'stm'}")
    for path in talks:
        audio = inside(release, path.parents[1] / "sph" / f"{path.stem}.sph", path)
        for number, line in lines(inside(release, path, release)):
            if line.strip() and not line.startswith(";;"):
                yield from _utterance(path, number, line, audio)


def _utterance(path: Path, number: int, line: str, audio: Path) -> Iterator[Utterance]:
    where = f"{path}, line {number}"
    cells = line.split(maxsplit=6)
    if len(cells) < 6 or cells[0] != path.stem:
        raise ValueError(
            f"{where}: expected `{path.stem} channel speaker start end <labels> text`, found {line[:200]!r}"
        )
    text = cells[6].strip() if len(cells) == 7 else ""
    start, end = time(cells[3], where), time(cells[4], where)
    if end <= start:
        raise ValueError(f"{where}: ends at {end:g} s, begins at {start:g} s")
    if text != IGNORED:
        text = re.sub(r"\s*\([^\s()]*\)$", "", text)
        times = {"start": start, "seconds": round(end - start, 6)}
        yield Utterance(id=f"{path.stem}-{number:05d}", text=text or None, audio=audio, speaker=cells[2], **times)
