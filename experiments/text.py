"""How far behind a text model of the same compute is a speech model?

`python -m experiments train text --scale micro`. The same stories as text; text needs several times fewer tokens for a
story, so further stories of the same grammar follow (unique tokens are a column). Expected: a steeper climb on every
benchmark than speech.
"""

from experiments.recipe import grid, seeds
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    counts = tuple(count // 2 for count in scale.tokens)  # still twice the stories that the speech grid has
    return grid(scale, "text", scale.corpus, "text", scale.sizes[:3], counts) + seeds(
        scale, "text", scale.corpus, "text"
    )
