"""What a corpus yields and what a benchmark yields, before anything is spoken, encoded or tokenized.

In: nothing. Out: the two types that corpora and benchmarks share with the code that turns them into token stores.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One document of a corpus: its text, its audio, or both."""

    id: str
    """Unique inside its corpus and split."""
    text: str | None = None
    audio: Path | None = None
    """None: to be spoken by the synthesiser."""
    speaker: str | None = None
    start: float = 0.0
    """Seconds into the recording."""
    seconds: float | None = None
    """Length of the part of the recording that is meant; None: to its end."""
    member: str | None = None
    """File inside `audio`, where that is an archive."""
    words: tuple[tuple[float, int, int], ...] = ()
    """(start in seconds, first character of `text`, length in characters) where the publisher gives word times."""
    phones: tuple[tuple[float, str], ...] = ()
    """(start in seconds, symbol), pauses as empty symbols, where the publisher gives phone times."""
    labels: tuple[int, ...] | None = None
    """Unit of every frame, not collapsed, for corpora that come as labels instead of sound."""


@dataclass(frozen=True, kw_only=True)
class RawItem:
    """The text of one evaluation item: which option goes on from the prompt?"""

    id: str
    """Unique inside its benchmark."""
    subset: str
    """The phenomenon, kind or topic that scores are also reported for."""
    prompt: str
    """Shared by all options; empty for minimal pairs. An option is spoken as f"{prompt} {option}".strip()."""
    options: tuple[str, ...]
    answer: int
    """Index of the right option."""
