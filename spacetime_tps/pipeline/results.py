"""Stage 6: the figures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import CollectiveVariable, Values
from spacetime_tps.pipeline.annealed_paths import load_energies
from spacetime_tps.pipeline.figures import curve_profiles, energy_along_paths, free_energy_map
from spacetime_tps.pipeline.stage_results import FiguresResult, GeodesicsResult
from spacetime_tps.runs import layout
from spacetime_tps.runs.context import StageReport
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.hdf5 import read_hdf5
from spacetime_tps.runs.read import read_geodesic, read_training_set
from spacetime_tps.runs.trajectories import read_trr
from spacetime_tps.settings.samples import ReplicaExchangeSettings

GEODESICS = ("unconstrained", "low_variance", "region_avoiding")


def make_results(run: Run) -> StageReport[FiguresResult]:
    """Draw the figures; the summary is written when all stages' times are known."""
    folder = run.made(layout.FIGURES)
    variables = list(run.molecule.variables.values())[:2]
    if len(variables) == 2:
        _draw_maps(run, folder, (variables[0], variables[1]))
    _draw_profiles(run, folder)
    for name in (layout.PATHS, layout.REGION_AVOIDING_PATHS):
        if run.files("paths", f"{name}/{layout.ENERGIES}"):
            rows = [table for table in load_energies(run.path(name)).values() if len(table)]
            if rows:
                energy_along_paths(
                    folder / layout.ENERGY_FIGURE.format(name),
                    [table[:, 0] for table in rows],
                    [table[:, 2] for table in rows],
                    [table[:, 3] for table in rows],
                    f"{run.molecule.name}: energy along {name.replace('_', ' ')}",
                )
    return StageReport({}, FiguresResult(sorted(file.name for file in folder.glob(layout.FIGURE_FILES))))


def _draw_maps(run: Run, folder: Path, plane: tuple[CollectiveVariable, CollectiveVariable]) -> None:
    samples, weights, temperature = _map_samples(run)
    means = {name: _geodesic_values(run, name, plane) for name in GEODESICS}
    curves = {name.replace("_", " "): values for name, values in means.items() if values is not None}
    found = run.results("geodesics", GeodesicsResult).region
    settings = run.settings.geodesics.region
    region = None
    if found is not None and settings is not None and {v.name for v in plane} == set(settings.plane):
        radius = run.settings.system.collective_variables[plane[0].name].unit.parse(settings.radius)
        x, y = (found.collective_variables[v.name] for v in plane)
        region = (x, y, radius)
    for name, files, title, drawn in (
        ("paths", run.files("paths", layout.PATH_FILES), "geodesics (means) and annealed paths", curves),
        ("region_avoiding", run.files("paths", layout.REGION_AVOIDING_PATH_FILES), "region-avoiding paths", curves),
        ("reactive", run.files("reactive", layout.REACTIVE_FILES), "unbiased reactive trajectories", {}),
    ):
        if files:
            free_energy_map(
                folder / layout.MAP_FIGURE.format(name),
                plane,
                samples,
                temperature,
                weights=weights,
                states=run.molecule.states,
                curves=drawn,
                trajectories=[_file_values(run, file) for file in files],
                region=region if "reactive" not in name else None,
                title=f"{run.molecule.name}: {title}",
            )


def _draw_profiles(run: Run, folder: Path) -> None:
    stored = {name: read_geodesic(run, name) for name in GEODESICS}
    there = {name.replace("_", " "): geodesic for name, geodesic in stored.items() if geodesic is not None}
    if there:
        curve_profiles(
            folder / layout.PROFILES_FIGURE,
            {name: geodesic.log_snr for name, geodesic in there.items()},
            {name: geodesic.variance for name, geodesic in there.items()},
            {name: geodesic.depth for name, geodesic in there.items() if geodesic.depth is not None},
            run.settings.geodesics.variance_bound,
            f"{run.molecule.name}: geodesics",
            run.coordinates.unit,
        )


def _map_samples(run: Run) -> tuple[Values, FloatArray, float]:
    """Samples for the free-energy map: those at the dynamics' temperature if there are, else the model's."""
    settings = run.settings.samples
    if isinstance(settings, ReplicaExchangeSettings) and run.molecule.temperature in settings.temperatures:
        index = settings.temperatures.index(run.molecule.temperature)
        trajectory = read_hdf5(run.files("samples", layout.REPLICAS)[index])
        trajectory = trajectory[trajectory.time > settings.discard]
        weights, temperature = np.full(len(trajectory), 1 / len(trajectory)), run.molecule.temperature
    else:
        training = read_training_set(run)
        trajectory = run.molecule.trajectory(training.positions)
        weights, temperature = training.weights, settings.model_temperature
    return run.molecule.collective_variables(trajectory), weights, temperature


def _geodesic_values(run: Run, name: str, plane: Sequence[CollectiveVariable]) -> Values | None:
    """Collective variables of a geodesic's means; None if there is no such geodesic or they cannot be computed."""
    geodesic = read_geodesic(run, name)
    if geodesic is None or not all(run.coordinates.knows(variable) for variable in plane):
        return None
    return {variable.name: run.coordinates.values(variable, geodesic.mean) for variable in plane}


def _file_values(run: Run, file: Path) -> Values:
    positions, _, _ = read_trr(file)
    return run.molecule.collective_variables(run.molecule.trajectory(positions))
