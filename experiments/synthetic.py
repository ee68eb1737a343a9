"""Do stories teach more about stories than the same number of tokens of other speech?

`python -m experiments train synthetic --scale micro`. The paper's Figure 3 sets sTinyStories against one epoch of
LibriSpeech and Libri-Light, as scale `paper` does; at the others the suite's stories stand against its almanac of
encyclopaedic sentences, in the same units and voices, and the story side is shared with `scaling`.
At micro: 14 points in about 1 minute on 2 cores; at paper: 10 in 140 A100-hours.
Expected: stories win on both cloze tests; on minimal pairs the almanac comes closer.
"""

from experiments.recipe import Family, grid, with_seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    if not scale.contrast:
        raise ValueError(f"study synthetic sets two kinds of speech against each other: scale {scale.name} has one")
    stories, other = scale.contrast
    family = Family(name="units" if stories == scale.mixture else stories, mixture=stories)
    others = grid(scale, Family(name=other, mixture=other), "synthetic")
    return grid(scale, family, "synthetic") + with_seeds(scale, others)
