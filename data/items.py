"""Items of a benchmark as rows that point at the documents of a store: options, answer, and where the prompt ends.

In: a benchmark and the documents of a store of it. Out: rows of `items.jsonl`.
"""

from collections.abc import Callable
from pathlib import Path

from data import stores as tables
from slm.spec import CorpusSpec
from slm.store import Document


def item_rows(
    corpus: CorpusSpec,
    corpora: Path | None,
    documents: list[Document],
    tokens_before: Callable[[Document, int], int],
) -> list[dict]:
    """Document ids of the options, the answer, and how many tokens of each option are the prompt.

    `tokens_before(document, characters)` counts the tokens of a document before a character of its text. Items with
    an option that was skipped are left out whole.
    """
    by_id = {document.id: document for document in documents}
    rows = []
    for item in tables.items(corpus, corpora):
        options = [tables.option_id(item, number) for number in range(len(item.options))]
        if all(option in by_id for option in options):
            start = len(item.prompt) + 1 if item.prompt else 0
            prompts = [tokens_before(by_id[option], start) if start else 0 for option in options]
            rows.append({"id": item.id, "subset": item.subset, "options": options, "answer": item.answer})
            rows[-1]["prompt_tokens"] = prompts
    return rows


def ending_start(words: list[tuple[float, int, int]], characters: int) -> float:
    """Start in seconds of the first word at or after a character."""
    starts = [start for start, first, _ in words if first >= characters]
    if not starts:
        raise ValueError(f"no word from character {characters} on has a time of its own: {words}")
    return min(starts)
