"""Speech units from any of the known formats to any other, and to and from our own token stores.

In: a path, the names of two formats, and what the source does not say of itself. Out: a new file, folder or store,
whole or absent, and plain-language warnings of everything that the target could not hold.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from data.formats import fairseq, packed, parole, slamkit, store, textless
from data.formats.document import Stated, UnitDocument, UnitStream, as_runs
from data.formats.files import plain_file
from slm.spec import CorpusSpec, EncoderSpec, StoreSpec, TokenizerSpec, UnitSpec
from slm.store import checksum


@dataclass(frozen=True, kw_only=True)
class Format:
    """How one system keeps units."""

    read: Callable[[Path, Stated], UnitStream]
    write: Callable[..., list[str]] | None
    """None: reading only."""
    options: tuple[str, ...]
    """Fields of `Stated` that its reader heeds."""
    holds: tuple[str, ...]
    """What its writer keeps: names of `LOSSES`."""
    runs: bool
    """Whether it wants runs of equal units merged."""


def convert(
    source: Path,
    reads: str,
    target: Path,
    writes: str,
    units: int | None = None,
    *,
    collapsed: bool | None = None,
    manifest: Path | None = None,
    sidecars: Path | None = None,
    corpus: str | None = None,
    split: str | None = None,
    rate_hz: float | None = None,
    checkpoint: str | None = None,
) -> list[str]:
    """Write at `target`, in the format `writes`, what is at `source` in the format `reads`; the warnings.

    `units` is K, for formats that do not declare it; `collapsed`, `manifest` and `sidecars` are those of `Stated`.
    `corpus`, `split`, `rate_hz` (frames per second) and `checkpoint` (the encoder's name, if known) go into the recipe
    of a store and are meant for no other target. `ValueError` says what is wrong with the source, the options or the
    target; nothing is written then.
    """
    origin, goal = _format(reads), _format(writes)
    if goal.write is None or reads == writes == "store":
        able = ", ".join(name for name, known in FORMATS.items() if known.write and name != reads)
        raise ValueError(f"{reads!r} cannot be converted to {writes!r}; choose one of {able}")
    stated = {"collapsed": collapsed, "manifest": manifest, "sidecars": sidecars}
    for name, value in stated.items():
        if value is not None and name not in origin.options:
            raise ValueError(f"the option `{name}` means nothing for {reads!r}: leave it out")
    stream = origin.read(source, Stated(units=units, **stated))
    recipe = {"corpus": corpus, "split": split, "rate_hz": rate_hz}
    write = goal.write
    if writes == "store":
        write = partial(write, spec=_spec(stream, recipe, checkpoint))
    elif named := [name for name, value in (recipe | {"checkpoint": checkpoint}).items() if value is not None]:
        raise ValueError(f"the option `{named[0]}` is for stores only: leave it out")
    losses: Counter = Counter()
    if stream.skips and "skips" not in goal.holds:
        losses["skips"] = len(stream.skips)
    documents = _counted(stream, goal, losses)
    notes = write(target, replace(stream, documents=documents, collapsed=stream.collapsed or goal.runs))
    return [*stream.notes, *notes, *(LOSSES[name].format(losses[name], writes) for name in LOSSES if losses[name])]


def _format(name: str) -> Format:
    if name not in FORMATS:
        raise ValueError(f"no format {name!r}; choose one of {', '.join(FORMATS)}")
    return FORMATS[name]


def _counted(stream: UnitStream, goal: Format, losses: Counter) -> Iterator[UnitDocument]:
    """The documents as the target wants them; counts those of which it cannot hold something."""
    empty_stream = True
    for document in stream.documents:
        empty_stream = False
        if goal.runs:
            merged = as_runs(document, stream.collapsed)
            losses["repeats"] += merged.durations is None and len(merged.units) < len(document.units)
            document = merged
        for name in _FIELDS:
            value = getattr(document, name)
            empty = value is None or (isinstance(value, tuple | dict) and not value)
            losses[name] += not empty and name not in goal.holds
        yield document
    if empty_stream:
        raise ValueError(f"{stream.files[0]}: holds no utterances")


def _spec(stream: UnitStream, recipe: dict, checkpoint: str | None) -> StoreSpec:
    """The recipe of a store of given units, its revision the SHA-256 of the source's files."""
    missing = [name for name, value in recipe.items() if value is None]
    if missing:
        raise ValueError(f"a store needs the options {', '.join(f'`{name}`' for name in missing)}")
    content = "\n".join(checksum(plain_file(file)) for file in stream.files)
    revision = hashlib.sha256(content.encode()).hexdigest()[:12]
    encoder = EncoderSpec(kind="given", rate_hz=float(recipe["rate_hz"]), revision=revision, checkpoint=checkpoint)
    return StoreSpec(
        corpus=CorpusSpec(name=recipe["corpus"], revision=revision, split=recipe["split"]),
        units=UnitSpec(encoder=encoder, clusters=stream.clusters),
        tokenizer=TokenizerSpec(kind="units", vocabulary=stream.clusters + 1),
    )


LOSSES = {
    "repeats": "{} documents were said to be collapsed and had repeated units: they were merged",
    "durations": "the frames of each unit are lost for {} documents: {} has no place for them",
    "seconds": "the lengths in seconds are lost for {} documents: {} has no place for them",
    "text": "the texts of {} documents are lost: {} has no place for them",
    "speaker": "the speakers of {} documents are lost: {} has no place for them",
    "words": "the word times of {} documents are lost: {} has no place for them",
    "audio": "the file names of {} recordings are lost, but for their stems: {} has no place for them",
    "text_column": "the aligned text tokens of {} documents are lost: {} has no place for them",
    "metadata": "free fields of {} documents are lost: {} has no place for them",
    "skips": "the list of {} skipped utterances is lost: {} has no place for it",
}
_FIELDS = tuple(name for name in LOSSES if name not in ("repeats", "skips"))

_PER_FRAME = {"options": ("manifest",), "holds": ("durations", "seconds", "audio"), "runs": False}
_TEXTLESS = {"options": ("collapsed", "manifest"), "holds": ("durations",), "runs": False}
_SAMPLES = ("seconds", "speaker", "metadata", "skips")

FORMATS: dict[str, Format] = {
    # Special ids, where unit i is written i unless said: store: K ends every document.
    "store": Format(
        read=store.read,
        write=store.write,
        options=(),
        holds=("durations", "seconds", "text", "speaker", "words", "skips"),
        runs=True,
    ),
    # fairseq and textlesslib: none in the files.
    "gslm": Format(read=fairseq.read_gslm, write=fairseq.write_gslm, **_PER_FRAME),
    "km": Format(read=fairseq.read_km, write=fairseq.write_km, **_PER_FRAME),
    "textless": Format(read=textless.read, write=partial(textless.write, names=False), **_TEXTLESS),
    "textless-names": Format(read=textless.read, write=partial(textless.write, names=True), **_TEXTLESS),
    # SlamKit: none in the files; its tokenizer reads unit i as i + 2, between <S> = 1, with PAD = 0.
    "slamkit-features": Format(
        read=slamkit.read_features,
        write=slamkit.write_features,
        options=("sidecars",),
        holds=("durations", "text", "words", "audio", "metadata"),
        runs=True,
    ),
    "slamkit-tokens": Format(
        read=slamkit.read_tokens,
        write=slamkit.write_tokens,
        options=("sidecars",),
        holds=("audio", "metadata"),
        runs=True,
    ),
    # Packed shards: EOS = K ends every sample; PAD = K + 1 is declared, not used.
    "slm_scaling": Format(
        read=partial(packed.read, schema=2),
        write=partial(packed.write, schema=2),
        options=("collapsed",),
        holds=_SAMPLES,
        runs=True,
    ),
    "interleaved_lm": Format(
        read=partial(packed.read, schema=1),
        write=partial(packed.write, schema=1),
        options=("collapsed",),
        holds=(*_SAMPLES, "text_column"),
        runs=True,
    ),
    # ParoleLM: unknown; an id >= K is refused.
    "parole": Format(read=parole.read, write=None, options=("collapsed",), holds=(), runs=False),
}
