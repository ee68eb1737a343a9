"""ModelConfig to a transformers Llama decoder with freshly drawn weights.

In: a `ModelConfig` and a seed. Out: `LlamaForCausalLM`, initialised as in Cuervo & Marxer's released code: N(0, 0.02),
then the up and output projections re-drawn at 0.02 / sqrt(2 · layers), which transformers itself does not do.
"""

import math

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from slm.flops import params_total
from slm.spec import ModelConfig


def build(config: ModelConfig, seed: int) -> LlamaForCausalLM:
    """A new model; the same config and seed give the same weights whatever else the process drew."""
    rotary = {"rope_type": "default", "rope_theta": config.rope_theta}
    settings = LlamaConfig(
        vocab_size=config.vocabulary,
        hidden_size=config.width,
        intermediate_size=config.hidden,
        num_hidden_layers=config.layers,
        num_attention_heads=config.heads,
        max_position_embeddings=config.context,
        rms_norm_eps=config.norm_eps,
        rope_theta=config.rope_theta,  # read by transformers 4
        rope_parameters=rotary,  # read by transformers 5
        initializer_range=config.init_std,
        tie_word_embeddings=True,
        use_cache=False,
        bos_token_id=config.vocabulary - 1,
        eos_token_id=config.vocabulary - 1,
        attn_implementation="sdpa",
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = LlamaForCausalLM(settings)
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                scaled = name.endswith(("up_proj.weight", "o_proj.weight"))
                torch.nn.init.normal_(weight, 0.0, config.init_std / (math.sqrt(2 * config.layers) if scaled else 1.0))
    counted = sum(weight.numel() for weight in model.parameters())
    assert counted == params_total(config), f"{counted} parameters, flops.py says {params_total(config)}"
    return model
