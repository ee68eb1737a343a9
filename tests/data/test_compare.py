"""Schemes side by side: stores with known answers, the same answers in any order and under any names."""

from dataclasses import replace
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from data.compare import compare, tables, write
from data.measures.columns import READING
from slm.spec import CorpusSpec, EncoderSpec, StoreSpec, TokenizerSpec, UnitSpec
from slm.store import Document, write_store

PHONES, SPEAKERS, DOCUMENTS = 6, 3, 30
CORPUS = CorpusSpec(name="toy", revision="1", split="validation")
UNITS = UnitSpec(encoder=EncoderSpec(kind="given", rate_hz=100.0, revision="1"), clusters=40)


@pytest.fixture(scope="module")
def spoken() -> list[dict]:
    """Words of three phones with pauses between some of them; 6 s each, all times whole frames of 10 ms."""
    random = np.random.default_rng(0)
    documents = []
    for number in range(DOCUMENTS):
        phones, lengths, words = [0], [int(random.integers(5, 20))], []
        while sum(lengths) < 600:
            words.append((sum(lengths) / 100, 4 * len(words), 3))
            phones += random.permutation(np.arange(1, PHONES))[:3].tolist()
            lengths += random.integers(4, 12, 3).tolist()
            if random.random() < 0.2:
                phones, lengths = [*phones, 0], [*lengths, int(random.integers(5, 20))]
        documents.append(
            {
                "id": f"d{number:02d}",
                "speaker": f"s{number % SPEAKERS}",
                "text": " ".join(["wor"] * len(words)),
                "seconds": sum(lengths) / 100,
                "phones": np.array(phones),
                "lengths": np.array(lengths),
                "words": words,
            }
        )
    return documents


@pytest.fixture
def store_of(tmp_path, spoken):
    """Writes the store of a scheme: a function of a document to tokens, and to the frames of each."""

    def make(name, tokens_of, documents=None, corpus=CORPUS, vocabulary=41):
        documents, made, rows = documents or spoken, [], []
        for document in documents:
            tokens, durations = tokens_of(document)
            shared = {"id": document["id"], "units": len(tokens), "seconds": document["seconds"]}
            made.append(Document(tokens=tokens, durations=durations, **shared))
            rows.append(shared | {"speaker": document["speaker"], "text": document["text"]})
        spec = StoreSpec(corpus=corpus, units=UNITS, tokenizer=TokenizerSpec(kind="units", vocabulary=vocabulary))
        return write_store(tmp_path / name, spec, made, {"documents": rows})

    return make


def alignment_of(documents: list[dict]) -> list[dict]:
    rows = []
    for document in documents:
        starts = (np.cumsum(document["lengths"]) - document["lengths"]) / 100
        symbols = ["" if phone == 0 else "ˈ" * (i % 2) + "abcdef"[phone] for i, phone in enumerate(document["phones"])]
        phones = list(zip(starts.tolist(), symbols, strict=True))
        rows.append({"id": document["id"], "words": document["words"], "phones": phones})
    return rows


def echo(document):
    return document["phones"], document["lengths"]


def noise(document):
    return np.random.default_rng(int(document["id"][1:])).integers(0, 40, len(document["phones"])), document["lengths"]


def voice(document):
    return document["phones"] + PHONES * int(document["speaker"][1:]), document["lengths"]


def test_phones_noise_and_voices_get_what_they_must(store_of, spoken):
    stores = {f"toy/{scheme.__name__}": store_of(scheme.__name__, scheme) for scheme in (echo, noise, voice)}
    rows = compare(stores, {"toy/noise": alignment_of(spoken)}).set_index("scheme")
    assert rows["corpus"].unique() == ["toy"] and (rows["notes"] == "").all()
    assert rows[list(READING)].isna().all(axis=None) and not rows.drop(columns=list(READING)).isna().any(axis=None)
    found = rows.loc["echo"]
    assert (found["phone_purity"], found["cluster_purity"]) == (1, 1) and found["pnmi"] == pytest.approx(1)
    assert found["phone_information"] > 0.99
    assert (found["abx_within"], found["abx_across"]) == (0, 0)
    assert found["word_recall"] == 1 and found["word_precision"] == pytest.approx(1 / 3, abs=0.05)
    assert found["speaker_accuracy"] < found["speaker_chance"] + 0.15
    found = rows.loc["noise"]
    assert abs(found["phone_information"]) < 0.02 < found["pnmi"]
    assert found["abx_within"] == pytest.approx(0.5, abs=0.05)
    assert found["speaker_accuracy"] < found["speaker_chance"] + 0.15
    found = rows.loc["voice"]
    assert found["phone_information"] > 0.99 and found["speaker_accuracy"] == 1
    assert found["abx_within"] == 0 and found["abx_across"] == 0.5


def test_costs_by_hand(store_of, spoken):
    """Every second token of the phones is merged with the one before: half as many tokens, twice as long."""

    def halved(document):
        return document["phones"][::2], np.add.reduceat(document["lengths"], np.arange(0, len(document["phones"]), 2))

    (row,) = compare({"toy/halved": store_of("halved", halved)}, {}).to_dict("records")
    tokens = sum(-(-len(document["phones"]) // 2) for document in spoken)
    seconds = sum(document["seconds"] for document in spoken)
    assert row["seconds"] == pytest.approx(seconds) and row["documents"] == DOCUMENTS
    assert row["tokens_per_second"] == pytest.approx(tokens / seconds)
    assert row["bits_per_second_uniform"] == pytest.approx(tokens / seconds * np.log2(40))
    assert row["bits_per_second_unigram"] < tokens / seconds * np.log2(PHONES) + 1e-9
    assert row["frames_per_token"] == pytest.approx(100 * seconds / tokens)
    assert row["ms_per_token"] == pytest.approx(1000 * seconds / tokens)
    assert row["used_vocabulary"] == PHONES / 40 and row["units_per_token"] == 1
    assert row["tokens_per_word"] == pytest.approx(tokens / sum(len(document["words"]) for document in spoken))


def test_neither_the_order_of_documents_nor_the_names_of_tokens_matter(store_of, spoken):
    names = np.random.default_rng(5).permutation(40)

    def mixed(document):
        phones, lengths = voice(document)
        return phones + np.random.default_rng(int(document["id"][1:])).integers(0, 2, len(phones)), lengths

    def renamed(document):
        tokens, lengths = mixed(document)
        return names[tokens], lengths

    rows = [
        compare({"toy/x": store_of("a", mixed)}, {"toy/x": alignment_of(spoken)}),
        compare({"toy/x": store_of("b", mixed, spoken[::-1])}, {"toy/x": alignment_of(spoken[::-1])}),
        compare({"toy/x": store_of("c", renamed)}, {"toy/x": alignment_of(spoken)}),
    ]
    pd.testing.assert_frame_equal(rows[0], rows[1])
    pd.testing.assert_frame_equal(rows[0].infer_objects(), rows[2].infer_objects(), rtol=1e-9)
    assert 0.2 < rows[0]["phone_information"][0] < 0.9


def test_schemes_are_compared_over_the_documents_that_all_of_them_hold(store_of, spoken):
    few = replace(CORPUS, documents=20)
    stores = {"toy/all": store_of("all", echo), "toy/few": store_of("few", noise, spoken[:20], few)}
    rows = compare(stores, {"toy/all": alignment_of(spoken)})
    alone = compare({"toy/few": stores["toy/few"]}, {"toy/few": alignment_of(spoken)})
    assert rows["documents"].tolist() == [20, 20]
    pd.testing.assert_frame_equal(rows[1:].reset_index(drop=True), alone)


def test_corpora_are_compared_apart(store_of, spoken):
    other = replace(CORPUS, split="test")
    stores = {"toy/x": store_of("x", echo), "other/x": store_of("y", echo, spoken[:10], other)}
    assert compare(stores, {})["documents"].tolist() == [DOCUMENTS, 10]


def test_stores_without_a_document_in_common_are_refused(store_of, spoken):
    stores = {"toy/x": store_of("x", echo, spoken[:10]), "toy/y": store_of("y", echo, spoken[10:])}
    with pytest.raises(ValueError, match="toy/x, toy/y share no document"):
        compare(stores, {})


def test_what_cannot_be_measured_is_none_with_a_reason(store_of, spoken):
    one_voice = [document | {"speaker": "s"} for document in spoken]
    store = store_of("one", echo, one_voice)
    (row,) = compare({"toy/one": store}, {"toy/one": alignment_of(spoken)}).to_dict("records")
    assert row["abx_across"] is None and row["speaker_accuracy"] is None and row["abx_within"] == 0
    assert "abx_across, abx_across_triples: one speaker" in row["notes"]
    assert "fewer than 2 speakers with 5 documents" in row["notes"]
    (row,) = compare({"toy/one": store}, {}).to_dict("records")
    assert row["pnmi"] is None and row["word_f1"] is None and row["tokens_per_second"] > 0
    assert "no phone times" in row["notes"] and "no word times" in row["notes"]
    nobody = store_of("nobody", echo, [document | {"speaker": None, "text": None} for document in spoken])
    (row,) = compare({"toy/nobody": nobody}, {"toy/nobody": alignment_of(spoken)}).to_dict("records")
    assert row["abx_within"] is None and row["tokens_per_word"] is None and row["phone_information"] > 0.99
    assert "a document has no known speaker" in row["notes"] and "a document has no transcript" in row["notes"]


def test_speech_that_a_scheme_does_not_reach_counts_for_none(store_of, spoken):
    """A scheme that stops halfway shortens the comparison; what it would have done behind is not asked."""

    def half(document):
        keep = len(document["phones"]) // 2
        return document["phones"][:keep], document["lengths"][:keep]

    stores = {"toy/echo": store_of("echo", echo), "toy/half": store_of("half", half)}
    rows = compare(stores, {"toy/echo": alignment_of(spoken)})
    reached = sum(half(document)[1].sum() for document in spoken)
    assert rows["phone_frames"].tolist() == [reached, reached]
    assert rows["phone_purity"].tolist() == [1, 1]


def test_text_has_no_times_to_compare(make_store):
    with pytest.raises(ValueError, match="toy/text: its tokens are units without times"):
        compare({"toy/text": make_store()}, {})


def test_the_table_comes_back_from_its_file_and_fits_a_terminal(store_of, spoken, tmp_path):
    stores = {"toy/echo": store_of("echo", echo), "toy/noise": store_of("noise", noise)}
    rows = compare(stores, {"toy/echo": alignment_of([document for document in spoken if document["id"] < "d03"])})
    path = write(rows, tmp_path, "tiny")
    assert path == tmp_path / "results" / "tiny" / "schemes.csv"
    back = pd.read_csv(path)
    assert back["abx_within"].tolist() == rows["abx_within"].tolist() and back["phone_information"].isna().all()
    meanings = pd.read_csv(path.with_name("schemes_columns.csv"))
    assert meanings["column"].tolist() == list(rows.columns) and (meanings["meaning"].str.len() > 10).all()
    out = StringIO()
    for table in tables(rows, 110):
        Console(file=out, width=110).print(table)
    text = out.getvalue()
    assert "– phone_information: fewer than 4 documents with phone times (echo, noise)" in text.replace("\n", " ")
    line = next(line for line in text.splitlines() if "phone information" in line)
    assert line.split()[-2:] == ["–", "–"]
