"""The probe finds speakers where tokens differ between them, and nobody where they do not."""

import numpy as np
import pytest

from data.measures.speaker import speaker_accuracy

CHUNKS, TOKENS = 300, 60


@pytest.fixture
def speech():
    """Chunk of each token, speaker and fold of each chunk: three speakers, unevenly heard."""
    speakers = np.random.default_rng(0).choice(3, CHUNKS, p=[0.5, 0.3, 0.2])
    return np.repeat(np.arange(CHUNKS), TOKENS), speakers, np.arange(CHUNKS) % 5


def test_a_speaker_who_favours_some_tokens_is_found(speech):
    chunks, speakers, folds = speech
    tokens = np.random.default_rng(1).integers(0, 40, CHUNKS * TOKENS)
    tokens = np.where(tokens < 20, tokens, tokens + 40 * speakers[chunks])
    assert speaker_accuracy(tokens, chunks, speakers, folds) > 0.99


def test_tokens_that_say_nothing_give_no_more_than_chance(speech):
    chunks, speakers, folds = speech
    tokens = np.random.default_rng(2).integers(0, 40, CHUNKS * TOKENS)
    chance = np.bincount(speakers).max() / CHUNKS
    assert speaker_accuracy(tokens, chunks, speakers, folds) < chance + 0.05


def test_what_a_document_repeats_is_no_clue_to_its_speaker(speech):
    """Every fold has tokens of its own, speakers told inside it: useless on the others."""
    chunks, speakers, folds = speech
    tokens = 3 * folds[chunks] + speakers[chunks]
    assert speaker_accuracy(tokens, chunks, speakers, folds) <= np.bincount(speakers).max() / CHUNKS


def test_names_of_tokens_do_not_matter(speech):
    chunks, speakers, folds = speech
    tokens = np.random.default_rng(3).integers(0, 40, CHUNKS * TOKENS)
    tokens = np.where(tokens < 39, tokens, tokens + speakers[chunks])
    renamed = np.random.default_rng(4).permutation(200)[tokens]
    expected = speaker_accuracy(tokens, chunks, speakers, folds)
    assert 0.6 < expected < 1
    assert speaker_accuracy(renamed, chunks, speakers, folds) == pytest.approx(expected, abs=1 / CHUNKS)
