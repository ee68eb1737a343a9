"""How well tokens and phones fit as two clusterings of the same frames (Hsu et al. 2021, HuBERT, "cluster quality").

In: the token and the phone of every frame. Out: shares of 1. These are plug-in estimates: on little speech they rise
with the vocabulary, informative or not; `held_out.py` is the measure that does not.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class ClusterQuality:
    """What Hsu et al. (2021, arXiv 2106.07447) report of clusters; y is the phone and z the token of a frame."""

    phone_purity: float
    """Share of frames whose phone is the most frequent one of their token."""
    cluster_purity: float
    """Share of frames whose token is the most frequent one of their phone."""
    pnmi: float
    """I(y; z) / H(y); NaN where there is a single phone."""


def joint_counts(*ids: np.ndarray) -> np.ndarray:
    """How often each combination occurs: one axis per argument, as long as its largest id + 1."""
    shape = tuple(int(axis.max()) + 1 for axis in ids)
    return np.bincount(np.ravel_multi_index(ids, shape), minlength=int(np.prod(shape))).reshape(shape)


def entropy(counts: np.ndarray) -> float:
    """Plug-in entropy of a table of counts, in nats."""
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


def cluster_quality(tokens: np.ndarray, phones: np.ndarray) -> ClusterQuality:
    """Quality of the tokens of some frames against their phones: both (frames,), at least one frame."""
    joint = joint_counts(tokens, phones)  # (tokens, phones)
    of_phones = entropy(joint.sum(0))
    information = of_phones + entropy(joint.sum(1)) - entropy(joint)
    return ClusterQuality(
        phone_purity=float(joint.max(1).sum() / len(tokens)),
        cluster_purity=float(joint.max(0).sum() / len(tokens)),
        pnmi=information / of_phones if of_phones else float("nan"),
    )
