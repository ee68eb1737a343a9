"""VoxPopuli, English (Wang et al. 2021; github.com/facebookresearch/voxpopuli): the European Parliament.

In: recordings and the publisher's tables of segments. Out: one utterance per segment. Held out: the official dev and
test sets of the transcribed part; of the unlabelled part, 1 % of the recordings, by hash.
"""

from collections.abc import Iterator
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, found, inside, is_held_out, table, time
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("unlabelled-train", "unlabelled-validation", "train", "dev", "test")
LANGUAGE = "en"


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Segments of a split of SPLITS, in order of the table, or of the folders where there is none.

    Layout below `voxpopuli/`, as the publisher's scripts leave it. Unlabelled: `unlabelled_data/unlabelled_v2.tsv` or
    `.tsv.gz` (`event_id segment_no start end`) and whole recordings `raw_audios/en/<year>/<event>.ogg`, cut while they
    are read; or else recordings that are cut, `unlabelled_data/en/<year>/<event>_<segment>.ogg`. Transcribed:
    `transcribed_data/en/asr_{train,dev,test}.tsv` (`id raw_text normalized_text speaker_id`) and `<year>/<id>.ogg`
    beside. Years that were not downloaded are left out.
    """
    chosen("voxpopuli", split, SPLITS)
    folder = corpus_folder("voxpopuli", root, "voxpopuli")
    if not split.startswith("unlabelled"):
        yield from _transcribed(folder, split)
        return
    tables = [folder / "unlabelled_data" / f"unlabelled_v2.tsv{suffix}" for suffix in ("", ".gz")]
    listed = next((path for path in tables if path.is_file()), None)
    raw = folder / "raw_audios" / LANGUAGE
    is_cut = listed is None or not raw.is_dir()
    segments = _cut(folder) if is_cut else _to_cut(folder, raw, inside(folder, listed, folder))
    is_empty = True
    for event, utterance in segments:
        is_empty = False
        if is_held_out(event) == (split == "unlabelled-validation"):
            yield utterance
    if is_empty:
        raise ValueError(f"no recordings in {raw} with {tables[1]}, nor in {folder / 'unlabelled_data' / LANGUAGE}")


def _to_cut(folder: Path, raw: Path, listed: Path) -> Iterator[tuple[str, Utterance]]:
    years = {path.name for path in raw.iterdir() if path.is_dir()}
    seen: set[str] = set()
    for number, (event, segment, start, end) in table(listed, ("event_id", "segment_no", "start", "end")):
        if not event.endswith(f"_{LANGUAGE}") or event[:4] not in years:
            continue
        where, name = f"{listed}, line {number}", f"{event}_{segment}"
        first, last = time(start, where), time(end, where)
        if last <= first or name in seen:
            raise ValueError(f"{where}: segment {name} from {first:g} to {last:g} s is empty, or occurs twice")
        seen.add(name)
        audio = inside(folder, raw / event[:4] / f"{event}.ogg", where)
        yield event, Utterance(id=name, audio=audio, start=first, seconds=round(last - first, 6))


def _cut(folder: Path) -> Iterator[tuple[str, Utterance]]:
    for path in found(folder / "unlabelled_data", LANGUAGE, "*", "*.ogg"):
        if path.stem[:4] != path.parent.name:
            raise ValueError(f"{path}: not of the year of its folder; segments are named <yyyy…>_<segment>.ogg")
        yield path.stem.rpartition("_")[0], Utterance(id=path.stem, audio=inside(folder, path, folder))


def _transcribed(folder: Path, split: str) -> Iterator[Utterance]:
    home = folder / "transcribed_data" / LANGUAGE
    listed = home / f"asr_{split}.tsv"
    if not listed.is_file():
        raise ValueError(f"{listed} is not there: run `python -m voxpopuli.get_asr_data` of the publisher's scripts")
    seen: set[str] = set()
    columns = ("id", "raw_text", "normalized_text", "speaker_id")
    for number, (name, raw, normalised, speaker) in table(inside(folder, listed, folder), columns):
        where = f"{listed}, line {number}"
        if not name or name in seen:
            raise ValueError(f"{where}: segment {name!r} has no name, or one that occurs twice")
        seen.add(name)
        audio = inside(folder, home / name[:4] / f"{name}.ogg", where)
        if audio.parent.is_dir():
            yield Utterance(id=name, text=normalised or raw or None, audio=audio, speaker=speaker or None)
