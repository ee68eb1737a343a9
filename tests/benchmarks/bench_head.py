"""A training step with a shared codebook against one with a plain head: seconds, and bytes at its peak.

`python tests/benchmarks/bench_head.py`. Both take turns on one body; V ids of text and speech share a tenth as many
codes, but for 503 ids of speech, marks and the end. What sharing costs in loss is a study's business. About two minutes
on a CPU core.
"""

import torch

from experiments.recipe import LADDER
from slm.loss import next_token_nats
from slm.model import from_scratch
from slm.spec import ModelConfig
from tests.benchmarks.timing import medians, show
from tests.slm.test_memory import peak_bytes

VOCABULARIES = {513: 257, 5_003: 503, 50_003: 503}
"""Ids -> those that keep a code of their own; the smallest vocabulary is 256 pieces of text and 254 units."""
BODIES = {  # shape, windows
    "cpu": (LADDER["w80"] | {"context": 512}, 4),
    "cuda": ({"layers": 6, "width": 512, "heads": 8, "hidden": 1536, "context": 2050}, 16),
}


def step_of(config: ModelConfig, windows: int, device: str):
    """A function that takes a whole training step, to its end."""
    model = from_scratch(config, 0).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(config.vocabulary, (windows, config.context + 1), device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=device == "cuda"):
            nats = next_token_nats(model, ids[:, :-1], ids[:, 1:], "mean")
        nats.backward()
        optimizer.step()
        optimizer.zero_grad()
        if device == "cuda":
            torch.cuda.synchronize()

    step()
    return step


def main() -> None:
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    shape, windows = BODIES[device]
    for vocabulary, own in VOCABULARIES.items():
        codes = own + (vocabulary - own) // 10
        plain = ModelConfig(**shape, vocabulary=vocabulary, tied=False)
        shared = ModelConfig(**shape, vocabulary=vocabulary, tied=False, codes=codes, own_codes=own)
        steps = {"plain": step_of(plain, windows, device), "shared": step_of(shared, windows, device)}
        seconds = medians(7, **steps)
        rows = [("seconds of a step", seconds["plain"], seconds["shared"], "{:.4f}")]
        if device == "cpu":  # counted tensor by tensor
            taken = [peak_bytes(each, windows, "32-true") / 1e6 for each in (plain, shared)]
        else:
            taken = [peak_on_gpu(each, windows) / 1e6 for each in (plain, shared)]
        rows.append(("MB at its peak", *taken, "{:.1f}"))
        title = f"{vocabulary:,} ids, {codes:,} codes, {windows} x {shape['context']} tokens, {device}"
        numbers = [(name, f"{form.format(a)}, {form.format(b)}, {a / b:.2f}") for name, a, b, form in rows]
        show(f"{title}: plain, shared, ratio", numbers)


def peak_on_gpu(config: ModelConfig, windows: int) -> int:
    """Most bytes that PyTorch's allocator had in use for a model and its steps."""
    before = torch.cuda.memory_allocated()
    step = step_of(config, windows, "cuda")
    torch.cuda.reset_peak_memory_stats()
    step()
    return torch.cuda.max_memory_allocated() - before


if __name__ == "__main__":
    main()
