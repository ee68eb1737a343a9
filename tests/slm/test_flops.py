"""Golden values: the published models' parameters and the FLOPs of each convention."""

import pytest

from slm.flops import flops_per_token, params_embedding, params_non_embedding, params_total, training_flops
from slm.spec import ModelConfig

# Cuervo & Marxer 2024, Table 1 and released code: layers, width, heads, hidden, non-embedding, total at 502 ids.
PUBLISHED = {
    "20M": (6, 512, 8, 1536, 20_453_888, 20_710_912),
    "85M": (12, 768, 12, 2048, 84_953_856, 85_339_392),
    "155M": (12, 1024, 16, 2816, 154_166_272, 154_680_320),
    "309M": (24, 1024, 16, 2816, 308_331_520, 308_845_568),
    "823M": (16, 2048, 32, 5632, 822_151_168, 823_179_264),
}


def published(name: str) -> ModelConfig:
    layers, width, heads, hidden, _, _ = PUBLISHED[name]
    return ModelConfig(layers=layers, width=width, heads=heads, hidden=hidden, vocabulary=502, context=2050)


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_parameter_counts(name):
    model = published(name)
    assert (params_non_embedding(model), params_total(model)) == PUBLISHED[name][-2:]
    assert params_embedding(model) == 502 * model.width


def test_attention_convention_is_larger_by_what_the_released_code_implies():
    """The fact sheet derives +61 % at 20M and +16 % at 823M for 6N + 12·L·H·Q·T at T = 2050."""
    for name, share in (("20M", 0.61), ("823M", 0.16)):
        per_token = flops_per_token(published(name))
        assert per_token["flops_with_attention"] / per_token["flops_6n"] - 1 == pytest.approx(share, abs=0.005)


def test_flops_do_not_overflow_integers():
    flops = training_flops(published("823M"), 82_324_720_000)["flops_6n"]
    assert flops == pytest.approx(4.066e20, rel=1e-3) and isinstance(flops, float)
