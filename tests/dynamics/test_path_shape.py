"""Which trajectories are paths from A to B, and which frame is at fault where one is not."""

import numpy as np
import pytest

from spacetime_tps.coordinates.states import CollectiveVariable, State
from spacetime_tps.dynamics.path_shape import check_path_shape
from spacetime_tps.errors import TrajectoryError

DISTANCE = {"r": CollectiveVariable("r", "distance", (0, 1))}
STATES = (
    State("near", "x", ({"r": (0.0, 1.0)},), DISTANCE),
    State("far", "x", ({"r": (3.0, 4.0)}, {"r": (5.0, 9.0)}), DISTANCE),
)


def pairs(distances: list[float]) -> np.ndarray:
    """Two atoms at these distances."""
    positions = np.zeros((len(distances), 2, 3))
    positions[:, 1, 0] = distances
    return positions


def test_a_path_of_the_right_shape():
    for end in (3.5, 6.0):  # either box of B
        check_path_shape(STATES, pairs([0.5, 1.5, 2.5, 4.5, end]))


@pytest.mark.parametrize(
    "distances, message",
    [
        ([0.5, 3.5], "p has 2 frames; a path from near to far has three or more"),
        ([3.5, 2.0, 0.5], "p goes from far to near; reverse its frames and its velocities"),
        (
            [1.5, 0.5, 2.0, 3.5],
            "p: its first frame is in neither state, not in near; begin at frame 1, the first there",
        ),
        ([1.5, 2.0, 3.5], "p: its first frame is in neither state, not in near; no frame is"),
        ([3.5, 2.0, 3.5], "p: its first frame is in far, not in near; no frame is"),
        (
            [0.5, 2.0, 3.5, 2.0],
            r"p: its last frame \(3\) is in neither state, not in far; end at frame 2, the last there",
        ),
        ([0.5, 2.0, 0.5], r"p: its last frame \(2\) is in near, not in far; no frame is"),
        (
            [0.5, 0.6, 2.0, 0.7, 2.0, 3.5, 3.6],
            r"p: frame 1 of 7, between the ends, is in near \(as are 2 others\); keep frames 3 to 5",
        ),
        (
            [0.5, 2.0, 5.5, 2.0, 0.5, 2.0, 3.5],
            r"p: frame 2 of 7, between the ends, is in far \(as are 1 others\); keep frames 0 to 2",
        ),
    ],
)
def test_the_frame_at_fault_is_named(distances, message):
    with pytest.raises(TrajectoryError, match=message):
        check_path_shape(STATES, pairs(distances), "p")


def test_what_the_message_says_to_keep_is_a_path():
    distances = [0.5, 0.6, 2.0, 0.7, 2.0, 3.5, 3.6]
    check_path_shape(STATES, pairs(distances[3:6]))
