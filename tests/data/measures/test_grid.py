"""The clock: which event a 10 ms frame lies in."""

import numpy as np

from data.measures.grid import Events, on_grid


def test_a_frame_belongs_to_the_event_at_its_middle():
    """Middles lie at 5, 15, 25 ms; the second document starts late, the third has nothing, the fourth is cut."""
    events = Events(
        ids=np.array([7, 8, 9, 4, 5, 1, 2]),
        starts=np.array([0.0, 0.014, 0.016, 0.02, 0.03, 0.0, 0.5]),
        counts=np.array([3, 2, 0, 2]),
    )
    frames = on_grid(events, np.array([4, 4, 0, 3]))
    assert frames.tolist() == [7, 8, 9, 9] + [4, 4, 4, 5] + [1, 1, 1]


def test_events_without_length_hold_no_frame():
    events = Events(ids=np.array([1, 2, 3]), starts=np.array([0.0, 0.02, 0.02]), counts=np.array([3]))
    assert on_grid(events, np.array([4])).tolist() == [1, 1, 3, 3]
