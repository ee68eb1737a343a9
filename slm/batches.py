"""Sources to batches: which window of which store every slot of every update holds, from the step alone.

In: opened stores and a run's recipe. Out: token windows in an order that depends on the seed and nothing else, so
that a run resumed at step k continues with batch k, and epochs are exact. B sequences, T tokens.
"""

from collections.abc import Iterator
from functools import lru_cache

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from slm.spec import RunSpec
from slm.store import TokenStore

_BLOCK = 1000  # slots over which a mixture's shares are exact


class Windows:
    """A store cut into windows of `context` targets; window i predicts tokens [i T, (i + 1) T) of the stream.

    Each window carries the token before its first target as first input; the end-of-document token stands before the
    stream. The last tokens that fill no window (`dropped`, fewer than T) are never trained on.
    """

    def __init__(self, store: TokenStore, context: int) -> None:
        self.store, self.context = store, context
        self.count, self.dropped = divmod(store.num_tokens, context)
        if self.count == 0:
            raise ValueError(
                f"{store.folder} holds {store.num_tokens:,} tokens, fewer than one window of {context:,}: "
                f"prepare more documents or shorten the context"
            )

    def window(self, i: int) -> np.ndarray:
        """Inputs and targets in one: T + 1 ids, the first one only an input."""
        first = i * self.context
        tokens = self.store.tokens[max(first - 1, 0) : first + self.context].astype(np.int64)
        return tokens if first else np.concatenate([[self.store.eos], tokens])


class StepBatches(Dataset):
    """Element `s` is the batch of update `s`: (B, T + 1) ids. The order of windows is new in every epoch."""

    def __init__(self, run: RunSpec, stores: list[TokenStore]) -> None:
        self.windows = [Windows(store, run.model.context) for store in stores]
        self.slots = run.train.batch_tokens // run.model.context
        self.steps = run.train.steps
        self.seed = run.train.seed
        shares = np.array([source.weight for source in run.mix])
        self.quota = _quota(shares / shares.sum())

    def __len__(self) -> int:
        return self.steps

    def __getitem__(self, step: int) -> torch.Tensor:
        rows = [self.windows[source].window(i) for source, i in self.addresses(step)]
        return torch.from_numpy(np.stack(rows))  # (B, T + 1)

    def addresses(self, step: int) -> list[tuple[int, int]]:
        """(source, window) of every slot of an update."""
        found = []
        for slot in range(step * self.slots, (step + 1) * self.slots):
            block, position = divmod(slot, _BLOCK)
            order = _mixture_block(self.seed, block, tuple(self.quota))
            source = int(order[position])
            drawn = block * int(self.quota[source]) + int((order[:position] == source).sum())
            epoch, place = divmod(drawn, self.windows[source].count)
            found.append((source, int(_permutation(self.seed, source, epoch, self.windows[source].count)[place])))
        return found


def _quota(shares: np.ndarray) -> np.ndarray:
    """Whole slots of each source in a block, by largest remainder."""
    exact = shares * _BLOCK
    quota = np.floor(exact).astype(int)
    quota[np.argsort(-(exact - quota), kind="stable")[: _BLOCK - quota.sum()]] += 1
    return quota


@lru_cache(maxsize=4)
def _mixture_block(seed: int, block: int, quota: tuple[int, ...]) -> np.ndarray:
    order = np.repeat(np.arange(len(quota)), quota)
    return order if len(quota) == 1 else np.random.default_rng((seed, 1, block)).permutation(order)


@lru_cache(maxsize=8)
def _permutation(seed: int, source: int, epoch: int, count: int) -> np.ndarray:
    return np.random.default_rng((seed, 2, source, epoch)).permutation(count)


class TrainingData(lightning.LightningDataModule):
    """Feeds a `Trainer` from its own `global_step` on, which is what makes resuming exact."""

    def __init__(self, run: RunSpec, stores: list[TokenStore]) -> None:
        super().__init__()
        self.batches = StepBatches(run, stores)

    def train_dataloader(self) -> DataLoader:
        return DataLoader(self.batches, sampler=_From(self.trainer.global_step, len(self.batches)), batch_size=None)


class _From(Sampler):
    """Steps from `start` on. Its length is that of the whole run, because Lightning counts batches from the first."""

    def __init__(self, start: int, steps: int) -> None:
        self.start, self.steps = start, steps

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.steps))

    def __len__(self) -> int:
        return self.steps


def validation_batches(
    store: TokenStore, context: int, batch_tokens: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The whole stream of a store once, in order: (inputs, targets) pairs of (B, T) ids; the last one is shorter.

    Every token of the store is a target exactly once; a window's first input is the token before it.
    """
    stream = np.concatenate([[store.eos], store.tokens.astype(np.int64)])
    full = store.num_tokens // context
    rows = max(1, batch_tokens // context)
    for first in range(0, full, rows):
        last = min(first + rows, full)
        chunk = stream[first * context : last * context + 1]
        yield (
            torch.from_numpy(chunk[:-1].reshape(-1, context)),
            torch.from_numpy(chunk[1:].reshape(-1, context)),
        )
    if store.num_tokens % context:
        tail = stream[full * context :]
        yield torch.from_numpy(tail[None, :-1]), torch.from_numpy(tail[None, 1:])
