"""ABX: is a triphone X nearer to A, with the same middle phone, than to B, with another one between the same phones?

In: triphones, then the label of every frame under a scheme. Out: triples, the same ones for all schemes, and a
scheme's error rate on them (Schatz et al. 2013; the triphone task of the ZeroSpeech challenges).
"""

from dataclasses import dataclass

import numpy as np

TRIPLES = 20_000  # draws (a choice): a standard error under 0.4 points, were they independent
_SEED = 0
_BATCH = 2000  # pairs that are compared at once: bounds memory
_FAR = 1 << 20  # no path: above any distance of two triphones


@dataclass(frozen=True, kw_only=True)
class Triphones:
    """Three phones in a row, each argument (N,)."""

    left: np.ndarray
    centre: np.ndarray
    right: np.ndarray
    speaker: np.ndarray
    first: np.ndarray
    """First frame, from the first frame of all documents."""
    frames: np.ndarray
    """At least 1."""


def triples(triphones: Triphones, across: bool) -> np.ndarray:
    """(n, 3) distinct triples A, B, X as numbers of triphones; n is 0 where there are none.

    A and B are of one speaker; X is another triphone of that speaker, or of any other speaker (`across`). A context
    (left and right phone) is drawn first, each alike, then A, B and X in it.
    """
    t, random = triphones, np.random.default_rng(_SEED)
    if not len(t.centre):
        return np.zeros((0, 3), np.int64)
    by_speaker = np.lexsort((t.centre, t.speaker, t.right, t.left))
    by_centre = np.lexsort((t.speaker, t.centre, t.right, t.left))
    voice = _runs(by_speaker, t.left, t.right, t.speaker)
    same = _runs(by_speaker, *_keys(t))
    if across:  # X: same context and centre, but not of A's speaker
        order, pool, out = by_centre, _runs(by_centre, t.left, t.right, t.centre), _runs(by_centre, *_keys(t))
    else:  # X: same context, centre and speaker, but not A
        order, pool, out = by_speaker, same, _runs(by_speaker, np.arange(len(t.centre)))
    usable = np.flatnonzero((_length(voice) > _length(same)) & (_length(pool) > _length(out)))
    if not len(usable):
        return np.zeros((0, 3), np.int64)
    usable = usable[np.lexsort((usable, t.right[usable], t.left[usable]))]
    contexts = np.unique(_runs(np.arange(len(usable)), t.left[usable], t.right[usable]), axis=0)
    drawn = contexts[random.integers(len(contexts), size=TRIPLES)]
    a = usable[random.integers(drawn[:, 0], drawn[:, 1])]
    b = by_speaker[_outside(random, voice[a], same[a])]
    x = order[_outside(random, pool[a], out[a])]
    return np.unique(np.stack([a, b, x], axis=1), axis=0)


def error_rate(labels: np.ndarray, triphones: Triphones, chosen: np.ndarray) -> float:
    """Share of triples in which X is nearer to B, ties one half: the mean over contexts of the mean in each.

    `labels` is the token of every frame of all documents. The distance is that of dynamic time warping over the 10 ms
    frames of the triphones, 0 for equal tokens and 1 for others: it weighs a token by the time it fills, so that a
    scheme is not punished for few long tokens or for many short ones, and all schemes have equally many frames.
    """
    a, b, x = chosen.T
    to_a, to_b = _distances(labels, triphones, x, a), _distances(labels, triphones, x, b)
    wrong = (to_a > to_b) + 0.5 * (to_a == to_b)
    _, context = np.unique(np.stack([triphones.left[a], triphones.right[a]]), axis=1, return_inverse=True)
    return float((np.bincount(context, wrong) / np.bincount(context)).mean())


def _keys(triphones: Triphones) -> tuple[np.ndarray, ...]:
    return triphones.left, triphones.right, triphones.centre, triphones.speaker


def _runs(order: np.ndarray, *keys: np.ndarray) -> np.ndarray:
    """(N, 2) first and last + 1 place, in `order`, of the run of equal keys that each element lies in."""
    changes = np.any([np.diff(key[order]) != 0 for key in keys], axis=0)
    bounds = np.concatenate([[0], np.flatnonzero(changes) + 1, [len(order)]])
    run = np.concatenate([[0], np.cumsum(changes)])
    places = np.empty((len(order), 2), np.int64)
    places[order] = np.stack([bounds[run], bounds[run + 1]], axis=1)
    return places


def _length(ranges: np.ndarray) -> np.ndarray:
    return ranges[:, 1] - ranges[:, 0]


def _outside(random: np.random.Generator, pool: np.ndarray, out: np.ndarray) -> np.ndarray:
    """A place of each range `pool`, drawn alike from those that are not in the range `out` inside it."""
    drawn = pool[:, 0] + random.integers(_length(pool) - _length(out))
    return np.where(drawn < out[:, 0], drawn, drawn + _length(out))


def _distances(labels: np.ndarray, triphones: Triphones, one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """(n,) distance of each pair of triphones, between 0 and 1."""
    found = np.empty(len(one))
    order = np.argsort(triphones.frames[one] + triphones.frames[two], kind="stable")  # so that padding is short
    for at in range(0, len(order), _BATCH):
        batch = order[at : at + _BATCH]
        found[batch] = _warped(*_padded(labels, triphones, one[batch]), *_padded(labels, triphones, two[batch]))
    return found


def _padded(labels: np.ndarray, triphones: Triphones, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(labels (n, longest), whatever comes behind a triphone's own frames; frames (n,))."""
    frames = triphones.frames[which]
    places = triphones.first[which][:, None] + np.arange(frames.max())
    return labels[np.minimum(places, len(labels) - 1)], frames


def _warped(one: np.ndarray, ones: np.ndarray, two: np.ndarray, twos: np.ndarray) -> np.ndarray:
    """Least cost of warping each row of `one` onto that of `two`, divided by the frames of both.

    Sakoe & Chiba 1978, symmetric form without slope constraint: a diagonal step counts twice, so that all paths weigh
    the same and no choice of path length enters. Along a row, with C the sum of costs so far, the recursion
    g[j] = min(h[j], g[j - 1] + cost[j]) is g - C = running minimum of h - C.
    """
    best = np.full((len(one), two.shape[1] + 1), _FAR, np.int32)
    best[:, 0] = 0
    last = np.empty(len(one))
    for row in range(one.shape[1]):
        cost = (one[:, row, None] != two).astype(np.int32)
        entered = np.minimum(best[:, 1:] + cost, best[:, :-1] + 2 * cost)
        total = np.cumsum(cost, axis=1, dtype=np.int32)
        best[:, 1:] = total + np.minimum.accumulate(entered - total, axis=1)
        best[:, 0] = _FAR
        ends = np.flatnonzero(ones == row + 1)
        last[ends] = best[ends, twos[ends]]
    return last / (ones + twos)
