"""Do stories teach more about stories than the same number of tokens of other speech?

`python -m experiments train synthetic --scale micro`. The paper's Figure 3 sets sTinyStories against audiobooks; here
the suite's stories stand against its almanac of encyclopaedic sentences, in the same units and voices. The story side
is shared with `scaling`. Expected: stories win on both cloze tests; on minimal pairs the almanac comes closer.
"""

from experiments.recipe import grid
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    if scale.other_corpus is None:
        raise ValueError(f"scale {scale.name} has no second kind of speech: the synthetic study runs at micro")
    found = []
    for family, corpus in (("units", scale.corpus), (scale.other_corpus, scale.other_corpus)):
        found += grid(scale, family, corpus, "units", scale.sizes[:3], scale.tokens[1:3])
    return found
