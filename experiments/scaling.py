"""How does the loss of a speech language model fall with parameters, tokens and compute?

`python -m experiments train scaling --scale micro`. At micro: 16 points and 2 seeds in about 3 minutes on 2 cores.
Expected: the lower envelope of loss against FLOPs is a power law; loss falls along both axes of the grid.
"""

from experiments.recipe import grid, seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    return grid(scale, "units", scale.corpus, "units", scale.sizes, scale.tokens) + seeds(
        scale, "units", scale.corpus, "units"
    )
