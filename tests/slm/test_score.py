"""The scorer against a naive float64 loop, and accuracies against counts by hand."""

import numpy as np
import pytest
import torch

from slm.evals.choice import accuracies, choose
from slm.model import from_scratch
from slm.score import log_likelihoods
from slm.spec import ModelConfig
from slm.store import Document, write_store
from tests.conftest import VOCABULARY, store_spec

EOS = VOCABULARY - 1


@pytest.fixture(scope="module")
def model():
    """Weights ten times larger than a fresh model's, so that likelihoods differ from token to token."""
    config = ModelConfig(layers=2, width=16, heads=2, hidden=32, vocabulary=VOCABULARY, context=64, init_std=0.2)
    return from_scratch(config, 0).eval()


def naive(model, sequence: np.ndarray, prompt: int) -> tuple[float, float]:
    """Token by token in float64, one sequence at a time, no padding."""
    model = model.double()
    values = []
    for position in range(len(sequence)):
        prefix = torch.tensor([[EOS, *sequence[:position]]])
        with torch.no_grad():
            values.append(float(torch.log_softmax(model(input_ids=prefix).logits[0, -1], -1)[sequence[position]]))
    model.float()
    return sum(values), sum(values[prompt:])


@pytest.mark.parametrize("batch_tokens", [1, 70, 100_000])
def test_likelihoods_equal_the_naive_loop_for_any_batching(model, batch_tokens):
    random = np.random.default_rng(0)
    sequences = [random.integers(0, EOS, length) for length in (1, 5, 64, 17, 17, 30)]
    prompts = [0, 2, 60, 0, 16, 29]
    expected = np.array([naive(model, s, p) for s, p in zip(sequences, prompts, strict=True)])
    found = log_likelihoods(model, sequences, prompts, EOS, batch_tokens)
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("length", "prompt"), [(65, 0), (0, 0), (5, 5)])
def test_sequences_that_cannot_be_scored_are_refused(model, length, prompt):
    with pytest.raises(ValueError, match="context is 64"):
        log_likelihoods(model, [np.ones(length, dtype=int)], [prompt], EOS, 100)


def item(number: int, sums: list[float], tokens: list[int], answer: int, subset: str = "a", prompt: int = 0) -> dict:
    options = [
        {"sum": s, "tokens": t, "ending_sum": s / 2, "ending_tokens": t - prompt, "units": t, "seconds": 1.0}
        for s, t in zip(sums, tokens, strict=True)
    ]
    return {"id": str(number), "subset": subset, "answer": answer, "options": options}


def test_accuracies_by_hand():
    rows = [
        item(0, [-10.0, -12.0], [10, 20], 0),  # sum right, mean wrong: -1.0 against -0.6
        item(1, [-10.0, -20.0], [10, 20], 0),  # sum right, mean tie
        item(2, [-10.0, -20.0], [10, 10], 1, "b"),  # both wrong
        item(3, [-5.0, -5.0], [10, 10], 1, "b"),  # both tie
    ]
    table = {(row["subset"], row["metric"]): row for row in accuracies(rows)}
    assert table["all", "accuracy_sum"]["value"] == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert table["all", "accuracy_mean"]["value"] == pytest.approx((0 + 0.5 + 0 + 0.5) / 4)
    assert table["b", "accuracy_mean"]["value"] == pytest.approx(0.25) and table["b", "accuracy_mean"]["n"] == 2
    credits = np.array([1, 1, 0, 0.5])
    assert table["all", "accuracy_sum"]["stderr"] == pytest.approx(credits.std(ddof=1) / 2)
    assert ("all", "accuracy_ending_mean") not in table, "no item has a prompt"


def test_endings_are_scored_where_there_are_prompts():
    table = {row["metric"]: row for row in accuracies([item(0, [-10.0, -12.0], [10, 20], 0, prompt=8)])}
    assert table["accuracy_ending_mean"]["value"] == 0.0, "-5 / 2 against -6 / 12"
    assert table["accuracy_ending_sum"]["value"] == 1.0


def test_choose_reads_items_of_a_store(model, tmp_path):
    random = np.random.default_rng(1)
    tokens = {f"q#{i}": random.integers(0, EOS, 12) for i in range(2)}
    items = [{"id": "q", "subset": "s", "options": ["q#1", "q#0"], "answer": 1, "prompt_tokens": [3, 4]}]
    rows = [Document(id=key, tokens=ids, units=30, seconds=1.5) for key, ids in tokens.items()]
    store = write_store(tmp_path / "s", store_spec(), rows, {"items": items, "documents": [{"id": i} for i in tokens]})
    (row,) = choose(model, store, 100)
    expected = [naive(model, tokens["q#1"], 3), naive(model, tokens["q#0"], 4)]
    for option, (whole, ending), prompt in zip(row["options"], expected, (3, 4), strict=True):
        assert (option["sum"], option["ending_sum"]) == (
            pytest.approx(whole, rel=1e-5),
            pytest.approx(ending, rel=1e-5),
        )
        assert option["tokens"] == 12 and option["ending_tokens"] == 12 - prompt and option["units"] == 30
