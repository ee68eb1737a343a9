"""The column dictionary: what every column of every table means, with its unit.

In: nothing. Out: `TABLES[table][column] -> meaning`; `frame.py` writes tables with exactly these columns, in this
order, and `columns.csv` beside them.
"""

LABELS = {
    "scale": "price of the study: micro, mini or paper",
    "name": "the run's folder below runs/SCALE; for people, never parsed",
    "fingerprint": "12 hex digits of the recipe",
    "point": "fingerprint of the recipe without its seed: rows that share it differ by their seed alone",
    "studies": "studies that list the run, joined by ';'; empty: none",
    "family": "what the runs of one curve share, e.g. units or text",
    "size": "label of the model on the ladder",
    "budget": "label of the token count",
    "seed": "seed of the initial weights and of the order of the data",
}
_SUMS = {
    "sum_nats": "negative log-likelihood of the whole store, nats",
    "num_tokens": "tokens predicted",
    "num_units": "units that these tokens stand for, after repeats are collapsed; 0: no units",
    "seconds": "seconds of speech that these tokens stand for; 0: never spoken",
}
_RATES = {
    "nats_per_token": "sum_nats / num_tokens: comparable only between runs with the same tokens",
    "nats_per_unit": "sum_nats / num_units, empty without units: comparable only over the same unit stream",
    "nats_per_second": "sum_nats / seconds, empty without speech: comparable over the same speech; the likelihood of "
    "one segmentation is an upper bound on the nats of what it segments",
}

RUNS = LABELS | {
    "schedule": "learning-rate schedule",
    "tokenizer": "kind of tokens of the first training store",
    "unit_stream": "fingerprint of the unit recipe of the first training store; empty: no units",
    "vocabulary": "token ids of the model",
    "params_total": "N: all parameters, the tied embedding once",
    "params_non_embedding": "parameters without the embedding",
    "tokens": "D: training tokens, repeats counted",
    "interleaved_tokens": "of D, tokens of interleaved speech and text; empty: not recorded",
    "unique_tokens": "U: distinct training tokens, counted over the windows that the run was given",
    "epochs": "D / U, at least 1: 1 means that no token was seen twice",
    "steps": "updates",
    "flops_6n": "C = 6 N D, training FLOPs",
    "flops_with_attention": "C with the attention products of a full context",
    "flops_with_head": "C of the matrix products with weights that run, head included",
    "val_store": "the validation store whose loss is the run's loss",
    "sum_nats": _SUMS["sum_nats"],
    "num_tokens": _SUMS["num_tokens"],
    "num_units": _SUMS["num_units"],
    "val_seconds": _SUMS["seconds"],
    **_RATES,
    "wall_seconds": "wall time of this run's own training, seconds",
    "commit": "version of the code that trained it; empty outside a git checkout",
}
SCORES = LABELS | {
    "params_total": RUNS["params_total"],
    "tokens": RUNS["tokens"],
    "flops_6n": RUNS["flops_6n"],
    **_RATES,
    "eval": "benchmark",
    "subset": "all: mean over questions, voices of one question averaged first (of sBLIMP: the pair score of the "
    "ZeroSpeech leaderboard); macro: unweighted mean over the subsets (of sBLIMP: the headline of Cuervo & Marxer "
    "2024, over 12 phenomena); a subset such as a phenomenon; or subset/paradigm",
    "metric": "of choices, accuracy by log-likelihood: _mean per token or _sum of all tokens; of the whole sequence, "
    "or of the _ending alone, the prompt not counted; _end: with the terminal end-of-document token; accuracy_mean is "
    "the headline. Of answers to questions: exact_match, f1, containment (the headline)",
    "value": "fraction of choices where the right option is likelier, ties one half; or mean credit of the answers",
    "n": "questions: items that are one question in several voices count once",
    "stderr": "standard error of value over questions; empty: a single one",
    "low": "lower end of the 95 % bootstrap interval of value over questions; empty: a single one, or not recorded",
    "high": "upper end of that interval",
    "items": "items scored, every voice of a question counted",
    "chance": "value that guessing gets; empty: not recorded",
    "dropped": "items left out because an option could not be encoded",
    "truncated": "items cut on the left because an option was longer than the context",
    "shots": "answered questions before each",
    "decoding": "how answers were generated; empty: choices",
    "transcriber": "what read spoken answers; empty: nothing was spoken",
    "store": "the benchmark's token store",
}
CURVES = {key: LABELS[key] for key in ("name", "family", "size", "budget", "seed")} | {
    "params_total": RUNS["params_total"],
    "step": "last update of the bin",
    "tokens": "training tokens at that update",
    "flops_6n": "6 N tokens, training FLOPs at that update",
    "nats_per_token": "mean training loss of the updates in the bin, nats per token",
}
LOSSES = {key: LABELS[key] for key in ("name", "fingerprint", "family", "size", "budget", "seed")} | {
    "params_total": RUNS["params_total"],
    "step": "update after which the store was measured",
    "tokens": "training tokens at that update",
    "flops_6n": "6 N tokens, training FLOPs at that update",
    "final": "whether this is the store's last row of the run",
    "is_val_store": "whether the store is the run's val_store",
    "store": "name of the held-out store",
    **_SUMS,
    **_RATES,
}
TABLES = {"runs": RUNS, "scores": SCORES, "curves": CURVES, "losses": LOSSES}
TEXT = {"scale", "name", "fingerprint", "point", "studies", "family", "size", "budget", "schedule", "tokenizer"}
TEXT |= {"unit_stream", "val_store", "commit", "eval", "subset", "metric", "store", "decoding", "transcriber"}
FLAGS = {"final", "is_val_store"}  # every other column is a number
