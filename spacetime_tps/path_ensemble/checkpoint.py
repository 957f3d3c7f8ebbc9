"""Checkpoints of chains: an interrupted job goes on exactly where it stopped."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import OutputError
from spacetime_tps.path_ensemble.moves import Path
from spacetime_tps.path_ensemble.results import MoveRow
from spacetime_tps.path_ensemble.sampling import Chain, Chains
from spacetime_tps.runs import layout
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.runs.trajectories import write_trr
from spacetime_tps.writing import remove, replacing, write_json

_BEGIN = "put the right file back, or take --overwrite to begin anew"


@dataclass
class Checkpoint:
    """The files from which chains go on: stored paths, the journal of moves, and the chains themselves.

    Attributes
    ----------
    folder : Path
    frame_interval : float
        Time between frames of stored paths, ps.
    journal : Journal
        All moves that are in the file.
    files : mapping of str to FileDigest
        Stored paths by name.
    box : array, shape (3, 3), optional
        Box vectors of stored paths, nm; None for vacuum.
    """

    folder: pathlib.Path
    frame_interval: float
    journal: Journal
    files: Mapping[str, FileDigest]
    box: FloatArray | None = None

    @classmethod
    def begin(cls, folder: pathlib.Path, frame_interval: float, box: FloatArray | None = None) -> Checkpoint:
        """The checkpoint in an empty folder."""
        return cls(folder, frame_interval, Journal(folder / layout.ENSEMBLE_JOURNAL), {}, box)

    @property
    def rows(self) -> list[MoveRow]:
        """All moves that are in the journal.

        Raises
        ------
        OutputError
            If the journal is of another version.
        """
        return self.journal.rows(MoveRow.from_json)

    def save(self, chains: Chains, seconds: float) -> Chains:
        """Write new paths, new moves, and last the chains, with the names of all files that belong to them.

        Parameters
        ----------
        chains : Chains
        seconds : float
            Wall time of all moves.

        Returns
        -------
        Chains
            The same, with nothing new.
        """
        files = dict(self.files)
        for name, path in chains.new_paths.items():
            times = np.arange(len(path), dtype=np.float64) * self.frame_interval
            write_trr(self.folder / name, path.positions, path.velocities, times, self.box)
            files[name] = FileDigest.of(self.folder / name)
        before = chains.done * len(chains.chains) - len(chains.new_rows)
        with self.journal.appending() as appender:
            for row in chains.new_rows[len(self.journal.records) - before :]:
                appender.add(row.to_json())
        file = self.folder / layout.CHAINS_FILE.format(chains.done)
        others = set(self.folder.glob(layout.CHAINS_FILES)) - {file}
        with replacing(file) as partial:
            np.savez(partial, allow_pickle=False, **_arrays(chains, seconds))
        digests = {name: asdict(digest) for name, digest in (files | {file.name: FileDigest.of(file)}).items()}
        write_json(self.folder / layout.ENSEMBLE_CHECKPOINT, {"chains": file.name, "files": digests})
        self.files = files
        for other in others:
            remove(other)
        return replace(chains, new_rows=(), new_paths={})

    @classmethod
    def load(
        cls, folder: pathlib.Path, frame_interval: float, box: FloatArray | None = None
    ) -> tuple[Checkpoint, Chains, float]:
        """The checkpoint in a folder, the chains as it has them, and the wall time of all moves.

        Parameters
        ----------
        folder : Path
        frame_interval : float
            Time between frames of stored paths, ps.

        Raises
        ------
        OutputError
            If a file is missing or damaged.
        """
        path = folder / layout.ENSEMBLE_CHECKPOINT
        try:
            content = json.loads(path.read_bytes())
            files = {name: FileDigest(**digest) for name, digest in content["files"].items()}
            name = content["chains"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OutputError(f"{path} is missing or damaged ({error}); {_BEGIN}") from error
        for file, digest in files.items():
            if not (folder / file).is_file() or FileDigest.of(folder / file) != digest:
                raise OutputError(f"{folder / file} is missing, or not the file that {path} tells of; {_BEGIN}")
        chains, seconds = _read_arrays(folder / name)
        journal = Journal.read(folder / layout.ENSEMBLE_JOURNAL)
        count = chains.done * len(chains.chains)
        if len(journal.records) < count:
            raise OutputError(f"{journal.path} lacks moves that {path} has; {_BEGIN}")
        journal.keep(count)
        stored = {file: digest for file, digest in files.items() if file != name}
        return cls(folder, frame_interval, journal, stored, box), chains, seconds


def _arrays(chains: Chains, seconds: float) -> dict[str, np.ndarray]:
    """All that chains are, as arrays by name; frames of all paths stand in one array, chain after chain."""
    every = chains.chains
    return {
        "done": np.array(chains.done),
        "stored": np.array(chains.stored),
        "seconds": np.array(seconds),
        "frames": np.array([len(chain.path) for chain in every]),
        "positions": np.concatenate([chain.path.positions for chain in every]),
        "velocities": np.concatenate([chain.path.velocities for chain in every]),
        "weights": np.concatenate([chain.path.weights for chain in every]),
        "born": np.concatenate([chain.path.born for chain in every]),
        "crossing_frame": np.array([chain.crossing_frame for chain in every]),
        "reference": np.array([chain.reference for chain in every]),
        "kept": np.array([chain.kept for chain in every]),
        "kept_born": np.array([chain.kept_born for chain in every]),
    }


def _read_arrays(path: pathlib.Path) -> tuple[Chains, float]:
    """Chains and seconds of :func:`_arrays`."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ends = np.cumsum(arrays["frames"])[:-1]
            frames = (np.split(arrays[name], ends) for name in ("positions", "velocities", "weights", "born"))
            paths = [Path(*parts) for parts in zip(*frames, strict=True)]
            numbers = (arrays[name].tolist() for name in ("crossing_frame", "reference", "kept", "kept_born"))
            chains = tuple(Chain(path, *rest) for path, *rest in zip(paths, *numbers, strict=True))
            return Chains(chains, int(arrays["done"]), int(arrays["stored"]), (), {}), float(arrays["seconds"])
    except (ValueError, KeyError, TypeError) as error:
        raise OutputError(
            f"{path} is not what this version writes ({error!r}); take --overwrite to begin anew"
        ) from error
