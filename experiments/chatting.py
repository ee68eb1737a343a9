"""Can a model that was trained on interleaved speech and text be asked aloud, and answer aloud?

`python -m experiments train chat --scale micro`, after the study interleaved: its largest run, fine-tuned on spoken
dialogues in the streaming template of GLM-4-Voice (13 ids of text, 26 of speech), each dialogue once with the loss on
the text of the answers and once on their speech (report, section 4.2; it weighs 4 epochs against 20, here they are
equal, a choice). Then `python -m experiments chat RUN --wav question.wav --out answer.wav`. A minute at `micro`.
"""

from dataclasses import replace

from data.mixed import scheme
from data.stores import stores
from experiments import interleaved
from experiments.scales import Scale
from slm.spec import Init, RunSpec, Source

SLOWER = 0.3
"""Peak rate of fine-tuning, as a fraction of that of training (a choice)."""
SHARE = 0.25
"""Tokens of fine-tuning, as a fraction of those of training (a choice)."""


def runs(scale: Scale) -> list[RunSpec]:
    """The run with the most interleaved tokens, fine-tuned; `ValueError` where the study interleaved does not exist."""
    trained = interleaved.largest(scale)
    store = stores(scale.name)[f"dialogues-train-C/joint-{scheme(interleaved.PARTS[scale.name].rates[0])}"]
    train = trained.train
    steps = round(train.steps * SHARE)
    return [
        replace(
            trained,
            name=f"chat/{trained.budget}/{trained.size}",
            family="chat",
            mix=(Source(store=store, loss="text"), Source(store=store, loss="speech")),
            train=replace(train, tokens=steps * train.batch_tokens, learning_rate=train.learning_rate * SLOWER),
            init=Init(checkpoint=trained.name, revision=trained.fingerprint, keeps_text=True),
        )
    ]
