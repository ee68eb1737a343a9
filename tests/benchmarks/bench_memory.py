"""Memory of a training step: the estimate of `slm.memory` against what a fresh process really takes.

`python tests/benchmarks/bench_memory.py`. On a CPU the growth of the peak resident size over that before the model is
built; on a GPU the most bytes that PyTorch's allocator had in use. About a minute on a CPU core.
"""

import os
import resource
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import psutil
import torch

from experiments.recipe import LADDER
from slm.loss import next_token_nats
from slm.memory import step_bytes
from slm.model import from_scratch
from slm.spec import ModelConfig
from tests.benchmarks.timing import show

MODELS = {
    "w80": ModelConfig(**LADDER["w80"], vocabulary=51, context=512),
    "20M": ModelConfig(layers=6, width=512, heads=8, hidden=1536, vocabulary=502, context=2050),
    "20M, 50,000 tokens": ModelConfig(layers=6, width=512, heads=8, hidden=1536, vocabulary=50000, context=2050),
    "85M": ModelConfig(layers=12, width=768, heads=12, hidden=2048, vocabulary=502, context=2050),
    "823M": ModelConfig(layers=16, width=2048, heads=32, hidden=5632, vocabulary=502, context=2050),
}
CASES = {  # model, windows, precision
    "cpu": [
        ("w80", 16, "32-true"),
        ("20M", 1, "32-true"),
        ("20M", 2, "bf16-mixed"),
        ("20M, 50,000 tokens", 1, "32-true"),
        ("85M", 1, "32-true"),
    ],
    "cuda": [
        ("w80", 256, "32-true"),
        ("20M", 8, "32-true"),
        ("20M", 32, "bf16-mixed"),
        ("20M, 50,000 tokens", 16, "bf16-mixed"),
        ("85M", 16, "bf16-mixed"),
        ("823M", 1, "32-true"),
        ("823M", 4, "bf16-mixed"),
    ],
}


def measured_bytes(case: tuple[str, int, str]) -> int:
    """Peak of an update whose windows come after others, so that gradients and moments are there."""
    name, windows, precision = case
    config, device = MODELS[name], "cuda" if torch.cuda.is_available() else "cpu"
    before = psutil.Process().memory_info().rss
    model = from_scratch(config, 0).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(config.vocabulary, (windows, config.context + 1), device=device)
    for batch in (ids[:1, :9], ids):
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16-mixed"):
            nats = next_token_nats(model, batch[:, :-1], batch[:, 1:], "mean")
        nats.backward()
        optimizer.step()
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before


def main() -> None:
    os.environ["MALLOC_MMAP_THRESHOLD_"] = "65536"  # glibc gives freed tensors back at once
    cases = CASES["cuda" if torch.cuda.is_available() else "cpu"]
    with ProcessPoolExecutor(1, mp_context=get_context("spawn"), max_tasks_per_child=1) as fresh:
        found = list(fresh.map(measured_bytes, cases))
    rows = []
    for (name, windows, precision), measured in zip(cases, found, strict=True):
        estimate = step_bytes(MODELS[name], windows, precision)["total"]
        numbers = f"{estimate / 1e9:.2f} GB, {measured / 1e9:.2f} GB, {estimate / measured:.2f}"
        rows.append((f"{name}, {windows} x {MODELS[name].context}, {precision}", numbers))
    show("memory of a training step: estimate, measured, ratio", rows)


if __name__ == "__main__":
    main()
