"""Spoken Wikipedia Corpora, English (Köhn, Stegen & Baumann 2016; nats.gitlab.io/swc): articles read by volunteers.

In: articles and the times of most of their words. Out: stretches of aligned words, with text and word times. No
official held-out set: 1 % of the articles, by hash.
"""

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data.corpora.files import chosen, corpus_folder, found, inside, is_held_out, json_object, stretches, time
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("train", "validation")
_CLOSING = set(".,;:!?")


@dataclass(frozen=True, kw_only=True)
class Token:
    """A word and the punctuation after it."""

    text: str
    start: float
    """Seconds into the article."""
    end: float


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Stretches of the articles of `train` or `validation`, in order of article and time.

    Layout, as read by github.com/ynop/audiomate (io/swc.py) and unverified against the files: `swc/english/<article>/`
    (or `English/`, or below `spoken-wikipedia-corpus-2.0/`) with `aligned.swc`, and `audio.ogg`, or `audio1.ogg`, … and
    `info.json` with their offsets. A word without times ends a stretch, and so does a section, or, between sentences,
    what `files.stretches` says. A stretch that passes from one recording to the next is left out.
    """
    chosen("swc", split, SPLITS)
    folder = corpus_folder("swc", root, "swc/english", "swc/English", "swc/spoken-wikipedia-corpus-2.0/english")
    is_empty = True
    for path in found(folder, "*", "aligned.swc"):
        is_empty = False
        if is_held_out(path.parent.name) == (split == "validation"):
            yield from _article(folder, inside(folder, path, folder))
    if is_empty:
        raise ValueError(f"no articles (<article>/aligned.swc) in {folder}")


def _article(folder: Path, path: Path) -> Iterator[Utterance]:
    tree = _tree(path)
    props = (prop.get("value") for prop in tree.iter("prop") if prop.get("key") == "reader.name")
    speaker = next(props, None)
    files = [(offset, inside(folder, audio, path)) for offset, audio in _recordings(path.parent)]
    number = 0
    for sentences in _runs(tree, path):
        for first, end in stretches([(words[0].start, words[-1].end) for words in sentences]):
            words = [word for sentence in sentences[first:end] for word in sentence]
            begun = [file for file in files if file[0] <= words[0].start]
            if begun and begun == [file for file in files if file[0] < words[-1].end]:
                offset, audio = begun[-1]
                yield _utterance(f"{path.parent.name}/{number:04d}", words, audio, offset, speaker)
                number += 1


def _utterance(name: str, words: list[Token], audio: Path, offset: float, speaker: str | None) -> Utterance:
    text, times, begin = "", [], words[0].start
    for word in words:
        text += " " if text else ""
        times.append((round(word.start - begin, 3), len(text), len(word.text.rstrip("".join(_CLOSING)) or word.text)))
        text += word.text
    start, seconds = round(begin - offset, 3), round(words[-1].end - begin, 3)
    return Utterance(id=name, text=text, audio=audio, speaker=speaker, start=start, seconds=seconds, words=tuple(times))


def _runs(tree: ElementTree.Element, path: Path) -> Iterator[list[list[Token]]]:
    """Sentences, or the parts of them, that follow each other without an unaligned word or a section between."""
    document = tree.find("d")
    if document is None:
        raise ValueError(f"{path}: no document <d> in it; fetch it again")
    run: list[list[Token]] = []
    last = 0.0
    for element in document.iter():
        if element.tag == "section" and run:
            yield run
            run = []
        if element.tag not in ("s", "sectiontitle"):
            continue
        words: list[Token] = []
        for token in element.iter("t"):
            text = " ".join("".join(token.itertext()).split())
            spoken = token.findall("n")
            if not spoken:  # punctuation, or something that is not read out
                if words and text and set(text) <= _CLOSING:
                    words[-1] = Token(text=words[-1].text + text, start=words[-1].start, end=words[-1].end)
                continue
            aligned = _aligned(spoken, text, last, path)
            if aligned is None:
                run += [words] if words else []
                if run:
                    yield run
                run, words = [], []
            else:
                words.append(aligned)
                last = aligned.end
        run += [words] if words else []
    if run:
        yield run


def _aligned(spoken: list[ElementTree.Element], text: str, earliest: float, path: Path) -> Token | None:
    """A token with the times of its pronunciations; None where one of them has none."""
    if not text or any("start" not in n.attrib or "end" not in n.attrib for n in spoken):
        return None
    times = [round(time(n.attrib[key], f"{path}, {text!r}", unit=1000), 3) for n in spoken for key in ("start", "end")]
    if times != sorted([earliest, *times])[1:] or times[0] == times[-1]:
        raise ValueError(f"{path}: {text!r} from {times[0]:g} to {times[-1]:g} s is empty or out of order")
    return Token(text=text, start=times[0], end=times[-1])


def _recordings(folder: Path) -> list[tuple[float, Path]]:
    """(offset in seconds into the article, file) of an article's recordings, in order."""
    if (folder / "audio.ogg").is_file() or not (info := folder / "info.json").is_file():
        return [(0.0, folder / "audio.ogg")]
    listed = json_object(info.read_bytes(), info).get("audio_files")
    if not isinstance(listed, list) or not listed or not all(isinstance(file, dict) for file in listed):
        raise ValueError(f"{info}: no list `audio_files`, though the article has several recordings")
    offsets = [time(file.get("offset"), f"{info}, audio_files[{number}]") for number, file in enumerate(listed)]
    if offsets != sorted(set(offsets)):
        raise ValueError(f"{info}: the offsets {offsets} of its recordings do not rise")
    return [(offset, folder / f"audio{number}.ogg") for number, offset in enumerate(offsets, start=1)]


class _WithoutDoctype(ElementTree.TreeBuilder):
    """A document type is where XML declares entities: these files have none, and none is read."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise ValueError("a document type is declared")


def _tree(path: Path) -> ElementTree.Element:
    parser = ElementTree.XMLParser(target=_WithoutDoctype())
    try:
        parser.feed(path.read_bytes())
        return parser.close()
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"{path}: not readable as SWC's XML ({error}); fetch it again") from None
