"""What does another tokenization of the same speech change, upstream and downstream?

`python -m experiments train tokenizers --scale micro`. Unigram pieces over the units (Cuervo & Marxer 2024, §4.4: up to
309M parameters and one epoch) and, below `paper`, the synthesiser's own phones, the upper bound of any unit scheme,
over sizes and token counts; then a sweep that changes one thing at a time (frame rate, features, number of units,
number of pieces, unigram or byte pairs) at the second size. Expected: fewer tokens carry the same story, so the cloze
tests, which span it, gain most; losses of different unit streams do not compare, but accuracies on the same items do.
Cost at `micro`: 5 minutes on 2 cores; at `paper`: 77 A100-hours.
"""

from data.stores import SWEEP
from experiments.recipe import Family, grid, with_seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    families = {
        scheme: Family(name=scheme, mixture=scale.mixture, scheme=scheme) for scheme in (*scale.schemes, *SWEEP)
    }
    found = []
    for scheme in scale.schemes:
        found += with_seeds(scale, grid(scale, families[scheme], "tokenizers"))
    for scheme in SWEEP if "sweep" in scale.grids else ():
        found += grid(scale, families[scheme], "sweep")
    return found
