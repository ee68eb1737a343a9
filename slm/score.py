"""Log-likelihood of token sequences under a model; the only scorer.

In: sequences, and how many of their first tokens are prompt. Out: sums in nats, so that any normalisation is one
division away. The first input is the end-of-document token; the terminal one is never scored.
"""

import numpy as np
import torch


@torch.inference_mode()
def log_likelihoods(model, sequences: list[np.ndarray], prompts: list[int], eos: int, batch_tokens: int) -> np.ndarray:
    """(whole, after the prompt) sums of log-probabilities per sequence: (sequences, 2) float64.

    Sequences are sorted by length into right-padded batches of at most `batch_tokens` tokens; causal attention keeps
    the padding out of every scored position. `ValueError` for an empty sequence, an empty ending, or a sequence
    longer than the model's context.
    """
    context = model.config.max_position_embeddings
    for i, (sequence, prompt) in enumerate(zip(sequences, prompts, strict=True)):
        if not prompt < len(sequence) <= context:
            raise ValueError(
                f"sequence {i} has {len(sequence)} tokens, {prompt} of them prompt: something must be left to score, "
                f"and the model's context is {context}"
            )
    sums = np.zeros((len(sequences), 2))
    for batch in _batches(sequences, batch_tokens):
        longest = max(len(sequences[i]) for i in batch)
        tokens = np.full((len(batch), longest + 1), eos)  # (B, T + 1)
        for row, i in enumerate(batch):
            tokens[row, 1 : len(sequences[i]) + 1] = sequences[i]
        ids = torch.from_numpy(tokens).to(model.device)
        logits = model(input_ids=ids[:, :-1], use_cache=False).logits  # (B, T, V)
        chosen = torch.log_softmax(logits.float(), dim=-1).gather(-1, ids[:, 1:, None]).squeeze(-1)  # (B, T)
        for row, i in enumerate(batch):
            scored = chosen[row, : len(sequences[i])].double()
            sums[i] = float(scored.sum()), float(scored[prompts[i] :].sum())
    return sums


def _batches(sequences: list[np.ndarray], batch_tokens: int) -> list[list[int]]:
    """Indices, longest first, in groups whose padded size stays within `batch_tokens` (or one sequence)."""
    groups: list[list[int]] = []
    for i in sorted(range(len(sequences)), key=lambda i: -len(sequences[i])):
        if groups and (len(groups[-1]) + 1) * len(sequences[groups[-1][0]]) <= batch_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
