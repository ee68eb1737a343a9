"""Batches: a function of the step alone, every window once an epoch, shares exact."""

import hashlib
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from slm.batches import MicroBatches, Share, Updates, Windows, validation_batches
from slm.spans import interleaved, spans
from slm.spec import Source
from slm.store import Document, write_store
from slm.windows import restored
from tests.conftest import VOCABULARY, store_spec
from tests.slm.spoken_words import SPANS, marks_of, pair_store, streams_of, word_store


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


def test_runs_of_the_first_release_see_the_batches_that_they_saw(toy_stores, make_store, run_of):
    """A digest of windows of two blocks and many epochs, taken before sources could be interleaved or masked."""
    sources = (Source(store=store_spec(), weight=3.0), Source(store=store_spec("second", 15), weight=1.0))
    updates = Updates(replace(run_of(64 * 60_000), mix=sources), [toy_stores["train"], make_store("second", 15)])
    digest = hashlib.sha256()
    for first in (0, 777, 99_990, 119_000):
        digest.update(updates.read(first, first + 1000).numpy().tobytes())
    assert digest.hexdigest()[:16] == "4b4d61133504b838"


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return word_store(tmp_path_factory.mktemp("words") / "words")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    return pair_store(tmp_path_factory.mktemp("pairs") / "pairs")


def stream(store, epoch: int) -> np.ndarray:
    """An epoch's documents, interleaved one by one."""
    counts, streams = streams_of(store)
    some = spans(counts, SPANS, epoch)
    ids, _, tokens = interleaved(counts, some, streams, marks_of(VOCABULARY))
    return np.concatenate([np.append(part, store.eos) for part in np.split(ids, np.cumsum(tokens)[:-1])])


def mixed(run_of, *sources, tokens: int = 64 * 200, **changes):
    return replace(run_of(tokens, **changes), mix=sources)


def test_every_epoch_is_interleaved_anew_and_cut_into_as_many_windows_as_the_first(words, run_of):
    updates = Updates(mixed(run_of, Source(store=words.spec, spans=SPANS)), [words])
    count = len(stream(words, 0)) // 32
    lengths = [len(stream(words, epoch)) for epoch in range(4)]
    assert min(lengths) < count * 32 < max(lengths), "one epoch goes on from its beginning, one is cut"
    for epoch in range(4):
        pairs_ = updates.addresses(epoch * count, (epoch + 1) * count)
        assert sorted(pairs_[:, 1].tolist()) == list(range(epoch * count, (epoch + 1) * count))
        told = np.resize(stream(words, epoch), count * 32)
        rows = updates.read(epoch * count, (epoch + 1) * count).numpy()[np.argsort(pairs_[:, 1])]
        assert np.array_equal(rows[:, 1:].ravel(), told)
        assert np.array_equal(rows[:, 0], np.append(words.eos, told[31:-1:32]))


@pytest.mark.parametrize(("world", "micro_batch"), [(1, 1), (2, 2), (4, 1)])
def test_interleaved_masked_scheduled_updates_are_the_same_however_they_are_read(
    words, pairs, run_of, world, micro_batch
):
    run = mixed(run_of, *everything(words, pairs), tokens=256 * 40, batch_tokens=256)
    whole = MicroBatches(Updates(run, [words, pairs]))
    updates = Updates(run, [words, pairs])
    parts = [MicroBatches(updates, Share(rank=r, world=world, micro_batch=micro_batch)) for r in range(world)]
    for step in (39, 0, 17):
        rows = [part[step * part.per_update + i] for part in parts for i in range(part.per_update)]
        assert torch.equal(torch.cat(rows), whole[step])


def everything(words, pairs, **changes) -> tuple[Source, Source]:
    interleaved_ = Source(store=words.spec, weight=3.0, final_weight=0.5, spans=SPANS)
    return interleaved_, replace(Source(store=pairs.spec, weight=1.0, loss="target"), **changes)


@pytest.mark.parametrize(("loss", "wanted"), [("target", {2}), ("speech", {2}), ("text", set())])
def test_tokens_that_are_given_are_complements(pairs, run_of, loss, wanted):
    plain = Updates(mixed(run_of, Source(store=pairs.spec)), [pairs])
    masked = Updates(mixed(run_of, Source(store=pairs.spec, loss=loss)), [pairs])
    parts = np.isin(np.append(pairs.parts, 0), list(wanted))
    for slot, (_, i) in enumerate(plain.addresses(0, 40).tolist()):
        row, ids = masked.read(slot, slot + 1)[0], plain.read(slot, slot + 1)[0]
        assert torch.equal(restored(row), ids) and row[0] >= 0
        assert np.array_equal(row[1:].numpy() >= 0, parts[i * 32 : (i + 1) * 32])


@pytest.mark.parametrize("loss", ["text", "speech"])
def test_interleaved_words_predict_one_kind(words, run_of, loss):
    updates = Updates(mixed(run_of, Source(store=words.spec, spans=SPANS, loss=loss)), [words])
    rows = updates.read(0, 100)
    ids, speech = restored(rows), None
    assert torch.equal(ids, Updates(mixed(run_of, Source(store=words.spec, spans=SPANS)), [words]).read(0, 100))
    text_mark, speech_mark = marks_of(VOCABULARY)
    for row, row_ids in zip(rows[:, 1:].tolist(), ids[:, 1:].tolist(), strict=True):
        speech = None
        for token, id_ in zip(row, row_ids, strict=True):
            speech = {text_mark: False, speech_mark: True}.get(id_, speech)
            if speech is not None:  # known since the first mark of the window; an end belongs to what it ends
                assert (token >= 0) == (speech == (loss == "speech"))


@pytest.mark.parametrize("slots", [3, 130, 5001])
def test_scheduled_shares_move_and_are_counted_exactly(toy_stores, make_store, words, pairs, run_of, slots):
    weights = ((6.0, 0.0), (0.0, 3.0), (1.0, None), (0.01, 0.02))
    stores = [toy_stores["train"], make_store("second", 15), words, pairs]
    losses, law = ("all", "all", "all", "target"), (None, None, SPANS, None)
    sources = tuple(
        Source(store=store.spec, weight=w, final_weight=f, loss=loss, spans=some)
        for store, (w, f), loss, some in zip(stores, weights, losses, law, strict=True)
    )
    updates = Updates(mixed(run_of, *sources, tokens=32 * slots, batch_tokens=32), stores)
    found = updates.addresses(0, slots)
    for source, used in enumerate(updates.usage()):
        mine = found[found[:, 0] == source, 1]
        assert used["tokens"] == 32 * len(mine)
        if source != 2:
            assert used["unique_tokens"] == 32 * len(set(mine.tolist()))
    rows = updates.read(0, slots)[found[:, 0] == 3]
    assert updates.usage()[3]["target_tokens"] == int((rows[:, 1:] >= 0).sum())
    u = (np.arange(slots) + 0.5) / slots  # the law, without stages
    law_ = np.array([a + ((a if b is None else b) - a) * u for a, b in weights])
    due = np.cumsum(law_ / law_.sum(axis=0), axis=1)
    drawn = np.cumsum(found[:, 0] == np.arange(4)[:, None], axis=1)
    assert np.abs(drawn - due).max() < 3 + 0.01 * slots, "a stage is a 64th of the run"
    assert np.abs(drawn[:, -1] - due[:, -1]).max() < 1.5


def test_a_schedule_gives_each_source_all_its_windows_once_an_epoch(toy_stores, words, run_of):
    sources = (Source(store=store_spec(), final_weight=3.0), Source(store=words.spec, final_weight=0.1, spans=SPANS))
    updates = Updates(mixed(run_of, *sources, tokens=64 * 300), [toy_stores["train"], words])
    found = updates.addresses(0, 600)
    assert np.array_equal(np.concatenate([updates.addresses(i, i + 1) for i in range(0, 600, 7)]), found[::7])
    count = Windows(toy_stores["train"], 32).count
    mine = found[found[:, 0] == 0, 1].tolist()
    for epoch in range(len(mine) // count):
        assert sorted(mine[epoch * count : (epoch + 1) * count]) == list(range(count))
    numbers = found[found[:, 0] == 1, 1].tolist()
    assert len(set(numbers)) == len(numbers), "no interleaving comes twice"


def test_use_of_interleaved_words_tells_what_epochs_cut_and_repeated(words, run_of):
    updates = Updates(mixed(run_of, Source(store=words.spec, spans=SPANS), tokens=64 * 200), [words])
    (used,), lengths = updates.usage(), [len(stream(words, epoch)) for epoch in range(9)]
    count = lengths[0] // 32
    surplus = [length - count * 32 for length in lengths[: -(-400 // count)]]
    assert used["dropped_tokens"] == sum(max(0, more) for more in surplus)
    assert used["repeated_tokens"] == sum(max(0, -more) for more in surplus)
    assert used["unique_tokens"] == count * 32 and used["tokens"] == 64 * 200
    assert 0.3 < used["speech_share"] < 0.6


def test_the_documents_of_an_interleaved_update_are_those_whose_tokens_it_holds(words, run_of):
    updates = Updates(mixed(run_of, Source(store=words.spec, spans=SPANS)), [words])
    count = len(stream(words, 0)) // 32
    for step in (0, count // 2 + 3):
        expected = set()
        for _, number in updates.addresses(step * 2, step * 2 + 2).tolist():
            epoch, i = divmod(number, count)
            ends = np.cumsum(stream(words, epoch) == words.eos)
            holder = np.append(0, ends[:-1])
            expected |= set(np.resize(holder, (i + 1) * 32)[i * 32 :].tolist())
        assert updates.documents(step) == sorted(f"document {k}" for k in expected)


def test_words_that_are_not_interleaved_are_text_then_speech(words, run_of):
    updates = Updates(mixed(run_of, Source(store=words.spec)), [words])
    (_, first), row = updates.addresses(0, 1)[0], updates.read(0, 1)[0]
    assert np.array_equal(row[1:], words.tokens[first * 32 : (first + 1) * 32])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"spans": SPANS}, "is of form TS, and only form A can be interleaved"),
        ({"weight": -1.0}, "weights .* none may be negative"),
        ({"final_weight": -1.0}, "weights .* none may be negative"),
        ({"weight": 0.0}, "one must be above 0"),
        ({"weight": 0.0, "final_weight": 0.0}, "one must be above 0"),
    ],
)
def test_sources_that_cannot_be_mixed_are_refused(pairs, run_of, changes, said):
    with pytest.raises(ValueError, match=said):
        Updates(mixed(run_of, replace(Source(store=pairs.spec), **changes)), [pairs])


def test_losses_that_a_store_cannot_tell_are_refused(toy_stores, words, run_of):
    for loss in ("target", "text", "speech"):
        with pytest.raises(ValueError, match="nothing tells which of its tokens are targets"):
            Updates(mixed(run_of, Source(store=store_spec(), loss=loss)), [toy_stores["train"]])
    with pytest.raises(ValueError, match="interleaved words have no targets: their loss is all, text or speech"):
        Updates(mixed(run_of, Source(store=words.spec, spans=SPANS, loss="target")), [words])


def test_words_that_do_not_fit_their_tokens_are_refused(tmp_path, run_of):
    whole = word_store(tmp_path / "whole", 5)
    tokens = [Document(id=str(i), tokens=whole.document(i)[: 2 if i == 3 else None]) for i in range(5)]
    arrays = {name: (lambda name=name: whole.array(name)) for name in ("words", "word_counts")}
    torn = write_store(tmp_path / "torn", whole.spec, tokens, {}, arrays=arrays)
    with pytest.raises(ValueError, match="the words of document 3 do not add up"):
        Updates(mixed(run_of, Source(store=whole.spec, spans=SPANS)), [torn])


@pytest.mark.parametrize("batch_tokens", [32, 10_000])
def test_masked_validation_counts_the_targets_alone(pairs, batch_tokens):
    plain = list(validation_batches(pairs, 32, batch_tokens))
    masked = list(validation_batches(pairs, 32, batch_tokens, losses=frozenset({"speech"})))
    for (inputs, _), (inputs_, _) in zip(plain, masked, strict=True):
        assert torch.equal(inputs, inputs_)
    targets = torch.cat([target.flatten() for _, target in masked]).numpy()
    assert np.array_equal(targets, np.where(pairs.parts == 2, pairs.tokens.astype(int), -100))
