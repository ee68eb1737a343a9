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
