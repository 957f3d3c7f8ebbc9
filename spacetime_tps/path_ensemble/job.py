"""The path sampling job: transition path sampling from the reactive trajectories of a run."""

from __future__ import annotations

import pathlib
import time
from functools import partial
from typing import cast

import numpy as np

from spacetime_tps.committor.model import read_committor_model
from spacetime_tps.dynamics.path_shape import check_path_shape
from spacetime_tps.dynamics.workers import Engine, Pool, WorkerPool
from spacetime_tps.errors import ConfigError, OutputError, TrajectoryError
from spacetime_tps.path_ensemble.checkpoint import Checkpoint
from spacetime_tps.path_ensemble.core import path_ensemble_result
from spacetime_tps.path_ensemble.moves import KINDS, MoveKind, Path, lost_move, try_move
from spacetime_tps.path_ensemble.results import SELECTIONS, MoveRow, PathEnsembleRequest, PathEnsembleResult, Selection
from spacetime_tps.path_ensemble.sampling import Chains, Sampler
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log, track
from spacetime_tps.runs import layout
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.requests import begun_folder, check_options, take_settings, working_on
from spacetime_tps.runs.trajectories import read_trr
from spacetime_tps.settings.jobs import job_settings
from spacetime_tps.writing import write_json, write_table

CHECKPOINT_SECONDS = 10.0


def sample_path_ensemble(
    run: str | pathlib.Path,
    *,
    moves: int = 100,
    move: str = "two_way",
    selection: str = "committor",
    chains: int = 8,
    keep_every: int = 10,
    config: str | pathlib.Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> PathEnsembleResult:
    """Sample the ensemble of transition paths of a run, and write ``path_ensemble/`` in its folder.

    Chains of moves begin at different reactive trajectories of the run. There are ``path_ensemble.json`` with
    acceptance, autocorrelation and costs; ``moves.csv`` with a row for each move of each chain and what the chain's
    path is after it; and the paths themselves: every ``keep_every``-th move the path of each chain, written once, and
    named in ``moves.csv``. Each row that names a path is a sample of the ensemble, also where it names the same one
    again. Interrupted work goes on exactly where it stopped.

    Parameters
    ----------
    run : str or Path
        Folder of a run that has its reactive trajectories.
    moves : int
        Of each chain, those done before included.
    move : str
        ``"two_way"``: fresh velocities, past and future anew; ``"one_way"``: old velocities, one of the two anew.
    selection : str
        Of the frame that is shot from: ``"committor"``, with weights p(1 − p) by the run's committor model, or
        ``"uniform"``.
    chains : int
        Each from another reactive trajectory.
    keep_every : int
    config : str or Path, optional
        YAML file with settings of this job in place of the run's: ``shooting.time_limit``.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with interrupted chains, or make finished ones longer. Without ``config`` they have the settings that they
        were begun with.
    overwrite : bool
        Replace an earlier ensemble.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    PathEnsembleResult
        What ``path_ensemble.json`` holds.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any long work).
    """
    check_guard()
    check_options({"moves": (moves, 1), "chains": (chains, 1), "keep-every": (keep_every, 1)})
    check_options({"workers": (workers, 1), "seed": (seed, 0)})
    for name, choice, known in (("move", move, KINDS), ("selection", selection, SELECTIONS)):
        if choice not in known:
            raise ConfigError(f"--{name} must be {' or '.join(known)}, not {choice!r}")
    started = time.perf_counter()
    opened = Run.open(run, "reactive", seed=seed, trust_scripts=trust_scripts)
    if not opened.files("reactive", layout.REACTIVE_FILES):
        raise OutputError(
            f"{opened.folder} has no reactive trajectory to begin with; run it with shooting.reactive above 0, and "
            f"look at {layout.SHOTS} for why no shot was reactive"
        )
    model = read_committor_model(opened)
    take_settings(opened, "path-ensemble", config, resume)
    request = PathEnsembleRequest(
        cast(MoveKind, move),
        cast(Selection, selection),
        chains,
        keep_every,
        seed=opened.base_seed,
        settings=job_settings(opened.settings, "path-ensemble"),
    )
    interval, box = opened.settings.shooting.frame_interval, opened.molecule.box
    with working_on(opened, "path-ensemble", request.to_json(), resume, overwrite) as folder:
        sampler = Sampler(
            opened.molecule, model, request, opened.settings.shooting, partial(opened.seed, "path_ensemble")
        )
        if not resume:
            begun = sampler.begin(_first_paths(opened, sampler))
            with begun_folder(folder, request.to_json()) as new:
                Checkpoint.begin(new, interval, box).save(begun, 0.0)
        checkpoint, state, seconds = Checkpoint.load(folder, interval, box)
        with WorkerPool(Engine.for_system(opened.molecule, ()), workers) as pool:
            state, seconds = _sample(pool, sampler, checkpoint, state, moves, seconds)
        rows, variables = checkpoint.rows, opened.molecule.variables
        result = path_ensemble_result(
            opened.molecule.name, request, rows, variables, sampler.max_duration, state.stored, seconds
        )
        _tell(result)
        write_table(folder / layout.ENSEMBLE_MOVES, [_table_row(row) for row in rows])
        write_json(folder / layout.ENSEMBLE_RESULTS, result.to_json())
        opened.finish("path-ensemble", started, {"path_ensemble": result.evaluations}, after=["reactive"])
    return result


def _first_paths(run: Run, sampler: Sampler) -> list[Path]:
    """Reactive trajectories spread over those of the run, one for each chain.

    Raises
    ------
    ConfigError
        If there are fewer trajectories than chains.
    TrajectoryError
        If a trajectory is not a path of this ensemble.
    """
    files, chains = run.files("reactive", layout.REACTIVE_FILES), sampler.request.chains
    places = np.linspace(0, len(files) - 1, chains).round().astype(int).tolist()
    if len(set(places)) < chains:
        raise ConfigError(
            f"--chains: {chains} chains need as many reactive trajectories to begin with, and the run has "
            f"{len(files)}; take fewer chains, or a new run with a larger shooting.reactive"
        )
    return [_first_path(files[place], sampler) for place in places]


def _first_path(file: pathlib.Path, sampler: Sampler) -> Path:
    positions, velocities, times = read_trr(file)
    interval = sampler.shooting.frame_interval
    if velocities is None:
        raise TrajectoryError(f"{file} has no velocities, which paths need; give trajectories of the run's stage")
    check_path_shape(sampler.molecule.states, positions, str(file))
    if not np.allclose(np.diff(times), interval, rtol=1e-3):
        raise TrajectoryError(
            f"{file}: its frames are {np.diff(times).mean():.4g} ps apart, and shooting.frame_interval is "
            f"{interval:g} ps; paths need frames at that interval"
        )
    if len(positions) > sampler.max_frames:
        raise TrajectoryError(
            f"{file} lasts {times[-1] - times[0]:g} ps, longer than any path may be "
            f"({sampler.max_duration:g} ps, from shooting.time_limit); take a longer one in a file for --config"
        )
    return Path.first(positions, velocities, sampler.selecting)


def _sample(
    pool: Pool, sampler: Sampler, checkpoint: Checkpoint, chains: Chains, moves: int, seconds: float
) -> tuple[Chains, float]:
    """Move all chains on until each has made so many moves; what is finished is kept whatever happens.

    The wall time of all moves, ``seconds`` of which were spent before, is returned too.
    """
    begun = saved = time.perf_counter()
    spent = seconds
    try:
        for _ in track(range(chains.done, moves), "path sampling", moves - chains.done):
            chains = sampler.advance(chains, list(pool.map(try_move, sampler.moves(chains), lost=lost_move)))
            now = time.perf_counter()
            spent = seconds + now - begun
            if now - saved > CHECKPOINT_SECONDS:
                chains, saved = checkpoint.save(chains, spent), now
    finally:
        chains = checkpoint.save(chains, spent)
    return chains, spent


def _tell(result: PathEnsembleResult) -> None:
    count = sum(result.verdicts.values())
    too_long = result.verdicts.get("too_long", 0)
    if too_long > 0.01 * count:
        log.warning(
            "%d of %d trial paths were longer than %g ps and were rejected: the ensemble lacks long paths; take a "
            "longer shooting.time_limit in a file for --config, with --overwrite",
            *(too_long, count, result.max_duration_ps),
        )


def _table_row(row: MoveRow) -> dict[str, object]:
    """A line of ``moves.csv``; a column for each variable holds its value at the crossing."""
    cells = row.to_json() | {"duration_ps": f"{row.duration_ps:.4f}", "decorrelated": int(row.decorrelated)}
    del cells["crossings"]
    return cells | {f"crossing_{name}": f"{value:.5f}" for name, value in row.crossings.items()}
