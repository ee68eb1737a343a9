"""Do stories teach more about stories than the same number of tokens of other speech?

`python -m experiments train synthetic --scale micro`. The paper's Figure 3 sets sTinyStories against audiobooks; here
the suite's stories stand against its almanac of encyclopaedic sentences, in the same units and voices. The story side
is shared with `scaling`. Expected: stories win on both cloze tests; on minimal pairs the almanac comes closer.
"""

from experiments.recipe import grid, seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    other, counts = scale.other_corpus, scale.tokens[1:3]
    found = grid(scale, "units", scale.corpus, "units", scale.sizes[:3], counts)
    return found + grid(scale, other, other, "units", scale.sizes[:3], counts) + seeds(scale, other, other, "units")
