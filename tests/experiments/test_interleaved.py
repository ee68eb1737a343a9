"""The study interleaved: what its runs differ in, that facts are only written, and which run waits for which."""

from dataclasses import replace

import pytest

from data.corpora.knowledge import FACTS, RELATIONS
from data.evalsets.facts import items
from experiments import interleaved
from experiments.plan import Job, chains
from experiments.scales import SCALES
from experiments.studies import benchmark_stores, held_out_stores, runs_of
from slm.spec import differences, to_json

SCALE_NAMES = sorted(interleaved.PARTS)
MICRO = SCALES["micro"]


def by_family(scale) -> dict[str, list]:
    found: dict[str, list] = {}
    for run in runs_of("interleaved", scale):
        found.setdefault(run.family, []).append(run)
    return found


def interleaved_share(run) -> float:
    weights = [source.weight for source in run.mix]
    return sum(s.weight for s in run.mix if s.spans or s.store.form == "I") / sum(weights)


@pytest.mark.parametrize("name", SCALE_NAMES)
def test_amounts_are_those_of_the_paper_scaled(name):
    scale, parts = SCALES[name], interleaved.PARTS[name]
    runs = by_family(scale)["interleaved"]
    assert len(runs) == len(parts.sizes) * len(interleaved.ZENG)
    base = sum(parts.base.values())
    for run, share in zip(runs[: len(interleaved.ZENG)], interleaved.ZENG, strict=True):
        assert run.train.tokens == pytest.approx(base + share * parts.most, rel=0.2 if name == "tiny" else 0.01)
        assert interleaved_share(run) == pytest.approx(share * parts.most / (base + share * parts.most))
    assert [round(share * 600) for share in interleaved.ZENG] == [0, 100, 200, 600]


def test_facts_are_only_ever_written():
    for runs in by_family(MICRO).values():
        for run in runs:
            for source in run.mix:
                knows = source.store.corpus.name == "knowledge"
                assert not knows or (source.store.form in ("T", "I") and not source.store.corpus.voices)
    (apart,) = by_family(MICRO)["facts-apart"]
    assert {s.store.corpus.name for s in apart.mix if s.store.form == "I"} == {"stories"}
    assert "knowledge" in {s.store.corpus.name for s in apart.mix}


def test_published_mixtures():
    def shares(run) -> dict[str, float]:
        kinds: dict[str, float] = {}
        for source in run.mix:
            kind = "I" if source.spans or source.store.form == "I" else source.store.form
            kinds[kind] = kinds.get(kind, 0) + source.weight
        return {kind: weight / sum(kinds.values()) for kind, weight in kinds.items()}

    families = by_family(MICRO)
    assert shares(families["sims"][0]) == pytest.approx({"T": 0.2024, "I": 0.5433, "S": 0.2543})
    assert shares(families["spirit-lm"][0]) == pytest.approx({"S": 1 / 3, "T": 1 / 3, "I": 1 / 3})
    assert all(source.spans for source in families["spirit-lm"][0].mix if source.store.form == "A")


def test_ablations_differ_from_the_largest_run_in_what_they_are_named_for():
    reference = interleaved.largest(MICRO)
    families = by_family(MICRO)
    assert reference.size == interleaved.PARTS["micro"].sizes[-1] and interleaved_share(reference) > 0.4
    for family in ("eta-0.2", "eta-0.4"):
        (run,) = families[family]
        changed = differences(to_json(reference), to_json(run))
        assert all(".spans.share" in line or line.startswith(("name", "family")) for line in changed), changed
    (falls,) = families["text-falls"]
    assert {source.final_weight for source in falls.mix if source.store.form == "T"} == {0.0}
    assert falls.train == reference.train
    (rate,) = families["rate-25"]
    assert {source.store.units.encoder.rate_hz for source in rate.mix} == {25.0}
    (longer,) = families["base-longer"]
    assert interleaved_share(longer) == 0 and longer.train.tokens == reference.train.tokens
    (shared,) = families["shared-head"]
    assert shared.mix == reference.mix and shared.model.codes < shared.model.vocabulary
    for part, forms in (("no-pairs", {"ST", "TS"}), ("no-speech", {"S"}), ("no-text", {"T"})):
        (run,) = families[part]
        assert {s.store.form for s in reference.mix} - {s.store.form for s in run.mix} == forms


def test_pairs_are_learnt_by_their_second_half():
    for run in [run for runs in by_family(MICRO).values() for run in runs]:
        for source in run.mix:
            assert (source.loss == "target") == (source.store.form in ("ST", "TS"))


def test_a_run_from_a_text_model_comes_after_it():
    runs = runs_of("interleaved", MICRO)
    some = [Job(run=run, train=(), held_out=(), benchmarks=()) for run in reversed(runs)]
    (chain,) = [chain for chain in chains(some) if any(job.run.family == "from-text-lm" for job in chain)]
    assert [job.run.family for job in chain] == ["text-lm", "from-text-lm"]


@pytest.mark.parametrize("name", SCALE_NAMES)
def test_a_run_from_the_model_that_speaks_is_of_its_shape(name):
    scale = SCALES[name]
    speakers = {run.fingerprint: run for run in runs_of("text-to-token", scale)}
    none, full = by_family(scale)["from-speaker"]
    assert interleaved_share(none) == 0 < interleaved_share(full) and none.name != full.name
    for run in (none, full):
        speaker = speakers[run.init.revision]
        assert speaker.name == run.init.checkpoint and not run.init.keeps_text
        assert replace(run.model, context=1) == replace(speaker.model, context=1)
        assert run.mix[0].store.tokenizer == speaker.mix[0].store.tokenizer


@pytest.mark.parametrize("name", SCALE_NAMES)
def test_what_is_measured(name):
    scale = SCALES[name]
    for run in runs_of("text-to-token", scale):
        form = run.mix[0].store.form
        assert all(f"-{form}/" in store for store in held_out_stores(run, scale))
        assert set(benchmark_stores(run, scale)) == {store.partition("/")[0] for store in held_out_stores(run, scale)}
    (chat,) = runs_of("chat", scale)
    assert "dialogues-validation-C" in held_out_stores(chat, scale)[0]
    assert {source.loss for source in chat.mix} == {"text", "speech"}
    for run in runs_of("interleaved", scale):
        assert not [store for store in held_out_stores(run, scale) if "-train-" in store]


def test_every_word_answers_as_many_questions():
    asked = list(items(None, "test"))
    assert len(asked) == len(FACTS) == 216 and len({item.id for item in asked}) == 216
    for relation, (_, words) in RELATIONS.items():
        answers = [item.options[item.answer] for item in asked if item.subset == relation]
        assert sorted(answers) == sorted(f"{word}." for word in words for _ in range(12))
