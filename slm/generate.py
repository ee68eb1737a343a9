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
    model,
    prompts: list[np.ndarray],
    first: int,
    stop: int,
    allowed: range,
    decoding: Decoding,
    batch_tokens: int,
    numbers: list[int] | None = None,
) -> list[np.ndarray]:
    """The tokens after each prompt, up to `stop`, which is left out, or to the limit.

    What is drawn for a prompt depends on the seed and on its number: its place, unless `numbers` are given.
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
        named = [numbers[i] for i in batch] if numbers else batch
        rows = _continued(model, [prompts[i] for i in batch], first, stop, allowed, decoding, named)
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
def _continued(
    model, prompts, first: int, stop: int, allowed: range, decoding: Decoding, numbers: list[int]
) -> list[np.ndarray]:
    lengths = torch.tensor([len(prompt) + 1 for prompt in prompts], device=model.device)  # (B,), with `first`
    longest = int(lengths.max())
    ids = np.full((len(prompts), longest), first)  # (B, T)
    for row, prompt in enumerate(prompts):
        ids[row, 1 : len(prompt) + 1] = prompt
    given, body, head = torch.from_numpy(ids).to(model.device), model.base_model, model.get_output_embeddings()
    out = body(input_ids=given, attention_mask=torch.ones_like(given), use_cache=True)
    logits = head(out.last_hidden_state[torch.arange(len(prompts), device=model.device), lengths - 1])  # (B, V)
    choices = torch.tensor(sorted({*allowed, stop}), device=model.device)  # (C,)
    draws = Draws(decoding.seed, numbers, len(choices)) if decoding.temperature else None
    seen = torch.arange(longest, device=model.device) < lengths[:, None]  # (B, S)
    tokens = np.full((len(prompts), decoding.most_tokens), stop)  # (B, generated)
    alive = np.arange(len(prompts))
    for step in range(decoding.most_tokens):
        chosen = next_tokens(logits[:, choices], decoding.temperature, draws and draws.next(alive))
        fresh = choices[chosen]  # (B,)
        tokens[alive, step] = fresh.cpu().numpy()
        going = (tokens[alive] == stop).sum(axis=1) == decoding.most_tokens - step - 1
        if step + 1 == decoding.most_tokens or not going.any():
            break
        if going.sum() <= len(alive) // 2:  # those that have ended cost as much as the others
            kept = torch.from_numpy(np.flatnonzero(going)).to(model.device)
            out.past_key_values.batch_select_indices(kept)
            fresh, lengths, seen, alive = fresh[kept], lengths[kept], seen[kept], alive[going]
        seen = torch.cat([seen, torch.ones_like(seen[:, :1])], dim=1)
        out = body(
            input_ids=fresh[:, None],
            attention_mask=seen[:, None, None],  # (B, 1, 1, S)
            position_ids=(lengths + step)[:, None],
            past_key_values=out.past_key_values,
            use_cache=True,
        )
        logits = head(out.last_hidden_state[:, -1])
    return [row[: int(np.argmax(row == stop))] if (row == stop).any() else row for row in tokens]


class Draws:
    """Uniform numbers for prompts by their numbers, each from a generator of its own, some steps ahead."""

    _AHEAD = 16

    def __init__(self, seed: int, numbers: list[int], choices: int) -> None:
        self._generators = [np.random.default_rng((seed, number)) for number in numbers]
        self._choices, self._step = choices, 0

    def next(self, rows: np.ndarray) -> np.ndarray:
        """Those of the next step of rows (B,), each time the same rows or some of them: (B, C) float32."""
        place = self._step % self._AHEAD
        if place == 0:
            shape = (self._AHEAD, self._choices)
            self._held = {row: self._generators[row].random(shape, dtype=np.float32) for row in rows.tolist()}
        self._step += 1
        return np.stack([self._held[row][place] for row in rows.tolist()])


def next_tokens(logits: torch.Tensor, temperature: float, uniforms: np.ndarray | None) -> torch.Tensor:
    """Of logits (B, C), the likeliest choice of every row (B,), or one drawn by uniform numbers (B, C) (Gumbel's)."""
    if uniforms is None:
        return logits.argmax(dim=-1)
    noise = -torch.log(-torch.log(torch.from_numpy(uniforms).to(logits.device)))
    return (logits.float() / temperature + noise).argmax(dim=-1)
