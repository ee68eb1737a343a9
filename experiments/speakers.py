"""How well does a small model say text in speech tokens, and read them back?

`python -m experiments train text-to-token --scale micro`: a model for each rate of the supervised tokenizer, learnt on
pairs of spans with the loss on the second half alone, and at the study's own rate its reverse. Each is scored by what
the suite's transcriber, or its text, makes of held-out spans: word error rate, length ratio, tokens a second. A few
minutes on 2 cores.
Expected: error rates near those of the transcriber on real speech; the stores of interleaved documents need the first.
"""

from data.mixed import text_to_token, token_to_text
from data.stores import MIXED, stores
from experiments.scales import Scale
from slm.spec import RunSpec


def runs(scale: Scale) -> list[RunSpec]:
    """A model that speaks at every rate, one that reads; `ValueError` at scales that mix no speech and text."""
    if scale.name not in MIXED:
        raise ValueError(f"scale {scale.name} has no stores of speech and text to learn from")
    mixed, table = MIXED[scale.name], stores(scale.name)
    reverse = [token_to_text(mixed, rate, table) for rate in mixed.rates_in_full]
    return [text_to_token(mixed, rate, table) for rate in mixed.tokenizers] + reverse
