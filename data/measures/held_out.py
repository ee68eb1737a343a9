"""What a token tells about the phone of its frame, to somebody who learnt it from other documents.

In: token, phone and quarter of every frame. Out: a share of the phones' entropy. Unlike plug-in mutual information it
does not rise with the vocabulary: what is fitted to one half of the documents must pay off on the other.
"""

import numpy as np

from data.measures.clusters import entropy, joint_counts

QUARTERS = 4
STRENGTHS = tuple(10.0**power for power in range(7))
"""Frames that the prior is worth, to choose from; a choice. Frames of one token are no independent observations, so
one value for all vocabularies would favour small ones."""


def held_out_information(tokens: np.ndarray, phones: np.ndarray, quarters: np.ndarray) -> float:
    """(H(phone) - cross-entropy of p(phone | token)) / H(phone): at most 1, about 0 for tokens that tell nothing.

    All arguments are (frames,); `quarters` are 0..3, of whole documents. p is counted on two quarters and measured on
    the other two, and the reverse. It is smoothed towards the phones' frequencies there: `a` pseudo-frames of them are
    added to every token, so that an unseen token tells nothing; `a` is the strength under which the two quarters
    predict each other best. H is the plug-in entropy of all frames. A negative value means that what was learnt misled.
    """
    counts = joint_counts(quarters, tokens, phones)  # (quarters, tokens, phones)
    assert counts.shape[0] == QUARTERS and counts.sum((1, 2)).all(), "every quarter needs frames"
    nats = 0.0
    for (one, two), others in (((0, 1), (2, 3)), ((2, 3), (0, 1))):
        halves = counts[one], counts[two]
        strength = min(STRENGTHS, key=lambda a, halves=halves: _nats(*halves, a) + _nats(*halves[::-1], a))
        nats += _nats(counts[one] + counts[two], counts[list(others)].sum(0), strength)
    return 1 - nats / len(tokens) / entropy(counts.sum((0, 1)))


def _nats(learnt: np.ndarray, met: np.ndarray, strength: float) -> float:
    """Cross-entropy of the frames `met`, in nats in all, under what was `learnt`; both (tokens, phones) counts."""
    of_phones = learnt.sum(0) + 1.0  # one more of each: a phone may be new
    prior = strength * of_phones / of_phones.sum()
    shares = (learnt + prior) / (learnt.sum(1, keepdims=True) + strength)
    return float(-(met * np.log(shares)).sum())
