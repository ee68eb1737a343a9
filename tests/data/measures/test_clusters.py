"""Purities and PNMI on frames that can be counted by hand."""

import numpy as np
import pytest

from data.measures.clusters import cluster_quality


def test_tokens_that_are_the_phones_under_other_names_are_perfect():
    phones = np.random.default_rng(0).integers(0, 9, 500)
    quality = cluster_quality(np.random.default_rng(1).permutation(40)[phones], phones)
    assert (quality.phone_purity, quality.cluster_purity) == (1, 1)
    assert quality.pnmi == pytest.approx(1)


def test_eight_frames_by_hand():
    """Token 0: a a a b; token 1: b b; token 2: b b. So 7 of 8 by token; by phone, 3 of a's 3 and 2 of b's 5."""
    phones, tokens = np.array([0, 0, 0, 1, 1, 1, 1, 1]), np.array([0, 0, 0, 0, 1, 1, 2, 2])
    quality = cluster_quality(tokens, phones)
    assert (quality.phone_purity, quality.cluster_purity) == (7 / 8, 5 / 8)

    def bits(share):
        return -share * np.log2(share) - (1 - share) * np.log2(1 - share)

    assert quality.pnmi == pytest.approx((bits(3 / 8) - 0.5 * bits(3 / 4)) / bits(3 / 8))
