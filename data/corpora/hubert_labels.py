"""Speech that comes as labels: HuBERT-base units of layer 9, phones, text and word times of LibriSpeech utterances.

In: SpeechLM's train_sample100 (github.com/microsoft/SpeechT5, SpeechLM/dataset/LibriSpeech), written as tables, and
fairseq's one sample with its sound (github.com/facebookresearch/fairseq, examples/hubert/tests). Out: one utterance
per row. Too little to hold anything out.
"""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, found, inside, lines, table, time
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("all", "audio")
UNIT_RATE, PHONE_RATE = 50.0, 100.0
"""Labels per second."""
SAMPLE_RATE = 16000
_TOLERANCE = 0.1
"""Seconds by which labels may end before their sound: windows that do not fit are left out (a choice)."""


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """All utterances of the tables, in their order; or, with sound, those whose recording is there, and the sample.

    Layout: `hubert_labels/` or `hubert_units/speechlm_librispeech70/`, tables with a header, cells parted by tabs and
    rows in one order: `units.tsv` (`utt units`, 50 Hz, not collapsed), `phones.tsv` (`utt phones`, ids at 100 Hz),
    `phone_symbols.tsv` (`id symbol`, Kaldi's with word position and stress), `text.tsv` (`utt samples seconds
    transcript`), `word_alignments.tsv` (`utt start_s end_s word`). Recordings are those of LibriSpeech, in
    `librispeech/LibriSpeech/<split>/`; fairseq's sample is `hubert_units/fairseq_sample/` with `<utterance>.flac`,
    `<speaker>-<chapter>.trans.txt` and `*.km500.txt`, the labels in one line.
    """
    chosen("hubert_labels", split, SPLITS)
    layouts = ("hubert_labels", "hubert_units/speechlm_librispeech70")
    folder = corpus_folder("hubert_labels", root, *layouts)
    if split == "all":
        yield from _all(folder)
        return
    recordings = {path.stem: path for path in found(root, "librispeech", "LibriSpeech", "*", "*", "*", "*.flac")}
    for utterance in _all(folder):
        if utterance.id in recordings:
            yield replace(utterance, audio=recordings[utterance.id])
    yield from _sample(root / "hubert_units" / "fairseq_sample")


def _sample(folder: Path) -> Iterator[Utterance]:
    """fairseq's sample: sound, text and labels, without phones and word times."""
    import soundfile

    for audio in found(folder, "*.flac"):
        (words,), (labels,) = (list(found(folder, pattern)) for pattern in ("*.trans.txt", "*.km500.txt"))
        texts = dict(line.split(" ", 1) for _, line in lines(words))
        seconds = soundfile.info(audio).duration
        ((number, line),) = lines(labels)
        yield Utterance(
            id=audio.stem,
            text=texts[audio.stem],
            audio=audio,
            speaker=audio.stem.split("-")[0],
            seconds=seconds,
            labels=tuple(_labels(line.strip(), seconds, UNIT_RATE, f"{labels}, line {number}")),
        )


def _all(folder: Path) -> Iterator[Utterance]:
    symbols = _symbols(inside(folder, folder / "phone_symbols.tsv", folder))
    names = ("text.tsv", "units.tsv", "phones.tsv", "word_alignments.tsv")
    text, units, phones, words = (inside(folder, folder / name, folder) for name in names)
    streams = (
        table(text, ("utt", "samples", "seconds", "transcript")),
        table(units, ("utt", "units")),
        table(phones, ("utt", "phones")),
        groupby(table(words, ("utt", "start_s", "end_s", "word")), key=lambda row: row[1][0]),
    )
    seen: set[str] = set()
    for line, (name, samples, _, transcript) in streams[0]:
        rows = [next(stream, None) for stream in streams[1:]]
        if name in seen or any(row is None for row in rows):
            raise ValueError(f"{text}, line {line}: {name!r} occurs twice, or is missing in another table of {folder}")
        seen.add(name)
        (unit_line, (unit_name, labels)), (phone_line, (phone_name, ids)), (word_name, times) = rows
        if {unit_name, phone_name, word_name} != {name}:
            raise ValueError(f"{text}, line {line}: {name!r} here, but {unit_name!r}, {phone_name!r} and {word_name!r}")
        seconds = time(samples, f"{text}, line {line}", unit=SAMPLE_RATE)
        yield Utterance(
            id=name,
            text=transcript,
            speaker=name.split("-")[0],
            seconds=seconds,
            labels=tuple(_labels(labels, seconds, UNIT_RATE, f"{units}, line {unit_line}")),
            words=_words(transcript, [(f"{words}, line {n}", *cells[1:]) for n, cells in times], seconds, text, line),
            phones=_phones(_labels(ids, seconds, PHONE_RATE, f"{phones}, line {phone_line}"), symbols, phones, name),
        )
    if any(next(stream, None) for stream in streams[1:]) or not seen:
        raise ValueError(f"{text}: has fewer utterances than the tables beside it, or none")


def _symbols(path: Path) -> dict[int, str]:
    """Phone id -> symbol without word position and stress; silence is the empty symbol."""
    symbols: dict[int, str] = {}
    for number, (identity, symbol) in table(path, ("id", "symbol")):
        plain = re.fullmatch(r"([A-Z]+)[0-2]?(_[BIES])?", symbol)
        if not re.fullmatch(r"[0-9]{1,6}", identity) or not plain or int(identity) in symbols:
            raise ValueError(f"{path}, line {number}: no new phone id and symbol: {identity!r}, {symbol!r}")
        symbols[int(identity)] = "" if plain[1] == "SIL" else plain[1]
    return symbols


def _labels(text: str, seconds: float, rate: float, where: str) -> list[int]:
    """The labels of an utterance, as many as its length asks for."""
    cells = text.split(" ")
    if not all(re.fullmatch(r"[0-9]{1,5}", cell) for cell in cells):
        raise ValueError(f"{where}: labels are whole numbers parted by blanks, found {text[:80]!r}")
    if not seconds - _TOLERANCE <= len(cells) / rate <= seconds:
        raise ValueError(f"{where}: {len(cells)} labels at {rate:g} per second for {seconds:g} s of sound")
    return [int(cell) for cell in cells]


def _words(
    transcript: str, aligned: list[tuple[str, str, str, str]], seconds: float, text: Path, line: int
) -> tuple[tuple[float, int, int], ...]:
    spans = [match.span() for match in re.finditer(r"\S+", transcript)]
    if len(spans) != len(aligned):
        raise ValueError(f"{text}, line {line}: {len(spans)} words here, {len(aligned)} of them have times")
    found, last = [], 0.0
    for (first, end), (where, start_text, end_text, word) in zip(spans, aligned, strict=True):
        start, stop = time(start_text, where), time(end_text, where)
        if word != transcript[first:end] or not last <= start < stop <= seconds + _TOLERANCE:
            raise ValueError(
                f"{where}: {word!r} from {start:g} to {stop:g} s does not follow the word before it, or is not "
                f"{transcript[first:end]!r} of the transcript"
            )
        found.append((start, first, end - first))
        last = stop
    return tuple(found)


def _phones(ids: list[int], symbols: dict[int, str], path: Path, name: str) -> tuple[tuple[float, str], ...]:
    """Runs of one id as (start, symbol)."""
    if unknown := set(ids) - set(symbols):
        raise ValueError(f"{path}: {name} has phone ids {sorted(unknown)[:5]} that phone_symbols.tsv does not name")
    starts = [n for n, phone in enumerate(ids) if n == 0 or phone != ids[n - 1]]
    return tuple((start / PHONE_RATE, symbols[ids[start]]) for start in starts)
