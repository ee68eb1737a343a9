"""An almanac of the world of the stories: what things are, where they are, who uses them; nobody does anything.

In: a split. Out: an endless stream of documents of 5 to 10 sentences about unrelated topics. A document is a plan
(which facts, in which order); the hash of the plan decides its split.
"""

from collections.abc import Iterator
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

from data.corpora.world import TOPICS
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("train", "validation", "test")
NUM_SENTENCES = range(5, 11)

PLACE_FACTS = (
    "the {place} is a place where a {worker} works.",
    "there is a {spot} at the {place}.",
    "the {spot} is a part of the {place}.",
    "there is much {stuff} at the {place}.",
    "there are many {animals} near the {spot}.",
    "a {worker} is a person who works at the {place}.",
    "{workers} are people who have much {stuff}.",
    "{workers} live near the {place} and like {animals}.",
    "a {animal} is an animal that lives in the {spot}.",
    "{animals} are animals that live at the {place}.",
    "a {animal} likes {stuff} and lives near {workers}.",
    "{animals} are big but these {animals} are small.",
    "{stuff} is something that {workers} have.",
    "most {workers} like {stuff} and many {animals} like it too.",
    "no {animal} lives without {stuff}.",
)
THING_FACTS = (
    "a {Z} is a thing that a {worker} has.",
    "{Zs} are things that {workers} carry.",
    "there are many {Zs} in the {spot}.",
    "most {Zs} are old but this {Z} is new.",
    "a {Z} is small and {animals} do not eat it.",
    "{Zs} are red or blue and {workers} like them.",
    "the {Z} of the {worker} is in the {spot}.",
)


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Documents without end, to be spoken; `root` is not read. Document i of a split is always the same.

    Raises ValueError for a split other than train, validation and test.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r} of the almanac; choose one of {', '.join(SPLITS)}")
    return (_utterance(split, index) for index in count())


def split_of(sentences: tuple[str, ...]) -> str:
    """The only split that a document may occur in: of 20, 18 are for training, one for validation, one for test."""
    residue = int.from_bytes(sha256(" ".join(sentences).encode()).digest()[:8]) % 20
    return SPLITS[max(0, residue - 17)]


def _utterance(split: str, index: int) -> Utterance:
    seed = sha256(f"almanac {REVISION} {split} {index}".encode()).digest()[:8]
    random = Random(int.from_bytes(seed))
    while split_of(sentences := _document(random)) != split:
        pass
    return Utterance(id=f"almanac-{split}-{index:07d}", text=" ".join(sentences))


def _document(random: Random) -> tuple[str, ...]:
    return tuple(random.sample(FACTS, random.choice(NUM_SENTENCES)))


FACTS = tuple(
    fact
    for topic in TOPICS.values()
    for fact in (
        *(template.format_map(topic.words()) for template in PLACE_FACTS),
        *(
            template.format_map(topic.words() | {"Z": thing, "Zs": f"{thing}s"})
            for template in THING_FACTS
            for thing in topic.things
        ),
    )
)
"""Every sentence of the almanac."""
