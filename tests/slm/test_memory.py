"""Estimates of memory against what a step really holds, counted tensor by tensor."""

import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import slm.memory
from experiments.recipe import LADDER
from slm.loss import next_token_nats
from slm.memory import step_bytes, windows_that_fit
from slm.model import from_scratch
from slm.spec import ModelConfig

MICRO = {name: ModelConfig(**shape, vocabulary=51, context=512) for name, shape in LADDER.items()}
PUBLISHED = {
    "20M": ModelConfig(layers=6, width=512, heads=8, hidden=1536, vocabulary=502, context=2050),
    "85M": ModelConfig(layers=12, width=768, heads=12, hidden=2048, vocabulary=502, context=2050),
}


class LiveBytes(TorchDispatchMode):
    """Follows the storages of all tensors that operations return, and the most bytes that lived at once."""

    def __init__(self, held: list[torch.Tensor]) -> None:
        super().__init__()
        self.sizes: dict[int, int] = {}
        self.now = self.peak = 0
        for tensor in held:
            self.count(tensor)

    def count(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        if storage._cdata not in self.sizes:
            self.sizes[storage._cdata] = storage.nbytes()
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self.free, storage._cdata)

    def free(self, key: int) -> None:
        self.now -= self.sizes.pop(key)

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        for tensor in tree_leaves(found):
            if isinstance(tensor, torch.Tensor):
                self.count(tensor)
        return found


def peak_bytes(config: ModelConfig, windows: int, precision: str) -> int:
    """Of the last window batch of an update, with gradients of an earlier one and the moments in place."""
    torch.set_num_threads(1)
    model = from_scratch(config, 0)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.randint(config.vocabulary, (windows, config.context + 1))

    def backward(ids: torch.Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16-mixed"):
            nats = next_token_nats(model, ids[:, :-1], ids[:, 1:], "mean")
        nats.backward()

    with LiveBytes(list(model.parameters())) as live:
        backward(ids[:1, :9])  # short, for the moments and the gradients alone
        optimizer.step()
        backward(ids)
        optimizer.step()
    return live.peak


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("windows", [1, 4])
@pytest.mark.parametrize("size", ["w32", "w80"])
def test_micro_models_take_what_is_estimated(size, windows, precision):
    total = step_bytes(MICRO[size], windows, precision)["total"]
    assert total == pytest.approx(peak_bytes(MICRO[size], windows, precision), rel=0.15)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_shared_codebook_takes_what_is_estimated(precision):
    shape = {"vocabulary": 20_000, "context": 512, "tied": False}
    shared = ModelConfig(**LADDER["w32"], **shape, codes=2000, own_codes=500)
    found = peak_bytes(shared, 4, precision)
    assert step_bytes(shared, 4, precision)["total"] == pytest.approx(found, rel=0.15)
    assert found < 0.5 * step_bytes(ModelConfig(**LADDER["w32"], **shape), 4, precision)["total"]


def test_the_20m_model_takes_what_is_estimated():
    assert step_bytes(PUBLISHED["20M"], 1, "32-true")["total"] == pytest.approx(
        peak_bytes(PUBLISHED["20M"], 1, "32-true"), rel=0.15
    )


def test_the_85m_model_keeps_the_activations_and_weights_that_are_estimated():
    config, kept = PUBLISHED["85M"], {}
    model = from_scratch(config, 0)
    own = {weight.untyped_storage().data_ptr() for weight in model.parameters()}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.randint(config.vocabulary, (1, config.context))
        nats = next_token_nats(model, ids, ids, "mean")
    log_probabilities = 4 * config.context * config.vocabulary
    estimate = step_bytes(config, 1, "32-true")
    assert nats.requires_grad
    assert estimate["activations"] + log_probabilities == pytest.approx(sum(kept.values()), rel=0.05)
    assert estimate["weights"] == sum(weight.nbytes for weight in model.parameters())
    assert (estimate["gradients"], estimate["optimizer"]) == (estimate["weights"], 2 * estimate["weights"])


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_a_loss_in_chunks_takes_what_is_estimated(precision, tied, monkeypatch):
    config = ModelConfig(layers=2, width=32, heads=2, hidden=96, vocabulary=5000, context=512, tied=tied)
    whole = step_bytes(config, 2, precision)["total"]
    monkeypatch.setattr(slm.memory, "LOGITS_BYTES", 2**21)
    chunked = step_bytes(config, 2, precision)["total"]
    assert chunked == pytest.approx(peak_bytes(config, 2, precision), rel=0.15)
    assert chunked < whole / 3


def test_shards_divide_what_belongs_to_the_weights():
    config = ModelConfig(layers=16, width=2048, heads=32, hidden=5632, vocabulary=502, context=2050)
    alone, shared = step_bytes(config, 1, "32-true"), step_bytes(config, 1, "32-true", 8)
    assert shared["optimizer"] == alone["optimizer"] / 8
    assert shared["activations"] == alone["activations"]
    assert alone["weights"] / 8 < shared["weights"] < alone["weights"] / 3  # two whole blocks of sixteen, besides


def test_the_largest_divisor_that_fits_is_taken():
    config = PUBLISHED["20M"]
    for windows in (1, 2, 4, 6, 12):
        total = step_bytes(config, windows, "32-true")["total"]
        assert windows_that_fit(config, 12, "32-true", total) == windows
    five = step_bytes(config, 5, "32-true")["total"]
    assert windows_that_fit(config, 12, "32-true", five) == 4
    assert windows_that_fit(config, 12, "bf16-mixed", five) > 4


def test_a_step_that_cannot_fit_says_what_it_needs_and_what_helps():
    large = ModelConfig(layers=16, width=2048, heads=32, hidden=5632, vocabulary=502, context=2050)
    with pytest.raises(ValueError, match=r"2,050 tokens takes 18\.\d\d GB, and .* has 12\.00 GB .*fsdp2.*smaller"):
        windows_that_fit(large, 64, "32-true", 12e9)
    assert windows_that_fit(large, 64, "32-true", 12e9, shards=8) == 1
