"""The shared codebook: the probabilities of its definition, a loss from K logits alone, runs that train with it."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoModelForCausalLM

import slm.memory
from slm.export import export
from slm.flops import flops_per_token, params_embedding
from slm.generate import Decoding, generate
from slm.head import SharedHead, code_of
from slm.loss import next_token_nats
from slm.machine import CPU
from slm.memory import step_bytes
from slm.model import from_scratch
from slm.recorder import Leave, Wish
from slm.score import log_likelihoods
from slm.spec import ModelConfig, to_json
from slm.train import train, trained_model

torch.set_num_threads(1)
SHAPE = {"layers": 2, "width": 16, "heads": 2, "hidden": 32, "context": 32, "tied": False}
SHARED = ModelConfig(**SHAPE, vocabulary=91, codes=12, own_codes=4)
PLAIN = replace(SHARED, codes=None, own_codes=1)
CHUNK = 8


def batch(vocabulary: int = 91, masked: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and targets (B, T)."""
    ids = torch.randint(vocabulary, (3, 16), generator=torch.Generator().manual_seed(0))
    targets = ids[:, 1:].clone()
    if masked:
        targets[1:, :10] = -100
    return ids[:, :-1], targets


def large(config: ModelConfig, seed: int = 0):
    """A model with weights large enough for probabilities to differ."""
    model = from_scratch(config, seed)
    with torch.no_grad():
        model.get_output_embeddings().weight.mul_(20)
    return model


def test_probabilities_are_those_of_the_definition():
    config = ModelConfig(**SHAPE, vocabulary=4, codes=2)
    assert code_of(config).tolist() == [0, 0, 0, 1]
    head = SharedHead(torch.tensor([[0.0], [math.log(3)]]), code_of(config))
    hidden = torch.ones(1, 1)
    wanted = torch.tensor([[1 / 6, 1 / 6, 1 / 6, 1 / 2]])
    torch.testing.assert_close(head(hidden).softmax(-1), wanted)
    torch.testing.assert_close(head.expanded()(hidden).softmax(-1), wanted)
    nats = head.nats(hidden.expand(4, 1), torch.arange(4), "none")
    torch.testing.assert_close((-nats).exp()[None], wanted)


@given(st.data())
def test_every_code_is_used_and_neighbours_share_evenly(data):
    vocabulary = data.draw(st.integers(2, 300))
    codes = data.draw(st.integers(2, vocabulary))
    own = data.draw(st.integers(1, codes - 1))
    found = code_of(ModelConfig(**SHAPE, vocabulary=vocabulary, codes=codes, own_codes=own))
    counts = np.bincount(found)
    assert len(found) == vocabulary and len(counts) == codes and (np.diff(found) >= 0).all()
    alone = (codes - own) // 2
    assert (counts[:alone] == 1).all() and (counts[codes - own :] == 1).all()
    middle = counts[alone : codes - own]
    assert middle.min() >= 1 and middle.max() - middle.min() <= 1
    assert codes < vocabulary or (found == np.arange(vocabulary)).all()


@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_and_gradients_are_those_of_the_logits_of_all_ids(reduction, masked, chunked, monkeypatch):
    model, (inputs, targets) = large(SHARED), batch(masked=masked)

    def gradients(nats: torch.Tensor) -> dict[str, torch.Tensor]:
        model.zero_grad()
        (nats * torch.linspace(1, 2, nats.numel()).view_as(nats)).sum().backward()
        return {name: weight.grad for name, weight in model.named_parameters()}

    logits = model(input_ids=inputs).logits
    assert logits.shape == (3, 15, 91)
    plain = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction=reduction)
    wanted = gradients(plain)
    if chunked:
        monkeypatch.setattr(slm.memory, "LOGITS_BYTES", 4 * 12 * CHUNK)
    found = next_token_nats(model, inputs, targets, reduction)
    torch.testing.assert_close(found, plain, rtol=1e-6, atol=1e-6)
    for name, gradient in gradients(found).items():
        assert (gradient - wanted[name]).norm() <= 1e-5 * wanted[name].norm(), name


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_as_many_codes_as_ids_are_the_untied_model_bit_for_bit(reduction):
    plain, shared = from_scratch(PLAIN, 3), from_scratch(replace(SHARED, codes=91), 3)
    for weight, same in zip(plain.parameters(), shared.parameters(), strict=True):
        assert torch.equal(weight, same)
    inputs, targets = batch(masked=True)
    found = [next_token_nats(model, inputs, targets, reduction) for model in (plain, shared)]
    assert torch.equal(*found)


def test_the_loss_exceeds_the_entropy_of_the_ids_by_what_a_code_cannot_tell():
    """E[-log P(Y)] = E[-log q(M(Y))] + E[log n], at least H(M(Y)) + E[log n]; best possible at q = P(M)."""
    draw = torch.Generator().manual_seed(0)
    config = ModelConfig(**SHAPE, vocabulary=40, codes=10, own_codes=2)
    code, p = torch.tensor(code_of(config)), torch.rand(40, generator=draw).double()
    p /= p.sum()
    of_codes = torch.zeros(10).double().index_add(0, code, p)
    ids = torch.bincount(code)
    floor = -(of_codes * of_codes.log()).sum() + (p * ids[code].log()).sum()
    within = -(p * (p / of_codes[code]).log()).sum()  # H(Y | M(Y))
    excess = floor - -(p * p.log()).sum()
    assert float(excess) == pytest.approx(float((p * ids[code].log()).sum() - within)) and excess > 0.01

    def loss(z: torch.Tensor) -> float:
        head = SharedHead(z[:, None].float(), code_of(config))
        return float((p * head.nats(torch.ones(40, 1), torch.arange(40), "none").double()).sum().detach())

    best = (of_codes / ids).log()
    assert loss(best) == pytest.approx(float(floor), abs=1e-5)
    assert loss(best + torch.randn(10, generator=draw)) > float(floor) + 0.01


class LargestOutput(TorchDispatchMode):
    """The most elements of a tensor that any operation returned."""

    elements = 0

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        sizes = [tensor.numel() for tensor in tree_leaves(found) if isinstance(tensor, torch.Tensor)]
        self.elements = max([self.elements, *sizes])
        return found


@pytest.mark.parametrize("grain", ["mean", "none"])
def test_the_loss_never_makes_logits_of_all_ids(grain):
    config = replace(SHARED, vocabulary=900)
    largest = {}
    for name, each in {"shared": config, "plain": replace(config, codes=None, own_codes=1)}.items():
        model = from_scratch(each, 0)
        with LargestOutput() as seen:
            next_token_nats(model, *batch(), grain).sum().backward()
        largest[name] = seen.elements
    assert largest == {"plain": 45 * 900, "shared": 900 * 16}  # the gradient of the embedding


def test_generation_and_scores_see_the_same_probabilities():
    """As the expanded head in a plain model, drawn by the same seeds."""
    shared, plain = large(SHARED).eval(), large(PLAIN).eval()
    body = {name: w for name, w in shared.state_dict().items() if name != "lm_head.weight"}
    plain.load_state_dict(body | {"lm_head.weight": shared.lm_head.expanded().weight})
    prompts = [np.arange(5), np.arange(9)]
    for temperature in (0.0, 1.0):
        decoding = Decoding(most_tokens=12, temperature=temperature)
        ways = [generate(model, prompts, 90, 90, range(60), decoding, 1000) for model in (shared, plain)]
        assert [row.tolist() for row in ways[0]] == [row.tolist() for row in ways[1]]
    items = [[np.arange(8), np.arange(8)[::-1]], [np.arange(80, 90)]]
    scores = [log_likelihoods(model, items, [[0, 0], [3]], 90, 90, 64) for model in (shared, plain)]
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_a_run_trains_resumes_and_is_opened(run_of, toy_stores, tmp_path):
    run = replace(run_of(), model=replace(run_of().model, tied=False, codes=9, own_codes=3))
    own = [toy_stores["train"]], {"held-out": toy_stores["validation"]}
    whole = train(run, *own, tmp_path / "whole", CPU, {})
    wish, calls = Wish(), []

    def report(flops: float) -> None:
        calls.append(flops)
        wish.value = len(calls) > 6

    with pytest.raises(Leave):
        train(run, *own, tmp_path / "left", CPU, {}, report, wish)
    log = train(run, *own, tmp_path / "left", CPU, {})
    rows = [[row["nats"] for row in each.rows("train")] for each in (whole, log)]
    assert rows[0] == rows[1] and rows[0][-1] < rows[0][0] - 0.1
    states = [trained_model(each).state_dict() for each in (whole, log)]
    assert states[0]["lm_head.weight"].shape == (9, 16)
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_an_exported_run_has_a_head_of_equal_rows_in_plain_transformers(run_of, toy_stores, tmp_path):
    run = replace(run_of(), model=replace(run_of().model, tied=False, codes=9, own_codes=3))
    log = train(run, [toy_stores["train"]], {"held-out": toy_stores["validation"]}, tmp_path / "runs", CPU, {})
    own, loaded = trained_model(log), AutoModelForCausalLM.from_pretrained(export(log, tmp_path / "exported")).eval()
    inputs, targets = batch(17)
    with torch.inference_mode():
        found, wanted = (model(input_ids=inputs).logits.log_softmax(-1) for model in (loaded, own))
        nats = next_token_nats(own, inputs, targets, "none").view(targets.shape)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
    torch.testing.assert_close(-found.gather(-1, targets[..., None])[..., 0], nats, atol=2e-6, rtol=0)
    assert type(loaded.lm_head) is torch.nn.Linear and loaded.lm_head.weight.unique(dim=0).shape == (9, 16)


def test_counts_follow_the_codes():
    assert params_embedding(SHARED) == (91 + 12) * 16 and params_embedding(PLAIN) == 2 * 91 * 16
    head = [flops_per_token(each)["flops_with_head"] for each in (PLAIN, SHARED)]
    assert head[0] - head[1] == 6 * (91 - 12) * 16
    assert (
        sum(weight.numel() for weight in from_scratch(SHARED, 0).parameters())
        == params_embedding(SHARED)
        + sum(weight.numel() for weight in from_scratch(SHARED, 0).base_model.layers.parameters())
        + SHARED.width
    )
    wide = replace(SHARED, vocabulary=50_000)
    saved = [step_bytes(each, 8, "32-true")["working"] for each in (replace(wide, codes=None, own_codes=1), wide)]
    assert saved[0] > 100 * saved[1]


@pytest.mark.parametrize(
    "changes",
    [{"codes": 92}, {"codes": 4}, {"own_codes": 0}, {"own_codes": 12}, {"tied": True}, {"codes": None}],
)
def test_impossible_codebooks_are_refused(changes):
    with pytest.raises(ValueError, match="codes") as caught:
        replace(SHARED, **changes)
    assert "\n" not in str(caught.value)


def test_recipes_without_a_codebook_are_written_as_before():
    assert not {"codes", "own_codes"} & set(to_json(PLAIN)) and to_json(SHARED)["codes"] == 12
