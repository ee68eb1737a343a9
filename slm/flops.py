"""Parameters and training FLOPs of a model, under every convention that the literature uses, each by its name.

In: a `ModelConfig`. Out: counts. Laws choose a convention in analysis; nothing here decides which one is right.
FLOPs are floats: 6 N D overflows 64-bit integers at the published sizes.
"""

from slm.spec import ModelConfig


def head_rows(model: ModelConfig) -> int:
    """Rows of the output head: V, or the K codes that ids share."""
    return model.codes or model.vocabulary


def params_embedding(model: ModelConfig) -> int:
    """Token embedding, V·d, and an output head that is not tied to it, V·d or K·d."""
    return (model.vocabulary + (0 if model.tied else head_rows(model))) * model.width


def params_non_embedding(model: ModelConfig) -> int:
    """Blocks and final norm: L·(4d² + 3·d·h + 2d) + d (no biases, two RMSNorms a block).

    Source: released code of Cuervo & Marxer 2024, `src/slm/model.py`. For a body from a checkpoint of another
    architecture, the declared count.
    """
    if model.body_params is not None:
        return model.body_params
    block = 4 * model.width**2 + 3 * model.width * model.hidden + 2 * model.width
    return model.layers * block + model.width


def params_total(model: ModelConfig) -> int:
    """N of the papers' laws: blocks, final norm and embeddings, a tied one once."""
    return params_non_embedding(model) + params_embedding(model)


def flops_per_token(model: ModelConfig) -> dict[str, float]:
    """Training FLOPs per token, by convention.

    - `flops_6n`: 6·N with N = `params_total` (Cuervo & Marxer 2024, Eq. 5; Kaplan et al. 2020).
    - `flops_with_attention`: 6·N + 12·L·d·T, which adds the attention products over a full context of T tokens
      (the released code's `estimate_mfu`; no discount for the causal mask).
    - `flops_with_head`: 6·(N_non_embedding + V·d): the matrix products with weights that really run, head
      included, which under a shared codebook has K·d. Equal to `flops_6n` while embeddings are tied.
    """
    attention = 12.0 * model.layers * model.width * model.context
    return {
        "flops_6n": 6.0 * params_total(model),
        "flops_with_attention": 6.0 * params_total(model) + attention,
        "flops_with_head": 6.0 * (params_non_embedding(model) + head_rows(model) * model.width),
    }


def training_flops(model: ModelConfig, tokens: int) -> dict[str, float]:
    """`flops_per_token` times the tokens of a run."""
    return {name: per_token * float(tokens) for name, per_token in flops_per_token(model).items()}
