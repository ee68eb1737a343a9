"""Real files in their publishers' layout, through the very same code; CI has them, a user need not."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from rich.progress import Progress

from data.corpora import librispeech, tinystories
from data.prepare import prepare
from data.stores import stores
from data.workshop import Workshop
from slm.machine import Machine
from slm.spec import StoreSpec, TokenizerSpec

CORPORA = Path(__file__).parents[2].parent / "shared" / "data"
pytestmark = pytest.mark.real_data


def test_tinystories_samples_hold_what_their_notes_say():
    train = list(tinystories.utterances(CORPORA, "train"))
    assert len(train) == 2316
    assert train[0].text.startswith("One day, a little girl named Lily found a needle in her room.")
    words = sum(len(story.text.split()) for story in train)
    assert words == pytest.approx(403_899, rel=0.001)
    validation = [story.text for story in tinystories.utterances(CORPORA, "validation")]
    assert len(validation) == 412 and not set(validation) & {story.text for story in train}
    lengths = [len(text.split()) for text in validation]
    assert 150 < np.mean(lengths) < 220, "stories, not paragraphs"
    assert not any("â€" in text for text in validation)


def test_librispeech_lists_every_utterance_with_audio():
    for split, count in (("train-clean-100", 200), ("test-other", 50)):
        found = list(librispeech.utterances(CORPORA, split))
        assert len(found) == count and all(utterance.audio.is_file() for utterance in found)


def test_flac_to_units_to_pieces(tmp_path):
    """All of test-other, with centres and pieces learnt on it: 6.1 minutes of speech of 5 speakers."""
    table = stores("mini")
    spec = table["librispeech-test-other/units"]
    units = replace(spec.units, learnt_on=spec.corpus)
    pieces = TokenizerSpec(kind="unigram", vocabulary=121, learnt_on=spec.corpus)
    table = {
        "l/units": replace(spec, units=units),
        "l/unigram": StoreSpec(corpus=spec.corpus, units=units, tokenizer=pieces),
    }
    places = {"root": tmp_path, "corpora": CORPORA, "scale": "s", "table": table}
    shop = Workshop(workers=2, machine=Machine(accelerator="cpu"), progress=Progress(disable=True), **places)
    compressed, store = prepare(shop, "l/unigram"), prepare(shop, "l/units")
    assert len(store) == 50 and store.manifest["skipped"] == 0
    assert store.seconds / 60 == pytest.approx(6.1, abs=0.1)
    assert 12 < store.num_units / store.seconds < 24
    assert compressed.num_tokens < store.num_tokens and compressed.num_units == store.num_units
    used = np.bincount(store.tokens, minlength=store.vocab_size)[:-1]
    assert (used > 0).all(), "every centre is somebody's nearest"


def test_a_real_story_is_spoken_whole(tmp_path):
    (story,) = islice(tinystories.utterances(CORPORA, "train"), 1)
    from data.tts import Synthesiser

    speech = Synthesiser().speak(story.text, "en-us")
    last_word = max(first + length for _, first, length in speech.words)
    assert last_word >= len(story.text.rstrip(' ."')) - 1
    assert len(story.text.split()) / speech.seconds == pytest.approx(2.9, abs=0.6)
