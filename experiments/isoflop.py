"""Which size is best for a budget of FLOPs?

`python -m experiments train isoflop --scale micro`. Several sizes at each of a few budgets C = 6ND, as branches of the
trunks of `scaling`. The paper has none: budgets are choices, and so are the sizes of each, 1 to 1,200 tokens per
parameter. At micro: 11 points in about 2 minutes on 2 cores; at paper: 19 in 930 A100-hours, some of several epochs.
Expected: a loss with a minimum in N at each budget, whose N grows about as the root of C.
"""

from experiments.recipe import Family, grid
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    return grid(scale, Family(name="units", mixture=scale.mixture), "isoflop")
