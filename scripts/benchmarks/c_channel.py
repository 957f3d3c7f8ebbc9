"""The C-shaped channel: what a variance bound and a global search change, over several seeds.

Walkers follow straight lines, the unconstrained geodesic, and variance-bounded ones started from a straight line or
from a graph of Boltzmann samples, all with the settings of ``systems/c_channel``; nothing tells them of the channel.
"through the channel": some frame within 0.5 of (1, 0). "reached B": last frame within 0.5 of B's centre.
"±" is the mean over seeds of the standard deviation over paths. A variance bound alone does not decide: from a straight
start the solver obeys it by a shorter curve through the wall, where two narrow modes 0.9 apart exchange weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from common import Bench, Result, number, slashed, table, yes_no

from spacetime_tps.errors import GeometryError
from spacetime_tps.progress import log
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.surface import SurfaceRunSettings
from spacetime_tps.spacetime import Geodesic, Points, VarianceBound
from spacetime_tps.surfaces.job import measure_paths, run_walkers, solve, straight_line
from spacetime_tps.surfaces.surface import Surface

STRAIGHT_LOG_SNR = (2.0, 3.0, 4.0, 5.0)
STRAIGHT_START_BOUND = 0.2
BOUNDS = (0.2, 0.3, 0.5)


def curves(surface: Surface, settings: SurfaceRunSettings, seed: int) -> Iterator[tuple[str, Points, Geodesic | None]]:
    """Every curve of the table with its name, and its geodesic if it is one."""
    denoiser, geodesics = surface.denoiser(), settings.geodesics
    line = straight_line(surface, denoiser, geodesics.end_log_snr, geodesics.points)
    for log_snr in STRAIGHT_LOG_SNR:
        yield f"straight line, λ = {log_snr:g}", Points(line.y, torch.full_like(line.log_snr, log_snr)), None
    free, *_ = solve(surface, denoiser, geodesics, np.random.default_rng(seed))
    yield "straight line, unconstrained geodesic's λ", Points(line.y, free.points.log_snr), None
    yield "unconstrained geodesic", free.points, free
    bound = VarianceBound(STRAIGHT_START_BOUND)
    straight, *_ = solve(surface, denoiser, geodesics, np.random.default_rng(seed), (bound,), starts=[line])
    yield f"variance ≤ {bound.limit:g}, straight start", straight.points, straight
    for limit in BOUNDS:
        try:
            found, *_ = solve(surface, denoiser, geodesics, np.random.default_rng(seed), (VarianceBound(limit),))
        except GeometryError as error:
            log.error("variance ≤ %g, seed %d: %s", limit, seed, error)
            continue
        default = " (default)" if limit == geodesics.variance_bound else ""
        yield f"variance ≤ {limit:g}, start from the graph{default}", found.points, found


@dataclass(frozen=True)
class Row:
    """Walkers along one curve: energies in kT, shares in %; length and feasibility where it is a geodesic."""

    curve: str
    highest: float
    highest_sd: float
    on_segments: float
    reached_b: float
    through_channel: float
    steps: int
    length: float | None
    feasible: bool | None


@dataclass(frozen=True)
class Channel:
    """Ways through the C-shaped channel, as :class:`Section`; ``paths`` is the number of walkers along each curve."""

    name: ClassVar[str] = "c_channel"
    cost: ClassVar[str] = "3 minutes"
    every_seed: ClassVar[bool] = True
    paths: int = 500

    def measure(self, bench: Bench, seed: int) -> Result[Row]:
        """With the settings of the shipped surface."""
        settings = load_settings(find_system("c_channel"))
        assert isinstance(settings, SurfaceRunSettings)
        surface = Surface.from_settings(settings.surface)
        paths = settings.paths.model_copy(update={"count": self.paths})
        rows, evaluations = [], 0
        for name, curve, geodesic in curves(surface, settings, seed):
            walkers = run_walkers(surface, curve, paths, np.random.default_rng([seed, 1]))
            found = measure_paths(surface, walkers)
            evaluations += walkers.evaluations
            rows.append(
                Row(
                    name,
                    found.max_energy.mean,
                    found.max_energy.sd,
                    found.max_energy_on_segments.mean,
                    found.reached_b_percentage,
                    found.through_channel_percentage,
                    found.steps_per_path,
                    None if geodesic is None else geodesic.length,
                    None if geodesic is None else geodesic.feasible,
                )
            )
        return Result(seed, evaluations, rows)

    def tables(self, results: Sequence[Result[Row]]) -> list[str]:
        """A line for each curve, in the mean over the seeds that have it."""
        found: dict[str, list[Row]] = {}
        for row in (row for result in results for row in result.rows):
            found.setdefault(row.curve, []).append(row)
        columns = ("curve", "MaxEnergy", "on segments", "by seed", "reached B %", "through channel %", "steps")
        lines = []
        for curve, rows in found.items():

            def mean(name: str, digits: int, rows: Sequence[Row] = rows) -> str:
                values = [value for row in rows if (value := getattr(row, name)) is not None]
                return number(float(np.mean(values)), digits) if values else "–"

            lines.append(
                [
                    *(curve, f"{mean('highest', 1)} ± {mean('highest_sd', 1)}", mean("on_segments", 1)),
                    *(slashed((row.on_segments for row in rows), 1), mean("reached_b", 1), mean("through_channel", 1)),
                    *(number(rows[0].steps), mean("length", 2)),
                    yes_no(None if rows[0].feasible is None else all(row.feasible for row in rows)),
                ]
            )
        return [table((*columns, "length", "feasible"), lines)]
