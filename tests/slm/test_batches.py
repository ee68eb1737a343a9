"""Batches: a function of the step alone, every window once an epoch, shares exact."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from slm.batches import MicroBatches, Share, Updates, Windows, validation_batches
from slm.spec import Source
from tests.conftest import store_spec


def window(windows: Windows, i: int) -> np.ndarray:
    row = np.empty(windows.context + 1, dtype=np.int64)
    windows.read(i, row)
    return row


def drawn(updates: Updates) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in updates.addresses(0, updates.steps * updates.rows).tolist()]


def test_windows_predict_every_token_of_the_stream_once_and_count_the_rest(toy_stores):
    store = toy_stores["train"]
    windows = Windows(store, 32)
    targets = np.concatenate([window(windows, i)[1:] for i in range(windows.count)])
    assert np.array_equal(targets, store.tokens[: len(targets)])
    assert len(targets) + windows.dropped == store.num_tokens and windows.dropped < 32
    assert window(windows, 0)[0] == store.eos and window(windows, 3)[0] == store.tokens[95]


def test_an_epoch_holds_every_window_once_and_the_next_one_another_order(toy_stores, run_of):
    store = toy_stores["train"]
    updates = Updates(run_of(64 * 100), [store])
    count = Windows(store, 32).count
    first, second = drawn(updates)[:count], drawn(updates)[count : 2 * count]
    assert set(first) == set(second) == {(0, i) for i in range(count)}
    assert first != second


def test_batches_depend_on_step_and_seed_only(toy_stores, run_of):
    stores = [toy_stores["train"]]
    one, two = MicroBatches(Updates(run_of(), stores)), MicroBatches(Updates(run_of(4096), stores))
    assert all(torch.equal(one[step], two[step]) for step in (5, 0, 15, 5))
    other = MicroBatches(Updates(run_of(seed=1), stores))
    assert not torch.equal(one[0], other[0])


@pytest.mark.parametrize(("world", "micro_batch"), [(1, 1), (1, 2), (2, 1), (4, 2), (8, 1)])
def test_devices_and_micro_batches_share_the_same_updates(toy_stores, run_of, world, micro_batch):
    updates = Updates(run_of(256 * 20, batch_tokens=256), [toy_stores["train"]])
    whole = MicroBatches(updates)
    parts = [MicroBatches(updates, Share(rank=r, world=world, micro_batch=micro_batch)) for r in range(world)]
    for step in (0, 7, 19):
        rows = [part[step * part.per_update + i] for part in parts for i in range(part.per_update)]
        assert all(len(row) == micro_batch for row in rows)
        assert torch.equal(torch.cat(rows), whole[step])


@pytest.mark.parametrize(("world", "micro_batch"), [(3, None), (1, 3), (8, 2)])
def test_shares_that_do_not_divide_an_update_are_refused(toy_stores, run_of, world, micro_batch):
    updates = Updates(run_of(256 * 20, batch_tokens=256), [toy_stores["train"]])
    with pytest.raises(ValueError, match="8 windows cannot be cut"):
        MicroBatches(updates, Share(world=world, micro_batch=micro_batch))


def test_a_mixture_keeps_its_shares_and_counts_epochs_per_source(toy_stores, make_store, run_of):
    second = make_store("second", 15)
    sources = (Source(store=store_spec(), weight=3.0), Source(store=store_spec("second", 15), weight=1.0))
    run = replace(run_of(64 * 50_000), mix=sources)
    stores = [toy_stores["train"], second]
    updates = Updates(run, stores)
    counts = Counter(source for source, _ in drawn(updates))
    assert counts == {0: 75_000, 1: 25_000}
    for source, store in enumerate(stores):
        windows = Windows(store, 32).count
        mine = [i for s, i in drawn(updates) if s == source]
        for epoch in range(len(mine) // windows):
            assert sorted(mine[epoch * windows : (epoch + 1) * windows]) == list(range(windows))


@pytest.mark.parametrize("steps", [3, 20, 777])
def test_use_of_the_sources_is_counted_exactly(toy_stores, make_store, run_of, steps):
    sources = (Source(store=store_spec(), weight=3.0), Source(store=store_spec("second", 15), weight=1.0))
    updates = Updates(replace(run_of(64 * steps), mix=sources), [toy_stores["train"], make_store("second", 15)])
    for source, used in enumerate(updates.usage()):
        mine = [i for s, i in drawn(updates) if s == source]
        assert used["tokens"] == 32 * len(mine) and used["unique_tokens"] == 32 * len(set(mine))
    assert sum(used["tokens"] for used in updates.usage()) == 64 * steps


def test_the_documents_of_an_update_are_those_whose_tokens_it_holds(toy_stores, run_of):
    store = toy_stores["train"]
    updates = Updates(run_of(), [store])
    holder = np.repeat(np.arange(len(store)), store.index["tokens"])
    for step in (0, 5):
        pairs = updates.addresses(step * 2, step * 2 + 2)
        places = np.concatenate([np.arange(i * 32, (i + 1) * 32) for _, i in pairs.tolist()])
        assert updates.documents(step) == sorted(f"document {k}" for k in set(holder[places].tolist()))


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
