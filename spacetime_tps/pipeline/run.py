"""The main job: from two structures and a force field to unbiased reactive trajectories."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import nullcontext
from pathlib import Path

import numpy as np

from spacetime_tps.coordinates import Coordinates
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.pipeline.annealed_paths import make_paths
from spacetime_tps.pipeline.denoiser import make_denoiser
from spacetime_tps.pipeline.geodesics import make_geodesics
from spacetime_tps.pipeline.potential import load_pretrained
from spacetime_tps.pipeline.reactive import make_reactive
from spacetime_tps.pipeline.results import make_results
from spacetime_tps.pipeline.samples import make_samples, user_training_set
from spacetime_tps.pipeline.samples_of import read_samples_of, with_samples_of
from spacetime_tps.pipeline.summary import Summary, write_summary
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log
from spacetime_tps.records import Record
from spacetime_tps.runs import layout
from spacetime_tps.runs.beginning import check_output, prepared
from spacetime_tps.runs.context import StageReport, make_coordinates
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.inputs import check_sample_files, sample_files
from spacetime_tps.runs.layout import BEGINNING, TOPOLOGY
from spacetime_tps.runs.requests import check_options
from spacetime_tps.runs.trajectories import write_topology_pdb
from spacetime_tps.settings.estimate import check_estimate, estimate_run, estimate_surface_run
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.settings.samples import (
    FilesSettings,
    MolecularDynamicsSettings,
    OtherRunSettings,
    ReplicaExchangeSettings,
)
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.surface import SurfaceRunSettings
from spacetime_tps.surfaces.job import SurfaceSummary, run_surface
from spacetime_tps.surfaces.surface import Surface
from spacetime_tps.threads import one_thread
from spacetime_tps.writing import remove

STAGES: dict[str, Callable[[Run], StageReport[Record]]] = {
    "samples": make_samples,
    "denoiser": make_denoiser,
    "geodesics": make_geodesics,
    "paths": make_paths,
    "reactive": make_reactive,
    "results": make_results,
}


def run(
    system: str | Path,
    output: str | Path,
    *,
    seed: int | None = None,
    paths: int | None = None,
    config: str | Path | None = None,
    samples_of: str | Path | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
    trust_scripts: bool = False,
) -> Summary | SurfaceSummary:
    """Run the main job.

    Parameters
    ----------
    system : str or Path
        Name of a shipped system, or a ``system.yaml`` or its folder.
    output : str or Path
        Folder of the results.
    seed : int, optional
        By default 0, or with ``resume`` that of the run.
    paths : int, optional
        Number of annealed paths, in place of ``paths.count``.
    config : str or Path, optional
        YAML file with settings on top of the system's.
    samples_of : str or Path, optional
        Folder of another run of the molecule, whose samples are taken with their weights and temperature.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on after the last finished stage of the run in ``output``.
    overwrite : bool
        Remove the run in ``output`` first.
    executor : concurrent.futures.Executor, optional
        Where dynamics run in place of processes of this machine; see :class:`WorkerPool`.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    Summary
        What ``summary.json`` holds; of a run on a model surface a SurfaceSummary.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work), or a stage fails (finished stages are kept).
    """
    check_guard()
    output = Path(output)
    settings = load_settings(find_system(str(system)), Path(config) if config is not None else None)
    check_options({"paths": (paths, 1), "workers": (workers, 1), "seed": (seed, 0)})
    if paths is not None:
        settings = settings.model_copy(update={"paths": settings.paths.model_copy(update={"count": paths})})
    if isinstance(settings, SurfaceRunSettings) and resume:
        raise OutputError("a run on a model surface is one stage and cannot go on; take --overwrite to replace it")
    check_output(output, resume, overwrite)
    if samples_of is not None:
        settings = with_samples_of(settings, Path(samples_of))
    if isinstance(settings, SurfaceRunSettings):
        check_estimate(estimate_surface_run(settings))
        surface = Surface.from_settings(settings.surface)
        with prepared(output, settings, seed, resume, overwrite) as seed:
            return run_surface(surface, settings, output, seed)
    molecule = MolecularSystem.from_settings(settings.system, trust_scripts)
    coordinates = make_coordinates(settings, molecule)
    check_settings(settings, molecule, coordinates)
    with prepared(output, settings, seed, resume, overwrite) as seed:
        begun = Run(output, settings, seed, trust_scripts)
        begun.molecule, begun.coordinates = molecule, coordinates
        if not begun.is_finished(BEGINNING):
            started = time.perf_counter()
            positions = next(iter(molecule.structures.values()))
            write_topology_pdb(begun.path(TOPOLOGY), molecule.openmm_topology, positions)
            begun.finish(BEGINNING, started, results={"sample_files": sample_files(settings)})
        elif not begun.is_finished("samples"):
            check_sample_files(output, settings, begun.report(BEGINNING).results.get("sample_files", {}))
        log.info(
            "%s: %d atoms, %d latent coordinates, platform %s",
            molecule.name,
            molecule.topology.n_atoms,
            coordinates.dimension,
            molecule.platform,
        )
        with one_thread(), begun.workers(workers, executor):
            run_stages(begun)
        return write_summary(begun)


def run_stages(run: Run) -> None:
    """Run all stages that have not finished; those that have are checked."""
    run.check(BEGINNING)
    before = [BEGINNING]
    for name, stage in STAGES.items():
        if run.is_finished(name):
            run.check(name)
            log.info("%s: finished before", name)
        else:
            _run_stage(name, stage, run, before)
        before = [name]


def check_settings(settings: RunSettings, molecule: MolecularSystem, coordinates: Coordinates) -> None:
    """Refuse what would fail only after long work.

    Raises
    ------
    ConfigError
        If an interval is not a whole number of steps, the run is too large, or a region's variable is none of the
        model's dihedrals.
    MoleculeError
        If a region's variable cannot be computed from the model's atoms.
    GeometryError
        If a trained denoiser cannot be used.
    TrajectoryError
        If the user's trajectories cannot be used, or a state's structure has no latent vector.
    """
    check_estimate(estimate_run(settings, molecule.topology.n_atoms, coordinates.dimension))
    samples, step = settings.samples, molecule.time_step
    intervals = {
        "paths.length": settings.paths.length,
        "paths.frame_interval": settings.paths.frame_interval,
        "shooting.frame_interval": settings.shooting.frame_interval,
    }
    try:
        if isinstance(samples, ReplicaExchangeSettings):
            intervals["samples.exchange_interval"] = samples.exchange_interval
            every, name = samples.exchange_interval, "samples.frame_interval"
            whole_steps(samples.frame_interval, every, name, "exchange intervals")
        elif isinstance(samples, MolecularDynamicsSettings):
            intervals["samples.frame_interval"] = samples.frame_interval
        for name, value in intervals.items():
            whole_steps(value, step, name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if isinstance(samples, FilesSettings):
        user_training_set(samples, molecule)
    elif isinstance(samples, OtherRunSettings):
        read_samples_of(samples, molecule)
    pretrained = getattr(settings.denoiser, "pretrained", None)
    if pretrained is not None:
        load_pretrained(pretrained, molecule, coordinates)
    ends = np.stack([molecule.structures[state.structure] for state in molecule.states])
    centres = coordinates.decode(coordinates.encode(ends))
    if settings.geodesics.region is not None:
        for name in {settings.geodesics.region.collective_variable, *settings.geodesics.region.plane}:
            coordinates.values(molecule.variables[name], centres)


def _run_stage(name: str, stage: Callable[[Run], StageReport[Record]], run: Run, before: list[str]) -> None:
    """Run one stage from a clean slate, and write its report when it has finished."""
    for file in (*layout.STAGES[name], f"{layout.REPORTS}/{layout.REPORT.format(name)}"):
        remove(run.path(file))
    log.info("%s …", name)
    started = time.perf_counter()
    with run.keeping(name) if name != "samples" else nullcontext():
        done = stage(run)
    report = run.finish(name, started, done.evaluations, done.results.to_json(), before)
    evaluations = f"{sum(report.evaluations.values()):,}"
    log.info("%s: %.1f s, %s energy evaluations", name, report.wall_seconds, evaluations)
