"""What parts of a run read of each other: the training set and the geodesics."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.errors import ConfigError, OutputError, TrajectoryError
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.hdf5 import read_hdf5
from spacetime_tps.runs.layout import GEODESIC_FILE, GEODESIC_FILES, GEODESICS, TRAINING_FRAMES, TRAINING_WEIGHTS
from spacetime_tps.runs.trajectories import write_hdf5
from spacetime_tps.statistics.correlation import kish_size
from spacetime_tps.writing import replacing


@dataclass(frozen=True)
class TrainingSet:
    """Frames that the model learns.

    Attributes
    ----------
    positions : array, shape (frames, atoms, 3)
        In nm.
    weights : array, shape (frames,)
        They sum to one.
    source : array of int, shape (frames,)
        The trajectory that each frame is from; frames of one are in the order of time.
    """

    positions: FloatArray
    weights: FloatArray
    source: np.ndarray

    @property
    def effective_size(self) -> float:
        """Kish's number (Σw)²/Σw² of frames of equal weight that these are worth."""
        return kish_size(self.weights)

    def thinned(self, most: int) -> TrainingSet:
        """At most that many of the frames, evenly spaced."""
        if len(self.weights) <= most:
            return self
        keep = np.linspace(0, len(self.weights) - 1, most).round().astype(int)
        weights = self.weights[keep]
        return TrainingSet(self.positions[keep], weights / weights.sum(), self.source[keep])


def write_training_set(run: Run, training: TrainingSet) -> None:
    """Write the training set of a run."""
    write_hdf5(run.path(TRAINING_FRAMES), run.molecule.trajectory(training.positions))
    with replacing(run.path(TRAINING_WEIGHTS)) as partial:
        np.savez(partial, weights=training.weights, source=training.source)


def read_training_set(run: Run) -> TrainingSet:
    """The training set of a run.

    Raises
    ------
    OutputError
        If a file is not there, or cannot be read.
    """
    frames, weights = run.path(TRAINING_FRAMES), run.path(TRAINING_WEIGHTS)
    try:
        trajectory = read_hdf5(frames)
    except TrajectoryError as error:
        raise OutputError(f"{frames} cannot be read ({error}); make the samples anew") from error
    arrays = read_arrays(weights, ("weights", "source"))
    return TrainingSet(trajectory.xyz.astype(float), arrays["weights"], arrays["source"])


@dataclass(frozen=True)
class StoredGeodesic:
    """A geodesic as a run has stored it.

    Attributes
    ----------
    y, mean : array, shape (points, atoms, 3) or (points, dihedrals, 2)
        As the restraint's centres.
    log_snr, variance : array, shape (points,)
    depth : array, shape (points,), optional
        In nats; None if the denoiser knows none, or an older version has stored the geodesic.
    """

    y: FloatArray
    mean: FloatArray
    log_snr: FloatArray
    variance: FloatArray
    depth: FloatArray | None = None

    @property
    def schedule(self) -> RestraintSchedule:
        """It as a schedule of restraints."""
        return RestraintSchedule(self.y, self.log_snr)


def geodesic_path(run: Run, name: str) -> Path:
    """Where a geodesic of a run is stored."""
    return run.path(GEODESICS) / GEODESIC_FILE.format(name)


def geodesic_names(run: Run) -> list[str]:
    """Names of the geodesics that a run has found."""
    return [path.stem for path in run.files("geodesics", GEODESIC_FILES)]


def read_geodesic(run: Run, name: str) -> StoredGeodesic | None:
    """A geodesic of a run by its name; None if it has no such geodesic.

    Raises
    ------
    OutputError
        If its file is not as the run has written it.
    """
    if name not in geodesic_names(run):
        return None
    run.check("geodesics", f"{GEODESICS}/{GEODESIC_FILE.format(name)}")
    arrays = read_arrays(geodesic_path(run, name), ("y", "mean", "log_snr", "variance"), optional=("depth",))
    return StoredGeodesic(**arrays)


def need_geodesic(run: Run, name: str) -> StoredGeodesic:
    """A geodesic of a run by its name.

    Raises
    ------
    ConfigError
        If it has no such geodesic; the message names those it has.
    OutputError
        If its file cannot be read.
    """
    stored = read_geodesic(run, name)
    if stored is None:
        known = ", ".join(geodesic_names(run)) or "none"
        raise ConfigError(f"--curve: {run.folder} has no geodesic {name!r}; it has {known}")
    return stored


def read_arrays(path: Path, names: Iterable[str], optional: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Arrays of an .npz file by their names, optional ones if they are there; objects are never unpickled.

    Raises
    ------
    OutputError
        If the file cannot be read, or lacks an array.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in (*names, *(name for name in optional if name in arrays))}
    except Exception as error:  # of zip, zlib, struct or numpy, as the damage has it
        raise OutputError(f"{path} cannot be read ({error}): it is missing, damaged or not of ours") from error
