"""Questions with their answers as text to read: knowledge that is only ever written, to be asked aloud later.

In: the folder of corpora, a split of a question set. Out: an utterance per question, its text alone.
"""

from collections.abc import Iterator
from pathlib import Path

from data.evalsets import webquestions as asked_webquestions
from data.questions import asked
from data.utterance import Utterance

REVISION = "1"


def webquestions(root: Path | None, split: str) -> Iterator[Utterance]:
    """`Where is Hamlet set? Denmark.`: the questions of a split of WebQuestions, each with its first answer."""
    for question in asked_webquestions.questions(root, split):
        yield Utterance(id=f"told-{question.id}", text=f"{asked(question)} {question.answers[0]}.")
