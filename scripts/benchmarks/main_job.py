"""The main job beside its straight-line baselines, and what it costs.

"±" is the mean over seeds of the standard deviation over paths.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from common import Bench, number, slashed, table

from spacetime_tps.pipeline.stage_results import PathFigures
from spacetime_tps.pipeline.summary import read_summary
from spacetime_tps.runs.folder import Run


@dataclass(frozen=True)
class Paths:
    """Figures of one kind of path: hits and frames in the region in %, RMSD in Å, highest energy in kJ/mol."""

    curve: str
    hits: float
    rmsd: float | None
    rmsd_sd: float | None
    highest: float | None
    highest_sd: float | None
    in_region: float | None


@dataclass(frozen=True)
class MainJobResult:
    """Figures of one run."""

    seed: int
    evaluations: int
    sampling: int
    wall_seconds: float
    reactive: int
    shots: int
    evaluations_per_reactive: float | None
    negative_chords: float
    speed_ratio: float
    feasible: bool
    paths: list[Paths]


@dataclass(frozen=True)
class MainJob:
    """The main job, as :class:`Section`."""

    name: ClassVar[str] = "main_job"
    cost: ClassVar[str] = "5 minutes"
    every_seed: ClassVar[bool] = True

    def measure(self, bench: Bench, seed: int) -> MainJobResult:
        """Figures of a run's summary."""
        summary = read_summary(Run.open(bench.main_job(seed)))
        reactive, geodesics, paths = summary.reactive, summary.geodesics.geodesics.values(), summary.paths
        curves = {"low-variance geodesic": paths.paths, "region-avoiding geodesic": paths.paths_region_avoiding}
        curves |= {name.replace("_", " "): figures for name, figures in paths.baselines.items()}
        return MainJobResult(
            seed,
            summary.total_evaluations,
            summary.energy_evaluations["sampling"],
            summary.total_seconds,
            reactive.reactive,
            reactive.shots,
            reactive.evaluations_per_reactive,
            max(geodesic.negative_chord_fraction or 0 for geodesic in geodesics),
            max(geodesic.speed_ratio or 0 for geodesic in geodesics),
            all(geodesic.feasible for geodesic in geodesics),
            [_paths(name, figures) for name, figures in curves.items() if figures is not None],
        )

    def tables(self, results: Sequence[MainJobResult]) -> list[str]:
        """A line for each kind of path in the mean over seeds, and a line for each run."""
        kinds: dict[str, list[Paths]] = {}
        for paths in (paths for result in results for paths in result.paths):
            kinds.setdefault(paths.curve, []).append(paths)
        rows = [
            [
                curve,
                number(_mean(rows, "hits")),
                number(_mean(rows, "rmsd"), 2, _mean(rows, "rmsd_sd")),
                number(_mean(rows, "highest"), 1, _mean(rows, "highest_sd")),
                slashed((row.highest for row in rows), 1),
                number(_mean(rows, "in_region"), 1),
            ]
            for curve, rows in kinds.items()
        ]
        columns = ("paths along", "hits %", "RMSD Å", "ETS kJ/mol", "ETS by seed", "frames in region %")
        costs = [
            [
                *(result.seed, number(result.wall_seconds), number(result.evaluations), number(result.sampling)),
                *(f"{result.reactive} / {result.shots}", number(result.evaluations_per_reactive)),
            ]
            for result in results
        ]
        named = ("seed", "wall s", "evaluations", "of them sampling", "reactive / shots", "evaluations per reactive")
        return [table(columns, rows), table(named, costs)]


def _paths(curve: str, figures: PathFigures) -> Paths:
    rmsd, highest, region = figures.rmsd_angstrom, figures.ets_kj_per_mol, figures.fraction_in_region
    return Paths(
        curve,
        figures.target_hit_percentage,
        rmsd.mean,
        rmsd.sd,
        highest.mean,
        highest.sd,
        None if region is None else 100 * region,
    )


def _mean(rows: Sequence[Paths], name: str) -> float | None:
    values = [value for row in rows if (value := getattr(row, name)) is not None]
    return float(np.mean(values)) if values else None
