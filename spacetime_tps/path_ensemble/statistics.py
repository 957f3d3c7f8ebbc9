"""Reactive trajectories within a long one, and where a path crosses a level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray


def reactive_segments(indices: NDArray[np.intp]) -> list[tuple[int, int, bool]]:
    """Reactive trajectories within a long one.

    Parameters
    ----------
    indices : array, shape (frames,)
        State of each frame: 0 for A, 1 for B, -1 for neither.

    Returns
    -------
    list of tuple
        First frame (the last in its state), last frame (the first in the other) and whether it goes from B to A.
    """
    inside = np.flatnonzero(indices >= 0)
    change = np.flatnonzero(np.diff(indices[inside]) != 0)
    return [(int(inside[i]), int(inside[i + 1]), bool(indices[inside[i]] == 1)) for i in change]


def crossing(values: FloatArray, level: float) -> int:
    """First frame at which a quantity (frames,) is at or above a level; the last if it never is."""
    above = np.flatnonzero(values >= level)
    return int(above[0]) if len(above) else len(values) - 1
