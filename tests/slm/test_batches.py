"""Batches: a function of the step alone, every window once an epoch, shares exact."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from slm.batches import StepBatches, Windows, validation_batches
from slm.spec import Source
from tests.conftest import store_spec


def test_windows_predict_every_token_of_the_stream_once_and_count_the_rest(toy_stores):
    store = toy_stores["train"]
    windows = Windows(store, 32)
    targets = np.concatenate([windows.window(i)[1:] for i in range(windows.count)])
    assert np.array_equal(targets, store.tokens[: len(targets)])
    assert len(targets) + windows.dropped == store.num_tokens and windows.dropped < 32
    assert windows.window(0)[0] == store.eos and windows.window(3)[0] == store.tokens[95]


def test_an_epoch_holds_every_window_once_and_the_next_one_another_order(toy_stores, run_of):
    store = toy_stores["train"]
    batches = StepBatches(run_of(64 * 100), [store])
    count = Windows(store, 32).count
    drawn = [address for step in range(100) for address in batches.addresses(step)]
    first, second = drawn[:count], drawn[count : 2 * count]
    assert set(first) == set(second) == {(0, i) for i in range(count)}
    assert first != second


def test_batches_depend_on_step_and_seed_only(toy_stores, run_of):
    one, two = StepBatches(run_of(), [toy_stores["train"]]), StepBatches(run_of(4096), [toy_stores["train"]])
    assert all(torch.equal(one[step], two[step]) for step in (5, 0, 15, 5))
    other = StepBatches(run_of(seed=1), [toy_stores["train"]])
    assert not torch.equal(one[0], other[0])


def test_a_mixture_keeps_its_shares_and_counts_epochs_per_source(toy_stores, make_store, run_of):
    second = make_store("second", 15)
    sources = (Source(store=store_spec(), weight=3.0), Source(store=store_spec("second", 15), weight=1.0))
    run = replace(run_of(64 * 1000), mix=sources)
    stores = [toy_stores["train"], second]
    drawn = [address for step in range(1000) for address in StepBatches(run, stores).addresses(step)]
    counts = Counter(source for source, _ in drawn)
    assert counts == {0: 1500, 1: 500}
    for source, store in enumerate(stores):
        windows = Windows(store, 32).count
        mine = [i for s, i in drawn if s == source]
        for epoch in range(len(mine) // windows):
            assert sorted(mine[epoch * windows : (epoch + 1) * windows]) == list(range(windows))


def test_a_store_smaller_than_a_window_is_refused(make_store):
    store = make_store("tiny", 1)
    with pytest.raises(ValueError, match="fewer than one window"):
        Windows(store, 1000)


@pytest.mark.parametrize("batch_tokens", [32, 100, 10_000])
def test_validation_covers_the_whole_store_once(toy_stores, batch_tokens):
    store = toy_stores["validation"]
    pairs = list(validation_batches(store, 32, batch_tokens))
    inputs = torch.cat([given.flatten() for given, _ in pairs])
    targets = torch.cat([target.flatten() for _, target in pairs])
    assert np.array_equal(targets, store.tokens)
    assert inputs[0] == store.eos and np.array_equal(inputs[1:], store.tokens[:-1])
