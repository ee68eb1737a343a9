"""Any audio of your own: a folder of recordings, a fairseq manifest, or a manifest of JSON lines.

In: `folder/` in the corpora folder. Out: one utterance per file or line, in order. Splits, held-out ones too, are
yours to name.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import corpus_folder, inside, json_object, lines, time
from data.utterance import Utterance

REVISION = "1"
SUFFIXES = {".flac", ".wav", ".ogg", ".opus", ".mp3", ".sph", ".aiff"}


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Utterances of a split; `ValueError` where there is none of the three forms, or more than one.

    Layout, below `folder/`: `<split>/` with audio files at any depth; or `<split>.tsv`, fairseq's: line 1 a folder,
    absolute or relative to the manifest, then `path<TAB>samples`; or `<split>.jsonl`, as slm_scaling and interleaved_lm
    write them (github.com/tiagoCuervo/slm_scaling): `id`, `audio` (null: the transcript is to be spoken), and, where
    given, `offset`, `duration`, `speaker`, `transcript`, `words`.
    """
    folder = corpus_folder("folder", root, "folder")
    if not re.fullmatch(r"[\w.-]*\w[\w.-]*", split):
        raise ValueError(f"{split!r} is not the name of a split: letters, digits, `.`, `_` and `-`")
    readers = {folder / split: _from_folder, folder / f"{split}.tsv": _from_tsv, folder / f"{split}.jsonl": _from_jsonl}
    there = [path for path in readers if path.exists()]
    if len(there) != 1:
        raise ValueError(f"exactly one of {', '.join(map(str, readers))} is read; {len(there)} of them are there")
    is_empty = True
    for utterance in readers[there[0]](inside(folder, there[0], folder)):
        is_empty = False
        yield utterance
    if is_empty:
        raise ValueError(f"{there[0]}: holds no audio")


def _from_folder(folder: Path) -> Iterator[Utterance]:
    for parent, folders, names in os.walk(folder):  # links to folders are not followed
        folders.sort()
        for path in (Path(parent, name) for name in sorted(names)):
            if path.suffix.lower() in SUFFIXES:
                yield Utterance(id=path.relative_to(folder).as_posix(), audio=inside(folder, path, folder))


def _from_tsv(manifest: Path) -> Iterator[Utterance]:
    """The count of samples is what fairseq says of the file's own rate: it is checked, and not used."""
    home: Path | None = None
    seen: set[str] = set()
    for number, line in lines(manifest):
        where = f"{manifest}, line {number}"
        if home is None:
            home = manifest.parent / line
            if not line or ".." in Path(line).parts or "\0" in line or not os.path.isdir(home):
                raise ValueError(f"{where}: {line[:200]!r} is not a folder that is there; line 1 names the recordings'")
            continue
        name, tab, samples = line.rpartition("\t")
        if not tab or not re.fullmatch(r"[0-9]{1,15}", samples) or int(samples) == 0 or name in seen:
            raise ValueError(f"{where}: expected a new `path<TAB>samples`, found {line[:200]!r}")
        seen.add(name)
        yield Utterance(id=name, audio=inside(home, home / name, where))


def _from_jsonl(manifest: Path) -> Iterator[Utterance]:
    """An absolute path is read as it is, a relative one must stay inside the manifest's folder."""
    seen: set[str] = set()
    for number, line in lines(manifest):
        where = f"{manifest}, line {number}"
        row = json_object(line, where)
        for key in ("id", "audio", "speaker", "transcript"):
            if not isinstance(row.get(key), str | None):
                raise ValueError(f"{where}: {key} is {str(row[key])[:80]!r}, text expected")
        name, audio, text = row.get("id"), row.get("audio"), row.get("transcript")
        if not name or name in seen or not (audio or text):
            raise ValueError(f"{where}: id {name!r} is missing or occurs twice, or there is no audio and no transcript")
        seen.add(name)
        path = _audio(manifest.parent, audio, where) if audio else None
        length = None if row.get("duration") is None or path is None else time(row["duration"], where)
        if length == 0:
            raise ValueError(f"{where}: duration is 0")
        yield Utterance(
            id=name,
            text=text or None,
            audio=path,
            speaker=row.get("speaker"),
            start=time(row.get("offset") or 0.0, where),
            seconds=length,
            words=_words(row.get("words") or [], text, where) if path else (),
        )


def _audio(home: Path, name: str, where: str) -> Path:
    path = home / name
    return inside(Path("/") if Path(name).is_absolute() else home, path, where)


def _words(listed: object, text: str | None, where: str) -> tuple[tuple[float, int, int], ...]:
    """Start times, taken as seconds into the utterance, of words found one after another in the transcript."""
    if not isinstance(listed, list) or not all(isinstance(word, dict) for word in listed):
        raise ValueError(f"{where}: words are {str(listed)[:80]!r}, a list of objects expected")
    found, after, last = [], 0, 0.0
    for word in listed:
        spelt = word.get("text")
        start = time(word.get("start", word.get("start_ts")), where)
        first = text.find(spelt.strip(), after) if text and isinstance(spelt, str) and spelt.strip() else -1
        if first < 0 or start < last:
            raise ValueError(f"{where}: word {str(spelt)[:80]!r} at {start:g} s does not follow in the transcript")
        after, last = first + len(spelt.strip()), start
        found.append((start, first, len(spelt.strip())))
    return tuple(found)
