"""The chunked loss against the plain one: values, gradients, and the memory that it is for."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    GPTNeoXConfig,
    GPTNeoXForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
)

import slm.memory
from slm.loss import next_token_nats

VOCABULARY, WINDOWS, CONTEXT, CHUNK = 91, 3, 15, 8  # 45 tokens: five chunks and a remainder of five
SHAPE = {"vocab_size": VOCABULARY, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}


def llama(tied: bool = True) -> LlamaForCausalLM:
    return LlamaForCausalLM(LlamaConfig(**SHAPE, intermediate_size=32, tie_word_embeddings=tied))


def opt() -> OPTForCausalLM:
    """With embeddings narrower than its layers, as OPT-350m: its decoder projects what it returns."""
    return OPTForCausalLM(OPTConfig(**SHAPE, ffn_dim=32, word_embed_proj_dim=8, dropout=0.0))


MODELS = {
    "llama-tied": llama,
    "llama-untied": lambda: llama(tied=False),
    "gpt-neox": lambda: GPTNeoXForCausalLM(GPTNeoXConfig(**SHAPE, intermediate_size=32)),
    "opt": opt,
    "qwen2": lambda: Qwen2ForCausalLM(Qwen2Config(**SHAPE, intermediate_size=32, num_key_value_heads=1)),
    "gpt2": lambda: GPT2LMHeadModel(
        GPT2Config(**SHAPE, bos_token_id=0, eos_token_id=0, resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)
    ),
}


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (B, T)."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    ids = torch.randint(VOCABULARY, (WINDOWS, CONTEXT + 1))
    return ids[:, :-1], ids[:, 1:]


def in_chunks(monkeypatch, tokens: int = CHUNK) -> None:
    monkeypatch.setattr(slm.memory, "LOGITS_BYTES", 4 * VOCABULARY * tokens)


def plain_nats(model, inputs, targets, reduction: str) -> torch.Tensor:
    logits = model(input_ids=inputs).logits
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction=reduction)


def gradients(model, nats: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (nats * torch.linspace(1, 2, nats.numel()).view_as(nats)).sum().backward()  # every token with a weight of its own
    return {name: weight.grad for name, weight in model.named_parameters()}


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", MODELS)
def test_chunks_give_the_values_and_gradients_of_the_whole(name, reduction, batch, monkeypatch):
    model = MODELS[name]()
    plain = plain_nats(model, *batch, reduction)
    wanted = gradients(model, plain)
    in_chunks(monkeypatch)
    chunked = next_token_nats(model, *batch, reduction)
    torch.testing.assert_close(chunked, plain)
    torch.testing.assert_close(gradients(model, chunked), wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_small_logits_take_the_plain_path_bit_for_bit(reduction, batch, monkeypatch):
    in_chunks(monkeypatch, tokens=WINDOWS * CONTEXT)
    model = llama()
    assert torch.equal(next_token_nats(model, *batch, reduction), plain_nats(model, *batch, reduction))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_ignored_targets_count_in_no_chunk(reduction, batch, monkeypatch):
    inputs, targets = batch
    targets = targets.clone()
    targets[1:, :10] = -100
    model = llama()
    plain = plain_nats(model, inputs, targets, reduction)
    in_chunks(monkeypatch)
    torch.testing.assert_close(next_token_nats(model, inputs, targets, reduction), plain)


def test_chunks_work_under_autocast(batch, monkeypatch):
    model = llama()
    with torch.autocast("cpu", torch.bfloat16):
        plain = plain_nats(model, *batch, "mean")
        in_chunks(monkeypatch)
        chunked = next_token_nats(model, *batch, "mean")
    assert chunked.dtype == torch.float32
    wanted, found = gradients(model, plain), gradients(model, chunked)
    torch.testing.assert_close(chunked, plain)
    for name in wanted:  # the head's gradient is rounded to bfloat16 chunk by chunk
        assert (found[name] - wanted[name]).norm() < 0.02 * wanted[name].norm(), name


def test_chunks_work_in_inference_mode(batch, monkeypatch):
    model = llama()
    in_chunks(monkeypatch)
    with torch.inference_mode():
        torch.testing.assert_close(next_token_nats(model, *batch, "none"), plain_nats(model, *batch, "none"))


def test_chunks_work_on_compiled_blocks(batch, monkeypatch):
    model = llama()
    wanted = gradients(model, plain_nats(model, *batch, "mean"))
    traced = []

    def backend(graph, inputs):
        traced.append(graph)
        return graph.forward

    for block in model.base_model.layers:
        block.compile(backend=backend)
    in_chunks(monkeypatch)
    found = gradients(model, next_token_nats(model, *batch, "mean"))
    assert traced
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


class LargestOutput(TorchDispatchMode):
    """The most elements of a tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        sizes = [tensor.numel() for tensor in tree_leaves(found) if isinstance(tensor, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return found


@pytest.mark.parametrize("grain", ["mean", "none"])
def test_no_tensor_of_all_logits_is_ever_made(grain, batch, monkeypatch):
    """Neither forward nor backward; the largest tensors are one chunk's logits, or the weights."""
    model = llama()

    def largest() -> int:
        with LargestOutput() as seen:
            gradients(model, next_token_nats(model, *batch, grain))
        return seen.elements

    assert largest() >= WINDOWS * CONTEXT * VOCABULARY
    in_chunks(monkeypatch, tokens=20)
    assert largest() == 20 * VOCABULARY
