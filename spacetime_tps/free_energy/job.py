"""The free-energy job: ΔF between the states of a run and the profile along one of its geodesics."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from spacetime_tps.dynamics.springs import set_springs
from spacetime_tps.free_energy.core import (
    annealing_estimate,
    end_corrections,
    equilibrium_ends,
    reduce_frames,
    replica_estimate,
    window_estimate,
)
from spacetime_tps.free_energy.figure import free_energy_figure
from spacetime_tps.free_energy.results import FreeEnergyResult
from spacetime_tps.free_energy.sampling import anneal_both_ways, read_ladder, sample_series
from spacetime_tps.free_energy.series import make_series
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log
from spacetime_tps.runs import layout
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import need_geodesic
from spacetime_tps.runs.requests import begun_folder, check_options, take_settings, working_on
from spacetime_tps.settings.jobs import job_settings
from spacetime_tps.threads import one_thread
from spacetime_tps.writing import replacing, write_json, write_table


def compute_free_energy(
    run: str | Path,
    *,
    curve: str = "low_variance",
    windows: int = 48,
    frames: int = 200,
    paths: int = 32,
    config: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> FreeEnergyResult:
    """ΔF(A → B) between a run's states by windows along a geodesic and by annealing, at the run's own temperature.

    Writes ``free_energy/`` in its folder: ``free_energy.json`` with everything, ``profile.csv`` with a row for each
    window on the curve, ``overlap.csv`` with MBAR's overlap matrix, ``free_energy.png``, and the frames of the windows
    by sweep, ``sweep_*.npy`` (windows, frames, atoms, 3) in nm.

    Parameters
    ----------
    run : str or Path
        Folder of a run that has its geodesics.
    curve : str
        Name of a stored geodesic.
    windows : int
        On the curve; those that lead from its ends to the free states come on top.
    frames : int
        Of each sweep in a window; ``free_energy`` in the settings says how far apart they are.
    paths : int
        Annealed along the curve, as many there and as many back.
    config : str or Path, optional
        YAML file with settings of this job in place of the run's: all of ``free_energy``, and
        ``paths.length``.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with an interrupted one that was asked for the same. Without ``config`` it has the settings that it was
        begun with.
    overwrite : bool
        Replace earlier free energies.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    FreeEnergyResult
        Its ``windows``, ``annealing`` and ``replica_exchange`` (None if the run has none) have ``value`` and ``error``
        in kJ/mol, and more.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work), a simulation fails, or neighbouring windows do not overlap.
    """
    check_guard()
    least = {"windows": (windows, 2), "frames": (frames, 10), "paths": (paths, 2), "workers": (workers, 1)}
    check_options(least | {"seed": (seed, 0)})
    started = time.perf_counter()
    opened = Run.open(run, "samples", "geodesics", seed=seed, trust_scripts=trust_scripts)
    geodesic = need_geodesic(opened, curve)
    take_settings(opened, "free-energy", config, resume)
    effective = job_settings(opened.settings, "free-energy")
    request = {"curve": curve, "windows": windows, "frames": frames, "paths": paths, "seed": opened.base_seed}
    request["settings"] = effective
    with working_on(opened, "free-energy", request, resume, overwrite) as folder, one_thread():
        ladder = read_ladder(opened)
        if not resume:
            with begun_folder(folder, request):
                pass
        with opened.workers(workers):
            molecule, settings = opened.molecule, opened.settings.free_energy
            schedule = set_springs(
                opened.coordinates,
                geodesic.schedule,
                geodesic.mean,
                opened.settings.samples.model_temperature,
                molecule.temperature,
                settings.narrowing,
            )
            series = make_series(schedule, windows, settings)
            sampled = sample_series(opened, series, frames, opened.seed("windows"), f"windows, {curve}", folder)
            reduced = reduce_frames(molecule.states, opened.coordinates, series, sampled.positions)
            by_windows = window_estimate(
                molecule.states,
                molecule.kt,
                series,
                reduced,
                settings.least_overlap,
                settings.least_independent_frames,
                np.random.default_rng(opened.seed("windows bootstrap")),
            )
            ends = end_corrections(molecule.kt, series, reduced)
            starts = equilibrium_ends(series, sampled.positions)
            with opened.keeping("free-energy"):
                works = anneal_both_ways(opened, schedule, starts, paths, opened.seed("annealing"))
        bootstrap_rng = np.random.default_rng(opened.seed("replica_exchange bootstrap"))
        by_exchange = None if ladder is None else replica_estimate(ladder, molecule.kt, bootstrap_rng)
        result = FreeEnergyResult(
            system=molecule.name,
            states=(molecule.states[0].name, molecule.states[1].name),
            temperature=molecule.temperature,
            curve=curve,
            seed=opened.base_seed,
            sweeps=settings.sweeps,
            frames=frames,
            evaluations={"windows": sampled.evaluations, "annealing": works.evaluations},
            windows=by_windows,
            annealing=annealing_estimate(molecule.kt, works.there, works.back, ends),
            replica_exchange=by_exchange,
            settings=effective,
        )
        for method, estimate in result.estimates.items():
            log.info("ΔF(%s → %s) by %s: %.2f ± %.2f kJ/mol", *result.states, method, estimate.value, estimate.error)
        _write(folder, result)
        opened.finish("free-energy", started, result.evaluations, after=["samples", "geodesics"])
    return result


def _write(folder: Path, result: FreeEnergyResult) -> None:
    """Tables and figures; ``free_energy.json`` comes last, when all the others are there."""
    write_table(folder / layout.FREE_ENERGY_PROFILE, [row.to_json() for row in result.windows.profile])
    with replacing(folder / layout.FREE_ENERGY_OVERLAP) as partial:
        np.savetxt(partial, result.windows.overlap, fmt="%.6f", delimiter=",")
    free_energy_figure(folder / layout.FREE_ENERGY_FIGURE, result)
    write_json(folder / layout.FREE_ENERGY_RESULTS, result.to_json())
