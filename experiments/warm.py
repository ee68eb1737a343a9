"""Does a body that read text learn speech units faster than one that starts from scratch (TWIST)?

`python -m experiments train warm --scale paper --models DIR`: 6 runs, 1.1e20 FLOPs, about 270 A100-hours. Expected:
less loss at every token count (Hassid et al. 2023, arXiv 2305.13009). A pair differs in more than its start: OPT has
learned positions, LayerNorm, biases, ReLU, windows of 2,048 and up to half as many more parameters. OPT comes pickled:
the error that names the missing safetensors has the two commands that fetch and convert it.
"""

from dataclasses import dataclass, replace

from experiments.recipe import paper_run
from experiments.scales import Scale
from slm.spec import Init, RunSpec

CONTEXT = 2048
"""Positions that OPT learnt."""


@dataclass(frozen=True, kw_only=True)
class Body:
    """A text model whose body starts a run, and the published size that is nearest in parameters."""

    init: Init
    layers: int
    width: int
    heads: int
    hidden: int
    body_params: int
    """Counted on OPTForCausalLM(OPTConfig(...)) of transformers on the meta device: all parameters but the tied
    embedding. With the embedding of 50,272 ids they make the 125,239,296 and 1,315,758,080 of the checkpoints."""
    nearest: str
    tokens: tuple[int, ...]
    """Released token counts of that size (Cuervo & Marxer 2024): an eighth to four fifths of an epoch."""


# Commits of `main` on the hub, as several public repositories pin them.
BODIES = {
    "opt-125m": Body(
        init=Init(checkpoint="facebook/opt-125m", revision="27dcfa74d334bc871f3234de431e71c6eeba5dd6"),
        layers=12,
        width=768,
        heads=12,
        hidden=3072,
        body_params=86_630_400,
        nearest="85M",
        tokens=(1_364_480_000, 8_528_000_000),
    ),
    "opt-1.3b": Body(
        init=Init(checkpoint="facebook/opt-1.3b", revision="3f5c25d0bc631cb57ac65913f76e22c2dfb61d62"),
        layers=24,
        width=2048,
        heads=32,
        hidden=8192,
        body_params=1_212_801_024,
        nearest="823M",
        tokens=(8_272_980_000,),
    ),
}


def runs(scale: Scale) -> list[RunSpec]:
    """From scratch and warm, at each size and token count; `ValueError` at scales without the published units."""
    if scale.name != "paper":
        raise ValueError(f"the study warm needs text models of published sizes, not scale {scale.name}: scale paper")
    pairs = [
        (paper_run(scale, "units", body.nearest, count), size) for size, body in BODIES.items() for count in body.tokens
    ]
    return [run for scratch, size in pairs for run in (scratch, warm(scratch, size))]


def warm(scratch: RunSpec, size: str) -> RunSpec:
    """The run on a text model's body that a run from scratch is compared with: the same mixture, rates and tokens.

    Batches are rounded to whole windows and tokens to whole batches, which changes either by less than 1 %.
    """
    body = BODIES[size]
    batch = round(scratch.train.batch_tokens / CONTEXT) * CONTEXT
    tokens = round(scratch.train.tokens / batch) * batch
    shape = {name: getattr(body, name) for name in ("layers", "width", "heads", "hidden", "body_params")}
    return replace(
        scratch,
        name=f"units-warm/{scratch.budget}/{size}",
        family="units-warm",
        size=size,
        model=replace(scratch.model, **shape, context=CONTEXT, tied=True),
        train=replace(scratch.train, tokens=tokens, batch_tokens=batch),
        init=body.init,
    )
