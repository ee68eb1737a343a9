"""What belongs to whom in the suite's world: facts that nobody ever says aloud, to see whether speech learns them.

In: a split. Out: an endless stream of short texts of facts, for training alone, and the table of facts. Their words all
occur in the stories; who owns which thing of what look does not.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

from data.corpora.world import CHARACTERS, LOOKS, TOPICS
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("train",)
NUM_SENTENCES = range(5, 9)
FORMS = (
    "the {thing} of {owner} is {look}.",
    "{owner} has the {look} {thing}.",
    "the {look} {thing} is the {thing} of {owner}.",
)
"""A fact in words; the first form is the one that is asked."""


def _facts() -> dict[tuple[str, str], str]:
    """(owner, thing) -> look: every look of as many facts, and of as many things of each owner."""
    things = [thing for topic in TOPICS.values() for thing in topic.things]
    owners = [*CHARACTERS, *(f"the {topic.worker}" for topic in TOPICS.values())]
    random, found = Random(int.from_bytes(sha256(f"knowledge {REVISION}".encode()).digest()[:8])), {}
    for owner in owners:
        looks = list(LOOKS) * (len(things) // len(LOOKS))
        random.shuffle(looks)
        found |= {(owner, thing): look for thing, look in zip(things, looks, strict=True)}
    return found


FACTS = _facts()
"""(owner, thing) -> look: 216 facts, 36 of each of 6 looks."""


def sentence(owner: str, thing: str, look: str, form: str = FORMS[0]) -> str:
    """A fact, true or not, in words."""
    return form.format(owner=owner, thing=thing, look=look)


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Texts without end; `root` is not read. Text i is always the same. `ValueError` for another split than train."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r} of the knowledge base: it is for training, and asked by its benchmark")
    return (_utterance(index) for index in count())


def _utterance(index: int) -> Utterance:
    random = Random(int.from_bytes(sha256(f"knowledge {REVISION} {index}".encode()).digest()[:8]))
    told = random.sample(tuple(FACTS.items()), random.choice(NUM_SENTENCES))
    text = " ".join(sentence(*key, look, random.choice(FORMS)) for key, look in told)
    return Utterance(id=f"knowledge-train-{index:07d}", text=text)
