"""Frames whose committor is worth knowing: of a run's reactive trajectories, or of the user's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.committor.model import read_committor_model
from spacetime_tps.committor.results import CommittorRequest
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import COMMITTOR_MODEL, REACTIVE_FILES
from spacetime_tps.runs.trajectories import read_trr
from spacetime_tps.runs.user_trajectories import load_user_trajectory

OWN = ("model", "reactive")
"""What is taken of a run, not of a file."""


@dataclass(frozen=True)
class ChosenFrames:
    """Frames whose committor is asked for.

    Attributes
    ----------
    positions : array, shape (frames, atoms, 3)
        nm.
    source : array of str, shape (frames,)
        File that each is from.
    index : array of int, shape (frames,)
        Its place there.
    """

    positions: FloatArray
    source: np.ndarray
    index: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> ChosenFrames:
        return ChosenFrames(self.positions[chosen], self.source[chosen], self.index[chosen])


def choose_frames(run: Run, request: CommittorRequest, rng: np.random.Generator) -> ChosenFrames:
    """The frames that are asked for; drawn at random if there are more than asked.

    Raises
    ------
    OutputError
        If the run has no reactive trajectories, or no committor model.
    TrajectoryError
        If no frame is left, or a file is not a trajectory of this molecule.
    """
    what, molecule = request.source, run.molecule
    if what in OWN:
        found = _reactive_frames(run)
        if what == "model":
            low, high = request.band
            p = read_committor_model(run)(found.positions)
            inside = (p >= low) & (p <= high)
            if not inside.any():
                raise TrajectoryError(
                    f"the committor model of {run.folder} puts none of {len(p)} frames between {low:g} and {high:g} "
                    f"(it says {p.min():.2f} to {p.max():.2f}); take a wider --band, or --source reactive"
                )
            found = found[inside]
    else:
        path = Path(what)
        trajectory = load_user_trajectory(path, molecule)
        found = ChosenFrames(
            trajectory.xyz.astype(float), np.full(len(trajectory), path.name), np.arange(len(trajectory))
        )
        if (state_indices(molecule.states, found.positions) >= 0).all():
            raise TrajectoryError(
                f"{path}: every frame is in {molecule.states[0].name} or in {molecule.states[1].name}: there is "
                "nothing to shoot from; give frames between the states"
            )
    count = request.max_frames
    if count is not None and count < len(found.index):
        found = found[np.sort(rng.choice(len(found.index), count, replace=False))]
    return found


def predicted_committors(run: Run, positions: FloatArray) -> FloatArray:
    """p_B of frames (n, atoms, 3) by the committor model of a run, shape (n,); NaN if the run has none."""
    if not run.path(COMMITTOR_MODEL).is_file():
        return np.full(len(positions), np.nan)
    return read_committor_model(run)(positions)


def _reactive_frames(run: Run) -> ChosenFrames:
    """Frames between the states of all reactive trajectories of a run."""
    parts = []
    for file in run.files("reactive", REACTIVE_FILES):
        positions, _, _ = read_trr(file)
        between = np.flatnonzero(state_indices(run.molecule.states, positions) < 0)
        parts.append(ChosenFrames(positions[between], np.full(len(between), file.name), between))
    if not sum(len(part.index) for part in parts):
        raise OutputError(
            f"{run.folder} has no reactive trajectories; go on with it by 'spacetime-tps run … --resume', or give "
            "--source a file"
        )
    columns = ([getattr(part, name) for part in parts] for name in ("positions", "source", "index"))
    return ChosenFrames(*map(np.concatenate, columns))
