"""The main job on a model surface: exact denoiser, geodesics with and without a variance bound, annealed walkers."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacetime_tps.denoisers.grid import GridDenoiser
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.surface import SurfacePaths, anneal_walkers
from spacetime_tps.errors import GeometryError
from spacetime_tps.progress import log, track
from spacetime_tps.records import Record
from spacetime_tps.runs import layout
from spacetime_tps.settings.surface import SurfaceGeodesicSettings, SurfacePathSettings, SurfaceRunSettings
from spacetime_tps.spacetime import Geodesic, Points, VarianceBound, point, solve_channels, solve_string
from spacetime_tps.spacetime.constraints import Constraint
from spacetime_tps.spacetime.figures import GeodesicFigures
from spacetime_tps.statistics.intervals import MeanSd, mean_sd
from spacetime_tps.surfaces.figures import draw_profiles, draw_surface
from spacetime_tps.surfaces.surface import Surface
from spacetime_tps.threads import one_thread
from spacetime_tps.writing import make_folder, replacing, write_json


@dataclass(frozen=True)
class SurfacePathFigures(Record):
    """Of the walkers along one curve.

    Attributes
    ----------
    count, steps_per_path : int
    reached_b_percentage : float
    through_channel_percentage : float or None
        None if the surface has no channel.
    max_energy, max_energy_on_segments : MeanSd
        Highest energy at the steps, and also between them, in the surface's unit.
    """

    count: int
    steps_per_path: int
    reached_b_percentage: float
    through_channel_percentage: float | None
    max_energy: MeanSd
    max_energy_on_segments: MeanSd


@dataclass(frozen=True)
class SurfaceSummary:
    """Of a run on a model surface.

    Attributes
    ----------
    system : str
    seed : int
    energy_evaluations : mapping of str to int
        By purpose.
    wall_seconds : mapping of str to float
        By part of the work.
    geodesics : mapping of str to GeodesicFigures
    paths : SurfacePathFigures, optional
        Along the low-variance geodesic, if it was found.
    baselines : mapping of str to SurfacePathFigures
        By curve.
    """

    system: str
    seed: int
    energy_evaluations: Mapping[str, int]
    wall_seconds: Mapping[str, float]
    geodesics: Mapping[str, GeodesicFigures]
    paths: SurfacePathFigures | None
    baselines: Mapping[str, SurfacePathFigures]

    @property
    def total_seconds(self) -> float:
        """Wall time of everything."""
        return sum(self.wall_seconds.values())

    def to_json(self) -> dict[str, object]:
        """What ``summary.json`` holds."""
        return {
            "kind": "surface",
            "system": self.system,
            "seed": self.seed,
            "energy_evaluations": {**self.energy_evaluations, "total": sum(self.energy_evaluations.values())},
            "wall_seconds": {**self.wall_seconds, "total": self.total_seconds},
            "geodesics": {name: figures.to_json() for name, figures in self.geodesics.items()},
            "paths": {} if self.paths is None else self.paths.to_json(),
            "baselines": {name: figures.to_json() for name, figures in self.baselines.items()},
        }


@one_thread()
def run_surface(surface: Surface, settings: SurfaceRunSettings, output: Path, seed: int) -> SurfaceSummary:
    """Find and follow geodesics from A to B, and straight lines for comparison; write everything to ``output``.

    Returns
    -------
    SurfaceSummary
        What ``summary.json`` holds.
    """
    started = time.perf_counter()
    graph_seed, path_seed = np.random.SeedSequence(seed).spawn(2)
    denoiser = surface.denoiser()
    log.info("%s: exact denoiser on %s nodes", surface.settings.name, " × ".join(str(len(a)) for a in denoiser.axes))
    geodesics, reports = _solve_all(surface, denoiser, settings.geodesics, np.random.default_rng(graph_seed))
    solved = time.perf_counter()
    curves = _curves(surface, denoiser, settings, geodesics)
    paths = {}
    for name, curve in track(curves.items(), "paths", len(curves)):
        # one seed for all: curves differ by their own merit
        paths[name] = run_walkers(surface, curve, settings.paths, np.random.default_rng(path_seed))
    annealed = time.perf_counter()
    _save(surface, output, geodesics, paths)
    _draw(surface, settings, output, geodesics, paths)
    figures = {name: measure_paths(surface, found) for name, found in paths.items()}
    evaluations = {
        "annealing": sum(found.evaluations for found in paths.values()),
        "measuring": sum(found.measuring_evaluations for found in paths.values()),
    }
    seconds = {"geodesics": solved - started, "paths": annealed - solved, "results": time.perf_counter() - annealed}
    summary = SurfaceSummary(
        system=surface.settings.name,
        seed=seed,
        energy_evaluations=evaluations,
        wall_seconds=seconds,
        geodesics=reports,
        paths=figures.pop("low_variance_geodesic", None),
        baselines=figures,
    )
    write_json(output / layout.SUMMARY, summary.to_json())
    return summary


def endpoints(surface: Surface, denoiser: GridDenoiser, log_snr: float) -> tuple[Points, Points]:
    """Spacetime points of the centres of A and B."""
    a, b = (point(denoiser.embed(state.centre), log_snr) for state in surface.settings.states.values())
    return a, b


def solve(
    surface: Surface,
    denoiser: GridDenoiser,
    settings: SurfaceGeodesicSettings,
    rng: np.random.Generator,
    constraints: tuple[Constraint, ...] = (),
    **options: Any,
) -> list[Geodesic]:
    """Geodesics from A to B, sought through a graph of samples of the Boltzmann density if there are constraints.

    ``options`` go to :func:`solve_channels` on top of the settings.

    Raises
    ------
    GeometryError
        If it cannot be solved; NoPathError if the samples do not connect the states.
    """
    return solve_channels(
        denoiser,
        *endpoints(surface, denoiser, settings.end_log_snr),
        constraints,
        samples=surface.denoiser(settings.graph_kt).sample(settings.graph_samples, rng),
        graph_samples=settings.graph_samples,
        points=settings.points,
        knots=settings.knots,
        log_snr_bounds=settings.log_snr_bounds,
        graph_levels=settings.graph_levels,
        channels=settings.channels,
        **options,
    )


def straight_line(surface: Surface, denoiser: GridDenoiser, log_snr: float, points: int) -> Points:
    """Straight from A's centre to B's in the latent coordinates, at constant log SNR."""
    a, b = endpoints(surface, denoiser, log_snr)
    share = torch.linspace(0, 1, points, dtype=torch.float64)[:, None]
    return Points((1 - share) * a.y + share * b.y, torch.full((points,), log_snr, dtype=torch.float64))


def run_walkers(
    surface: Surface, curve: Points, settings: SurfacePathSettings, rng: np.random.Generator
) -> SurfacePaths:
    """Annealed walkers along a curve, all from A's centre."""
    state_a = next(iter(surface.settings.states.values()))
    return anneal_walkers(
        surface.potential,
        RestraintSchedule(curve.y.numpy(), curve.log_snr.numpy()),
        np.tile(state_a.centre, (settings.count, 1)),
        rng,
        kt=surface.settings.kt,
        periodic=surface.periodic,
        steps=settings.steps,
        time_step=settings.time_step,
        frame_steps=settings.frame_steps,
        segment_points=1,
    )


def measure_paths(surface: Surface, paths: SurfacePaths) -> SurfacePathFigures:
    """Figures of paths for tables: highest energies, how many ended in B, how many went through the channel."""
    _, state_b = surface.settings.states.values()
    channel = surface.settings.channel
    return SurfacePathFigures(
        count=paths.positions.shape[1],
        steps_per_path=int(paths.steps[-1]),
        reached_b_percentage=100 * float(surface.inside(state_b, paths.positions[-1]).mean()),
        through_channel_percentage=(
            100 * float(surface.inside(channel, paths.positions).any(axis=0).mean()) if channel else None
        ),
        max_energy=mean_sd(paths.highest_energy),
        max_energy_on_segments=mean_sd(paths.highest_energy_on_segments),
    )


def _solve_all(
    surface: Surface, denoiser: GridDenoiser, settings: SurfaceGeodesicSettings, rng: np.random.Generator
) -> tuple[dict[str, Geodesic], dict[str, GeodesicFigures]]:
    """The unconstrained geodesic, those of low variance in each channel, and what to report of them."""
    geodesics: dict[str, Geodesic] = {}
    reports: dict[str, GeodesicFigures] = {}
    bound = VarianceBound(settings.variance_bound)
    for name, constraints in (("unconstrained", ()), ("low_variance", (bound,))):
        try:
            found = solve(surface, denoiser, settings, rng, constraints)
        except GeometryError as error:
            log.error("%s: %s", name, error)
            reports[name] = GeodesicFigures.of_failure(error)
            continue
        kept = [geodesic for geodesic in found if geodesic.feasible and constraints] or found[:1]
        geodesics |= {name if index == 1 else f"{name}_{index}": geodesic for index, geodesic in enumerate(kept, 1)}
    for name, geodesic in geodesics.items():
        reports[name] = GeodesicFigures.of(geodesic)
        (log.info if geodesic.feasible and geodesic.converged else log.warning)(
            "%s: length %.2f, barrier %.2f kT, 2E/L² %.4f, largest variance %.4f, %s, %s",
            name,
            geodesic.length,
            geodesic.max_depth,
            geodesic.speed_ratio,
            geodesic.max_variance,
            "feasible" if geodesic.feasible else "NOT FEASIBLE",
            geodesic.message,
        )
    return geodesics, reports


def _curves(
    surface: Surface, denoiser: GridDenoiser, settings: SurfaceRunSettings, geodesics: Mapping[str, Geodesic]
) -> dict[str, Points]:
    """What walkers follow: geodesics, straight lines with their log SNR or at constant ones, and a string."""
    points = settings.geodesics.points
    curves = {f"{name}_geodesic": geodesic.points for name, geodesic in geodesics.items()}
    line = straight_line(surface, denoiser, settings.geodesics.end_log_snr, points)
    for name in ("unconstrained", "low_variance"):
        if name in geodesics:
            curves[f"straight_with_{name}_log_snr"] = Points(line.y, geodesics[name].points.log_snr)
    if "low_variance" in geodesics:
        start, log_snr = geodesics["low_variance"].moments.mean, settings.geodesics.end_log_snr
        first = torch.cat([line.y[:1], start[1:-1], line.y[-1:]])
        curves[f"string_log_snr_{log_snr:g}"], converged = solve_string(denoiser, first, log_snr, points=points)
        if not converged:
            log.warning("the string at log SNR %g has not converged; its paths are not those of a minimum", log_snr)
    for log_snr in settings.paths.baseline_log_snr:
        curves[f"straight_log_snr_{log_snr:g}"] = straight_line(surface, denoiser, log_snr, points)
    return curves


def _save(surface: Surface, output: Path, geodesics: Mapping[str, Geodesic], paths: Mapping[str, SurfacePaths]) -> None:
    for name, geodesic in geodesics.items():
        _write_arrays(
            make_folder(output / layout.GEODESICS) / layout.GEODESIC_FILE.format(name),
            y=geodesic.points.y,
            log_snr=geodesic.points.log_snr,
            mean=geodesic.moments.mean,
            variance=geodesic.moments.variance,
            depth=geodesic.depth,
            positions=surface.positions(geodesic.moments.mean.numpy()),
        )
    for name, found in paths.items():
        _write_arrays(
            make_folder(output / layout.PATHS) / layout.GEODESIC_FILE.format(name),
            positions=found.positions,
            energies=found.energies,
            steps=found.steps,
            highest_energy=found.highest_energy,
            highest_energy_on_segments=found.highest_energy_on_segments,
        )


def _write_arrays(path: Path, **arrays: Any) -> None:
    with replacing(path) as partial:
        np.savez(partial, **arrays)


def _draw(
    surface: Surface,
    settings: SurfaceRunSettings,
    output: Path,
    geodesics: Mapping[str, Geodesic],
    paths: Mapping[str, SurfacePaths],
) -> None:
    means = {name: surface.positions(geodesic.moments.mean.numpy()) for name, geodesic in geodesics.items()}
    for name in geodesics:
        found = paths[f"{name}_geodesic"]
        title = f"{surface.settings.name}: annealed paths along the {name.replace('_', ' ')} geodesic"
        draw_surface(
            make_folder(output / layout.FIGURES) / layout.SURFACE_FIGURE.format(name),
            surface,
            means,
            found.positions,
            title,
        )
    draw_profiles(
        make_folder(output / layout.FIGURES) / layout.SURFACE_PROFILES_FIGURE,
        geodesics,
        {name: (found.steps / found.steps[-1], found.energies) for name, found in paths.items() if "geodesic" in name},
        settings.geodesics.variance_bound,
        surface.settings.name,
    )
