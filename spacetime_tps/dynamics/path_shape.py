"""Whether a trajectory is a path from A to B."""

from __future__ import annotations

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import State, state_indices
from spacetime_tps.errors import TrajectoryError


def check_path_shape(states: tuple[State, State], positions: FloatArray, name: str = "the path") -> None:
    """Refuse a path that transition path sampling cannot start from.

    Its first frame must lie in A, its last in B, and none between in either.

    Parameters
    ----------
    states : tuple of State
    positions : array, shape (frames, atoms, 3)
        nm.
    name : str
        For messages.

    Raises
    ------
    TrajectoryError
        Naming the frame at fault (0-based), where it is, and what to do.
    """
    a, b = (state.name for state in states)
    where = state_indices(states, positions)
    if len(where) < 3:
        raise TrajectoryError(f"{name} has {len(where)} frames; a path from {a} to {b} has three or more")
    if (where[0], where[-1]) == (1, 0):
        raise TrajectoryError(f"{name} goes from {b} to {a}; reverse its frames and its velocities")
    place = {0: f"in {a}", 1: f"in {b}", -1: "in neither state"}
    in_a, in_b = np.flatnonzero(where == 0), np.flatnonzero(where == 1)
    if where[0] != 0:
        hint = f"begin at frame {in_a[0]}, the first there" if len(in_a) else "no frame is"
        raise TrajectoryError(f"{name}: its first frame is {place[int(where[0])]}, not in {a}; {hint}")
    if where[-1] != 1:
        hint = f"end at frame {in_b[-1]}, the last there" if len(in_b) else "no frame is"
        raise TrajectoryError(
            f"{name}: its last frame ({len(where) - 1}) is {place[int(where[-1])]}, not in {b}; {hint}"
        )
    inside = np.flatnonzero(where[1:-1] >= 0) + 1
    if len(inside):
        last_a = int(in_a[in_a < in_b[0]][-1])
        raise TrajectoryError(
            f"{name}: frame {inside[0]} of {len(where)}, between the ends, is {place[int(where[inside[0]])]} (as are "
            f"{len(inside) - 1} others); keep frames {last_a} to {in_b[0]}, from the last in {a} to the first in {b}"
        )
