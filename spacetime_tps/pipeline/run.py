"""The main job: from two structures and a force field to unbiased reactive trajectories."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Callable
from concurrent.futures import Executor
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from spacetime_tps.coordinates import Coordinates
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.pipeline.annealed_paths import make_paths
from spacetime_tps.pipeline.denoiser import make_denoiser
from spacetime_tps.pipeline.geodesics import make_geodesics
from spacetime_tps.pipeline.potential import CHECKPOINT, load_pretrained
from spacetime_tps.pipeline.reactive import make_reactive
from spacetime_tps.pipeline.results import make_results, write_summary
from spacetime_tps.pipeline.samples import make_samples, user_training_set
from spacetime_tps.progress import log
from spacetime_tps.runs.context import RunContext, StageReport, make_coordinates, report_path
from spacetime_tps.runs.trajectories import write_topology_pdb
from spacetime_tps.settings.denoiser import Settings
from spacetime_tps.settings.files import load_settings, read_yaml
from spacetime_tps.settings.run import FilesSettings, ReplicaExchangeSettings, RunSettings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.surface import SurfaceRunSettings
from spacetime_tps.surfaces.job import run_surface
from spacetime_tps.surfaces.surface import Surface

STAGES: dict[str, Callable[[RunContext], StageReport]] = {
    "samples": make_samples,
    "denoiser": make_denoiser,
    "geodesics": make_geodesics,
    "paths": make_paths,
    "reactive": make_reactive,
    "results": make_results,
}
_STAGE_FILES: dict[str, tuple[str, ...]] = {
    "samples": ("samples",),
    "denoiser": ("denoiser.safetensors",),
    "geodesics": ("geodesics",),
    "paths": ("paths", "paths_region_avoiding"),
    "reactive": ("reactive",),
    "results": ("figures", "summary.json"),
}
_PACKAGES = ("spacetime-tps", "openmm", "mdtraj", "torch", "numpy", "scipy", "scikit-learn")


def run(
    system: str | Path,
    output: str | Path,
    *,
    seed: int | None = None,
    paths: int | None = None,
    config: str | Path | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    executor: Executor | None = None,
) -> dict[str, Any]:
    """Run the main job.

    Scripts that call this need an ``if __name__ == "__main__":`` guard, for it starts worker processes.

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
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on after the last finished stage of the run in ``output``.
    overwrite : bool
        Remove the run in ``output`` first.
    executor : concurrent.futures.Executor, optional
        Where dynamics run in place of processes of this machine; see :class:`WorkerPool`.

    Returns
    -------
    dict
        What ``summary.json`` holds.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work), or a stage fails (finished stages are kept).
    """
    output = Path(output)
    settings = load_settings(find_system(str(system)), Path(config) if config is not None else None)
    for name, number in (("--paths", paths), ("--workers", workers)):
        if number is not None and number < 1:
            raise ConfigError(f"{name} must be at least 1, not {number}")
    if seed is not None and seed < 0:
        raise ConfigError(f"--seed must not be negative, not {seed}")
    if paths is not None:
        settings = settings.model_copy(update={"paths": settings.paths.model_copy(update={"count": paths})})
    if isinstance(settings, SurfaceRunSettings):
        if resume:
            raise OutputError("a run on a model surface is one stage and cannot go on; take --overwrite to replace it")
        surface = Surface.from_settings(settings.surface)
        return run_surface(surface, settings, output, _prepare_output(output, settings, seed, resume, overwrite))
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    check_settings(settings, molecule, coordinates)
    seed = _prepare_output(output, settings, seed, resume, overwrite)
    (output / "stages").mkdir(exist_ok=True)
    positions = next(iter(molecule.structures.values()))
    write_topology_pdb(output / "topology.pdb", molecule.openmm_topology, positions)
    torch.set_num_threads(1)

    log.info(
        "%s: %d atoms, %d latent coordinates, platform %s",
        molecule.name,
        molecule.topology.n_atoms,
        coordinates.dimension,
        molecule.platform,
    )
    with WorkerPool(Engine.for_system(molecule, coordinates.atoms), workers, executor) as pool:
        for index, (name, stage) in enumerate(STAGES.items()):
            if report_path(output, name).is_file():
                log.info("%s: finished before", name)
                continue
            context = RunContext(settings, molecule, coordinates, output, pool, np.random.SeedSequence([seed, index]))
            _run_stage(name, stage, context)
    reports = {name: json.loads(report_path(output, name).read_text()) for name in STAGES}
    return write_summary(output, reports, {"system": molecule.name, "seed": seed, "platform": molecule.platform})


def check_settings(settings: RunSettings, molecule: MolecularSystem, coordinates: Coordinates) -> None:
    """Refuse what would fail only after long work.

    Raises
    ------
    ConfigError
        If an interval is not a whole number of steps, or a region's variable is none of the model's dihedrals.
    MoleculeError
        If a region's variable cannot be computed from the model's atoms.
    GeometryError
        If a trained denoiser cannot be used.
    TrajectoryError
        If the user's trajectories cannot be used, or a state's structure has no latent vector.
    """
    samples, step = settings.samples, molecule.time_step
    intervals = {
        "paths.length": settings.paths.length,
        "paths.frame_interval": settings.paths.frame_interval,
        "shooting.frame_interval": settings.shooting.frame_interval,
    }
    try:
        if isinstance(samples, ReplicaExchangeSettings):
            intervals["samples.exchange_interval"] = samples.exchange_interval
            whole_steps(samples.frame_interval, samples.exchange_interval, "samples.frame_interval")
        elif not isinstance(samples, FilesSettings):
            intervals["samples.frame_interval"] = samples.frame_interval
        for name, value in intervals.items():
            whole_steps(value, step, name)
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if isinstance(samples, FilesSettings):
        user_training_set(samples, molecule)
    pretrained = getattr(settings.denoiser, "pretrained", None)
    if pretrained is not None:
        load_pretrained(pretrained, molecule, coordinates)
    ends = np.stack([molecule.structures[state.structure] for state in molecule.states])
    centres = coordinates.decode(coordinates.encode(ends))
    if settings.geodesics.region is not None:
        for name in {settings.geodesics.region.collective_variable, *settings.geodesics.region.plane}:
            coordinates.values(molecule.variables[name], centres)


def _prepare_output(output: Path, settings: Settings, seed: int | None, resume: bool, overwrite: bool) -> int:
    """Make the output directory ready and return the seed of the run."""
    if resume and overwrite:
        raise OutputError("--resume and --overwrite exclude each other")
    if not str(output.resolve()).isascii():
        raise OutputError(f"{output.resolve()}: trajectory files cannot be written below a path that is not ASCII")
    config = output / "config.yaml"
    if output.exists() and not output.is_dir():
        raise OutputError(f"{output} is not a directory")
    if config.is_file() and resume:
        return _check_same_run(config, settings, seed)
    if config.is_file() and not overwrite:
        raise OutputError(f"{output} already holds a run; take --resume to go on with it or --overwrite to replace it")
    if resume:
        raise OutputError(f"{output} holds no run to resume (it has no config.yaml)")
    if output.is_dir() and not config.is_file() and any(output.iterdir()):
        raise OutputError(f"{output} is not empty and holds no run of ours; choose another directory")
    output.mkdir(parents=True, exist_ok=True)
    _remove(
        output,
        [
            *("config.yaml", "topology.pdb", "stages", CHECKPOINT),
            *("calibration", "committor", "free_energy", "path_ensemble", "export"),
            *(name for names in _STAGE_FILES.values() for name in names),
        ],
    )
    seed = 0 if seed is None else seed
    content = settings.model_dump(mode="json", exclude_none=True) | {"seed": seed, "versions": _versions()}
    config.write_text(yaml.safe_dump(content, sort_keys=False))
    return seed


def _check_same_run(config: Path, settings: Settings, seed: int | None) -> int:
    before = read_yaml(config)
    used_seed, versions = int(before.pop("seed")), before.pop("versions")
    different = _differences(before, settings.model_dump(mode="json", exclude_none=True))
    if seed is not None and seed != used_seed:
        different.append("seed")
    if different:
        raise OutputError(
            f"cannot resume {config.parent}: these settings are not those of the run: {', '.join(different)}; "
            "give the same ones, or take another directory"
        )
    if versions != _versions():
        log.warning("resuming with other package versions than the run was begun with: results may differ")
    return used_seed


def _differences(before: Any, after: Any, prefix: str = "") -> list[str]:
    """Names of the keys whose values differ."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = sorted(before.keys() | after.keys())
        return [
            name
            for key in keys
            for name in _differences(before.get(key), after.get(key), f"{prefix}.{key}" if prefix else key)
        ]
    return [] if before == after else [prefix]


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in _PACKAGES}


def _remove(output: Path, names: list[str]) -> None:
    for name in names:
        path = output / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _run_stage(name: str, stage: Callable[[RunContext], StageReport], context: RunContext) -> None:
    """Run one stage from a clean slate, and write its report when it has finished."""
    _remove(context.output, list(_STAGE_FILES[name]))
    log.info("%s …", name)
    start = time.perf_counter()
    report = stage(context)
    seconds = time.perf_counter() - start
    content = {"wall_seconds": seconds, "evaluations": report.evaluations, "results": report.results}
    path = report_path(context.output, name)
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(content, indent=2) + "\n")
    partial.replace(path)
    log.info("%s: %.1f s, %s energy evaluations", name, seconds, f"{sum(report.evaluations.values()):,}")
