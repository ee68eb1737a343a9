"""Tokens and phones on one clock of 10 ms frames.

In: where the events of every document start. Out: which event each frame lies in. Every scheme is read on this clock,
whatever its own frames are, so that shares of frames compare between schemes.
"""

from dataclasses import dataclass

import numpy as np

GRID_HZ = 100.0  # frames per second: the hop of usual forced alignments (a choice)
_ROUNDING = 6  # decimals of a frame below which times are the same


@dataclass(frozen=True, kw_only=True)
class Events:
    """Tokens or phones of some documents, one document behind the other; each lasts until the next of its document."""

    ids: np.ndarray
    """(N,) non-negative integers."""
    starts: np.ndarray
    """(N,) seconds from the start of the document; they never fall within a document."""
    counts: np.ndarray
    """(D,) events of each document."""

    @property
    def documents(self) -> np.ndarray:
        """(N,) number of the document of each event."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


def frames_before(seconds: np.ndarray) -> np.ndarray:
    """Frames of the grid whose middle lies before a time."""
    return np.maximum(np.ceil(np.round(seconds * GRID_HZ - 0.5, _ROUNDING)), 0).astype(np.int64)


def spans(events: Events, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(first, last + 1) frame of its document of each event; `frames` (D,) is how many of each document count.

    The first event of a document begins with the document, wherever its start lies; an event may hold no frame.
    """
    firsts = np.minimum(frames_before(events.starts), frames[events.documents])
    filled = events.counts > 0
    heads = (np.cumsum(events.counts) - events.counts)[filled]
    firsts[heads] = 0
    ends = np.append(firsts[1:], 0)
    ends[heads + events.counts[filled] - 1] = frames[filled]
    return firsts, ends


def on_grid(events: Events, frames: np.ndarray) -> np.ndarray:
    """(sum of `frames`,) id of the event that each frame lies in; documents without events must count no frames."""
    assert not frames[events.counts == 0].any(), "frames without an event"
    firsts, ends = spans(events, frames)
    return np.repeat(events.ids, ends - firsts)
