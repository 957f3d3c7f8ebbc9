"""A run: its folder, its settings and seeds, its molecule, and the workers that simulate it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from spacetime_tps.errors import OutputError
from spacetime_tps.records import Record
from spacetime_tps.runs.kept import KeepingPool
from spacetime_tps.runs.layout import BEGINNING, CONFIG, REPORTS, STAGES, UNFINISHED
from spacetime_tps.runs.lock import locked
from spacetime_tps.runs.reports import Report, check_files, is_current, read_report, report_path, write_report
from spacetime_tps.settings.files import open_run
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.writing import make_folder, remove

if TYPE_CHECKING:
    from spacetime_tps.arrays import FloatArray
    from spacetime_tps.coordinates import Coordinates
    from spacetime_tps.dynamics.system import MolecularSystem
    from spacetime_tps.dynamics.workers import Pool


Result = TypeVar("Result", bound=Record)


@dataclass(eq=False)
class Run:
    """The run of a molecule, in a folder that it alone names, reads and writes the files of.

    Attributes
    ----------
    folder : Path
    settings : RunSettings
    base_seed : int
        From which all seeds are made.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.
    """

    folder: Path
    settings: RunSettings
    base_seed: int
    trust_scripts: bool = False

    @classmethod
    def open(cls, folder: str | Path, *parts: str, seed: int | None = None, trust_scripts: bool = False) -> Run:
        """The run in a folder, parts of which must have finished; their files are checked.

        Parameters
        ----------
        folder : str or Path
        parts : str
            Names of parts that are read.
        seed : int, optional
            In place of the run's own.
        trust_scripts : bool
            Whether force-field files that are not OpenMM's may run code.

        Raises
        ------
        OutputError
            If there is no run of a molecule, a part has not finished, or a file of it is missing or damaged.
        ConfigError
            If its settings cannot be read.
        """
        folder = Path(folder)
        settings, own_seed = open_run(folder)
        if not isinstance(settings, RunSettings):
            raise OutputError(
                f"{folder} is a run on a model surface, where everything is exact; give the folder of a molecule's run"
            )
        run = cls(folder, settings, own_seed if seed is None else seed, trust_scripts)
        for part in (BEGINNING, *parts):
            run.check(part)
        return run

    @cached_property
    def molecule(self) -> MolecularSystem:
        """The molecule with its force field and its states."""
        from spacetime_tps.dynamics.system import MolecularSystem

        return MolecularSystem.from_settings(self.settings.system, self.trust_scripts)

    @cached_property
    def coordinates(self) -> Coordinates:
        """The latent coordinates."""
        from spacetime_tps.runs.context import make_coordinates

        return make_coordinates(self.settings, self.molecule)

    @property
    def pool(self) -> Pool:
        """The workers; see :meth:`workers`."""
        if self._pool is None:
            raise RuntimeError("the run has no workers here; use it within 'with run.workers():'")
        return self._pool

    def __post_init__(self) -> None:
        self._pool: Pool | None = None

    @contextmanager
    def workers(self, count: int | None = None, executor: Executor | None = None) -> Iterator[None]:
        """Have worker processes that simulate the molecule.

        Parameters
        ----------
        count : int, optional
            By default one a core.
        executor : concurrent.futures.Executor, optional
            Where tasks run in place of processes of this machine.
        """
        from spacetime_tps.dynamics.workers import Engine, WorkerPool

        engine = Engine.for_system(self.molecule, self.coordinates.atoms)
        with WorkerPool(engine, count, executor) as pool, self.working(pool):
            yield

    @contextmanager
    def working(self, pool: Pool) -> Iterator[None]:
        """Have the workers of a pool."""
        before, self._pool = self._pool, pool
        try:
            yield
        finally:
            self._pool = before

    @contextmanager
    def keeping(self, part: str) -> Iterator[None]:
        """Have workers whose results are kept until a part has finished, so that it goes on at its last task."""
        with self.working(KeepingPool(self.pool, self.folder / UNFINISHED / part)):
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other processes out of the folder."""
        with locked(self.folder):
            yield

    def seed(self, name: str, *indices: int) -> np.random.SeedSequence:
        """The seed of something by its name, so that what is new changes no other's numbers."""
        return named_seed(self.base_seed, name, *indices)

    def structure(self, state: int) -> FloatArray:
        """All atoms of the structure of A (0) or B (1), superposed as the geodesics are, (atoms, 3) in nm."""
        structure = self.molecule.structures[self.molecule.states[state].structure]
        return np.asarray(self.coordinates.superpose(structure[None])[0])

    def path(self, name: str) -> Path:
        """Where something of the layout is."""
        return self.folder / name

    def made(self, name: str) -> Path:
        """A folder of the layout, made if it is not there."""
        return make_folder(self.folder / name)

    def is_finished(self, part: str) -> bool:
        """Whether a part has finished, and all that it was built on is the same still."""
        return report_path(self.folder, part).is_file() and is_current(self.folder, self.report(part))

    def report(self, part: str) -> Report:
        """What a finished part has done.

        Raises
        ------
        OutputError
            If it has not finished, or its report is damaged.
        """
        if not report_path(self.folder, part).is_file() and part in STAGES:
            raise OutputError(
                f"{self.folder}: the run has not finished its stage {part!r} yet; go on with it by "
                f"'spacetime-tps run … --resume' (it has no {REPORTS}/{part}.json)"
            )
        return read_report(self.folder, part)

    def results(self, part: str, kind: type[Result]) -> Result:
        """What a finished part has reported.

        Parameters
        ----------
        part : str
        kind : type
            That of the part's results.

        Raises
        ------
        OutputError
            If it has not finished, or has reported something else.
        """
        return kind.from_json(self.report(part).results)

    def check(self, part: str, pattern: str = "*") -> Report:
        """Report of a finished part whose files are as it has written them.

        Raises
        ------
        OutputError
            If it has not finished, or a file is missing or changed.
        """
        report = self.report(part)
        check_files(self.folder, report, pattern)
        return report

    def files(self, part: str, pattern: str) -> list[Path]:
        """Files that a finished part has written and whose names match a pattern; none if it has not finished."""
        if not report_path(self.folder, part).is_file():
            return []
        return [self.folder / name for name in self.report(part).matching(pattern)]

    def finish(
        self,
        part: str,
        started: float,
        evaluations: Mapping[str, int] | None = None,
        results: Mapping[str, Any] | None = None,
        after: Iterable[str] = (),
    ) -> Report:
        """Report that a part has finished, all of whose files are there.

        Parameters
        ----------
        part : str
        started : float
            When it was begun, by ``time.perf_counter``.
        evaluations, results : mapping, optional
        after : iterable of str
            Parts that it was built on.
        """
        seconds = time.perf_counter() - started
        report = write_report(self.folder, part, seconds, evaluations or {}, results or {}, after)
        remove(self.folder / UNFINISHED / part)
        return report


def named_seed(seed: int, name: str, *indices: int) -> np.random.SeedSequence:
    """The seed of something by its name: with another name or other indices all its numbers are others."""
    return np.random.SeedSequence([seed, *name.encode()], spawn_key=indices)


def holds_run(folder: Path) -> bool:
    """Whether a folder holds a run, finished or not."""
    return (folder / CONFIG).is_file()
