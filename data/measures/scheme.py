"""Documents as a scheme's tokens, and what is known of the same documents whatever the scheme.

In: nothing. Out: the two types that loading (`data/compare.py`) and measuring (`families.py`) share.
"""

from dataclasses import dataclass

import numpy as np

from data.measures.grid import Events


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Some documents under a scheme."""

    kind: str
    vocabulary: int
    """Ids without the end of a document."""
    frame_hz: float
    has_encoder: bool
    """Whether its frames are those of an encoder."""
    tokens: Events
    frames: int
    """Frames of all tokens."""
    units: int
    """Collapsed encoder units under all tokens; 0 where tokens are not made of units."""
    ends: np.ndarray
    """(documents,) seconds at which the last token ends."""
    reading: dict[str, float]
    """How well a supervised tokenizer reads the speech held out from its learning; empty of others."""


@dataclass(frozen=True, kw_only=True)
class Speech:
    """The same documents, in the same order."""

    ids: list[str]
    seconds: np.ndarray
    """(documents,), as far as the tokens of every compared scheme reach."""
    speakers: list[str | None]
    texts: list[str | None]
    phones: Events
    """Id 0 is the pause; a document without phone times has none."""
    words: Events
    """Starts of words; the ids mean nothing."""
    frame_hz: float
    """Of the compared scheme with the longest frames."""
