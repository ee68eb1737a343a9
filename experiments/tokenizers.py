"""What does a coarser tokenization of the same speech change, upstream and downstream?

`python -m experiments train tokenizers --scale micro`. Unigram pieces over the units (Cuervo & Marxer 2024, §4.4), and
the synthesiser's own phones, the upper bound of any unit scheme. Expected: fewer tokens carry the same story, so the
cloze tests, which span it, gain most.
"""

from experiments.recipe import grid, seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    found = []
    for scheme in ("unigram", "phones"):
        found += grid(scale, scheme, scale.corpus, scheme, scale.sizes[:3], scale.tokens[:3])
        found += seeds(scale, scheme, scale.corpus, scheme)
    return found
