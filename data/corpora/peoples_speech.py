"""The People's Speech (Galvez et al. 2021; huggingface.co/datasets/MLCommons/peoples_speech), in both its forms.

In: parquet shards with text and sound, or a manifest and tars. Out: one utterance per segment, read where it lies.
Held out: the official validation and test sets.
"""

from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, found, inside, json_object, lines, time
from data.corpora.parquet import rows
from data.corpora.tar import members
from data.utterance import Utterance

REVISION = "1"
SUBSETS = ("clean", "clean_sa", "dirty", "dirty_sa", "microset")
PARTS = ("train", "validation", "test")
SPLITS = tuple(f"{subset}-{part}" for subset in SUBSETS for part in PARTS)


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Segments of a split of SPLITS, e.g. `clean-train`, in order of shard and row, or of the manifest.

    Layouts below `peoples_speech/`. Parquet, as on the hub: `<subset>/<part>-*.parquet` with columns `id`, `audio`
    {bytes, path}, `duration_ms`, `text`. As first published (github.com/lhotse-speech/lhotse,
    recipes/peoples_speech.py): `<part>/<name>.json`, a line `{"identifier", "training_data": {"duration_ms": […],
    "label": […], "name": […]}}` per source, with recordings in `<part>/<name>/*.tar`, where `name` is the subset in
    train, and the part elsewhere. Segments whose tar was not downloaded are left out.
    """
    subset, part = chosen("peoples_speech", split, SPLITS).split("-")
    folder = corpus_folder("peoples_speech", root, "peoples_speech")
    shards = [inside(folder, path, folder) for path in found(folder, subset, f"{part}-*.parquet")]
    name = subset if part == "train" else part
    manifest = folder / part / f"{name}.json"
    if shards:
        segments = _from_shards(shards)
    elif manifest.is_file():
        tars = [inside(folder, path, folder) for path in found(folder, part, name, "*.tar")]
        segments = _from_tars(inside(folder, manifest, folder), tars)
    else:
        raise ValueError(f"{split}: neither {folder / subset / part}-*.parquet nor {manifest} is there")
    yield from segments


def _from_shards(shards: list[Path]) -> Iterator[Utterance]:
    seen: set[str] = set()
    for path in shards:
        for number, row in enumerate(rows(path, {"id": str, "duration_ms": int, "text": str})):
            where = f"{path}, row {number}"
            yield _utterance(row["id"], row["duration_ms"], row["text"], path, seen, where)


def _from_tars(manifest: Path, tars: list[Path]) -> Iterator[Utterance]:
    tar_of = {name: path for path in tars for name in members(path)}
    seen: set[str] = set()
    for number, line in lines(manifest):
        where = f"{manifest}, line {number}"
        data = json_object(line, where).get("training_data")
        columns = [data.get(key) if isinstance(data, dict) else None for key in ("name", "duration_ms", "label")]
        if not all(isinstance(column, list) for column in columns) or len(set(map(len, columns))) != 1:
            raise ValueError(f"{where}: `training_data` needs lists `name`, `duration_ms`, `label` of one length")
        for name, milliseconds, text in zip(*columns, strict=True):
            if not isinstance(name, str) or not isinstance(text, str | None):
                raise ValueError(f"{where}: name {str(name)[:80]!r} and label {str(text)[:80]!r} are not both text")
            if name in tar_of:
                yield _utterance(name, milliseconds, text, tar_of[name], seen, where)


def _utterance(
    name: str | None, milliseconds: int, text: str | None, audio: Path, seen: set[str], where: str
) -> Utterance:
    if not name or name in seen:
        raise ValueError(f"{where}: segment {name!r} has no name, or one that occurs twice")
    seen.add(name)
    seconds = time(milliseconds, where, unit=1000)
    if seconds == 0:
        raise ValueError(f"{where}: segment {name!r} lasts {milliseconds} ms")
    return Utterance(id=name, text=text or None, audio=audio, member=name, seconds=seconds)
