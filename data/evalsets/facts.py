"""Facts of the suite's world as questions: which word ends this sentence?

In: nothing. Out: an item for each fact of `data/corpora/knowledge.py`, the beginning of its sentence and six words to
end it with. Every word is the answer of one item in six of its relation, so that the likeliest alone gets one sixth.
"""

from collections.abc import Iterator
from pathlib import Path

from data.corpora.knowledge import FACTS, RELATIONS, beginning
from data.utterance import RawItem

REVISION = "1"


def items(root: Path | None, split: str) -> Iterator[RawItem]:
    """216 items, whose subset is the relation: look, owner or place. Reads nothing."""
    for number, ((relation, kind, noun), word) in enumerate(FACTS.items()):
        words = RELATIONS[relation][1]
        yield RawItem(
            id=f"facts-{number:03d}",
            subset=relation,
            prompt=beginning(relation, kind, noun),
            options=tuple(f"{option}." for option in words),
            answer=words.index(word),
        )
