"""Stories of our own: a seeded grammar over a small world, to be read as text or spoken.

In: a split. Out: an endless stream of stories of 5 to 10 sentences. A story is a plan (every choice that matters)
put into words (choices that do not); the hash of the plan decides its split, so held-out stories are new.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from random import Random

from data.corpora.world import ASIDES, CAUSES, CHARACTERS, LOOKS, SIZES, TIMES, TOPICS, TRAIT_ASIDES, TRAITS
from data.utterance import Utterance

REVISION = "1"
SPLITS = ("train", "validation", "test")
LENGTHS = (5, 5, 5, 5, 5, 5, 6, 6, 6, 7, 7, 7, 8, 8, 8, 9, 9, 10, 10, 10)
"""Numbers of sentences, as often as they are drawn (a choice): items have 5, so 5 is the most frequent."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Every choice that matters in a story. All of them can be read off its text."""

    kind: str
    """A key of KINDS."""
    outcome: str
    """What the ending depends on; one of KINDS[kind]."""
    topic: str
    hero: str
    friend: str
    trait: str
    thing: str
    other: str
    """A second thing, or empty where the kind has none."""
    look: str
    time: str


@dataclass(frozen=True, kw_only=True)
class Scheme:
    """Templates of sentences 2 to 5 of a story of one kind with one outcome."""

    goal: tuple[str, ...]
    middle: tuple[str, ...]
    turn: tuple[str, ...]
    endings: tuple[str, ...]
    """Endings at the same position under two outcomes of a kind have the same number of words."""


OPENINGS = (
    "{H} lives near the {place} and {he} is {T}.",
    "{H} works at the {place} and {he} is {T}.",
    "{H} is {T} and {he} likes the {animals}.",
    "{H} is {T} and {he} likes the {Xs} at the {place}.",
    "{H} and {F} like the {animals} and {H} is {T}.",
)

_SEEK_GOAL = (
    "{time} {H} lost a {look} {X}.",
    "{H} wanted to find a {look} {X} {time}.",
    "{time} {H} could not find the {look} {X}.",
)
_SEEK_MIDDLE = (
    "{F} helped {him} and they looked near the {spot}.",
    "{he} and {F} looked for the {X} in the {spot}.",
    "{he} asked {F} and the {worker} for help.",
)
_CAUSE_GOAL = (
    "{time} {H} took a {look} {X} to the {place}.",
    "{time} {H} hurt {himself} with a {look} {X}.",
    "{H} saw a {look} {X} near the {spot} {time}.",
)
_CAUSE_MIDDLE = (
    "{F} was there and talked to the {worker}.",
    "{F} saw {him} and many {Xs} near the {animals}.",
    "{F} came with much {stuff} for the {animals}.",
)
_HAVE_GOAL = (
    "{time} {H} had a {look} {X}.",
    "{H} found {himself} a {look} {X} {time}.",
    "{time} {H} came with a {look} {X}.",
)
_GIVE_MIDDLE = (
    "{F} saw the {X} and wanted to have it.",
    "{F} did not have any {Xs} in the {spot}.",
)
_GIVE_TURN = (
    "{F} asked {H} for the {X} near the {spot}.",
    "{F} asked the {T} {child} for the {X}.",
)
_DARE_GOAL = (
    "{time} {F} lost a {look} {X}.",
    "{time} {F} could not find the {look} {X}.",
)
_DARE_MIDDLE = (
    "there was a big {animal} near the {X}.",
    "a big {animal} had the {X} in the {spot}.",
)
_DARE_TURN = (
    "{F} asked {H} for help near the {spot}.",
    "{F} asked the {T} {child} near the {spot}.",
)
_WORK_GOAL = (
    "{time} the {worker} wanted to have many {look} {Xs}.",
    "{time} there were many {look} {Xs} at the {place}.",
)
_WORK_MIDDLE = (
    "the {worker} asked {H} and {F} for help.",
    "the {worker} talked to {him} and to {F}.",
)
_WORK_TURN = (
    "{F} helped the {worker} and took two {Xs}.",
    "the {worker} looked at {F} and the {T} {child}.",
)
_HELPER_MIDDLE = (
    "{F} asked the {worker} and saw the {animal}.",
    "{F} and the {worker} looked near the {animal}.",
)
_TRADE_MIDDLE = (
    "{F} had a {Y} and liked the {X}.",
    "{F} came with a {Y} and wanted the {X}.",
)
_TRADED = (
    "then they traded the {X} for the {Y}.",
    "{H} gave the {X} to {F} for the {Y}.",
)
_KEPT = (
    "but they did not trade the {X} for the {Y}.",
    "{H} did not give the {X} to {F}.",
)


def _helper(finder: str, sleeper: str) -> Scheme:
    """A lost thing is found by one of two, whom the hero then thanks."""
    return Scheme(
        goal=_SEEK_GOAL,
        middle=_HELPER_MIDDLE,
        turn=(
            f"the {finder} found the {{X}} and the {sleeper} slept.",
            f"the {sleeper} slept but the {finder} found the {{X}}.",
        ),
        endings=(
            f"so {{H}} thanked the {finder} for the {{X}}.",
            f"so {{H}} gave some {{stuff}} to the {finder}.",
            f"then {{H}} and {{F}} helped the {finder}.",
        ),
    )


def _trade(turn: tuple[str, ...], heros: str, friends: str) -> Scheme:
    """Two characters with a thing each do or do not trade."""
    return Scheme(
        goal=_HAVE_GOAL,
        middle=_TRADE_MIDDLE,
        turn=turn,
        endings=(
            f"in the end {{H}} had the {heros}.",
            f"so {{H}} took the {heros} home.",
            f"so {{F}} left the {{place}} with the {friends}.",
        ),
    )


KINDS = {
    "seek": {
        "found": Scheme(
            goal=_SEEK_GOAL,
            middle=_SEEK_MIDDLE,
            turn=(
                "then {F} found the {X} in the {spot}.",
                "then the {worker} gave the {X} to {him}.",
                "in the end they saw the {X} near the {animals}.",
            ),
            endings=(
                "so {H} took the {X} home and was happy.",
                "{H} was happy because {he} had the {X}.",
                "{H} and {F} were happy with the {X}.",
                "that night {H} laughed near the {spot}.",
            ),
        ),
        "lost": Scheme(
            goal=_SEEK_GOAL,
            middle=_SEEK_MIDDLE,
            turn=(
                "but nobody found any {Xs} in the {spot}.",
                "but the {animal} took the {X} and ran.",
                "but they did not see the {X} near the {animals}.",
            ),
            endings=(
                "so {H} left without the {X} and was sad.",
                "{H} was sad because {he} lost the {X}.",
                "{H} and {F} were sad without the {X}.",
                "that night {H} cried near the {spot}.",
            ),
        ),
    },
    "wish": {
        "got": Scheme(
            goal=(
                "{time} {H} wanted to have a {look} {X}.",
                "{time} {H} saw a {look} {X} and liked it.",
                "{H} wanted to find {himself} a {look} {X} {time}.",
            ),
            middle=(
                "{F} talked to the {worker} about the {X}.",
                "{he} and {F} looked at the {Xs} in the {spot}.",
                "{F} helped {him} and they looked for a {X}.",
            ),
            turn=(
                "the {worker} thanked them and went to the {spot}.",
                "they waited for the {worker} near the {animals}.",
                "everybody had some {stuff} and listened to the {worker}.",
            ),
            endings=(
                "so the {worker} gave the {X} to {H}.",
                "in the end {H} carried the {X} home.",
                "{H} was happy because {he} had the {X}.",
                "so {H} and {F} took the {X} home.",
            ),
        ),
    },
    "cause": {
        state: Scheme(
            goal=_CAUSE_GOAL,
            middle=_CAUSE_MIDDLE,
            turn=turn,
            endings=(
                f"that evening {{H}} was {state} at the {{place}}.",
                f"so {{H}} was very {state} near the {{spot}}.",
                f"so {{H}} was {state} and left the {{place}}.",
                f"{{H}} was {state} and talked to the {{worker}}.",
            ),
        )
        for state, turn in CAUSES.items()
    },
    "trait": {
        "kind": Scheme(
            goal=_HAVE_GOAL,
            middle=_GIVE_MIDDLE,
            turn=_GIVE_TURN,
            endings=("so {H} gave the {X} to {F}.", "then {H} took the {X} and helped {F}."),
        ),
        "greedy": Scheme(
            goal=_HAVE_GOAL,
            middle=_GIVE_MIDDLE,
            turn=_GIVE_TURN,
            endings=("so {H} hid the {X} from {F}.", "then {H} took the {X} and left {F}."),
        ),
        "brave": Scheme(
            goal=_DARE_GOAL,
            middle=_DARE_MIDDLE,
            turn=_DARE_TURN,
            endings=("so {H} took the {X} from the {animal}.", "then {H} went to the {animal} and laughed."),
        ),
        "shy": Scheme(
            goal=_DARE_GOAL,
            middle=_DARE_MIDDLE,
            turn=_DARE_TURN,
            endings=("so {H} ran and hid from the {animal}.", "then {H} saw the {animal} and ran home."),
        ),
        "busy": Scheme(
            goal=_WORK_GOAL,
            middle=_WORK_MIDDLE,
            turn=_WORK_TURN,
            endings=("so {H} carried many {Xs} to the {spot}.", "then {H} worked near the {Xs} all day."),
        ),
        "lazy": Scheme(
            goal=_WORK_GOAL,
            middle=_WORK_MIDDLE,
            turn=_WORK_TURN,
            endings=("so {H} slept all day in the {spot}.", "then {H} slept near the {Xs} all day."),
        ),
    },
    "helper": {"worker": _helper("{worker}", "{animal}"), "animal": _helper("{animal}", "{worker}")},
    "trade": {
        "traded": _trade(_TRADED, heros="{Y}", friends="{X}"),
        "kept": _trade(_KEPT, heros="{X}", friends="{Y}"),
    },
}  # fmt: skip
"""kind -> outcome -> templates. The outcome of a story of kind "trait" is the hero's trait."""


def draw_plan(random: Random) -> Plan:
    """A plan of any split: kinds are equally likely, and so are the outcomes of a kind."""
    choice = random.choice
    kind = choice(tuple(KINDS))
    outcome = choice(tuple(KINDS[kind]))
    topic = choice(tuple(TOPICS))
    hero, friend = random.sample(tuple(CHARACTERS), 2)
    thing, other = random.sample(TOPICS[topic].things, 2)
    return Plan(
        kind=kind,
        outcome=outcome,
        topic=topic,
        hero=hero,
        friend=friend,
        trait=outcome if kind == "trait" else choice(TRAITS),
        thing=thing,
        other=other if kind == "trade" else "",
        look=choice(LOOKS),
        time=choice(TIMES),
    )


def split_of(plan: Plan) -> str:
    """The only split that a plan may occur in: of 20 plans, 18 are for training, one for validation, one for test."""
    residue = int.from_bytes(sha256("|".join(vars(plan).values()).encode()).digest()[:8]) % 20
    return SPLITS[max(0, residue - 17)]


def plans(split: str) -> Iterator[Plan]:
    """The plans of the documents of a split, in order, without end; plan i does not depend on those before it."""
    return (_plan_and_random(split, index)[0] for index in count())


def words(plan: Plan) -> dict[str, str]:
    """What a plan puts into the slots of its templates."""
    hero, friend = CHARACTERS[plan.hero], CHARACTERS[plan.friend]
    return _TOPIC_WORDS[plan.topic] | {
        "H": plan.hero,
        "F": plan.friend,
        "T": plan.trait,
        "X": plan.thing,
        "Xs": f"{plan.thing}s",
        "Y": plan.other,
        "look": plan.look,
        "time": plan.time,
        "child": hero.child,
        "he": hero.subject,
        "him": hero.object,
        "himself": hero.reflexive,
        "f_he": friend.subject,
        "f_him": friend.object,
        "f_himself": friend.reflexive,
    }


def core(plan: Plan, random: Random) -> list[str]:
    """The first four sentences of the five-sentence story of a plan: all that the ending depends on."""
    scheme = KINDS[plan.kind][plan.outcome]
    slots = words(plan)
    forms = (OPENINGS, scheme.goal, scheme.middle, scheme.turn)
    return [random.choice(templates).format_map(slots) for templates in forms]


def endings(plan: Plan) -> list[str]:
    """Every last sentence that a story of this plan may have.

    Plans that differ in outcome or thing only have as many, and at the same position as long in words.
    """
    slots = words(plan)
    return [template.format_map(slots) for template in KINDS[plan.kind][plan.outcome].endings]


def story(plan: Plan, random: Random, num_sentences: int) -> list[str]:
    """The sentences of a story: the core, asides anywhere before or among it, and an ending."""
    sentences = core(plan, random)
    slots = words(plan) | {"size": random.choice(SIZES)}
    for template in random.sample(_ASIDES[plan.trait], num_sentences - 5):
        sentences.insert(random.randint(0, len(sentences)), template.format_map(slots))
    return [*sentences, random.choice(endings(plan))]


def utterances(root: Path | None, split: str) -> Iterator[Utterance]:
    """Stories without end, to be spoken; `root` is not read. Story i of a split is always the same.

    Raises ValueError for a split other than train, validation and test.
    """
    if split not in SPLITS:
        raise ValueError(f"no split {split!r} of the stories; choose one of {', '.join(SPLITS)}")
    return (_utterance(split, index) for index in count())


def _utterance(split: str, index: int) -> Utterance:
    plan, random = _plan_and_random(split, index)
    return Utterance(
        id=f"stories-{split}-{index:07d}",
        text=" ".join(story(plan, random, random.choice(LENGTHS))),
    )


def _plan_and_random(split: str, index: int) -> tuple[Plan, Random]:
    """The plan of a document, and the generator that goes on to choose its words."""
    seed = sha256(f"stories {REVISION} {split} {index}".encode()).digest()[:8]
    random = Random(int.from_bytes(seed))
    while split_of(plan := draw_plan(random)) != split:
        pass
    return plan, random


_TOPIC_WORDS = {place: topic.words() for place, topic in TOPICS.items()}
_ASIDES = {trait: (*ASIDES, *(3 * TRAIT_ASIDES[trait])) for trait in TRAITS}
