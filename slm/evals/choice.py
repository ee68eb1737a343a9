"""Pick the likelier option: minimal pairs, Topic and Story Cloze.

In: a model and a benchmark as a token store with `items.jsonl`. Out: one row per item with sums and counts, and one
score per (subset, metric) with its standard error. Ties count one half.
"""

import numpy as np

from slm.score import log_likelihoods
from slm.store import TokenStore


def choose(model, store: TokenStore, batch_tokens: int) -> list[dict]:
    """Item rows: per option the log-likelihood of the whole and of the ending, with their tokens, units, seconds."""
    documents = {row["id"]: i for i, row in enumerate(store.rows("documents"))}
    items = store.rows("items")
    wanted = [(documents[o], p) for item in items for o, p in zip(item["options"], item["prompt_tokens"], strict=True)]
    sequences, prompts = [store.document(i) for i, _ in wanted], [prompt for _, prompt in wanted]
    sums = iter(zip(wanted, log_likelihoods(model, sequences, prompts, store.eos, batch_tokens), strict=True))
    rows = []
    for item in items:
        options = []
        for (i, prompt), (whole, ending) in (next(sums) for _ in item["options"]):
            tokens = int(store.index[i]["tokens"]) - 1
            option = {"sum": whole, "tokens": tokens, "ending_sum": ending, "ending_tokens": tokens - prompt}
            options.append(
                option | {"units": int(store.index[i]["units"]), "seconds": float(store.index[i]["seconds"])}
            )
        rows.append({"id": item["id"], "subset": item["subset"], "answer": item["answer"], "options": options})
    return rows


METRICS = {
    "accuracy_mean": lambda option: option["sum"] / option["tokens"],
    "accuracy_sum": lambda option: option["sum"],
    "accuracy_ending_mean": lambda option: option["ending_sum"] / option["ending_tokens"],
    "accuracy_ending_sum": lambda option: option["ending_sum"],
}
"""Metric -> what is compared. `accuracy_mean`, per token of the model's own tokenizer over the whole sequence, is the
headline (released code of Cuervo & Marxer 2024, `evaluate.py`); the ending metrics score it given the prompt."""


def accuracies(rows: list[dict]) -> list[dict]:
    """One row per subset and metric: value in 0..1, items, standard error of the mean. Subset `all` has every item.

    Ending metrics are left out where no item has a prompt, because they would repeat the others.
    """
    prompted = any(option["ending_tokens"] < option["tokens"] for row in rows for option in row["options"])
    scores = []
    for metric, value in METRICS.items():
        if "ending" in metric and not prompted:
            continue
        correct = np.array([_credit([value(option) for option in row["options"]], row["answer"]) for row in rows])
        subsets = np.array([row["subset"] for row in rows])
        for subset in ["all", *sorted(set(subsets) - {""})]:
            chosen = correct if subset == "all" else correct[subsets == subset]
            error = float(chosen.std(ddof=1) / np.sqrt(len(chosen))) if len(chosen) > 1 else None
            row = {"subset": subset, "metric": metric, "value": float(chosen.mean()), "n": len(chosen)}
            scores.append(row | {"stderr": error})
    return scores


def _credit(values: list[float], answer: int) -> float:
    """1 for the right option alone on top, a share of 1 for a tie, else 0."""
    best = max(values)
    return float(values[answer] == best) / values.count(best)
