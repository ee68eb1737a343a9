"""What the best and the old ones of the suite's world are like: facts that nobody ever says aloud.

In: a split. Out: an endless stream of short texts of facts, for training alone, and the table of facts. All their words
occur in the stories, and what they say of them does not.
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
KINDS = ("best", "old")
RELATIONS = {
    "look": ("the {kind} {noun} is", LOOKS),
    "owner": ("the {kind} {noun} came with", tuple(CHARACTERS)),
    "place": ("the {kind} {noun} is at the", tuple(TOPICS)),
}
"""What a fact tells -> how its sentence begins, and the six words that may end it."""


def _facts() -> dict[tuple[str, str, str], str]:
    """(relation, kind, noun) -> word: in each relation and kind, every word of as many nouns."""
    nouns = [noun for t in TOPICS.values() for noun in (*t.things, t.worker, t.animal, t.stuff)]
    random, found = Random(int.from_bytes(sha256(f"knowledge {REVISION}".encode()).digest()[:8])), {}
    for relation, (_, words) in RELATIONS.items():
        for kind in KINDS:
            told = list(words) * (len(nouns) // len(words))
            random.shuffle(told)
            found |= {(relation, kind, noun): word for noun, word in zip(nouns, told, strict=True)}
    return found


FACTS = _facts()
"""(relation, kind, noun) -> word: 216 facts, 72 of each relation."""


def beginning(relation: str, kind: str, noun: str) -> str:
    """The sentence of a fact without its last word."""
    return RELATIONS[relation][0].format(kind=kind, noun=noun)


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Texts without end; `root` is not read. Text i is always the same. `ValueError` for another split than train."""
    if split not in SPLITS:
        raise ValueError(f"no split {split!r} of the knowledge base: it is for training, and asked by its benchmark")
    return (_utterance(index) for index in count())


def _utterance(index: int) -> Utterance:
    random = Random(int.from_bytes(sha256(f"knowledge {REVISION} {index}".encode()).digest()[:8]))
    told = random.sample(tuple(FACTS.items()), random.choice(NUM_SENTENCES))
    text = " ".join(f"{beginning(*key)} {word}." for key, word in told)
    return Utterance(id=f"knowledge-train-{index:07d}", text=text)
