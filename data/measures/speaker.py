"""How well the speaker can be told from tokens: a linear probe on their frequencies.

In: which tokens lie in which chunk of speech. Out: accuracy. A scheme that keeps only what is said gives chance.
"""

import numpy as np

FOLDS = 5
_REGULARISATION = 10.0  # scikit-learn's C, a choice


def speaker_accuracy(tokens: np.ndarray, chunks: np.ndarray, speakers: np.ndarray, folds: np.ndarray) -> float:
    """Share of chunks whose speaker a logistic regression tells that was fitted on the other folds.

    `tokens` and their `chunks` are (tokens,), `speakers` and `folds` (chunks,); a document must lie in one fold. A
    chunk is the square roots of its tokens' relative frequencies, a vector of length 1 (Hellinger's distance).
    """
    from scipy.sparse import csr_matrix
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import PredefinedSplit, cross_val_predict
    from threadpoolctl import threadpool_limits

    used, columns = np.unique(tokens, return_inverse=True)
    counts = csr_matrix((np.ones(len(tokens)), (chunks, columns)), shape=(len(speakers), len(used)))
    bags = counts.multiply(1 / np.maximum(counts.sum(1), 1)).sqrt().tocsr()
    probe = LogisticRegression(C=_REGULARISATION, max_iter=500, tol=1e-3)
    with threadpool_limits(1):  # so that sums run in one order, whatever the machine
        told = cross_val_predict(probe, bags, speakers, cv=PredefinedSplit(folds))
    return float((told == speakers).mean())
