"""Facts of the suite's world as questions: of what look is this thing of this owner?

In: nothing. Out: an item for each fact of `data/corpora/knowledge.py`, the beginning of its sentence and six looks to
end it with. Every look is the answer of one item in six, so that the likeliest look alone gets one sixth.
"""

from collections.abc import Iterator
from pathlib import Path

from data.corpora.knowledge import FACTS, sentence
from data.corpora.world import LOOKS
from data.utterance import RawItem

REVISION = "1"


def items(root: Path | None, split: str) -> Iterator[RawItem]:
    """216 items, whose subset is the kind of owner: a character or a worker. Reads nothing."""
    for number, ((owner, thing), look) in enumerate(FACTS.items()):
        prompt = sentence(owner, thing, "").removesuffix(" .")
        yield RawItem(
            id=f"facts-{number:03d}",
            subset="worker" if owner.startswith("the ") else "character",
            prompt=prompt,
            options=tuple(f"{option}." for option in LOOKS),
            answer=LOOKS.index(look),
        )
