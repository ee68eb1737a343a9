"""Finished runs are asked: likelihoods of choices, answers to questions, losses of runs that were taken over.

In: a finished run, its job, the stores. Out: `scores.jsonl`, `items/`, and `val.jsonl` where it is missing. What is
there already is left alone; a benchmark is read and laid out once for all runs of a process that share its tokens.
"""

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from data.documents import BENCHMARKS
from data.transcripts import Read, answer_ids, answers_aloud, reader, transcriber_name
from experiments.pairs import completions
from experiments.plan import Job
from experiments.studies import SCORER, losses_lacking, scores_lacking
from slm.atomic import exclusive
from slm.evals.answer import Ends, answer, answer_scores
from slm.evals.choice import Choices, accuracies, choices, choose
from slm.generate import Decoding
from slm.machine import Machine
from slm.pretrained import ends
from slm.recorder import Leave, Wish
from slm.runlog import RunLog
from slm.store import TokenStore
from slm.train import trained_model, validate

ANSWER_PIECES = 32
"""Tokens of text that an answer may have (a choice)."""
ANSWER_SECONDS = 8.0
"""Of speech, at the mean rate of the questions' tokens (a choice)."""


CACHE_TOKENS = 1 << 16
"""Of the batches that answers are generated in (a choice): a step of few rows costs as much as one of many."""


def measure(
    log: RunLog,
    job: Job,
    opened: dict[str, TokenStore],
    machine: Machine,
    root: Path,
    scale: str,
    report: Callable[[], None],
    wish: Wish,
) -> None:
    """Measure whatever a finished run lacks; `report` is called after each benchmark, and `wish` asked before it."""
    if unmeasured := losses_lacking(log, job.held_out):
        validate(log, {name: opened[name] for name in unmeasured}, machine)
        log.finish(log.done | {"validation": log.done["validation"] or job.held_out[0]})
    missing = scores_lacking(log, {name: opened[name].fingerprint for name in job.benchmarks}, job.transcriber)
    if not missing:
        return
    model, (first, end) = trained_model(log, machine), ends(log.spec, machine.models)
    for name in missing:
        if wish.value:
            raise Leave
        store = opened[name]
        store.verify()
        if store.is_of_questions:
            read = reader(store.spec, root, scale, job.transcriber, machine)
            rows, told = _answers(model, store, Ends(first=first, end=end), read)
            scores = answer_scores(rows)
            by = transcriber_name(store.spec, root, scale, job.transcriber, machine)
            told |= {"transcriber": by} if by else {}
        elif store.spec.corpus.name not in BENCHMARKS:
            rows, scores, left_out = completions(model, store, end, root, scale, machine)
            told = {"dropped": left_out}
        else:
            context, size = log.spec.model.context, machine.tokens_at_once
            rows = choose(model, _choices(store.folder, store.fingerprint, first, end, context, size))
            scores, told = accuracies(rows), {}
        _keep(log, name, store, rows, scores, told)
        report()


@lru_cache(maxsize=16)
def _choices(folder: Path, fingerprint: str, first: int, end: int, context: int, batch_tokens: int) -> Choices:
    return choices(TokenStore(folder), first, end, context, batch_tokens)


def _answers(model, store: TokenStore, ends: Ends, read: Read) -> tuple[list[dict], dict]:
    spec, most = store.spec, ANSWER_PIECES
    if answers_aloud(spec):
        tokens = store.num_units if spec.tokenizer.kind == "joint" else store.num_tokens
        most = round(ANSWER_SECONDS * tokens / store.seconds)
    decoding = Decoding(most_tokens=most)
    rows = answer(model, store, ends, answer_ids(spec), decoding, CACHE_TOKENS, read)
    return rows, {"decoding": str(decoding), "shots": spec.corpus.shots}


def _keep(log: RunLog, name: str, store: TokenStore, rows: list[dict], scores: list[dict], told: dict) -> None:
    """Write items and scores; those on the same benchmark that were there, of another transcriber too, are replaced."""
    benchmark, done = name.partition("/")[0], log.done
    log.write(f"items/{benchmark}.jsonl", rows)
    head = {"step": done["steps"], "tokens": done["tokens"], "flops": done["flops"], "eval": benchmark}
    items = store.rows("items")
    dropped = len(store.rows("dropped")) + len(items) - len(rows) if items else told.pop("dropped", 0)
    tail = {"dropped": dropped, "store": name, "fingerprint": store.fingerprint, "scorer": SCORER} | told
    with exclusive(log.folder / ".scores.lock"):
        others = [row for row in log.rows("scores") if row["eval"] != benchmark]
        log.write("scores.jsonl", others + [head | row | tail for row in scores])
