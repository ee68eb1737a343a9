"""Interleaved stores: every word once, as text or as speech, the same again for a recipe, other spans an epoch."""

from dataclasses import replace

import numpy as np
import pytest

from data.interleave import Words, aligned_store, interleaved_store, pairs_store
from data.vocabulary import joined, joint_ids
from slm.spec import CorpusSpec, EncoderSpec, SpanSpec, SpokenSpec, StoreSpec, TokenizerSpec, UnitSpec

CORPUS = CorpusSpec(name="stories", revision="1", split="train")
UNITS = UnitSpec(encoder=EncoderSpec(kind="mfcc", rate_hz=25.0, revision="1"), clusters=30, learnt_on=CORPUS)
TOKENIZER = joined(
    TokenizerSpec(kind="units", vocabulary=31), TokenizerSpec(kind="text", vocabulary=41, learnt_on=CORPUS)
)
IDS = joint_ids(TOKENIZER)
SPEC = StoreSpec(corpus=CORPUS, units=UNITS, tokenizer=TOKENIZER, form="I", spans=SpanSpec(mean_words=4.0))


def words(name: str, count: int, seed: int) -> Words:
    """A document whose word k is text ids 2k, 2k + 1 and speech that starts with unit k, all modulo the vocabulary."""
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 5, count)
    units = np.concatenate([(k + np.arange(size)) % 30 for k, size in enumerate(sizes)])
    return Words(
        id=name,
        text=np.arange(2 * count) % 40,
        text_ends=2 * np.arange(1, count + 1),
        speech=units + IDS.speech.start,
        speech_ends=np.cumsum(sizes),
        seconds=sizes / 25.0,
    )


DOCUMENTS = [words("a", 40, 0), words("b", 7, 1), words("c", 1, 2), words("d", 90, 3)]


def runs_of(tokens: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """(half, ids) of the runs of a document; the first token must be a mark, and marks must change."""
    marks = {IDS.mark(half): half for half in "TS"}
    places = [i for i, token in enumerate(tokens) if token in marks]
    assert places[0] == 0
    found = [(marks[tokens[i]], tokens[i + 1 : j]) for i, j in zip(places, [*places[1:], len(tokens)], strict=True)]
    assert all(len(ids) for _, ids in found)
    assert all(one[0] != two[0] for one, two in zip(found, found[1:], strict=False))
    return found


def test_every_word_once_as_text_or_as_speech(tmp_path):
    store = interleaved_store(tmp_path / "i", replace(SPEC, epochs=3), DOCUMENTS, None, {})
    assert len(store) == 3 * len(DOCUMENTS)
    rows, different = store.rows("documents"), set()
    for i, row in enumerate(rows):
        source = next(each for each in DOCUMENTS if each.id == row["id"].partition("#")[0])
        word, told = 0, np.array(store.document(i), dtype=np.int64)
        for half, ids in runs_of(told):
            last = next(
                k for k in range(word, len(source.text_ends) + 1) if len(source.part(half, word, k)) == len(ids)
            )
            assert np.array_equal(source.part(half, word, last), ids)
            word = last
        assert word == len(source.text_ends)
        different.add(told.tobytes())
    assert len(different) > len(DOCUMENTS), "epochs have other spans"
    told = store.manifest["provenance"]["interleaving"]
    assert told["speech_tokens"] == store.num_units == sum(int(row["units"]) for row in store.index)
    assert 0.1 < told["share"] < 0.5 and store.seconds > 0


def test_the_same_recipe_gives_the_same_store_and_another_seed_another(tmp_path):
    made = [interleaved_store(tmp_path / f"{k}", SPEC, DOCUMENTS, None, {}) for k in range(2)]
    assert np.array_equal(made[0].tokens, made[1].tokens)
    other = replace(SPEC, spans=replace(SPEC.spans, seed=1))
    assert not np.array_equal(interleaved_store(tmp_path / "o", other, DOCUMENTS, None, {}).tokens, made[0].tokens)
    alone = interleaved_store(tmp_path / "p", SPEC, DOCUMENTS[:1], None, {})
    assert np.array_equal(alone.document(0), made[0].document(0)), "whatever lies beside it"


def test_a_model_speaks_the_spans(tmp_path):
    unspoken = [
        replace(each, speech=np.zeros(0, np.int64), speech_ends=0 * each.text_ends, seconds=0.0 * each.text_ends)
        for each in DOCUMENTS
    ]
    asked = []

    def speak(spans: list[np.ndarray], numbers: list[int]) -> list[np.ndarray]:
        asked.extend(spans)
        assert len(set(numbers)) == len(spans)
        return [span[:0] if len(span) == 2 else span % 30 for span in spans]  # single words stay unsaid

    spec = replace(SPEC, spoken=SpokenSpec(run="r", fingerprint="0" * 12, temperature=0.0))
    store = interleaved_store(tmp_path / "i", spec, unspoken, speak, {})
    said = [ids for i in range(len(store)) for half, ids in runs_of(np.array(store.document(i))) if half == "S"]
    spoken = [span % 30 + IDS.speech.start for span in asked if len(span) > 2]
    assert sorted(ids.tolist() for ids in said) == sorted(ids.tolist() for ids in spoken) and spoken
    assert sum(len(store.document(i)) for i in range(len(store))) == store.num_tokens - len(store)


@pytest.mark.parametrize("form", ["ST", "TS"])
def test_pairs_are_spans_that_cover_their_document(tmp_path, form):
    store = pairs_store(tmp_path / form, replace(SPEC, form=form), DOCUMENTS, {})
    halves: dict[str, list] = {each.id: [] for each in DOCUMENTS}
    for i, row in enumerate(store.rows("documents")):
        tokens, start = np.array(store.document(i), dtype=np.int64), int(store.index["start"][i])
        (given, first), (target, second) = runs_of(tokens)
        assert given + target == form
        parts = store.parts[start : start + len(tokens) + 1]
        assert parts.tolist() == [0] * (len(first) + 2) + [1 + "TS".index(form[1])] * (len(second) + 1)
        halves[row["id"].partition("#")[0]].append((first, second))
    for each in DOCUMENTS:
        for number, half in enumerate(form):
            whole = np.concatenate([pair[number] for pair in halves[each.id]])
            assert np.array_equal(whole, each.text if half == "T" else each.speech)


def test_words_lie_beside_an_aligned_store(tmp_path):
    store = aligned_store(tmp_path / "a", replace(SPEC, form="A", spans=None), DOCUMENTS, {})
    assert store.array("word_counts").tolist() == [40, 7, 1, 90]
    ends = np.split(store.array("words"), np.cumsum(store.array("word_counts"))[:-1])
    for i, each in enumerate(DOCUMENTS):
        assert np.array_equal(ends[i], np.stack([each.text_ends, each.speech_ends], axis=1))
        (_, text), (_, speech) = runs_of(np.array(store.document(i), dtype=np.int64))
        assert np.array_equal(text, each.text) and np.array_equal(speech, each.speech)


@pytest.mark.parametrize("changes", [{"share": 0.0}, {"share": 1.0}, {"mean_words": 0.0}, {"mean_words": -3.0}])
def test_lambda_and_eta_out_of_range(changes):
    with pytest.raises(ValueError, match="lambda must be above 0, and eta between 0 and 1"):
        SpanSpec(**changes)
