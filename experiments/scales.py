"""One question, several prices: what a scale fixes for every study.

In: a name. Out: a frozen `Scale`. Studies ask it for sizes, token counts and schemes and are otherwise the same.
`tiny` is for tests of the whole path; its numbers mean nothing.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Scale:
    """The price of a study."""

    name: str
    corpus: str
    """The corpus of stories that every family trains on, as the store table names it."""
    other_corpus: str | None
    """Speech of another kind, for the `synthetic` study; None where the scale has none."""
    studies: tuple[str, ...]
    """Those that the scale has data for."""
    sizes: tuple[str, ...]
    """Rungs of `recipe.LADDER`, smallest first."""
    tokens: tuple[int, ...]
    """Token counts of the full grid, smallest first."""
    batch_tokens: int
    context: dict[str, int]
    """Scheme -> tokens of a window, and under `units` those of every scheme that is not named; at `tiny` and `micro`
    long enough for a whole story."""
    sweep: bool
    """Whether the study `tokenizers` sweeps `data.stores.SWEEP` here."""
    warmup_steps: int
    flops_per_second: float
    """Measured training speed of all processes of the named machine together, for estimates of time alone."""
    speed_measured_on: str


SCALES = {
    "tiny": Scale(
        name="tiny",
        corpus="stories",
        other_corpus="almanac",
        studies=("scaling", "tokenizers", "text", "synthetic"),
        sizes=("w32", "w48", "w64"),
        tokens=(2048, 4096, 8192),
        batch_tokens=512,
        context={"units": 512, "unigram": 512, "phones": 256, "text": 128},
        sweep=True,
        warmup_steps=1,
        flops_per_second=3e10,
        speed_measured_on="2 CPU cores",
    ),
    "micro": Scale(
        name="micro",
        corpus="stories",
        other_corpus="almanac",
        studies=("scaling", "tokenizers", "text", "synthetic"),
        sizes=("w32", "w48", "w64", "w80"),
        tokens=(262144, 524288, 1048576, 2097152),
        batch_tokens=2048,
        context={"units": 512, "unigram": 256, "unigram-many": 256, "phones": 256, "text": 128},
        sweep=True,
        warmup_steps=16,
        flops_per_second=5e10,
        speed_measured_on="2 CPU cores",
    ),
    "mini": Scale(
        name="mini",
        corpus="tinystories",
        other_corpus=None,
        studies=("scaling", "tokenizers"),
        sizes=("w48", "w64", "w80"),
        tokens=(524288, 1048576, 2097152),
        batch_tokens=4096,
        context={"units": 512, "unigram": 256, "phones": 256},
        sweep=False,
        warmup_steps=16,
        flops_per_second=5e10,
        speed_measured_on="2 CPU cores",
    ),
}


def scale_of(name: str) -> Scale:
    """The scale of that name; `ValueError` lists those that exist."""
    if name not in SCALES:
        raise ValueError(f"no scale {name!r}: choose one of {', '.join(SCALES)}")
    return SCALES[name]
