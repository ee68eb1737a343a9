"""Does one trunk with cooldown branches give the same envelope as separately trained cosine runs?

`python -m experiments train cosine --scale micro`. The points of `scaling`, each a run of its own under the published
schedule. At micro: 16 runs in about 4 minutes on 2 cores; at paper: 40 in 2,130 A100-hours (`scaling`: 1,200).
Expected: the same envelope within the spread over seeds, at nearly twice the cost.
"""

from experiments.recipe import Family, grid
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    return grid(scale, Family(name="units-cosine", mixture=scale.mixture, schedule="cosine"), "scaling")
