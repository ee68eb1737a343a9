"""Models that say text in units, or read units as text, on held-out pairs: what is heard of them, how long, how fast.

In: a model, a store of pairs. Out: item rows and scores: word error rate, length ratio, tokens a second. Spoken halves
are read by the suite's own transcriber of their units, whose error rate on the real units stands beside.
"""

import time
from pathlib import Path

import numpy as np

from data.mixed import TEMPERATURE
from data.transcripts import Read, collapsed, own_transcriber, text_decoder
from data.vocabulary import joint_ids
from slm.generate import Decoding, generate
from slm.machine import Machine
from slm.spec import StoreSpec
from slm.speech.transcriber import error_rates, plain_text
from slm.store import TokenStore

MOST_PAIRS = 400
"""That are completed: the first ones of a store (a choice)."""
DRAWS = 1000
CACHE_TOKENS = 1 << 16
"""As of answers."""


def completions(model, store: TokenStore, end: int, root: Path, scale: str, machine: Machine) -> tuple[list, list, int]:
    """(item rows, scores, pairs left out) of a store: each second half is sampled after its first.

    Left out are pairs without a word, and those that are longer than the context. `ValueError` where none is left.
    """
    form, ids, context = store.spec.form, joint_ids(store.spec.tokenizer), model.config.max_position_embeddings
    speech, text = _readers(store.spec, root, scale, machine)
    asked = []
    for i in range(min(MOST_PAIRS, len(store))):
        document, start = np.array(store.document(i), dtype=np.int64), int(store.index["start"][i])
        first = int(np.argmax(store.parts[start : start + len(document)] > 0))
        words = text([_half(document, first, form.index("T"))])[0]
        if plain_text(words) and len(document) < context:
            asked.append((i, words, document[:first], document[first:]))
    if not asked:
        raise ValueError(f"{store.folder}: no pair has a word and fits into the model's context of {context}")
    numbers, words, prompts, real = map(list, zip(*asked, strict=True))
    room = context - max(map(len, prompts))
    decoding = Decoding(most_tokens=room, temperature=TEMPERATURE if form[1] == "S" else 0.0)
    begun = time.monotonic()
    said = generate(model, prompts, end, end, ids.speech if form[1] == "S" else ids.text, decoding, CACHE_TOKENS)
    speed = sum(map(len, said)) / (time.monotonic() - begun)
    rows = _rows(store, numbers, words, real, said, speech if form[1] == "S" else text)
    scores = _scores(rows, {"truncated": sum(len(each) == room for each in said), "decoding": str(decoding)})
    return (
        rows,
        [row | {"tokens_per_second": round(speed, 1)} for row in scores],
        min(MOST_PAIRS, len(store)) - len(asked),
    )


def _half(document: np.ndarray, first: int, which: int) -> np.ndarray:
    """Ids of the first or second half of a pair, without marks."""
    return document[first:] if which else document[1 : first - 1]


def _readers(spec: StoreSpec, root: Path, scale: str, machine: Machine) -> tuple[Read, Read]:
    """What reads speech ids of the joint vocabulary, and what reads text ids."""
    first, transcribe = joint_ids(spec.tokenizer).speech.start, own_transcriber(root, scale, spec.units, machine)
    decode = text_decoder(spec.tokenizer.text, root, machine)

    def speech(documents: list[np.ndarray]) -> list[str]:
        return transcribe([collapsed(document - first) for document in documents])

    return speech, lambda documents: [decode(document) for document in documents]


def _rows(store: TokenStore, numbers: list[int], words: list[str], real: list, said: list, read: Read) -> list[dict]:
    documents, rows = store.rows("documents"), []
    names = [documents[i]["id"] for i in numbers]
    for name, text, target, got, heard, best in zip(names, words, real, said, read(said), read(real), strict=True):
        rates, bound = error_rates([text], [heard]), error_rates([text], [best])
        row = {"id": name, "text": text, "output": heard, "words": rates.words}
        row |= {"edits": round(rates.wer * rates.words), "edits_of_real": round(bound.wer * bound.words)}
        rows.append(row | {"tokens": len(got), "tokens_of_real": len(target)})
    return rows


def _scores(rows: list[dict], told: dict) -> list[dict]:
    """Ratios of sums over pairs, with errors and 95 % intervals of a bootstrap over pairs."""
    ratios = {
        "wer": ("edits", "words"),
        "wer_of_real": ("edits_of_real", "words"),
        "length": ("tokens", "tokens_of_real"),
    }
    drawn = np.random.default_rng(0).integers(0, len(rows), (DRAWS, len(rows)))
    scores = []
    for metric, (over, under) in ratios.items():
        above, below = (np.array([row[key] for row in rows], dtype=float) for key in (over, under))
        samples = above[drawn].sum(axis=1) / below[drawn].sum(axis=1)
        low, high = np.percentile(samples, (2.5, 97.5))
        row = {"subset": "all", "metric": metric, "value": float(above.sum() / below.sum()), "n": len(rows)}
        row |= {"stderr": float(samples.std(ddof=1)), "low": float(low), "high": float(high), "items": len(rows)}
        scores.append(row | told)
    return scores
