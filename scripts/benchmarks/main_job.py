"""The main job beside its straight-line baselines, and what it costs.

"±" is the mean over seeds of the standard deviation over paths.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from common import Bench, number, slashed, table

from spacetime_tps.runs.layout import SUMMARY


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
        """Figures of a run's ``summary.json``."""
        summary = json.loads((bench.main_job(seed) / SUMMARY).read_text())
        reactive, geodesics = summary["reactive"], summary["geodesics"].values()
        curves = {"low-variance geodesic": summary["paths"]}
        curves["region-avoiding geodesic"] = summary["paths_region_avoiding"]
        curves |= {name.replace("_", " "): figures for name, figures in summary["baselines"].items()}
        return MainJobResult(
            seed,
            summary["energy_evaluations"]["total"],
            summary["energy_evaluations"]["sampling"],
            summary["wall_seconds"]["total"],
            reactive.get("reactive", 0),
            reactive.get("shots", 0),
            reactive.get("evaluations_per_reactive"),
            max(geodesic.get("negative_chord_fraction", 0) for geodesic in geodesics),
            max(geodesic.get("speed_ratio", 0) for geodesic in geodesics),
            all(geodesic.get("feasible", False) for geodesic in geodesics),
            [_paths(name, figures) for name, figures in curves.items() if "target_hit_percentage" in figures],
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


def _paths(curve: str, figures: dict[str, Any]) -> Paths:
    rmsd, highest, region = (figures.get(key) for key in ("rmsd_angstrom", "ets_kj_per_mol", "fraction_in_region"))
    parts = [of[part] for of in (rmsd, highest) for part in ("mean", "sd")]
    return Paths(curve, figures["target_hit_percentage"], *parts, None if region is None else 100 * region)


def _mean(rows: Sequence[Paths], name: str) -> float | None:
    values = [value for row in rows if (value := getattr(row, name)) is not None]
    return float(np.mean(values)) if values else None
