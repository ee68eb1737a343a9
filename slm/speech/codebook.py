"""A codebook that follows the states it quantises: running means of those nearest to each code.

In: live vectors of a batch, on one device or on several. Out: codes that are the same as with the joined batch alone.
N vectors, D width, V codes.
"""

import torch
from torch import distributed, nn

_DECAY = 0.99  # of the running counts and sums (GLM-4-Voice report, section 3.1)
_SMOOTHING = 1e-5  # Laplace (its released code)
_RESTART_UPDATES = 100  # between searches for dead codes; one is dead below 0.99 ** 100, as in the released code
_CHUNK = 1 << 14  # vectors that are compared with all codes at once: bounds memory


class RunningMeans(nn.Module):
    """How a codebook follows the states: under DDP the same as with the joined batch alone.

    Running counts and sums, Laplace smoothing of the counts; dead codes restart at vectors that are drawn from the
    batches of all ranks (a choice: the released code gives each rank a range of codes, and its own vectors).
    """

    def __init__(self, codebook: nn.Embedding, seed: int) -> None:
        super().__init__()
        self._codebook, self._seed = [codebook], seed  # in a list: its weights are told once, by the encoder
        self.register_buffer("counts", torch.ones(len(codebook.weight)))  # (V,)
        self.register_buffer("sums", torch.zeros_like(codebook.weight))  # (V, D)
        self.register_buffer("updates", torch.zeros((), dtype=torch.long))

    @property
    def codes(self) -> torch.Tensor:
        """(V, D)"""
        return self._codebook[0].weight

    @torch.no_grad()
    def nearest(self, vectors: torch.Tensor) -> torch.Tensor:
        """The code of each vector (N, D): nearest in squared L2, the lowest one on a tie: (N,)."""
        lengths = self.codes.square().sum(dim=1)  # (V,)
        chunks = [(lengths - 2 * chunk @ self.codes.T).argmin(dim=1) for chunk in vectors.float().split(_CHUNK)]
        return torch.cat(chunks)

    @torch.no_grad()
    def update(self, vectors: torch.Tensor) -> None:
        """One update by the live vectors (N, D) of this rank's batch; the first one puts the codes at some of them."""
        vectors = vectors.detach().float()
        if self.updates == 0:
            self._restart(torch.arange(len(self.codes), device=vectors.device), vectors)
        codes = self.nearest(vectors)
        counts = torch.bincount(codes, minlength=len(self.codes)).float()  # (V,)
        sums = torch.zeros_like(self.sums).index_add_(0, codes, vectors)  # (V, D)
        _sum_over_ranks(counts)
        _sum_over_ranks(sums)
        self.counts.mul_(_DECAY).add_(counts, alpha=1 - _DECAY)
        self.sums.mul_(_DECAY).add_(sums, alpha=1 - _DECAY)
        total = self.counts.sum()
        self.counts.add_(_SMOOTHING).mul_(total / (total + len(self.counts) * _SMOOTHING))
        self.codes.copy_(self.sums / self.counts[:, None])
        self.updates += 1
        if self.updates % _RESTART_UPDATES == 0:
            self._restart((self.counts < _DECAY**_RESTART_UPDATES).nonzero().flatten(), vectors)

    def _restart(self, dead: torch.Tensor, vectors: torch.Tensor) -> None:
        """Put codes at vectors drawn from the joined batch, each rank giving those that it holds.

        More codes than vectors share them.
        """
        sizes = _sizes_of_ranks(len(vectors), vectors.device)
        total, first = sum(sizes), sum(sizes[: _rank()])
        if not total or not len(dead):
            return
        random = torch.Generator().manual_seed((self._seed << 32) + int(self.updates))
        drawn = torch.randperm(max(total, len(dead)), generator=random)[: len(dead)].to(vectors.device) % total - first
        mine = (drawn >= 0) & (drawn < len(vectors))
        rows = torch.zeros(len(dead), vectors.shape[1], device=vectors.device)
        rows[mine] = vectors[drawn[mine]]
        _sum_over_ranks(rows)
        self.codes[dead], self.sums[dead], self.counts[dead] = rows, rows, 1.0


def _is_shared() -> bool:
    return distributed.is_available() and distributed.is_initialized()


def _rank() -> int:
    return distributed.get_rank() if _is_shared() else 0


def _sum_over_ranks(values: torch.Tensor) -> None:
    if _is_shared():
        distributed.all_reduce(values)


def _sizes_of_ranks(size: int, device: torch.device) -> list[int]:
    """`size` of each rank, in order."""
    sizes = torch.zeros(distributed.get_world_size() if _is_shared() else 1, dtype=torch.long, device=device)
    sizes[_rank()] = size
    _sum_over_ranks(sizes)
    return sizes.tolist()
