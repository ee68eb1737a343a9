"""Published benchmarks from their official layouts to scores: recordings, halves in speech and in text, questions."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.progress import Progress

from data import stores as tables
from data import transcripts
from data.prepare import prepare_all
from data.stores import stores
from data.vocabulary import joined, joint_ids
from data.voices import unspoken
from data.workshop import Workshop
from experiments import submission
from experiments.plan import scoring_jobs
from experiments.scales import SCALES
from experiments.score import measure
from experiments.studies import benchmark_stores, held_out_stores, question_stores
from slm.atomic import read_jsonl
from slm.machine import CPU
from slm.recorder import STAY, Leave, Wish
from slm.spec import CorpusSpec, ModelConfig, RunSpec, Source, StoreSpec, TokenizerSpec, TrainConfig
from slm.store import TokenStore
from slm.train import train
from tests.data.evalsets import releases

torch.set_num_threads(1)
CLUSTERS = 20
TOY = replace(SCALES["tiny"], name="toy", mixtures={"stories": ("stories-train",)}, mixture="stories", contrast=())
QUESTIONS = (("What colour is the sea?", ["blue", "Blue-green"]), ("Who rang Joe?", ["Ann"]), ("How many?", ["2"]))


def toy_table() -> dict[str, StoreSpec]:
    """Recorded, spoken and written benchmarks under units of 20 clusters, text of 300 pieces, and both."""
    own = stores("tiny")
    heard = replace(own["stories-train/units"].corpus, documents=24)
    units = replace(own["stories-train/units"].units, clusters=CLUSTERS, learnt_on=replace(heard, documents=8))
    plain = TokenizerSpec(kind="units", vocabulary=CLUSTERS + 1)
    text = TokenizerSpec(kind="text", vocabulary=300, learnt_on=unspoken(heard))
    both = joined(plain, text)
    triples = CorpusSpec(name="storycloze", revision="1", split="storycloze/cross_modal/*")
    asked = replace(heard, name="webquestions", split="test", documents=None, shots=1)
    corpora = {
        "stories-train": heard,
        "stories-validation": replace(heard, split="validation", documents=3),
        "sblimp": CorpusSpec(name="sblimp", revision="1", split="dev"),
        "swuggy": CorpusSpec(name="swuggy", revision="1", split="dev"),
        "storycloze": triples,
        "storycloze-apart": replace(triples, apart=True),
        "webquestions": asked,
    }
    table = {
        f"{name}/units": StoreSpec(corpus=corpus, units=units, tokenizer=plain) for name, corpus in corpora.items()
    }
    forms = {"stories-train": "ST", "stories-validation": "ST"}
    joint = [(name, form) for name, form in forms.items()]
    joint += [(name, form) for name in ("storycloze", "webquestions") for form in ("SS", "ST", "TS", "TT")]
    for name, form in joint:
        table[f"{name}-{form}/joint"] = StoreSpec(corpus=corpora[name], units=units, tokenizer=both, form=form)
    written = {name: unspoken(corpora[name]) for name in ("stories-train", "stories-validation", "webquestions")}
    return table | tables._as_text(written, text)


@pytest.fixture(scope="module", autouse=True)
def toy_scale():
    """Scale `toy`, whose transcriber learns for a moment."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(tables.STORES, "toy", toy_table)
        patch.setattr(transcripts, "HELD_OUT_DOCUMENTS", 4)
        recipe_of = transcripts.recipe_of
        patch.setattr(transcripts, "recipe_of", lambda *told: replace(recipe_of(*told), updates=5, width=16, layers=2))
        yield


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Everything prepared; one recording of sBLIMP is missing, as its index does not know."""
    root = tmp_path_factory.mktemp("toy")
    corpora = releases.storycloze(releases.slm21(root / "corpora"))
    next((corpora / "sLM21/syntactic/dev").glob("*.wav")).unlink()
    (corpora / "webquestions/main").mkdir(parents=True)
    rows = [{"qId": f"wqr{i:06d}", "qText": text, "answers": answers} for i, (text, answers) in enumerate(QUESTIONS)]
    for name in ("test", "trainmodel"):
        (corpora / f"webquestions/main/{name}.json").write_text(
            json.dumps([row | {"qId": row["qId"].replace("wqr", "wqs" if name == "test" else "wqr")} for row in rows])
        )
    shop = Workshop(
        root=root,
        corpora=corpora,
        workers=1,
        machine=CPU,
        progress=Progress(disable=True),
        scale="toy",
        table=toy_table(),
    )
    prepare_all(shop, list(shop.table))
    return root


def store(root: Path, name: str) -> TokenStore:
    return TokenStore(tables.store_folder(root, "toy", name))


def trained(root: Path, *names: str):
    """A run over some stores after 8 updates."""
    mix = tuple(Source(store=toy_table()[name]) for name in names)
    vocabulary = mix[0].store.tokenizer.vocabulary
    run = RunSpec(
        name=names[0].rpartition("/")[2],
        family="toy",
        size="w16",
        budget="4k",
        model=ModelConfig(layers=1, width=16, heads=2, hidden=32, vocabulary=vocabulary, context=512, init_std=0.2),
        mix=mix,
        train=TrainConfig(
            tokens=4096,
            batch_tokens=512,
            learning_rate=1e-2,
            warmup_steps=1,
            schedule="wsd",
            decay_fraction=0.25,
            final_rate=0.1,
        ),
    )
    opened = {name: store(root, name) for name in names}
    held_out = {name: store(root, name) for name in held_out_stores(run, TOY)}
    runs = root / "runs" / "toy"
    return train(run, list(opened.values()), held_out, runs, CPU, {"commit": None, "stores": {}})


def score(root: Path, log, wish: Wish = STAY) -> list[str]:
    """Measure what the run lacks; how often it was told of."""
    some, notes = scoring_jobs([log.spec], TOY, root, [], transcripts.OWN)
    told: list[str] = []
    for job in some:
        opened = {name: store(root, name) for name in job.stores(trained=True)}
        measure(log, job, opened, CPU, root, "toy", lambda: told.append("one"), wish)
    return told


@pytest.fixture(scope="module")
def speech_run(root):
    log = trained(root, "stories-train/units")
    score(root, log)
    return log


def scores(log, benchmark: str) -> dict[tuple[str, str], dict]:
    return {(row["subset"], row["metric"]): row for row in log.rows("scores") if row["eval"] == benchmark}


def test_a_pair_whose_recording_is_missing_is_dropped_whole_counted_and_told(root, speech_run):
    dropped = store(root, "sblimp/units").rows("dropped")
    items = read_jsonl(speech_run.folder / "items/sblimp.jsonl")
    assert len(dropped) == 1 and "was skipped" in dropped[0]["reason"]
    assert len(items) == 9 and dropped[0]["id"] not in {row["id"] for row in items}
    row = scores(speech_run, "sblimp")["all", "accuracy_mean"]
    assert row["dropped"] == 1 and row["items"] == 9 and row["n"] == 5, "five pairs, in two voices each"


def test_both_conventions_of_sblimp_are_there_and_are_those_of_the_items(speech_run):
    items = read_jsonl(speech_run.folder / "items/sblimp.jsonl")
    pairs: dict[str, list[float]] = {}
    for row in items:
        right, wrong = (row["options"][i] for i in (row["answer"], 1 - row["answer"]))
        better = right["sum"] / right["tokens"] - wrong["sum"] / wrong["tokens"]
        pairs.setdefault(row["group"], []).append((np.sign(better) + 1) / 2)
    subsets = {row["group"]: row["subset"] for row in items}
    means = {group: np.mean(found) for group, found in pairs.items()}
    macro = np.mean([np.mean([means[g] for g in means if subsets[g] == s]) for s in sorted(set(subsets.values()))])
    found = scores(speech_run, "sblimp")
    assert found["all", "accuracy_mean"]["value"] == pytest.approx(np.mean(list(means.values())))
    assert found["macro", "accuracy_mean"]["value"] == pytest.approx(macro)
    assert {"anaphor_agreement", "anaphor_agreement/anaphor_gender_agreement"} <= {subset for subset, _ in found}


def test_submissions_name_every_recording_or_are_refused(root, speech_run, tmp_path):
    with pytest.raises(ValueError, match="1 items of sblimp have no score"):
        submission.write(speech_run, tmp_path)
    (speech_run.folder / "items/sblimp.jsonl").rename(tmp_path / "sblimp.jsonl")
    try:
        (path,) = submission.write(speech_run, tmp_path / "submission")
    finally:
        (tmp_path / "sblimp.jsonl").rename(speech_run.folder / "items/sblimp.jsonl")
    lines = dict(line.split(" ") for line in path.read_text().splitlines())
    assert path.name == "dev.txt" and path.parent.name == "lexical"
    assert set(lines) == {wav.stem for wav in (root / "corpora/sLM21/lexical/dev").glob("*.wav")}
    row = read_jsonl(speech_run.folder / "items/swuggy.jsonl")[0]
    option = row["options"][0]
    assert float(lines[row["recordings"][0]]) == option["sum"] / option["tokens"]


def test_prompts_that_were_recorded_alone_end_where_their_recording_does(root):
    whole, apart = store(root, "storycloze/units"), store(root, "storycloze-apart/units")
    lengths = {row["id"]: len(apart.document(i)) for i, row in enumerate(apart.rows("documents"))}
    places = {row["id"]: i for i, row in enumerate(whole.rows("documents"))}
    items = whole.rows("items")
    assert items
    for item in items:
        for option, prompt in zip(item["options"], item["prompt_tokens"], strict=True):
            assert abs(prompt - lengths[f"{item['id']}#prompt"]) <= 2, "cepstra look a little ahead"
            assert 0 < prompt < len(whole.document(places[option]))


def test_halves_are_speech_and_text_as_the_form_says(root):
    ids = joint_ids(toy_table()["storycloze-ST/joint"].tokenizer)
    half = {"S": set(ids.speech) | {ids.mark("S")}, "T": set(ids.text) | {ids.mark("T")}}
    for form in ("SS", "ST", "TS", "TT"):
        found = store(root, f"storycloze-{form}/joint")
        places = {row["id"]: i for i, row in enumerate(found.rows("documents"))}
        assert {item["id"].partition("/")[0] for item in found.rows("items")}
        for item in found.rows("items"):
            documents = [found.document(places[option]).tolist() for option in item["options"]]
            for document, prompt in zip(documents, item["prompt_tokens"], strict=True):
                own = prompt - (form[0] != form[1])  # the mark of the other half ends the prompt
                assert set(document[:own]) <= half[form[0]] and set(document[own:]) <= half[form[1]]
                assert document[0] == ids.mark(form[0])


def test_crossing_and_asking_a_model_of_speech_and_text(root):
    log = trained(root, "stories-train-ST/joint")
    assert score(root, log) == ["one"] * 8
    forms = {"SS", "ST", "TS", "TT"}
    assert {row["eval"] for row in log.rows("scores")} == {
        f"{name}-{form}" for name in ("storycloze", "webquestions") for form in forms
    }
    for form in forms:
        rows = read_jsonl(log.folder / f"items/webquestions-{form}.jsonl")
        assert [row["answers"] for row in rows] == [answers for _, answers in QUESTIONS]
        row = scores(log, f"webquestions-{form}")["all", "containment"]
        assert row["n"] == 3 and row["shots"] == 1 and row["decoding"].startswith("greedy")
        assert row.get("transcriber", "").startswith("transcriber@") == form.endswith("S")


def test_answers_are_asked_of_speech_and_text_alone(root, speech_run):
    assert set(question_stores(speech_run.spec, TOY)) == {"webquestions"}
    assert scores(speech_run, "webquestions")["all", "f1"]["transcriber"].startswith("transcriber@")
    log = trained(root, "stories-train/text")
    score(root, log)
    rows = read_jsonl(log.folder / "items/webquestions.jsonl")
    assert len(rows) == 3 and all("\n" not in row["output"] for row in rows)
    prompt = store(root, "webquestions/text").rows("documents")[0]["text"]
    assert prompt.startswith("Question: What colour is the sea?\nAnswer: blue\n\nQuestion: ")
    assert prompt.endswith("\nAnswer:")


def test_a_run_or_a_store_of_another_recipe_is_not_scored(root, speech_run, monkeypatch):
    other = replace(speech_run.spec, train=replace(speech_run.spec.train, seed=1))
    with pytest.raises(ValueError, match="holds another recipe"):
        scoring_jobs([other], TOY, root, [], transcripts.OWN)
    table = toy_table()
    asked = table["webquestions/units"]
    changed = replace(asked, corpus=replace(asked.corpus, shots=0))
    monkeypatch.setitem(tables.STORES, "toy", lambda: table | {"webquestions/units": changed})
    with pytest.raises(ValueError, match="made by another recipe"):
        scoring_jobs([speech_run.spec], TOY, root, [], transcripts.OWN)


def test_scores_of_an_older_scorer_or_another_transcriber_are_made_again(root, speech_run):
    before = speech_run.rows("scores")
    speech_run.write("scores.jsonl", [{k: v for k, v in row.items() if k != "scorer"} for row in before])
    ((job,), _) = scoring_jobs([speech_run.spec], TOY, root, [], transcripts.OWN)
    assert len(job.benchmarks) == 4
    speech_run.write("scores.jsonl", before)
    ((job,), _) = scoring_jobs([speech_run.spec], TOY, root, [], "openai/whisper-tiny")
    assert job.benchmarks == ("webquestions/units",)


def test_what_is_scored_is_left_alone_and_a_kill_between_benchmarks_costs_nothing(root, speech_run):
    assert score(root, speech_run) == []
    before = speech_run.rows("scores")
    kept = [row for row in before if row["eval"] == "sblimp"]
    speech_run.write("scores.jsonl", kept)
    wish = Wish()
    wish.value = True
    with pytest.raises(Leave):
        score(root, speech_run, wish)
    assert speech_run.rows("scores") == kept
    assert len(score(root, speech_run)) == len(benchmark_stores(speech_run.spec, TOY)) + 1 - 1

    def by_what(row: dict) -> tuple:
        return row["eval"], row["subset"], row["metric"]

    assert sorted(speech_run.rows("scores"), key=by_what) == sorted(before, key=by_what)
