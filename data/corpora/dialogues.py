"""Spoken dialogues of our own: a user asks about the small world of the stories, an assistant answers in a sentence.

In: a split, and further pairs of question and answer where there are some. Out: an endless stream of dialogues of one
or two turns about one place and one character, whole or as one utterance a question and an answer.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

from data.corpora.world import CAUSES, CHARACTERS, LOOKS, OPPOSITE_TRAITS, TIMES, TOPICS, TRAITS
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("train", "validation")
_ONE_IN = 20  # dialogues is of validation (a choice, as of the stories)
_MOST_TURNS = 2

Pair = tuple[str, str]
"""(question, answer)."""

KNOWN: tuple[Pair, ...] = (
    ("who works at the {place}?", "a {worker} works at the {place}."),
    ("where does the {worker} work?", "the {worker} works at the {place}."),
    ("what lives in the {spot}?", "a {animal} lives in the {spot}."),
    ("where does the {animal} live?", "the {animal} lives in the {spot} at the {place}."),
    ("what does the {animal} like?", "the {animal} likes {stuff}."),
    ("where is the {spot}?", "the {spot} is a part of the {place}."),
    ("is there any {stuff} at the {place}?", "yes. there is much {stuff} at the {place}."),
)
"""What is always so in the world."""
TOLD: tuple[Pair, ...] = (
    ("{H} is {T}. is {he} {opposite}?", "no. {H} is {T}."),
    ("{H} is {T}. is {he} {T}?", "yes. {H} is {T}."),
    ("{time} {H} lost a {look} {X}. what did {he} lose?", "{he} lost a {look} {X}."),
    ("{F} found the {X} in the {spot}. where was the {X}?", "it was in the {spot}. {F} found it there."),
    ("{H} gave the {X} to {F}. who has the {X} now?", "now {F} has the {X}."),
    ("{H} took a {look} {X} to the {place}. where did {he} go?", "{H} went to the {place}."),
    ("{H} and {F} saw a {look} {X} near the {spot}. what did they see?", "they saw a {look} {X}."),
)
"""What the question itself tells."""
CAUSED: tuple[Pair, ...] = tuple(
    (f"{cause} how was {{H}} then?", f"{{H}} was {state}.") for state, causes in CAUSES.items() for cause in causes
)
"""What follows from what the question tells."""


@dataclass(frozen=True, kw_only=True)
class Dialogue:
    """What a user and an assistant say in turn."""

    id: str
    """Unique inside its split."""
    turns: tuple[Pair, ...]


def dialogues(split: str, pairs: Iterable[Pair] = ()) -> Iterator[Dialogue]:
    """Dialogues without end; dialogue i of a split is always the same, and no dialogue occurs in both splits.

    A turn is of `KNOWN`, `TOLD`, `CAUSED` or, where there are any, of `pairs`, all four equally often; which pairs may
    be told in which split is the caller's choice. `ValueError` for a split other than train and validation.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r} of the dialogues; choose one of {', '.join(SPLITS)}")
    sources = [source for source in (KNOWN, TOLD, CAUSED, tuple(pairs)) if source]
    return (_dialogue(split, index, sources) for index in count())


def utterances(root: Path | None, split: str, pairs: Iterable[Pair] = ()) -> Iterator[Utterance]:
    """The questions and answers of `dialogues`, to be spoken each by itself; `root` is not read."""
    return (
        Utterance(id=key, text=text)
        for dialogue in dialogues(split, pairs)
        for turn, keys in zip(dialogue.turns, keys_of(dialogue), strict=True)
        for key, text in zip(keys, turn, strict=True)
    )


def keys_of(dialogue: Dialogue) -> list[tuple[str, str]]:
    """Document ids of the question and of the answer of each turn."""
    return [(f"{dialogue.id}#q{turn}", f"{dialogue.id}#a{turn}") for turn in range(len(dialogue.turns))]


def split_of(turns: tuple[Pair, ...]) -> str:
    """The only split that a dialogue may occur in."""
    told = "|".join(text for turn in turns for text in turn)
    return SPLITS[int.from_bytes(sha256(told.encode()).digest()[:8]) % _ONE_IN == 0]


def _dialogue(split: str, index: int, sources: list[tuple[Pair, ...]]) -> Dialogue:
    seed = sha256(f"dialogues {REVISION} {split} {index}".encode()).digest()[:8]
    random = Random(int.from_bytes(seed))
    while split_of(turns := _turns(random, sources)) != split:
        pass
    return Dialogue(id=f"dialogues-{split}-{index:07d}", turns=turns)


def _turns(random: Random, sources: list[tuple[Pair, ...]]) -> tuple[Pair, ...]:
    """One or two different turns about one place, one hero and one thing."""
    slots, found = _slots(random), []
    for _ in range(random.randint(1, _MOST_TURNS)):
        question, answer = random.choice(random.choice(sources))
        pair = question.format_map(slots), answer.format_map(slots)
        found += [pair] if pair not in found else []
    return tuple(found)


def _slots(random: Random) -> dict[str, str]:
    topic = TOPICS[random.choice(tuple(TOPICS))]
    hero, friend = random.sample(tuple(CHARACTERS), 2)
    thing, trait = random.choice(topic.things), random.choice(TRAITS)
    return topic.words() | {
        "H": hero,
        "F": friend,
        "he": CHARACTERS[hero].subject,
        "X": thing,
        "Xs": f"{thing}s",
        "T": trait,
        "opposite": OPPOSITE_TRAITS[trait],
        "look": random.choice(LOOKS),
        "time": random.choice(TIMES),
    }
