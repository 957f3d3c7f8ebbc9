"""A trajectory of a run, as it is handed over."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.runs.trajectories import read_trr


@dataclass(frozen=True)
class StoredTrajectory:
    """One trajectory.

    Attributes
    ----------
    name : str
        Of its file, without ending.
    positions : array, shape (frames, atoms, 3)
        nm.
    velocities : array, shape (frames, atoms, 3), or None
        nm/ps.
    time : array, shape (frames,)
        ps.
    """

    name: str
    positions: FloatArray
    velocities: FloatArray | None
    time: FloatArray

    @classmethod
    def read(cls, path: Path) -> StoredTrajectory:
        """Read a TRR file.

        Raises
        ------
        TrajectoryError
            If it cannot be read.
        """
        return cls(path.stem, *read_trr(path))

    def need_velocities(self, why: str) -> FloatArray:
        """Its velocities.

        Raises
        ------
        TrajectoryError
            If it has none.
        """
        if self.velocities is None:
            raise TrajectoryError(f"{self.name} has no velocities: {why}; hand over reactive trajectories of dynamics")
        return self.velocities
