"""Checkpoints of sampling: where it is, and every frame so far, in a folder of its own.

``state.npz`` says how far sampling has come and where it goes on. Frames are in files of at most some megabytes; a
file that is full is not written again. Each file is written beside its name and renamed, frames before the state, so
that a program that is killed leaves a whole checkpoint, this one or the one before.
"""

from __future__ import annotations

import hashlib
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import OutputError
from spacetime_tps.writing import make_folder, replacing

CHECKPOINT_SECONDS = 60.0
FILE_BYTES = 2**25  # of frames; more than that is not written again for a few new ones
STATE = "state.npz"


@dataclass(frozen=True)
class SamplingState:
    """Where sampling is after a number of rounds.

    Attributes
    ----------
    rounds : int
        Done so far.
    positions : array, shape (trajectories, atoms, 3)
        Where the next round begins, nm.
    velocities : array, shape (trajectories, atoms, 3), or None
        nm/ps; None before the first round, which draws them.
    attempts, accepted : array, shape (pairs,)
        Exchanges of neighbours so far.
    """

    rounds: int
    positions: FloatArray
    velocities: FloatArray | None
    attempts: FloatArray
    accepted: FloatArray


@dataclass
class Frames:
    """What has been sampled so far: positions (trajectories, atoms, 3) and energies (trajectories,) of each frame."""

    positions: list[FloatArray]
    energies: list[FloatArray]


class SamplingCheckpoint:
    """The checkpoint of one sampling.

    Parameters
    ----------
    folder : Path
        Made when there is something to keep.
    request : str
        Everything that the sampling depends on. A checkpoint of another request is refused.
    """

    def __init__(self, folder: Path, request: str) -> None:
        self.folder = folder
        self._request = hashlib.sha256(request.encode()).hexdigest()
        self._in_files = 0
        self._written = time.monotonic()

    @property
    def due(self) -> bool:
        """Whether it is time to write it again."""
        return time.monotonic() - self._written > CHECKPOINT_SECONDS

    def load(self) -> tuple[SamplingState, Frames] | None:
        """State and frames of interrupted sampling; None if there are none.

        Raises
        ------
        OutputError
            If a file is damaged, or is of another request.
        """
        if not (self.folder / STATE).exists():
            return None
        arrays = self._read(STATE, {"rounds", "positions", "velocities", "attempts", "accepted", "frames"})
        count, rounds = int(arrays.pop("frames")), int(arrays.pop("rounds"))
        state = SamplingState(rounds=rounds, **arrays)
        frames = Frames([], [])
        in_file = _frames_in_file(state)
        for first in range(0, count, in_file):
            name = _file_name(first // in_file)
            found = self._read(name, {"first", "positions", "energies"})
            needed = min(in_file, count - first)
            if int(found["first"]) != first or len(found["positions"]) < needed:
                raise self._damaged(name, "it holds other frames")
            frames.positions.extend(found["positions"][:needed])
            frames.energies.extend(found["energies"][:needed])
        self._in_files = count
        return state, frames

    def save(self, state: SamplingState, frames: Frames, count: int) -> None:
        """Write the state, and those of the first ``count`` frames that are not in files yet; nothing before a round.

        Raises
        ------
        OutputError
            If the disk does not take them.
        """
        if state.velocities is None:
            return
        in_file = _frames_in_file(state)
        make_folder(self.folder)
        for first in range(self._in_files // in_file * in_file, count, in_file):
            last = min(first + in_file, count)
            self._write(
                _file_name(first // in_file),
                first=np.array(first),
                positions=np.array(frames.positions[first:last]),
                energies=np.array(frames.energies[first:last]),
            )
        self._write(
            STATE,
            rounds=np.array(state.rounds),
            positions=state.positions,
            velocities=state.velocities,
            attempts=state.attempts,
            accepted=state.accepted,
            frames=np.array(count),
        )
        self._in_files = count
        self._written = time.monotonic()

    def _write(self, name: str, **arrays: np.ndarray) -> None:
        with replacing(self.folder / name) as partial, partial.open("wb") as file:
            np.savez(file, request=np.array(self._request), **arrays)  # type: ignore[arg-type]

    def _read(self, name: str, keys: set[str]) -> dict[str, np.ndarray]:
        """Arrays of a file; their checksums are looked at."""
        try:
            with np.load(self.folder / name, allow_pickle=False) as file:
                arrays = {key: file[key] for key in file.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, NotImplementedError) as error:
            raise self._damaged(name, str(error)) from error
        if {"request", *keys} != arrays.keys():
            raise self._damaged(name, "it holds other arrays")
        if str(arrays.pop("request")) != self._request:
            raise OutputError(
                f"{self.folder / name} is a checkpoint of sampling with other settings, another seed or another "
                f"molecule; remove {self.folder} to sample anew"
            )
        return arrays

    def _damaged(self, name: str, why: str) -> OutputError:
        return OutputError(
            f"the checkpoint {self.folder / name} is damaged ({why}); remove {self.folder} to sample anew"
        )


def _frames_in_file(state: SamplingState) -> int:
    return max(1, FILE_BYTES // state.positions.nbytes)


def _file_name(number: int) -> str:
    return f"frames_{number:04d}.npz"
