"""The table of studies, and what every run of them is measured on.

In: names. Out: runs, and the names of held-out stores and benchmarks that share a run's tokens. Whatever holds for
all studies is checked here, before anything is trained.
"""

from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from data.documents import BENCHMARKS, QUESTIONS, has_items, is_benchmark
from data.stores import store_folder, stores, written_stores
from data.transcripts import OWN
from experiments import (
    chatting,
    cosine,
    crossmodal,
    interleaved,
    isoflop,
    released,
    repeats,
    scaling,
    speakers,
    synthetic,
    text,
    tokenizers,
    warm,
)
from experiments.scales import Scale
from slm.runlog import RunLog
from slm.spec import Published, RunSpec, StoreSpec, fingerprint

SCORER = 1
"""Revision of what scoring writes: scores of another one are made again."""
STUDIES: dict[str, ModuleType] = {
    "scaling": scaling,
    "cosine": cosine,
    "released": released,
    "repeats": repeats,
    "isoflop": isoflop,
    "tokenizers": tokenizers,
    "text": text,
    "synthetic": synthetic,
    "crossmodal": crossmodal,
    "text-to-token": speakers,
    "interleaved": interleaved,
    "chat": chatting,
    "warm": warm,
}


def runs_of(study: str, scale: Scale) -> list[RunSpec]:
    """The runs of a study; `ValueError` for an unknown one, for one that the scale has no data or no grid for, or if
    two runs share a name or a recipe."""
    if study not in STUDIES:
        raise ValueError(f"no study {study!r}: choose from {', '.join(STUDIES)}, or all")
    return unique(STUDIES[study].runs(scale))


def unique(runs: list[RunSpec]) -> list[RunSpec]:
    """The runs without repeats; `ValueError` if one name means two recipes, or one recipe has two names."""
    by_name: dict[str, RunSpec] = {}
    by_recipe: dict[str, RunSpec] = {}
    for run in runs:
        named, same = by_name.setdefault(run.name, run), by_recipe.setdefault(run.fingerprint, run)
        if named.fingerprint != run.fingerprint:
            raise ValueError(f"two recipes are named {run.name}: {named.fingerprint} and {run.fingerprint}")
        if same.name != run.name:
            raise ValueError(f"{same.name} and {run.name} are the same recipe ({run.fingerprint}): keep one name")
    return list(by_name.values())


def training_stores(run: RunSpec, scale: Scale) -> list[str]:
    """Names of the stores of a run's mixture; none where somebody else trained it."""
    if isinstance(run.train, Published):
        return []
    names = {spec: name for name, spec in stores(scale.name).items()}
    return [names[source.store] for source in run.mix]


def held_out_stores(run: RunSpec, scale: Scale) -> list[str]:
    """Held-out stores with the run's tokens: those of corpora that nothing at this scale trains on.

    The loss of the first is the run's: that of the scale's test corpus, else of its own corpus and voices. At `paper`
    it is LibriSpeech test-clean, whatever the mixture; the paper's test set, without stories (section 3.3.1), is the
    union of all of them: add up `sum_nats` and `num_tokens` over the rows of `val.jsonl`.
    """
    own = run.mix[0].store.corpus
    names = {corpus for mixture in scale.mixtures.values() for corpus in mixture}
    trained = {spec.corpus for name, spec in stores(scale.name).items() if _corpus(name) in names}

    def distance(name: str) -> tuple[bool, bool, bool, str]:
        corpus = table[name].corpus
        return _corpus(name) != scale.test, corpus.name != own.name, corpus.voices != own.voices, name

    table = _same_tokens(run, scale)
    trained |= {source.store.corpus for source in run.mix}
    held_out = [n for n, spec in table.items() if not is_benchmark(spec.corpus) and spec.corpus not in trained]
    if pairs := _learns_pairs(run):
        held_out = [n for n in held_out if table[n].form == pairs and "-train" not in n]
    elif run.mix[0].store.form:
        is_talk = any(source.store.form == "C" for source in run.mix)
        held_out = [n for n in held_out if "-train" not in n and (is_talk or table[n].form != "C")]
    return sorted(held_out, key=distance)


def _learns_pairs(run: RunSpec) -> str | None:
    """The form of the pairs that are all a run learns to complete; None for any other run."""
    forms = {source.store.form for source in run.mix if source.loss == "target"}
    return forms.pop() if len(forms) == 1 and all(source.loss == "target" for source in run.mix) else None


def benchmark_stores(run: RunSpec, scale: Scale) -> dict[str, str]:
    """Benchmark of choices -> name of its store with the run's tokens; it is named as the store before its scheme. What
    learns to complete pairs is asked to complete held-out ones."""
    if _learns_pairs(run):
        return {_corpus(name): name for name in held_out_stores(run, scale)}
    table = _same_tokens(run, scale)
    return {_corpus(n): n for n, s in table.items() if s.corpus.name in BENCHMARKS and has_items(s.corpus)}


def question_stores(run: RunSpec, scale: Scale) -> dict[str, str]:
    """Set of questions -> name of its store with the run's tokens; none for phones, which no transcriber reads."""
    table = _same_tokens(run, scale)
    return {_corpus(n): n for n, s in table.items() if s.corpus.name in QUESTIONS and s.tokenizer.kind != "phones"}


def is_prepared(root: Path, scale: Scale, name: str) -> bool:
    """Whether a store is there."""
    return (store_folder(root, scale.name, name) / "manifest.json").exists()


def prepared_benchmarks(run: RunSpec, scale: Scale, root: Path) -> list[str]:
    """Stores of the choices that a run is scored on when it is trained: those that are prepared."""
    return [name for name in benchmark_stores(run, scale).values() if is_prepared(root, scale, name)]


def scores_lacking(log: RunLog, wanted: dict[str, str], transcriber: str = OWN) -> list[str]:
    """Those stores (name -> fingerprint) that a run has no scores on as they are, by this `SCORER`; of spoken answers,
    through that transcriber (a Whisper by its name, whatever weights it had)."""
    rows = [row for row in log.rows("scores") if row.get("scorer") == SCORER]
    heard = {OWN: "transcriber"}.get(transcriber, transcriber)  # ours are named transcriber@fingerprint
    had = {
        (row["store"], row["fingerprint"]) for row in rows if row.get("transcriber", heard).partition("@")[0] == heard
    }
    return [name for name, print_ in wanted.items() if (name, print_) not in had]


def losses_lacking(log: RunLog, held_out: Iterable[str]) -> list[str]:
    """Those held-out stores that a run has no loss on: all, where it was taken over; new ones, where it was trained."""
    had = {row["store"] for row in log.rows("val")}
    return [name for name in held_out if name not in had]


def prints(run: RunSpec, scale: Scale, names: Iterable[str]) -> dict[str, str]:
    """Store -> fingerprint of its recipe, for stores with a run's tokens."""
    table = table_of(run, scale)
    return {name: fingerprint(table[name]) for name in names}


def table_of(run: RunSpec, scale: Scale) -> dict[str, StoreSpec]:
    """The scale's stores; with those of a published run's own tokenizer, where it has one."""
    tokenizer = run.mix[0].store.tokenizer
    if tokenizer.kind != "pretrained":
        return stores(scale.name)
    name = tokenizer.checkpoint.checkpoint.rpartition("/")[2]
    return stores(scale.name) | written_stores(scale.name, tokenizer, name)


def _same_tokens(run: RunSpec, scale: Scale) -> dict[str, StoreSpec]:
    spec = run.mix[0].store
    table = table_of(run, scale)
    return {n: s for n, s in table.items() if s.units == spec.units and s.tokenizer == spec.tokenizer}


def _corpus(name: str) -> str:
    return name.partition("/")[0]
