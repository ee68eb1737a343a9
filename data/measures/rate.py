"""What a stream of tokens costs: the entropy of its tokens taken one by one.

In: token ids. Out: bits. Durations are not part of the tokens here, so they cost nothing.
"""

import numpy as np


def unigram_entropy(tokens: np.ndarray, vocabulary: int) -> float:
    """Bits per token, of ids below `vocabulary`; 0 without tokens.

    The plug-in estimate is too low when tokens are few; Miller's correction (1955) adds (ids seen - 1) / 2N nats. More
    than log2(vocabulary) is impossible, and cut.
    """
    counts = np.bincount(tokens, minlength=vocabulary)
    counts = counts[counts > 0]
    if not len(counts):
        return 0.0
    shares = counts / counts.sum()
    nats = -(shares * np.log(shares)).sum() + (len(counts) - 1) / (2 * counts.sum())
    return float(min(nats / np.log(2), np.log2(vocabulary)))
