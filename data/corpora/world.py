"""The small world that the stories, the almanac and the evaluation items speak of: its words and its facts.

In: nothing. Out: tables. Every noun starts with a consonant and has a regular plural, so that templates need no rules.
"""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Topic:
    """A place with the people, animals and things that belong to it and to no other topic."""

    place: str
    spot: str
    """A smaller place inside the place."""
    worker: str
    animal: str
    things: tuple[str, str, str]
    stuff: str
    """A mass noun."""

    def words(self) -> dict[str, str]:
        """What the topic puts into a template: its nouns, and their plurals under the plural of their names."""
        nouns = {"worker": self.worker, "animal": self.animal}
        plurals = {f"{name}s": f"{noun}s" for name, noun in nouns.items()}
        return nouns | plurals | {"place": self.place, "spot": self.spot, "stuff": self.stuff}


@dataclass(frozen=True, kw_only=True)
class Gender:
    """The words that agree with a character."""

    child: str
    subject: str
    object: str
    reflexive: str


TOPICS = {
    topic.place: topic
    for topic in (
        Topic(place="farm", spot="barn", worker="farmer", animal="hen",
              things=("bucket", "carrot", "ladder"), stuff="corn"),
        Topic(place="harbor", spot="boat", worker="sailor", animal="crab",
              things=("shell", "net", "flag"), stuff="sand"),
        Topic(place="forest", spot="cave", worker="hunter", animal="bear",
              things=("mushroom", "log", "basket"), stuff="honey"),
        Topic(place="bakery", spot="cellar", worker="baker", animal="cat",
              things=("cake", "spoon", "pie"), stuff="flour"),
        Topic(place="school", spot="hall", worker="teacher", animal="rabbit",
              things=("book", "pencil", "map"), stuff="paper"),
        Topic(place="castle", spot="tower", worker="knight", animal="horse",
              things=("crown", "sword", "key"), stuff="gold"),
    )
}  # fmt: skip

BOY = Gender(child="boy", subject="he", object="him", reflexive="himself")
GIRL = Gender(child="girl", subject="she", object="her", reflexive="herself")
CHARACTERS = {"tom": BOY, "ben": BOY, "jack": BOY, "ann": GIRL, "mia": GIRL, "lucy": GIRL}

OPPOSITE_TRAITS = {
    "kind": "greedy", "greedy": "kind", "brave": "shy", "shy": "brave", "busy": "lazy", "lazy": "busy",
}  # fmt: skip
TRAITS = tuple(OPPOSITE_TRAITS)
LOOKS = ("red", "blue", "big", "new", "small", "fine")
TIMES = ("one morning", "one day", "one evening", "one night")

CAUSES = {
    "wet": ("the rain fell on the {place} all day.", "much rain fell on {H} near the {spot}."),
    "cold": ("the snow fell on the {place} all day.", "much snow fell on {H} near the {spot}."),
    "tired": ("{H} carried many {Xs} to the {spot}.", "{he} worked for the {workers} all day."),
    "hungry": ("{he} did not eat any food at the {place}.", "the {animal} ate all the food of {H}."),
    "scared": ("{he} heard a loud noise in the {spot}.", "a loud noise came from the dark {spot}."),
    "angry": ("then {F} broke the {X} near the {spot}.", "then the {animal} broke the {X} of {H}."),
    "proud": ("the {workers} liked the work of {H}.", "{he} made the best {X} at the {place}."),
}
"""How a character feels at the end -> the sentences that may have caused it."""

ASIDES = (
    "the {animal} was hungry near the {spot}.",
    "the {animals} were hungry near the {spot}.",
    "the {animal} lives in the {spot} and likes {stuff}.",
    "the {animals} live in the {spot} and like {stuff}.",
    "the {worker} has many {Xs} in the {spot}.",
    "the {workers} have many {Xs} in the {spot}.",
    "the {X} in the {spot} is {size}.",
    "the {Xs} in the {spot} are {size}.",
    "{F} looked at this {X} near the {spot}.",
    "{F} looked at these {Xs} near the {spot}.",
    "this {animal} liked {stuff} and was {size}.",
    "these {animals} liked {stuff} and were {size}.",
    "this {X} was near the {spot}.",
    "these {Xs} were near the {spot}.",
    "{F} saw a {X} in the {spot}.",
    "{H} hid {himself} in the {spot}.",
    "{H} washed {himself} near the {spot}.",
    "{H} hurt {himself} with the {X}.",
    "{F} hid {f_himself} from the {workers}.",
    "{F} hurt {f_himself} with the {X}.",
    "{F} washed {f_himself} near the {animals}.",
    "{H} and {F} hid themselves in the {spot}.",
    "{F} and {H} washed themselves near the {spot}.",
    "the {workers} hurt themselves with the {Xs}.",
    "{F} slept near the {spot}.",
    "the {animal} slept and the {workers} laughed.",
    "{F} fell near the {animals}.",
    "{F} laughed near the {spot}.",
    "{F} carried a {X} to the {spot}.",
    "the {worker} carried a {X} to the {spot}.",
    "the {animal} found some {stuff} near the {spot}.",
    "{F} found some {stuff} near the {spot}.",
    "{F} took some {stuff} from the {worker}.",
    "{F} waited for the {workers} near the {spot}.",
    "{H} listened to the {animals} in the {spot}.",
    "{F} talked to the {worker} and looked at the {animals}.",
    "{F} helped the {worker} and thanked the {workers}.",
    "{H} followed the {animals} to the {spot}.",
    "the {animal} saw the {worker} and followed {F}.",
    "{F} wanted to see the {animals} in the {spot}.",
    "the {worker} did not see the {animals}.",
    "{F} did not find any {stuff} there.",
    "{F} wanted to take some {stuff} to the {animals}.",
    "the {workers} did not eat the {stuff}.",
    "the {animal} could not break the {X}.",
    "{he} saw the {worker} near the {spot}.",
    "the {worker} saw {him} near the {spot}.",
    "{he} saw {F} and {F} thanked {him}.",
    "{he} helped {F} with the {animals}.",
    "{F} helped {him} with the {animals}.",
    "they thanked {F} near the {spot}.",
    "{F} thanked them near the {spot}.",
    "they thanked the {worker} and the {worker} thanked them.",
    "the {animals} saw {f_him} and {f_he} saw the {animals}.",
    "there was much {stuff} in the {spot}.",
    "there were many {Xs} near the {spot}.",
    "{F} saw much {stuff} in the {spot}.",
    "{F} saw many {Xs} in the {spot}.",
    "{H} had much {stuff} at the {place}.",
    "{H} had many {Xs} at the {place}.",
    "{F} had much {stuff} and many {Xs}.",
    "nobody saw any {animals} near the {spot}.",
    "everybody saw some {animals} near the {spot}.",
    "nobody had any {Xs} in the {spot}.",
    "everybody had some {Xs} at the {place}.",
)
"""What may be said at any point of a story without changing its ending: the grammar of the world, at work."""

TRAIT_ASIDES = {
    "kind": ("{H} gave some {stuff} to the {animals}.", "{H} helped the {workers} in the {spot}."),
    "greedy": ("{H} hid some {stuff} from the {animals}.", "{H} took much {stuff} from the {workers}."),
    "brave": ("{H} went to the {animals} and laughed.", "{H} went into the dark {spot}."),
    "shy": ("{H} ran and hid from the {animals}.", "{H} hid near the dark {spot}."),
    "busy": ("{H} carried much {stuff} to the {spot}.", "{H} worked for the {workers} all day."),
    "lazy": ("{H} slept all day near the {animals}.", "{H} slept all day in the {spot}."),
}
"""What a hero with a trait does at any point of a story."""

SIZES = ("big", "small", "old", "new")
