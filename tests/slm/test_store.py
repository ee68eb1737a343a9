"""Stores: what is written is read, and what was altered is refused by name."""

import numpy as np
import pytest

from slm.store import Document, TokenStore, write_store
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


def test_a_missing_store_says_how_to_make_it(tmp_path):
    with pytest.raises(ValueError, match="python -m data prepare"):
        TokenStore(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([Document(id="a", tokens=np.array([16]))], "outside 0..15"),
        ([Document(id="a", tokens=np.array([-1]))], "outside 0..15"),
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
    from dataclasses import replace

    from slm.spec import TokenizerSpec

    spec = replace(store_spec(), tokenizer=TokenizerSpec(kind="text", vocabulary=100_000))
    store = write_store(tmp_path / "s", spec, [Document(id="a", tokens=np.array([99_998]))], {})
    assert list(store.tokens) == [99_998, 99_999]
