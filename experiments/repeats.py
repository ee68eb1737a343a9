"""What are repeated tokens worth?

`python -m experiments train repeats --scale micro`. Several epochs at each size (Cuervo & Marxer 2024, section 3.3.2),
as branches of the trunks of `scaling`; an epoch is that of the stated token counts. At micro: 4 points in about 2
minutes on 2 cores; at paper: 19 in 2,320 A100-hours.
Expected: losses above those of as many fresh tokens, more so at later epochs (their Eq. 7).
"""

from experiments.recipe import Family, grid
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    return grid(scale, Family(name="units", mixture=scale.mixture), "repeats")
