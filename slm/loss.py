"""Next-token loss of a causal language model of transformers, without all of its logits at once.

In: a model, ids. Out: cross-entropy in nats. Logits in float32 can outgrow the model (4 bytes x tokens x vocabulary,
three times over); beyond a threshold they are made chunk by chunk, and again in the backward pass.
B sequences, T tokens, C tokens of a chunk, D width, V vocabulary.
"""

from functools import partial
from typing import Literal

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from slm.head import SharedHead
from slm.memory import loss_tokens

_IGNORED = -100  # PyTorch's mark of a target that does not count


def next_token_nats(
    model,
    inputs: torch.Tensor,
    targets: torch.Tensor,
    reduction: Literal["mean", "sum", "none"],
    **layout: torch.Tensor,
) -> torch.Tensor:
    """Cross-entropy in nats, in float32, of `targets` (B, T) given `inputs` (B, T); (B T,) for `none`.

    Up to `slm.memory.LOGITS_BYTES` of logits this is F.cross_entropy over the model's logits, bit for bit, and faster;
    beyond, it is the sum of chunks: hidden states of the body (`base_model`) through the head, which must be all that
    stands between them and the logits. Of a shared codebook only its K logits are made, never those of V ids. To
    compile, compile the model's blocks: the chunks bypass its own forward.
    `layout`: a mask (B, 1, T, T) and positions (B, T), where rows are not plain sequences.
    """
    head, targets = model.get_output_embeddings(), targets.flatten()  # targets: (B T,)
    at_once = loss_tokens(head.weight.shape[0])
    # without a mask, transformers 4.57 suspects packed documents and attends through a T x T mask, slowly
    given = {"input_ids": inputs, "attention_mask": torch.ones_like(inputs), "use_cache": False} | layout
    shared, few = isinstance(head, SharedHead), targets.numel() <= at_once
    if few and not shared:
        logits = model(**given).logits  # (B, T, V)
        return F.cross_entropy(logits.flatten(0, 1).float(), targets, reduction=reduction)
    hidden = model.base_model(**given).last_hidden_state.flatten(0, 1)  # (B T, D)
    nats = head.nats if shared else partial(_nats, head)
    if few:
        return nats(hidden, targets, reduction)
    each = "none" if reduction == "none" else "sum"
    chunks = [
        # nothing random happens in a head, so there is no state to keep for its second pass
        checkpoint(nats, *chunk, each, use_reentrant=False, preserve_rng_state=False)
        for chunk in zip(hidden.split(at_once), targets.split(at_once), strict=True)
    ]
    if reduction == "none":
        return torch.cat(chunks)  # (B T,)
    total = torch.stack(chunks).sum()
    return total / (targets != _IGNORED).sum() if reduction == "mean" else total


def _nats(head, hidden: torch.Tensor, targets: torch.Tensor, reduction: str) -> torch.Tensor:
    """Nats of the targets (C,) after hidden states (C, D)."""
    return F.cross_entropy(head(hidden).float(), targets, reduction=reduction)
