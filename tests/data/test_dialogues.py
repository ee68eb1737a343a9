"""Dialogues: their template there and back, what may come next in it, the world's questions, stores of form C."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.corpora import dialogues as corpus
from data.dialogues import FIRST_SPEECH, GIVEN, SPEECH, TEXT, Answer, Turn, asked, dialogue_store, laid_out, parsed
from data.vocabulary import JointIds, joined
from slm.spec import CorpusSpec, EncoderSpec, StoreSpec, TokenizerSpec, UnitSpec
from slm.store import Document, write_store

IDS = JointIds(text=range(40), speech=range(40, 70))
T, S, END = IDS.mark("T"), IDS.mark("S"), IDS.vocabulary - 1


def turn(text: int, speech: int, question: int = 3, seed: int = 0) -> Turn:
    random = np.random.default_rng(seed)
    drawn = (random.integers(0, most, count) for most, count in ((30, question), (40, text), (30, speech)))
    return Turn(**dict(zip(("question", "text", "speech"), drawn, strict=True)))


def shape(tokens: np.ndarray) -> str:
    return "".join("t" if t in IDS.text else "s" if t in IDS.speech else {T: "T", S: "S"}[t] for t in tokens.tolist())


def same(left: list[Turn], right: list[Turn]) -> bool:
    return [tuple(map(list, vars(one).values())) for one in left] == [tuple(map(list, vars(o).values())) for o in right]


@pytest.mark.parametrize(
    ("text", "speech", "expected"),
    [
        (5, 9, "t" * 5 + "S" + "s" * 9),
        (13, 30, "t" * 13 + "S" + "s" * 30),
        (14, 30, "t" * 13 + "s" * 26 + "tS" + "s" * 4),
        (30, 60, "t" * 13 + "s" * 26 + "t" * 13 + "s" * 26 + "t" * 4 + "S" + "s" * 8),
        (30, 26, "t" * 13 + "s" * 26 + "t" * 17 + "S"),
        (30, 7, "t" * 13 + "s" * 7 + "t" * 17 + "S"),
    ],
)
def test_text_and_speech_take_turns_and_one_mark_closes_the_text(text, speech, expected):
    tokens, parts = laid_out([turn(text, speech)], IDS)
    assert shape(tokens) == "SsssT" + expected
    assert parts.tolist() == [GIVEN] * 5 + [SPEECH if kind == "s" else TEXT for kind in expected]
    assert same(parsed(tokens, IDS), [turn(text, speech)])


counts = st.integers(1, 80)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(counts, counts, counts), max_size=3), st.data())
def test_a_dialogue_comes_back_and_one_that_ends_anywhere_has_what_is_there(sizes, data):
    turns = [turn(*size, seed=seed) for seed, size in enumerate(sizes)]
    tokens, parts = laid_out(turns, IDS)
    assert len(tokens) == len(parts) and same(parsed(tokens, IDS), turns)
    cut = data.draw(st.integers(0, len(tokens)))
    found = parsed(tokens[:cut], IDS)
    for name in ("question", "text", "speech"):
        there, whole = (np.concatenate([[], *(getattr(t, name) for t in some)]) for some in (found, turns))
        assert there.tolist() == whole[: len(there)].tolist(), "nothing is invented"
    kinds = shape(tokens[:cut])
    assert sum(len(t.text) + len(t.speech) + len(t.question) for t in found) == kinds.count("s") + kinds.count("t")


@pytest.mark.parametrize(
    "kinds",
    [
        "sT",  # no mark before the user's turn
        "ST",  # nobody asked
        "SsTs",  # speech before any text
        "SsT" + "t" * 12 + "s",  # a block of text too short for one of speech
        "SsT" + "t" * 14 + "s",
        "SsT" + "t" * 13 + "s" * 27,
        "SsT" + "t" * 13 + "s" * 26 + "S",  # the text was over before
        "SsTtSst",  # text after the text was over
        "SsTtT",
    ],
)
def test_what_departs_from_the_template_is_refused(kinds):
    tokens = np.array([{"t": 0, "s": 40, "T": T, "S": S}[kind] for kind in kinds])
    with pytest.raises(ValueError, match="turn . departs from the template"):
        parsed(tokens, IDS)


def test_ids_outside_and_empty_turns_are_refused():
    with pytest.raises(ValueError, match="token 1 of the dialogue is 72"):
        parsed(np.array([S, END]), IDS)
    for lacking in ("question", "text", "speech"):
        with pytest.raises(ValueError, match=f"turn 1 of the dialogue has no {lacking}"):
            laid_out([turn(3, 3), replace(turn(3, 3), **{lacking: np.zeros(0, np.int64)})], IDS)


@pytest.mark.parametrize(("text", "speech"), [(5, 9), (13, 30), (14, 27), (39, 90), (27, 52)])
def test_an_answer_is_allowed_its_own_tokens_and_closes_at_the_end_or_at_a_turn(text, speech):
    tokens, _ = laid_out([turn(text, speech)], IDS)
    answer = Answer(IDS)
    for token in tokens[len(asked(turn(text, speech).question, IDS)) :].tolist():
        assert any(token in some for some in answer.allowed())
        assert answer.add(token)
    assert not answer.add(END)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 1 << 30))
def test_whatever_is_drawn_of_what_is_allowed_follows_the_template(seed):
    random, answer, tokens = np.random.default_rng(seed), Answer(IDS), asked(np.array([1, 2]), IDS).tolist()
    goes_on = True
    while goes_on and len(tokens) < 120:
        some = answer.allowed()
        tokens.append(int(random.choice(some[random.integers(len(some))])))
        goes_on = answer.add(tokens[-1])
    (found,) = parsed(np.array(tokens if goes_on or tokens[-1] == S else tokens[:-1]), IDS)
    assert len(found.text), "no answer without text"


def test_dialogues_are_seeded_short_and_of_one_split():
    held_out, learnt = (list(islice(corpus.dialogues(split), 300)) for split in ("validation", "train"))
    assert held_out[:50] == list(islice(corpus.dialogues("validation"), 50))
    assert not {d.turns for d in held_out} & {d.turns for d in learnt}
    assert {len(d.turns) for d in learnt} == {1, 2} and len({d.turns for d in learnt}) > 200
    texts = [text for d in learnt for turn in d.turns for text in turn]
    assert not any("{" in text or text != text.lower() for text in texts)
    assert all(question.endswith("?") and answer.endswith(".") for d in learnt for question, answer in d.turns)
    with pytest.raises(ValueError, match="no split 'test' of the dialogues; choose one of train, validation"):
        corpus.dialogues("test")


def test_pairs_are_asked_beside_the_world_and_every_side_is_an_utterance():
    pairs = [("what is the net of ann like?", "the net of ann is red.")]
    some = list(islice(corpus.dialogues("train", pairs), 200))
    told = [turn for d in some for turn in d.turns]
    assert 0.15 < told.count(pairs[0]) / len(told) < 0.35
    spoken = list(islice(corpus.utterances(None, "train", pairs), 400))
    assert {u.id: u.text for u in spoken[:2]} == {
        f"{some[0].id}#q0": some[0].turns[0][0],
        f"{some[0].id}#a0": some[0].turns[0][1],
    }
    assert len({u.id for u in spoken}) == 400


def test_a_store_holds_the_dialogues_that_were_spoken(tmp_path):
    spoken_by = CorpusSpec(name="dialogues", revision="1", split="train", documents=9)
    encoder = EncoderSpec(kind="mfcc", rate_hz=25.0, revision="1")
    units = UnitSpec(encoder=encoder, clusters=30, learnt_on=spoken_by)
    plain, text = TokenizerSpec(kind="units", vocabulary=31), TokenizerSpec(kind="text", vocabulary=41)
    said = list(islice(corpus.utterances(None, "train"), 9))
    said.pop(2)  # was skipped
    documents = [
        Document(id=u.id, tokens=np.arange(n, 150) % 30, units=150 - n, seconds=n / 2, durations=np.ones(150 - n))
        for n, u in enumerate(said)
    ]
    rows = [{"id": u.id, "text": u.text} for u in said]
    spec = StoreSpec(corpus=spoken_by, units=units, tokenizer=plain)
    speech = write_store(tmp_path / "units", spec, documents, {"documents": rows})
    joint = replace(spec, tokenizer=joined(plain, text), form="C")

    def encode(words: str) -> np.ndarray:
        return np.array([ord(letter) % 40 for letter in words])

    some = list(islice(corpus.dialogues("train"), 9))
    made = dialogue_store(tmp_path / "joint", joint, speech, encode, some)
    ids = [row["id"] for row in made.rows("documents")]
    wanted = [d for d in some if all(k in {u.id for u in said} for keys in corpus.keys_of(d) for k in keys)]
    assert ids == [d.id for d in wanted] and 0 < len(ids) < 5
    place = {u.id: n for n, u in enumerate(said)}
    for i, dialogue in enumerate(wanted):
        turns = parsed(made.document(i), IDS)
        numbers = [[place[key] for key in keys] for keys in corpus.keys_of(dialogue)]
        for one, (question, answer), (_, words) in zip(turns, numbers, dialogue.turns, strict=True):
            assert one.question.tolist() == documents[question].tokens.tolist()
            assert one.speech.tolist() == documents[answer].tokens.tolist()
            assert one.text.tolist() == encode(words).tolist()
        assert made.index["units"][i] == sum(documents[n].units for pair in numbers for n in pair)
        assert made.index["seconds"][i] == pytest.approx(sum(documents[n].seconds for pair in numbers for n in pair))
    parts = made.parts[: made.index["tokens"][0]]
    assert parts[-1] == SPEECH and set(parts.tolist()) == {GIVEN, TEXT, SPEECH}
    with pytest.raises(ValueError, match="dialogues-train-.*: turn 0 of the dialogue has no text"):
        dialogue_store(tmp_path / "mute", joint, speech, lambda words: np.zeros(0, np.int64), some)


def test_sound_starts_within_the_first_block_of_speech():
    tokens, parts = laid_out([turn(30, 60)], IDS)
    answer = parts[len(asked(turn(30, 60).question, IDS)) :]
    assert 1 + np.flatnonzero(answer == SPEECH)[FIRST_SPEECH - 1] == 23  # the report's count
