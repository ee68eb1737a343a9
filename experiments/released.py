"""Do the released checkpoints come out again when their recipes are trained here?

`python -m experiments train released --scale paper`. The 31 endpoints of github.com/tiagoCuervo/slm_scaling @ 3357a2f5
(RESULTS.md), each a cosine run with the released code's batch and warm-up; budgets are labelled as its checkpoints are.
2,580 A100-hours.
Expected: their accuracies, within sampling noise. The release draws random windows, this suite takes epochs.
"""

from experiments.recipe import RELEASED, Family, run
from experiments.scales import Scale
from slm.spec import RunSpec

UPDATES = {
    "20M": {
        **{"0p7b": 5050, "1p3b": 10100, "2p1b": 15750, "21p8b": 165950},
        **{"43p5b": 331900, "65p3b": 497900, "87p1b": 663850, "108p9b": 829800},
    },
    "85M": {
        **{"1p4b": 5200, "2p7b": 10400, "5p5b": 20800, "8p5b": 32500},
        **{"43p5b": 165950, "65p3b": 248950, "87p1b": 331900, "108p9b": 414900},
    },
    "155M": {"3p1b": 5850, "4p9b": 9400, "9p9b": 18850, "19p4b": 37000, "43p5b": 82950, "65p3b": 124450},
    "309M": {"3p0b": 5850, "4p9b": 9550, "9p9b": 19100, "19p8b": 38250, "30p4b": 58850},
    "823M": {"8p3b": 8850, "16p5b": 17650, "26b": 26000, "82b": 66050},
}
"""Size -> label of the checkpoint -> updates (README.md and RESULTS.md of the release)."""


def runs(scale: Scale) -> list[RunSpec]:
    if scale.name != "paper":
        raise ValueError(f"study released is a list of published runs: it exists at scale paper, not at {scale.name}")
    family = Family(name="units-released", mixture=scale.mixture, schedule="cosine")
    found = []
    for size, updates in UPDATES.items():
        for label, steps in updates.items():
            variant = RELEASED.get(f"{size}-{label}", RELEASED[size])
            found.append(run(scale, family, size, label, steps * variant.batch_tokens, variant=variant))
    return found
