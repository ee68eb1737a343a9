"""Sources to batches: which window of which store every slot of every update holds, from the step alone.

In: opened stores and a run's recipe. Out: token windows in an order that depends on the seed and nothing else, so
that a run resumed at step k continues with batch k, epochs are exact, and any number of devices and any micro-batch
sees the same updates. B sequences, T tokens.
"""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from slm.spec import RunSpec, Source
from slm.store import TokenStore
from slm.windows import InterleavedWindows, Windows, predicted

_BLOCK = 100_000  # slots over which a mixture's shares are exact
_STAGES = 64
IGNORED = -100
"""PyTorch's mark of a target that does not count."""
_AHEAD = 4096  # slots whose addresses are made at once


class Updates:
    """The windows of every update of a run, of all devices together.

    Where no weight changes, a source's share is exact in every block of slots. Where one does, the run is cut into
    equal stages, 64 of them (a choice) or one a slot; the shares of a stage are those of the weights at its middle.
    `ValueError` for weights that are negative, or all 0, and for stores that do not fit their sources.
    """

    def __init__(self, run: RunSpec, stores: list[TokenStore]) -> None:
        pairs = zip(run.mix, stores, strict=True)
        self.windows = [_windows(source, store, run.model.context) for source, store in pairs]
        self.context, self.steps, self.seed = run.model.context, run.train.steps, run.train.seed
        self.rows = run.train.batch_tokens // run.model.context
        self.slots = self.steps * self.rows
        scheduled = any(source.final_weight is not None for source in run.mix)
        stages = min(_STAGES, self.slots) if scheduled else 1
        shares = _shares(run, (np.arange(stages) + 0.5) / stages if scheduled else np.zeros(1))
        self.quota = None if scheduled else _quota(shares[0])
        if scheduled:
            self.starts = np.arange(stages + 1) * self.slots // stages
            self.quotas = _stage_quotas(shares, np.diff(self.starts))
        self._known, self._from = np.empty((0, 2), dtype=np.int64), 0

    def addresses(self, first: int, last: int) -> np.ndarray:
        """(source, window) of slots [first, last), counted over all updates: (last - first, 2).

        The window of an interleaved source counts on from epoch to epoch.
        """
        found = np.empty((last - first, 2), dtype=np.int64)
        slots = np.arange(first, last)
        blocks = self._blocks(slots)
        for b in range(int(blocks[0]), int(blocks[-1]) + 1):
            start, earlier, order, rank = self._block(b)
            here = blocks == b
            position = slots[here] - start
            source = order[position]
            found[here] = np.stack([source, self._places(source, earlier[source] + rank[position])], axis=1)
        return found

    def _blocks(self, slots: np.ndarray) -> np.ndarray:
        """The block, or stage, of every slot."""
        return slots // _BLOCK if self.quota else np.searchsorted(self.starts, slots, side="right") - 1

    def _block(self, b: int) -> tuple[int, np.ndarray, np.ndarray, np.ndarray]:
        """First slot of a block, draws of each source before it, source of its slots, their earlier slots in it."""
        if self.quota:
            return b * _BLOCK, b * np.array(self.quota), *_mixture_block(self.seed, 1, b, self.quota)
        quota = tuple(self.quotas[b].tolist())
        earlier = self.quotas[:b].sum(axis=0)
        return int(self.starts[b]), earlier, *_mixture_block(self.seed, 3, b, quota)

    def _places(self, source: np.ndarray, drawn: np.ndarray) -> np.ndarray:
        """The window that each source hands out at its `drawn`-th draw: every window once an epoch."""
        counts = np.array([windows.count for windows in self.windows])
        epoch, place = np.divmod(drawn, counts[source])
        windows = np.empty_like(place)
        for s, e in sorted(set(zip(source.tolist(), epoch.tolist(), strict=True))):
            mine = (source == s) & (epoch == e)
            windows[mine] = self.windows[s].numbers(e, self._order(s, e)[place[mine]])
        return windows

    def _order(self, source: int, epoch: int) -> np.ndarray:
        return _permutation(self.seed, source, epoch, self.windows[source].count)

    def read(self, first: int, last: int) -> torch.Tensor:
        """The token ids of slots [first, last): (last - first, T + 1); complements of those that are not predicted."""
        if first < self._from or last > self._from + len(self._known):
            ahead = max(last, min(first + _AHEAD, self.slots))
            self._from, self._known = first, self.addresses(first, ahead)
        ids = np.empty((last - first, self.context + 1), dtype=np.int64)
        known = self._known[first - self._from : last - self._from]
        for row, (source, window) in zip(ids, known.tolist(), strict=True):
            if isinstance(self.windows[source], Windows):
                self.windows[source].read(window, row)
        for source, windows in enumerate(self.windows):
            if isinstance(windows, InterleavedWindows):  # all at once: every call costs as much as hundreds of tokens
                mine = known[:, 0] == source
                ids[mine] = windows.rows(known[mine, 1])
        return torch.from_numpy(ids)

    def documents(self, step: int) -> list[str]:
        """Ids of the documents in the batch of update `step`, counted from 0, in no order."""
        pairs = self.addresses(step * self.rows, (step + 1) * self.rows).tolist()
        return sorted({id_ for source, window in pairs for id_ in self.windows[source].documents(window)})

    def usage(self) -> list[dict]:
        """What a whole run sees of each source: draws and distinct tokens, and what packing into windows drops.

        Of masked sources also `target_tokens`; of interleaved ones see `InterleavedWindows.usage`.
        """
        b = int(self._blocks(np.array([self.slots]))[0]) if self.quota else len(self.quotas) - 1
        start, earlier, order, _ = self._block(b)
        draws = earlier + np.bincount(order[: self.slots - start], minlength=len(earlier))
        told = []
        for source, (drawn, windows) in enumerate(zip(draws.tolist(), self.windows, strict=True)):
            whole, rest = divmod(drawn, windows.count)
            used = windows.usage(drawn, self._order(source, whole)[:rest])
            told.append({"tokens": drawn * self.context} | used)
        return told


def _windows(source: Source, store: TokenStore, context: int) -> Windows | InterleavedWindows:
    if source.spans is None:
        return Windows(store, context, source.loss)
    return InterleavedWindows(store, context, source.spans, source.loss)


def _shares(run: RunSpec, places: np.ndarray) -> np.ndarray:
    """Shares of the sources at places of the run, from 0 to 1: (places, sources)."""
    weights = np.array([source.weight for source in run.mix])
    pairs = zip(run.mix, weights, strict=True)
    final = np.array([weight if source.final_weight is None else source.final_weight for source, weight in pairs])
    found = weights + places[:, None] * (final - weights)
    if (weights < 0).any() or (final < 0).any() or not found.any(axis=1).all():
        raise ValueError(
            f"run {run.name}: weights {weights.tolist()} to {final.tolist()} of its sources: none may be negative, and "
            f"at any time one must be above 0"
        )
    return found / found.sum(axis=1, keepdims=True)


def _quota(shares: np.ndarray) -> tuple[int, ...]:
    """Whole slots of each source in a block, by largest remainder."""
    exact = shares * _BLOCK
    quota = np.floor(exact).astype(int)
    quota[np.argsort(-(exact - quota), kind="stable")[: _BLOCK - quota.sum()]] += 1
    return tuple(quota.tolist())


def _stage_quotas(shares: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Whole slots of each source in every stage, by largest remainder, whose error the next stage makes good:
    (stages, sources)."""
    quotas, owed = np.zeros(shares.shape, dtype=np.int64), np.zeros(shares.shape[1])
    for quota, share, size in zip(quotas, shares, sizes.tolist(), strict=True):
        owed += share * size
        quota[:] = np.floor(owed.clip(0))
        while (left := size - quota.sum()) != 0:  # a slot at a time: fewer are left than there are sources
            rest = owed - quota
            quota[np.argmax(rest) if left > 0 else np.argmin(np.where(quota > 0, rest, np.inf))] += np.sign(left)
        owed -= quota
    return quotas


@lru_cache(maxsize=4)
def _mixture_block(seed: int, kind: int, block: int, quota: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """The source of every slot of a block, and how many earlier slots of the block are of that source."""
    order = np.repeat(np.arange(len(quota)), quota)
    if len(quota) > 1:
        order = np.random.default_rng((seed, kind, block)).permutation(order)
    rank = np.empty(len(order), dtype=np.int64)
    for source, slots in enumerate(quota):
        rank[order == source] = np.arange(slots)
    return order, rank


@lru_cache(maxsize=64)  # the current epoch of every source of a mixture, and the next
def _permutation(seed: int, source: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 2, source, epoch)).permutation(count)


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which rows of every update one device holds, and how many of them at once."""

    rank: int = 0
    world: int = 1
    micro_batch: int | None = None
    """Windows; None: all rows of the device."""

    def micro_batches(self, rows: int) -> int:
        """How many micro-batches make an update of `rows` windows; `ValueError` if they do not divide it."""
        mine, left = divmod(rows, self.world)
        size = self.micro_batch or mine
        if left or mine % size:
            raise ValueError(
                f"an update of {rows} windows cannot be cut into {self.world} devices times micro-batches of {size}: "
                f"choose numbers that divide it"
            )
        return mine // size


class MicroBatches(Dataset):
    """Element `i` is micro-batch `i % k` of update `i // k`, k of them an update: (B, T + 1) ids."""

    def __init__(self, updates: Updates, share: Share = Share()) -> None:
        self.updates = updates
        self.per_update = share.micro_batches(updates.rows)
        self.size = updates.rows // share.world // self.per_update
        self.offset = share.rank * self.size * self.per_update

    def __len__(self) -> int:
        return self.updates.steps * self.per_update

    def __getitem__(self, i: int) -> torch.Tensor:
        step, part = divmod(i, self.per_update)
        first = step * self.updates.rows + self.offset + part * self.size
        return self.updates.read(first, first + self.size)


class TrainingData(lightning.LightningDataModule):
    """Feeds a `Trainer` from its own `global_step` on, which is what makes resuming exact."""

    def __init__(self, batches: MicroBatches, prefetch: bool) -> None:
        super().__init__()
        self.batches, self.prefetch = batches, prefetch

    def train_dataloader(self) -> DataLoader:
        """One at a time in the training process on a CPU, whose cores compute; from two processes ahead of a GPU."""
        start = self.trainer.global_step * self.batches.per_update
        ahead = {"num_workers": 2, "prefetch_factor": 4, "pin_memory": True} if self.prefetch else {}
        if ahead:  # forked, because memory maps are not to be copied
            ahead |= {"multiprocessing_context": "fork", "worker_init_fn": _leave_signals}
        return DataLoader(self.batches, sampler=_From(start, len(self.batches)), batch_size=None, **ahead)


def _leave_signals(worker: int) -> None:
    """SLURM may signal every process of a task; the training process alone answers."""
    for asked in (signal.SIGTERM, signal.SIGUSR2):
        signal.signal(asked, signal.SIG_IGN)


class _From:
    """Indices from `start` on. Its length is that of the whole run, because Lightning counts batches from the first."""

    def __init__(self, start: int, count: int) -> None:
        self.start, self.count = start, count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.count))

    def __len__(self) -> int:
        return self.count


def validation_batches(
    store: TokenStore, context: int, batch_tokens: int, end: int | None = None, losses: frozenset[str] = frozenset()
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The whole stream of a store once, in order: (inputs, targets) pairs of (B, T) ids; the last one is shorter.

    Every token of the store is a target exactly once; a window's first input is the token before it, and that of the
    first one the end of a document. `end` is the model's own id of that, where it does not know the store's. Under
    `losses` of masked sources, tokens that none of them predicts are targets of -100, which count nothing.
    """
    full, left = divmod(store.num_tokens, context)
    rows = max(1, batch_tokens // context)
    bounds = [(first * context, min(first + rows, full) * context) for first in range(0, full, rows)]
    for first, last in bounds + [(full * context, store.num_tokens)] * (left > 0):
        width = context if last <= full * context else left
        tokens = _stream(store, first, last, end)
        inputs, targets = tokens[:-1].reshape(-1, width), tokens[1:].reshape(-1, width)  # (B, T)
        if losses:
            counts = np.any([predicted(loss)[store.parts[first:last]] for loss in losses], axis=0)
            targets = targets.where(torch.from_numpy(counts).reshape(-1, width), IGNORED)
        yield inputs, targets


def _stream(store: TokenStore, first: int, last: int, end: int | None) -> torch.Tensor:
    """Tokens [first, last) of the stream and the one before them, ends of documents as `end` where one is given."""
    before = store.tokens[first - 1 : first] if first else [store.eos]
    tokens = np.concatenate([before, store.tokens[first:last]]).astype(np.int64)
    return torch.from_numpy(tokens if end is None else np.where(tokens == store.eos, end, tokens))
