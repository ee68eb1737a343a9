"""Opinions: the model ladder, and learning rate, batch and schedule for a size and a budget.

In: a scale, a scheme, a size, a token count. Out: a `RunSpec`. Arithmetic lives in `slm.flops`; what is measured or
tuned here says so.
"""

from data.stores import stores
from experiments.scales import Scale
from slm.spec import ModelConfig, RunSpec, Source, TrainConfig

LADDER = {
    "w32": {"layers": 2, "width": 32, "heads": 2, "hidden": 96},
    "w48": {"layers": 2, "width": 48, "heads": 3, "hidden": 128},
    "w64": {"layers": 2, "width": 64, "heads": 4, "hidden": 176},
    "w80": {"layers": 3, "width": 80, "heads": 5, "hidden": 208},
}
"""Size -> shape: heads of 16, SwiGLU of about 8/3 of the width (choices)."""

LEARNING_RATE = {"w32": 2e-2, "w48": 1.3e-2, "w64": 1e-2, "w80": 7e-3}
"""Peak rate per size: read between the sizes that were tuned, on units, see LOG.md."""
INIT_STD = 0.08
"""About 1 / sqrt(width) here; the published 0.02 belongs to widths of 512 and more, and learns far slower at these."""
DECAY_FRACTION = 0.25
FINAL_RATE = 0.05


def run(scale: Scale, family: str, corpus: str, scheme: str, size: str, tokens: int, seed: int = 0) -> RunSpec:
    """The run of a family at a size and a token count; the seed draws weights and data order."""
    store = stores(scale.name)[f"{corpus}-train/{scheme}"]
    budget = f"{tokens // 1024}k"
    return RunSpec(
        name="/".join([family, budget, size] + ([f"seed{seed}"] if seed else [])),
        family=family,
        size=size,
        budget=budget,
        model=ModelConfig(
            **LADDER[size],
            vocabulary=store.tokenizer.vocabulary,
            context=scale.context.get(scheme, scale.context["units"]),
            init_std=INIT_STD,
        ),
        mix=(Source(store=store),),
        train=TrainConfig(
            tokens=tokens,
            batch_tokens=scale.batch_tokens,
            learning_rate=LEARNING_RATE[size],
            warmup_steps=scale.warmup_steps,
            schedule="wsd",
            decay_fraction=DECAY_FRACTION,
            final_rate=FINAL_RATE,
            seed=seed,
        ),
    )


def grid(
    scale: Scale, family: str, corpus: str, scheme: str, sizes: tuple[str, ...], tokens: tuple[int, ...]
) -> list[RunSpec]:
    """Every size at every token count."""
    return [run(scale, family, corpus, scheme, size, count) for size in sizes for count in tokens]


def seeds(scale: Scale, family: str, corpus: str, scheme: str) -> list[RunSpec]:
    """Two more seeds of one point of a family, for the noise: the second size at the second token count."""
    return [run(scale, family, corpus, scheme, scale.sizes[1], scale.tokens[1], seed) for seed in (1, 2)]
