"""An output head whose rows are shared by ids (VQ-Logits): K logits, a softmax over V ids.

In: hidden states. Out: nats of ids, or their logits. After Shao et al. 2025 (arXiv 2505.10202), whose standing is
uncertain: no code of it is known, and a third party says that it was withdrawn in September 2026, which we could not
confirm. What follows is the identity that their definition implies, and a map of ours. C tokens, D width.
"""

import numpy as np
import torch
import torch.nn.functional as F

from slm.spec import ModelConfig


def code_of(model: ModelConfig) -> np.ndarray:
    """The code of every id: (V,) int64, all of `codes` in use; a choice, made without counting tokens.

    The last `own_codes` ids have a code each. Of the codes that are left, the first half go to the first ids, one each,
    and the others to the ids between, in runs of neighbours whose lengths differ by one at most. Byte pairs are
    numbered by their frequency when they were learnt: what is frequent is told apart, and what shares a code, and hence
    its probability, is about as frequent. (SentencePiece numbers single characters last: `own_codes` may spare them.)
    """
    assert model.codes is not None
    ids, codes = model.vocabulary - model.own_codes, model.codes - model.own_codes
    alone = codes // 2
    shared = alone + np.arange(ids - alone) * (codes - alone) // (ids - alone)
    return np.concatenate([np.arange(alone), shared, np.arange(codes, model.codes)])


class SharedHead(torch.nn.Module):
    """A codebook (K, D) for the head of a causal language model of transformers.

    With z = h Cᵀ, M(i) the code of id i and n_j the ids of code j, the softmax over the ids' logits z_{M(i)} is
    P(i) = exp(z_{M(i)}) / Σ_j n_j exp(z_j): uniform among the ids of a code. Hence a mean loss of at least
    H(M(Y) | context) + E[log n_{M(Y)}], which exceeds H(Y | context) by E[log n_{M(Y)}] − H(Y | M(Y), context) ≥ 0.
    """

    def __init__(self, weight: torch.Tensor, code_of: np.ndarray) -> None:
        """`weight` (K, D), trained; `code_of` (V,), the code of every id."""
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        # what the recipe gives is not saved
        self.register_buffer("code_of", torch.tensor(code_of), persistent=False)  # (V,)
        ids = np.bincount(code_of, minlength=len(weight))
        self.register_buffer("log_ids", torch.tensor(np.log(ids), dtype=torch.float32), persistent=False)  # (K,)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        """Logits (…, V) of hidden states (…, D), equal for the ids of a code."""
        return F.linear(hidden, self.weight)[..., self.code_of]

    def nats(self, hidden: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
        """Cross-entropy, in float32, of the ids `targets` (C,) after hidden states (C, D), from K logits alone.

        As F.cross_entropy of `forward`: -100 marks what does not count; `reduction` is "mean", "sum" or "none".
        """
        mass = F.linear(hidden, self.weight).float() + self.log_ids  # (C, K): log n_j exp(z_j)
        counted = targets >= 0
        codes = torch.where(counted, self.code_of[targets.clamp(min=0)], targets)  # (C,)
        within = torch.where(counted, self.log_ids[codes.clamp(min=0)], 0.0)  # (C,): of the id given its code
        nats = F.cross_entropy(mass, codes, reduction=reduction)
        if reduction == "none":
            return nats + within
        return nats + within.sum() / (counted.sum() if reduction == "mean" else 1)

    def expanded(self) -> torch.nn.Linear:
        """The plain head (V, D) with the same logits: the row of its code for every id."""
        head = torch.nn.Linear(self.weight.shape[1], len(self.code_of), bias=False, device=self.weight.device)
        head.weight = torch.nn.Parameter(self.weight.detach()[self.code_of])
        return head
