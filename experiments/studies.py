"""The table of studies, and what every run of them is measured on.

In: names. Out: runs, and the names of held-out stores and benchmarks that share a run's tokens. Whatever holds for
all studies is checked here, before anything is trained.
"""

from types import ModuleType

from data.stores import BENCHMARKS, stores
from experiments import cosine, isoflop, released, repeats, scaling, synthetic, text, tokenizers, warm
from experiments.scales import Scale
from slm.runlog import RunLog
from slm.spec import RunSpec, fingerprint

STUDIES: dict[str, ModuleType] = {
    "scaling": scaling,
    "cosine": cosine,
    "released": released,
    "repeats": repeats,
    "isoflop": isoflop,
    "tokenizers": tokenizers,
    "text": text,
    "synthetic": synthetic,
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
    """Names of the stores of a run's mixture."""
    names = {spec: name for name, spec in stores(scale.name).items()}
    return [names[source.store] for source in run.mix]


def held_out_stores(run: RunSpec, scale: Scale) -> list[str]:
    """Held-out stores with the run's tokens: those of corpora that nothing at this scale trains on.

    The loss of the first is the run's: that of the scale's test corpus, else of its own corpus and voices. At `paper`
    it is LibriSpeech test-clean, whatever the mixture; the paper's test set, without stories (section 3.3.1), is the
    union of all of them: add up `sum_nats` and `num_tokens` over the rows of `val.jsonl`.
    """
    own = run.mix[0].store.corpus
    trained = {corpus for mixture in scale.mixtures.values() for corpus in mixture}

    def distance(name: str) -> tuple[bool, bool, bool, str]:
        corpus = table[name].corpus
        return _corpus(name) != scale.test, corpus.name != own.name, corpus.voices != own.voices, name

    table = _same_tokens(run, scale)
    held_out = [n for n, spec in table.items() if spec.corpus.name not in BENCHMARKS and _corpus(n) not in trained]
    return sorted(held_out, key=distance)


def benchmark_stores(run: RunSpec, scale: Scale) -> dict[str, str]:
    """Benchmark -> name of its store with the run's tokens."""
    return {s.corpus.name: name for name, s in _same_tokens(run, scale).items() if s.corpus.name in BENCHMARKS}


def scored(log: RunLog, scale: Scale) -> set[str]:
    """Benchmarks that a run has scores on, as the scale's table has them now; scores on other items do not count."""
    table = {name: fingerprint(spec) for name, spec in stores(scale.name).items()}
    return {row["eval"] for row in log.rows("scores") if table.get(row["store"]) == row["fingerprint"]}


def _same_tokens(run: RunSpec, scale: Scale) -> dict:
    spec = run.mix[0].store
    table = stores(scale.name)
    return {n: s for n, s in table.items() if s.units == spec.units and s.tokenizer == spec.tokenizer}


def _corpus(name: str) -> str:
    return name.partition("/")[0]
