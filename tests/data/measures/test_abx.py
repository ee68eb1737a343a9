"""ABX: triples are what they must be, and error rates are known by construction."""

import numpy as np
import pytest

from data.measures.abx import Triphones, error_rate, triples

LENGTH = 6  # frames of a triphone, two of each phone


@pytest.fixture(scope="module")
def triphones():
    random = np.random.default_rng(0)
    left, centre, right = (random.integers(*ends, 400) for ends in ((0, 3), (3, 7), (0, 3)))  # no phone meets itself
    first = np.arange(400) * LENGTH
    return Triphones(
        left=left,
        centre=centre,
        right=right,
        speaker=random.integers(0, 4, 400),
        first=first,
        frames=np.full(400, LENGTH),
    )


def frames_of(triphones):
    """The phone of every frame."""
    phones = np.stack([triphones.left, triphones.centre, triphones.right], axis=1)
    return np.repeat(phones, LENGTH // 3, axis=1).ravel()


@pytest.mark.parametrize("across", [False, True])
def test_triples_differ_in_the_middle_alone(triphones, across):
    chosen = triples(triphones, across)
    a, b, x = chosen.T
    assert len(chosen) > 500 and len(np.unique(chosen, axis=0)) == len(chosen)
    for context in (triphones.left, triphones.right):
        assert (context[a] == context[b]).all() and (context[a] == context[x]).all()
    assert (triphones.centre[a] == triphones.centre[x]).all() and (triphones.centre[a] != triphones.centre[b]).all()
    assert (triphones.speaker[a] == triphones.speaker[b]).all() and (a != x).all()
    assert ((triphones.speaker[a] != triphones.speaker[x]) == across).all()


def test_every_possible_triple_is_drawn_from_a_few_triphones():
    """In one context, centre 0 thrice and centre 1 once: six pairs of A and X, one B."""
    same = np.zeros(4, int)
    few = Triphones(
        left=same, centre=np.array([0, 0, 1, 0]), right=same, speaker=same, first=np.arange(4), frames=same + 1
    )
    pairs = {(0, 1), (0, 3), (1, 0), (1, 3), (3, 0), (3, 1)}
    assert {tuple(row) for row in triples(few, across=False).tolist()} == {(a, 2, x) for a, x in pairs}
    assert len(triples(few, across=True)) == 0


def test_the_phones_themselves_are_never_confused_and_one_token_is_always_a_tie(triphones):
    chosen, labels = triples(triphones, across=False), frames_of(triphones)
    assert error_rate(labels, triphones, chosen) == 0
    assert error_rate(np.zeros_like(labels), triphones, chosen) == 0.5


def test_noise_is_confused_half_of_the_time(triphones):
    chosen = triples(triphones, across=True)
    labels = np.random.default_rng(1).integers(0, 500, 400 * LENGTH)
    assert error_rate(labels, triphones, chosen) == pytest.approx(0.5, abs=0.05)


def test_tokens_of_the_speaker_fail_across_speakers_alone(triphones):
    """Each speaker has ids of their own: X shares none with A or B unless it is of the same speaker."""
    labels = frames_of(triphones) + 10 * np.repeat(triphones.speaker, LENGTH)
    assert error_rate(labels, triphones, triples(triphones, across=False)) == 0
    assert error_rate(labels, triphones, triples(triphones, across=True)) == 0.5


def test_names_of_tokens_do_not_matter(triphones):
    random, chosen = np.random.default_rng(2), triples(triphones, across=False)
    labels = (frames_of(triphones) + random.integers(0, 2, 400 * LENGTH)) % 8
    assert error_rate(random.permutation(8)[labels], triphones, chosen) == error_rate(labels, triphones, chosen)


@pytest.mark.parametrize(
    ("a", "b", "x", "expected"),
    [
        ("122223", "143", "1223", 0),  # tempo costs nothing: A is X, stretched
        ("143", "122223", "1223", 1),
        ("1423", "1243", "1223", 0.5),  # one foreign frame each, of as many
        ("14423", "1423", "1223", 1),  # more foreign frames are farther
    ],
)
def test_distances_by_hand(a, b, x, expected):
    labels = np.array([int(digit) for digit in a + b + x])
    frames, same = np.array([len(a), len(b), len(x)]), np.zeros(3, int)
    three = Triphones(left=same, centre=same, right=same, speaker=same, first=np.cumsum(frames) - frames, frames=frames)
    assert error_rate(labels, three, np.array([[0, 1, 2]])) == expected


def test_contexts_count_alike_however_many_triples_they_have():
    """Context 0 has one triple, which is right; context 1 has three, which are wrong."""
    labels = np.array([1, 2, 1] + [1, 2, 2])
    two = Triphones(
        left=np.repeat([0, 1], 3),
        centre=np.zeros(6, int),
        right=np.zeros(6, int),
        speaker=np.zeros(6, int),
        first=np.arange(6),
        frames=np.ones(6, int),
    )
    assert error_rate(labels, two, np.array([[0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 4, 5]])) == 0.5
