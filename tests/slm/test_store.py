"""Stores: what is written is read, and what was altered is refused by name."""

from dataclasses import replace

import numpy as np
import pytest

from slm.store import Document, Documents, TokenStore, write_store
from tests.conftest import VOCABULARY, store_spec


def write(folder, documents):
    return write_store(folder, store_spec(), documents, {"documents": [{"id": document.id} for document in documents]})


def test_documents_come_back_with_their_counts(tmp_path):
    durations = np.array([4, 1, 2])
    store = write(
        tmp_path / "s",
        [
            Document(id="a", tokens=np.array([1, 2, 3]), units=3, seconds=0.28, durations=durations),
            Document(id="b", tokens=np.array([], dtype=int), durations=np.array([], dtype=int)),
            Document(id="c", tokens=np.array([15]), units=1, seconds=0.04, durations=np.array([1])),
        ],
    )
    assert [list(store.document(i)) for i in range(len(store))] == [[1, 2, 3], [], [15]]
    assert list(store.durations(0)) == [4, 1, 2] and list(store.durations(2)) == [1]
    assert (store.num_tokens, store.num_units, store.seconds) == (7, 4, pytest.approx(0.32))
    assert store.eos == VOCABULARY - 1 and list(store.tokens) == [1, 2, 3, 16, 16, 15, 16]
    assert store.rows("documents") == [{"id": "a"}, {"id": "b"}, {"id": "c"}]
    store.verify()


def test_wrong_durations_are_refused(tmp_path):
    for durations, message in (([1], "1 durations, 2 tokens"), ([1, 70000], "a token of 70000 frames")):
        document = Document(id="a", tokens=np.array([1, 2]), durations=np.array(durations))
        with pytest.raises(ValueError, match=message):
            write(tmp_path / "s", [document])
    with pytest.raises(ValueError, match="have no durations"):
        write(tmp_path / "s", [Document(id="a", tokens=np.array([1]))]).durations(0)


def test_side_tables_come_from_rows_of_any_kind_or_from_a_file(tmp_path):
    document = Document(id="a", tokens=np.array([1]))
    one = write_store(tmp_path / "one", store_spec(), [document], {"skips": ({"id": i} for i in range(3))})
    assert one.manifest["skipped"] == 3
    other = write_store(tmp_path / "other", store_spec(), [document], {"skips": one.folder / "skips.jsonl"})
    assert other.rows("skips") == one.rows("skips") and other.manifest["skipped"] == 3


def test_a_flipped_byte_is_found_and_the_file_named(make_store, tmp_path):
    store = make_store(folder=tmp_path / "flipped")
    store.verify()
    path = store.folder / "tokens.bin"
    content = bytearray(path.read_bytes())
    content[10] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="tokens.bin was altered.*prepare it again"):
        TokenStore(store.folder).verify()


def test_a_truncated_file_is_found_on_opening(make_store, tmp_path):
    store = make_store(folder=tmp_path / "short")
    path = store.folder / "documents.idx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="documents.idx"):
        TokenStore(store.folder)


def test_many_documents_at_once_are_the_same_store(tmp_path):
    lists = [[1, 2, 3], [], [15], [4, 4], []]
    one_by_one = [
        Document(id=str(i), tokens=np.array(t, dtype=int), units=i, seconds=i / 4, durations=np.array(t, dtype=int))
        for i, t in enumerate(lists)
    ]
    at_once = Documents(
        ids=list("01234"),
        tokens=np.array(sum(lists, [])),
        counts=np.array([len(t) for t in lists]),
        units=np.arange(5),
        seconds=np.arange(5) / 4,
        durations=np.array(sum(lists, [])),
    )
    one = write_store(tmp_path / "one", store_spec(), one_by_one, {})
    other = write_store(tmp_path / "other", store_spec(), [at_once], {})
    assert one.manifest == other.manifest and list(other.document(3)) == [4, 4]
    wrong = replace(at_once, tokens=np.array([1, 2, 3, 15, 4, 99]))
    with pytest.raises(ValueError, match="document '3': id 99"):
        write_store(tmp_path / "wrong", store_spec(), [wrong], {})


def test_a_damaged_store_is_one_clear_error_or_the_whole_store(make_store, tmp_path):
    """Bits flipped, bytes lost, bytes put in: in the manifest, where everything else is looked up, and elsewhere."""
    store = make_store(folder=tmp_path / "s", documents=6)
    good = {path.name: path.read_bytes() for path in store.folder.iterdir()}
    tokens, random, refused = store.tokens.copy(), np.random.default_rng(0), 0
    for turn in range(400):
        name = "manifest.json" if turn % 2 else sorted(good)[turn // 2 % len(good)]
        content = bytearray(good[name])
        for _ in range(random.integers(1, 4)):
            place = int(random.integers(len(content)))
            if kind := int(random.integers(3)):
                content[place : place + (kind == 2)] = b'-9"]{}null'[place % 9 :]
            else:
                content[place] ^= 1 << int(random.integers(8))
        (store.folder / name).write_bytes(content)
        (store.folder / ".verified.json").unlink(missing_ok=True)
        try:
            opened = TokenStore(store.folder)
            opened.verify()
            assert opened.spec == store_spec("train", 6) and np.array_equal(opened.tokens, tokens)
        except ValueError as error:
            assert str(store.folder) in str(error)
            refused += 1
        (store.folder / name).write_bytes(good[name])
    assert refused > 380


def test_a_missing_store_says_how_to_make_it(tmp_path):
    with pytest.raises(ValueError, match="python -m data prepare"):
        TokenStore(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([Document(id="a", tokens=np.array([16]))], "'a': id 16 lies outside 0..15"),
        ([Document(id="a", tokens=np.array([-1]))], "id -1 lies outside 0..15"),
        ([Document(id="a", tokens=np.array([1])), Document(id="a", tokens=np.array([2]))], "two documents"),
        ([], "no documents"),
    ],
)
def test_bad_documents_leave_no_store(tmp_path, documents, message):
    with pytest.raises(ValueError, match=message):
        write(tmp_path / "s", documents)
    assert not (tmp_path / "s").exists()


def test_another_recipe_is_named_field_by_field(make_store, tmp_path):
    store = make_store(folder=tmp_path / "s")
    with pytest.raises(ValueError, match="corpus.split: 'train' -> 'test'"):
        store.check_spec(store_spec("test"))


def test_large_vocabularies_take_four_bytes(tmp_path):
    from slm.spec import TokenizerSpec

    spec = replace(store_spec(), tokenizer=TokenizerSpec(kind="text", vocabulary=100_000))
    store = write_store(tmp_path / "s", spec, [Document(id="a", tokens=np.array([99_998]))], {})
    assert list(store.tokens) == [99_998, 99_999]
