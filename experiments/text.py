"""How far behind a text model of the same compute is a speech model?

`python -m experiments train text --scale micro`. The same stories as text; text needs several times fewer tokens for a
story, so further stories of the same grammar follow (unique tokens are a column). Expected: a steeper climb on every
benchmark than speech.
"""

from experiments.recipe import Family, grid, with_seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    return with_seeds(scale, grid(scale, Family(name="text", mixture=scale.mixture, scheme="text"), "text"))
