"""Sampling from a causal language model with a KV cache, many prompts at once.

In: prompts of any lengths. Out: what follows each of them, the same whatever was sampled beside it. Prompts lie
right-padded in the cache; a mask hides the padding from what is generated, and places are counted without it.
B rows, S slots of the cache, T tokens of the longest prompt, V vocabulary.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

CACHE_BYTES = 8 << 30
"""Of keys and values that a batch may hold (a choice)."""


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How the next token is chosen."""

    most_tokens: int
    """At most so many are generated."""
    temperature: float = 0.0
    """0: the likeliest token. Else tokens are drawn from the probabilities at this temperature."""
    seed: int = 0

    def __str__(self) -> str:
        drawn = f"temperature {self.temperature:g}, seed {self.seed}" if self.temperature else "greedy"
        return f"{drawn}, at most {self.most_tokens} tokens"


def generate(
    model, prompts: list[np.ndarray], first: int, stop: int, allowed: range, decoding: Decoding, batch_tokens: int
) -> list[np.ndarray]:
    """The tokens after each prompt, up to `stop`, which is left out, or to the limit.

    `first` stands before each prompt; only ids of `allowed`, and `stop`, are generated. A batch's cache holds at most
    `batch_tokens` slots, and `CACHE_BYTES`. `ValueError` for a prompt that leaves no room in the model's context.
    """
    context = model.config.max_position_embeddings
    for i, prompt in enumerate(prompts):
        if len(prompt) + decoding.most_tokens > context:
            raise ValueError(
                f"prompt {i} has {len(prompt)} tokens and {decoding.most_tokens} are asked for: the model's context is "
                f"{context}"
            )
    found: list[np.ndarray] = [np.zeros(0, dtype=np.int64)] * len(prompts)
    slots = min(batch_tokens, CACHE_BYTES // slot_bytes(model.config))
    for batch in _batches(prompts, decoding.most_tokens, slots):
        draws = [np.random.default_rng((decoding.seed, i)) for i in batch] if decoding.temperature else None
        rows = _continued(model, [prompts[i] for i in batch], first, stop, allowed, decoding, draws)
        for i, row in zip(batch, rows, strict=True):
            found[i] = row
    return found


def slot_bytes(config) -> int:
    """Bytes of a token's keys and values in float32, as many heads of them as of queries."""
    return 2 * 4 * config.num_hidden_layers * config.hidden_size


def _batches(prompts: list[np.ndarray], most_tokens: int, batch_tokens: int) -> Iterator[list[int]]:
    """Numbers of prompts of about one length, so many that the cache of all fits, and at least one."""
    batch: list[int] = []
    for i in sorted(range(len(prompts)), key=lambda i: -len(prompts[i])):
        if batch and (len(batch) + 1) * (len(prompts[batch[0]]) + 1 + most_tokens) > batch_tokens:
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch


@torch.inference_mode()
def _continued(model, prompts, first: int, stop: int, allowed: range, decoding: Decoding, draws) -> list[np.ndarray]:
    lengths = torch.tensor([len(prompt) + 1 for prompt in prompts], device=model.device)  # (B,), with `first`
    longest = int(lengths.max())
    ids = np.full((len(prompts), longest), first)  # (B, T)
    for row, prompt in enumerate(prompts):
        ids[row, 1 : len(prompt) + 1] = prompt
    given, body, head = torch.from_numpy(ids).to(model.device), model.base_model, model.get_output_embeddings()
    out = body(input_ids=given, attention_mask=torch.ones_like(given), use_cache=True)
    logits = head(out.last_hidden_state[torch.arange(len(prompts), device=model.device), lengths - 1])  # (B, V)
    barred = torch.ones(logits.shape[-1], dtype=torch.bool, device=model.device)  # (V,)
    barred[allowed.start : allowed.stop] = barred[stop] = False
    seen = torch.arange(longest, device=model.device) < lengths[:, None]  # (B, S)
    tokens: list[torch.Tensor] = []
    ended = torch.zeros(len(prompts), dtype=torch.bool, device=model.device)  # (B,)
    while True:
        tokens.append(next_tokens(logits.masked_fill(barred, -torch.inf), decoding.temperature, draws))  # (B,)
        ended |= tokens[-1] == stop
        if len(tokens) == decoding.most_tokens or bool(ended.all()):
            break
        seen = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
        out = body(
            input_ids=tokens[-1][:, None],
            attention_mask=seen[:, None, None],  # (B, 1, 1, S)
            position_ids=(lengths + len(tokens) - 1)[:, None],
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        logits = head(out.last_hidden_state[:, -1])
    rows = torch.stack(tokens, dim=1).cpu().numpy()  # (B, generated)
    return [row[: int(np.argmax(row == stop))] if (row == stop).any() else row for row in rows]


def next_tokens(logits: torch.Tensor, temperature: float, draws: list[np.random.Generator] | None) -> torch.Tensor:
    """The next token of every row (B,): the likeliest, or drawn by the row's own generator (Gumbel's maximum)."""
    if draws is None:
        return logits.argmax(dim=-1)
    noise = np.stack([draw.gumbel(size=logits.shape[-1]) for draw in draws])
    return (logits.double() / temperature + torch.from_numpy(noise).to(logits.device)).argmax(dim=-1)
