"""Windows: what a store hands out to training, T targets at a time, by number.

In: an opened store, which of its tokens are predicted, and for words in form `A` which of them are spoken. Out: rows of
T + 1 ids, the first one only an input; a token that is given, not predicted, as its bitwise complement, so that a
batch stays one tensor. T targets, N windows, D documents.
"""

from functools import cached_property

import numpy as np

from slm.spans import SPEECH, TEXT, Spans, Streams, interleaved, ranks, runs, spans
from slm.spec import SpanSpec
from slm.store import TokenStore

_PARTS = {"target": (TEXT, SPEECH), "text": (TEXT,), "speech": (SPEECH,)}
_CHUNK = 1 << 16  # documents that are laid out at once


def predicted(loss: str) -> np.ndarray:
    """Whether a part of a store (0: given, `TEXT`, `SPEECH`) is predicted under a loss that is not of all: (3,)."""
    return np.isin(np.arange(3), _PARTS[loss])


def restored(rows: np.ndarray) -> np.ndarray:
    """The ids of rows in which some are complements; of a tensor a tensor."""
    return rows ^ (rows >> 63)  # of a negative int64, all ones


class Windows:
    """A store cut into windows of `context` targets; window i predicts tokens [i T, (i + 1) T) of the stream.

    Each window carries the token before its first target as first input; the end-of-document token stands before the
    stream. The last tokens that fill no window (`dropped`, fewer than T) are never trained on. `ValueError` for a
    store smaller than a window, or without parts where the loss is not of all tokens.
    """

    def __init__(self, store: TokenStore, context: int, loss: str = "all") -> None:
        self.store, self.context = store, context
        self.predicted, self.parts = (None, None) if loss == "all" else (predicted(loss), store.parts)
        self.count, self.dropped = _whole(store, store.num_tokens, context)

    def read(self, i: int, row: np.ndarray) -> None:
        """Put inputs and targets of window `i` in one into `row`: T + 1 ids, the first one only an input."""
        first = i * self.context
        if first:
            row[:] = self.store.tokens[first - 1 : first + self.context]
        else:
            row[0] = self.store.eos
            row[1:] = self.store.tokens[: self.context]
        if self.parts is not None:
            given = ~self.predicted[self.parts[first : first + self.context]]
            np.invert(row[1:], out=row[1:], where=given)

    def documents(self, i: int) -> list[str]:
        """Ids of the documents that have tokens in window `i`."""
        starts = self.store.index["start"]
        first = int(np.searchsorted(starts, i * self.context, side="right")) - 1
        last = int(np.searchsorted(starts, (i + 1) * self.context, side="left"))
        return [self._ids[k] if self._ids else f"document {k}" for k in range(first, last)]

    def numbers(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Numbers of the windows that an epoch holds at `places` below `count`."""
        return places

    def usage(self, drawn: int, last: np.ndarray) -> dict:
        """What was used in `drawn` draws: whole epochs, then the windows at places `last`."""
        used = {"unique_tokens": min(drawn, self.count) * self.context, "dropped_tokens": self.dropped}
        if self.predicted is None:
            return used
        whole = (drawn - len(last)) // self.count
        targets = whole * self._targets.sum() + self._targets[last].sum()
        return used | {"target_tokens": int(targets)}

    @cached_property
    def _targets(self) -> np.ndarray:
        """Tokens that each window predicts: (N,)."""
        found, at_once = np.empty(self.count, dtype=np.int64), max(1, (1 << 24) // self.context)
        for first in range(0, self.count, at_once):
            last = min(first + at_once, self.count)
            parts = self.parts[first * self.context : last * self.context].reshape(-1, self.context)
            found[first:last] = self.predicted[parts].sum(axis=1)
        return found

    @cached_property
    def _ids(self) -> list[str]:
        return [row["id"] for row in self.store.rows("documents")]


class InterleavedWindows:
    """A store of form `A`, interleaved anew for every epoch while it is read; windows as those of `Windows`.

    The stream of an epoch holds all documents in their order, each ended. There are as many windows to every epoch as
    epoch 0 fills; the stream of another one is cut after them if it is longer, and goes on from its own beginning if it
    is shorter. Window number e `count` + i is window i of epoch e. An epoch's layout is 8 bytes a document, made when
    it is first read; documents are interleaved when a window needs them.
    """

    def __init__(self, store: TokenStore, context: int, law: SpanSpec, loss: str = "all") -> None:
        if store.spec.form != "A":
            raise ValueError(f"{store.folder} is of form {store.spec.form}, and only form A can be interleaved on line")
        if loss == "target":
            raise ValueError(f"{store.folder}: interleaved words have no targets: their loss is all, text or speech")
        self.store, self.context, self.law = store, context, law
        self.predicted = None if loss == "all" else predicted(loss)
        # plain views: indexing a memmap with an array copies through its own class, slowly
        self._ids, self._ends = np.asarray(store.tokens), np.asarray(store.array("words"))
        self._words = np.asarray(store.array("word_counts"))
        self._firsts = np.cumsum(self._words) - self._words
        self._layouts: dict[int, np.ndarray] = {}
        self._told: dict[int, tuple[int, int]] = {}
        self._marks = self._checked()
        self.count, self.dropped = _whole(store, int(self._layout(0)[-1]), context)

    def rows(self, numbers: np.ndarray) -> np.ndarray:
        """Inputs and targets of windows, by number: (N, T + 1) ids, the first of a row only an input."""
        epochs, places = np.divmod(numbers, self.count)
        found = np.empty((len(numbers), self.context + 1), dtype=np.int64)
        for epoch in np.unique(epochs).tolist():
            mine = epochs == epoch
            found[mine] = self._read(epoch, places[mine])
        return found

    def documents(self, i: int) -> list[str]:
        """Ids of the documents that have tokens in window `i`."""
        epoch, place = divmod(i, self.count)
        first, last = self._places(epoch, np.array([place * self.context, (place + 1) * self.context - 1]))[0]
        ids = [row["id"] for row in self.store.rows("documents")]
        numbers = np.unique(np.arange(first, last + 1) % len(self.store)).tolist()
        return [ids[k] if ids else f"document {k}" for k in numbers]

    def numbers(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Numbers of the windows that an epoch holds at `places` below `count`."""
        return epoch * self.count + places

    def usage(self, drawn: int, last: np.ndarray) -> dict:
        """What was used in `drawn` draws, as of `Windows`; an epoch's other spans do not make its documents distinct.

        Over the epochs that were begun: `dropped_tokens` their streams were cut by, `repeated_tokens` were read again
        to fill up shorter ones, `speech_share` of their tokens is speech. `target_tokens`, where the loss is not of all
        tokens, are those expected from that share.
        """
        for epoch in range(epochs := max(1, -(-drawn // self.count))):
            if epoch not in self._told:
                self._layout(epoch)
        lengths, speech = np.array([self._told[epoch] for epoch in range(epochs)]).T
        surplus, share = lengths - self.count * self.context, float(speech.sum() / lengths.sum())
        used = {"unique_tokens": min(drawn, self.count) * self.context, "speech_share": share}
        used |= {"dropped_tokens": int(surplus.clip(0).sum()), "repeated_tokens": int((-surplus).clip(0).sum())}
        if self.predicted is None:
            return used
        wanted = share if self.predicted[SPEECH] else 1 - share
        return used | {"target_tokens": round(drawn * self.context * wanted)}

    def _read(self, epoch: int, places: np.ndarray) -> np.ndarray:
        """Windows of one epoch, at places in it: (N, T + 1)."""
        start = places * self.context - 1
        (first, begin), (last, _) = self._places(epoch, start), self._places(epoch, start + self.context)
        counts = last - first + 1  # documents of each window
        owner, rank = ranks(counts)
        ids, parts, tokens = self._interleaved(epoch, (first[owner] + rank) % len(self.store))
        base = (np.cumsum(tokens) - tokens)[np.cumsum(counts) - counts]  # where a window's first document begins
        at = (base + start - begin)[:, None] + np.arange(self.context + 1)  # (N, T + 1)
        found = ids[at].astype(np.int64)
        if self.predicted is not None:
            given = ~self.predicted[parts[at]]
            given[:, 0] = False
            np.invert(found, out=found, where=given)
        return found

    def _places(self, epoch: int, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The documents that hold places of the stream, which goes on without end both ways, and where each begins."""
        layout = self._layout(epoch)
        lap, inside = np.divmod(at, layout[-1])
        document = np.searchsorted(layout, inside, side="right") - 1
        return lap * len(self.store) + document, lap * layout[-1] + layout[document]

    def _interleaved(self, epoch: int, documents: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Ids, parts and numbers of tokens of documents, ends included."""
        words, spoken, streams = self._drawn(epoch, documents)
        ids, parts, tokens = interleaved(words, spoken, streams, self._marks)
        ends = np.cumsum(tokens)
        return np.insert(ids, ends, self.store.eos), np.insert(parts, ends, parts[ends - 1]), tokens + 1

    def _drawn(self, epoch: int, documents: np.ndarray) -> tuple[np.ndarray, Spans, Streams]:
        words, firsts = self._words[documents], self._firsts[documents]
        text = np.where(words > 0, self._ends[firsts + words - 1, 0], 0)
        start = self.store.index["start"][documents]
        starts = np.stack([start + 1, start + 2 + text], axis=1)
        streams = Streams(ids=self._ids, starts=starts, ends=self._ends, firsts=firsts)
        return words, spans(words, self.law, epoch, documents), streams

    def _layout(self, epoch: int) -> np.ndarray:
        """Where each document begins in the stream of an epoch, and the stream's length: (D + 1,)."""
        if epoch in self._layouts:
            return self._layouts[epoch]
        counts, speech = [], 0
        for first in range(0, len(self.store), _CHUNK):
            documents = np.arange(first, min(first + _CHUNK, len(self.store)))
            words, spoken, streams = self._drawn(epoch, documents)
            some = runs(words, spoken, streams)
            sizes = some.tokens + 1
            speech += int(sizes[some.spoken == 1].sum())
            counts.append(1 + np.bincount(some.document, weights=sizes, minlength=len(words)).astype(np.int64))
        if len(self._layouts) == 2:  # those of an epoch and of the next one, which meet in a batch
            self._layouts.pop(next(iter(self._layouts)))
        found = self._layouts[epoch] = np.append(0, np.cumsum(np.concatenate(counts)))
        self._told[epoch] = int(found[-1]), speech
        return found

    def _checked(self) -> tuple[int, int]:
        """Marks of text and speech; `ValueError` where documents are not mark, text, mark, speech of their words."""
        some = np.flatnonzero(self._words)
        ends = self._ends[self._firsts[some] + self._words[some] - 1] if len(some) else np.zeros((0, 2), dtype=int)
        index = self.store.index[some]
        wrong = np.flatnonzero(index["tokens"] != ends.sum(axis=1) + 3)
        if len(wrong) or not len(some):
            at = f"of document {some[wrong[0]]} do not add up to its tokens" if len(wrong) else "are none"
            raise ValueError(f"{self.store.folder}: the words {at}: prepare the store again")
        start = int(index["start"][0])
        return int(self._ids[start]), int(self._ids[start + 1 + ends[0, 0]])


def _whole(store: TokenStore, tokens: int, context: int) -> tuple[int, int]:
    """Whole windows of a stream, and the tokens left over."""
    count, dropped = divmod(tokens, context)
    if count == 0:
        raise ValueError(
            f"{store.folder} holds {tokens:,} tokens, fewer than one window of {context:,}: "
            f"prepare more documents or shorten the context"
        )
    return count, dropped
