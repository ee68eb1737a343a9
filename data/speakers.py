"""Text-to-token models: runs of the ordinary trainer that say text in units, and what they say.

In: the recipe of a joint store. Out: the run that is to be trained on pairs of text and speech, and a function from
text ids to the units that a finished one says. Here, and not in `experiments`, because stores are made with it.
"""

from pathlib import Path

import numpy as np

from data.transcripts import collapsed
from data.vocabulary import joint_ids
from slm.machine import Machine
from slm.runlog import RunLog
from slm.spec import SpokenSpec, StoreSpec

CACHE_TOKENS = 1 << 18
"""Of the batches that spans are spoken in (a choice): a step of few rows costs as much as one of many."""


def speaker(spec: StoreSpec, root: Path, scale: str, machine: Machine):
    """What speaks the spans of a store: text ids of spans, and a number of each that its draws depend on, to units
    counted from 0.

    `ValueError` if the run is not there or of another recipe. A span that the model never ends is cut at its context.
    """
    from slm.generate import Decoding, generate
    from slm.speech.transcriber import one_thread
    from slm.train import trained_model

    log, ids = finished(spec.spoken, root, scale), joint_ids(spec.tokenizer)
    model, end = trained_model(log, machine), spec.tokenizer.vocabulary - 1

    def speak(spans: list[np.ndarray], numbers: list[int]) -> list[np.ndarray]:
        prompts = [np.concatenate([[ids.mark("T")], span, [ids.mark("S")]]) for span in spans]
        if not prompts:
            return []
        room = log.spec.model.context - max(map(len, prompts))
        if room < 1:
            raise ValueError(
                f"a span of {max(map(len, spans))} text ids leaves no room for its speech in the context of "
                f"{log.spec.model.context} of {log.spec.name}: take shorter spans"
            )
        decoding = Decoding(most_tokens=room, temperature=spec.spoken.temperature, seed=spec.spoken.seed)
        with one_thread():  # the same draws on any number of cores, and in jobs side by side
            said = generate(model, prompts, end, end, ids.speech, decoding, CACHE_TOKENS, numbers)
        return [collapsed(units - ids.speech.start) for units in said]

    return speak


def finished(spoken: SpokenSpec, root: Path, scale: str) -> RunLog:
    """The finished run of a text-to-token model; `ValueError` says how to get it."""
    log = RunLog(root / "runs" / scale / spoken.run)
    if not log.is_done:
        raise ValueError(
            f"{log.folder} is not trained: `python -m experiments train text-to-token --scale {scale}` does that"
        )
    if log.spec.fingerprint != spoken.fingerprint:
        raise ValueError(
            f"{log.folder} is a run of another recipe ({log.spec.fingerprint}, {spoken.fingerprint} is wanted): delete "
            f"it and train text-to-token again"
        )
    return log
