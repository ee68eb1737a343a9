"""Entropy of single tokens."""

import numpy as np
import pytest

from data.measures.rate import unigram_entropy


def test_miller_adds_half_the_further_ids_over_the_tokens():
    tokens = np.repeat([0, 1, 3], [4, 2, 2])  # 1.5 bits by plug-in, 3 of 8 ids seen
    assert unigram_entropy(tokens, 8) == pytest.approx(1.5 + 2 / (2 * 8) / np.log(2))


def test_tokens_cannot_carry_more_than_their_vocabulary():
    assert unigram_entropy(np.arange(8), 8) == pytest.approx(3)
    assert unigram_entropy(np.zeros(100, int), 8) == 0


def test_few_draws_of_many_ids_come_nearer_to_the_truth_than_by_plug_in():
    tokens = np.random.default_rng(0).integers(0, 64, 200)
    shares = np.bincount(tokens)[np.bincount(tokens) > 0] / 200
    plug_in = -(shares * np.log2(shares)).sum()
    assert abs(unigram_entropy(tokens, 64) - 6) < 0.3 * abs(plug_in - 6)
