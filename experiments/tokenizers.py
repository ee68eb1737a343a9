"""What does another tokenization of the same speech change, upstream and downstream?

`python -m experiments train tokenizers --scale micro`. Unigram pieces over the units (Cuervo & Marxer 2024, §4.4), and
the synthesiser's own phones, the upper bound of any unit scheme, over sizes and token counts; then a sweep that
changes one thing at a time (frame rate, features, number of units, number of pieces, unigram or byte pairs) at the
second size. Expected: fewer tokens carry the same story, so the cloze tests, which span it, gain most; losses of
different unit streams do not compare, but accuracies on the same items do. Cost at `micro`: 5 minutes on 2 cores.
"""

from data.stores import SWEEP
from experiments.recipe import grid, seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    found = []
    for scheme in ("unigram", "phones"):
        found += grid(scale, scheme, scale.corpus, scheme, scale.sizes[:3], scale.tokens[:3])
        found += seeds(scale, scheme, scale.corpus, scheme)
    for scheme in SWEEP if scale.sweep else ():
        found += grid(scale, scheme, scale.corpus, scheme, scale.sizes[1:2], scale.tokens[1:3])
    return found
