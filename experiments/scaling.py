"""How does the loss of a speech language model fall with parameters, tokens and compute?

`python -m experiments train scaling --scale micro`. One trunk a size, a cooldown branch for each token count. At
micro: 16 points and 2 seeds in about 3 minutes on 2 cores; at paper: the published D/N, 40 and 2 in 1,200 A100-hours.
Expected: the lower envelope of loss against FLOPs is a power law; loss falls along both axes of the grid.
"""

from experiments.recipe import Family, grid, with_seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    return with_seeds(scale, grid(scale, Family(name="units", mixture=scale.mixture), "scaling"))
