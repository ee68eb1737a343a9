"""Held-out information says nothing where there is nothing; plug-in information does."""

import numpy as np
import pytest

from data.measures.clusters import cluster_quality
from data.measures.held_out import held_out_information

FRAMES = 8000


@pytest.fixture
def phones():
    """Some phones are far more frequent than others."""
    return (30 * np.random.default_rng(0).random(FRAMES) ** 2).astype(int)


@pytest.fixture
def quarters():
    return np.repeat(np.arange(4), FRAMES // 4)


def test_tokens_that_tell_nothing_gain_by_vocabulary_in_plug_in_alone(phones, quarters):
    random, plug_in = np.random.default_rng(1), []
    for vocabulary in (10, 100, 1000):
        tokens = random.integers(0, vocabulary, FRAMES)
        plug_in.append(cluster_quality(tokens, phones).pnmi)
        assert abs(held_out_information(tokens, phones, quarters)) < 0.01
    assert plug_in[0] < 0.01 and plug_in[1] > 0.03 and plug_in[2] > 0.3


def test_tokens_that_are_the_phones_tell_all(phones, quarters):
    assert held_out_information(phones, phones, quarters) > 0.98


def test_what_is_told_is_the_entropy_that_the_token_takes_away(phones, quarters):
    """A token that names the phone in half of the frames, and nothing in the others, tells half."""
    hidden = np.random.default_rng(2).random(FRAMES) < 0.5
    assert held_out_information(np.where(hidden, 30, phones), phones, quarters) == pytest.approx(0.5, abs=0.03)


def test_names_of_tokens_do_not_matter(phones, quarters):
    tokens = (phones + np.random.default_rng(3).integers(0, 5, FRAMES)) % 40
    renamed = np.random.default_rng(4).permutation(90)[tokens]
    expected = held_out_information(tokens, phones, quarters)
    assert held_out_information(renamed, phones, quarters) == pytest.approx(expected, abs=1e-12)


def test_what_holds_in_one_half_only_is_not_told(phones, quarters):
    """Tokens that are the phones under other names in every quarter: perfect clusters of each, no use to the other."""
    names = np.stack([np.random.default_rng(quarter).permutation(30) for quarter in range(4)])
    assert held_out_information(names[quarters, phones], phones, quarters) < 0.05


def test_tokens_that_were_never_met_before_tell_nothing_and_mislead_nobody(phones, quarters):
    assert held_out_information(np.arange(FRAMES), phones, quarters) == pytest.approx(0, abs=0.01)
