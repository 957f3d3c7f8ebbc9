"""What all benchmarks share: sections, the runs and files that they find, tables, costs and their exponents."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np
import yaml

import spacetime_tps
from spacetime_tps.runs.beginning import prepared
from spacetime_tps.runs.folder import Run, holds_run
from spacetime_tps.runs.layout import BEGINNING, SUMMARY, TOPOLOGY
from spacetime_tps.runs.trajectories import write_topology_pdb
from spacetime_tps.settings.run import RunSettings

SYSTEM = "alanine_dipeptide"
Row = TypeVar("Row")


@dataclass(frozen=True)
class Bench:
    """Where sections find and keep things.

    Attributes
    ----------
    output : Path
        Folder of all runs and pictures. Runs that are there already are not run again.
    reference : Path, optional
        Public data of arXiv 2505.17517; see ``reference_data.py``.
    settings : dict
        Settings on top of those of the molecule's runs.
    """

    output: Path
    reference: Path | None = None
    settings: dict[str, Any] = field(default_factory=dict)

    def folder(self, name: str) -> Path:
        """A folder for what a section keeps, made if it is missing."""
        folder = self.output / name
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def picture(self, name: str) -> Path:
        """The file of a section's figure."""
        return self.folder("figures") / f"{name}.png"

    def main_job(self, seed: int) -> Path:
        """The folder of the main job of a seed, which sections start from; it is run once."""
        config = self.folder("configurations") / "main_job.yaml"
        config.write_text(yaml.safe_dump(self.settings))
        folder = self.output / f"seed_{seed}"
        start(folder, config, seed)
        return folder


@dataclass(frozen=True)
class Result(Generic[Row]):
    """What a section has measured with one seed; classes of other sections have at least ``seed`` and ``evaluations``.

    Attributes
    ----------
    seed : int
    evaluations : int
        Energy evaluations that were measured, without those of the main job that a section starts from.
    rows : list
        Frozen dataclasses of numbers, so that JSON can hold them.
    """

    seed: int
    evaluations: int
    rows: list[Row]


class Section(Protocol):
    """A part of the benchmarks: a frozen dataclass whose fields say how much is measured.

    Attributes
    ----------
    name : str
    cost : str
        About how long it takes for each seed on two cores, without the main job.
    every_seed : bool
        Whether it is measured for every seed, or for the first one alone.
    """

    name: str
    cost: str
    every_seed: bool

    def measure(self, bench: Bench, seed: int) -> Any:
        """The :class:`Result` of one seed. Its class is the annotation, by which JSON is read again."""

    def tables(self, results: Sequence[Any]) -> list[str]:
        """Blocks of Markdown, from the results of all seeds."""


def start(output: Path, config: Path, seed: int, workers: int | None = None) -> None:
    """Finish a run: begin it, go on with it, or do nothing."""
    if not (output / SUMMARY).is_file():
        spacetime_tps.run(SYSTEM, output, config=config, seed=seed, workers=workers, resume=holds_run(output))


@contextmanager
def begun(folder: Path, settings: RunSettings, seed: int) -> Iterator[Run]:
    """A run that is begun or gone on with, whose parts are made one by one."""
    with prepared(folder, settings, seed, resume=holds_run(folder), overwrite=False):
        run = Run(folder, settings, seed)
        if not run.is_finished(BEGINNING):
            positions = next(iter(run.molecule.structures.values()))
            write_topology_pdb(run.path(TOPOLOGY), run.molecule.openmm_topology, positions)
            run.finish(BEGINNING, time.perf_counter())
        yield run


def spread(values: Sequence[float]) -> float | None:
    """Standard deviation (n − 1); None of fewer than two values."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float | None:
    """Slope of log seconds against log size; None of fewer than two points."""
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0]) if len(sizes) > 1 else None


def cpu_seconds(work: Callable[[], object], seconds: float) -> float:
    """Median CPU time of ``work``, over at least three runs after one that warms up, for about so many seconds."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return float(np.median(times))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def number(value: float | None, digits: int = 0, error: float | None = None) -> str:
    """A number with commas between thousands, and its error; a dash where there is none."""
    if value is None:
        return "–"
    return f"{value:,.{digits}f}" + ("" if error is None else f" ± {error:,.{digits}f}")


def slashed(values: Iterable[float | None], digits: int = 0) -> str:
    """Numbers beside each other."""
    return " / ".join(number(value, digits) for value in values)


def yes_no(value: bool | None) -> str:
    """Yes, no, or a dash where it is not known."""
    return "–" if value is None else "yes" if value else "no"
