"""The committor job: p_B of frames by shots, and those near one half as the transition state ensemble."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.committor.candidates import OWN, ChosenFrames, choose_frames, predicted_committors
from spacetime_tps.committor.core import committor_result, decided_shots, frame_committors
from spacetime_tps.committor.figure import committor_figure
from spacetime_tps.committor.results import CommittorRequest, CommittorResult, ShotRow
from spacetime_tps.committor.shots import commit, lost_commitment
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.shooting import Shot
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, Pool, WorkerPool
from spacetime_tps.errors import OutputError
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log, track
from spacetime_tps.runs import layout
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.runs.requests import begun_folder, check_band, check_options, take_settings, working_on
from spacetime_tps.runs.trajectories import read_trr, write_hdf5, write_trr
from spacetime_tps.settings.jobs import job_settings
from spacetime_tps.writing import remove, write_json, write_table

MAX_FRAMES = 40
"""Frames that are taken of the run's own trajectories if not told."""


def measure_committor(
    run: str | Path,
    *,
    source: str | Path = "model",
    shots: int = 50,
    max_frames: int | None = None,
    band: tuple[float, float] | None = None,
    config: str | Path | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> CommittorResult:
    """Committor p_B of frames by unbiased shots, and those within a band as a trajectory, in ``committor/`` of a run.

    There are ``committor.json`` and ``committor.csv`` with a row for each frame, ``shots.csv`` with every shot,
    ``frames.trr`` with all frames, ``transition_states.trr`` and ``.h5`` with those whose p_B is within the band, and
    ``committor.png``. A frame in A has p_B = 0 and one in B 1, without shots.

    Parameters
    ----------
    run : str or Path
        Folder of a run of a molecule.
    source : str or Path
        Where the frames come from. ``"model"``: frames of the run's reactive trajectories that its committor
        model puts within the band; ``"reactive"``: any of their frames between the states; else a trajectory file.
    shots : int
        Of each frame.
    max_frames : int, optional
        Frames at most, drawn at random; by default :data:`MAX_FRAMES` of the run's own, and all of a file.
    band : tuple of float, optional
        Lowest and highest p_B of the transition state ensemble, in place of ``committor.band``.
    config : str or Path, optional
        YAML file with settings of this job in place of the run's: all of ``committor``, and ``time_limit`` and
        ``frame_interval`` of ``shooting``.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with an interrupted one that was asked for the same. Without ``config`` it has the settings that it was
        begun with.
    overwrite : bool
        Replace an earlier one.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    CommittorResult
        What ``committor.json`` holds.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any shot).
    """
    check_guard()
    check_options({"shots": (shots, 1), "max-frames": (max_frames, 1), "workers": (workers, 1), "seed": (seed, 0)})
    check_band(band)
    started = time.perf_counter()
    own = str(source) in OWN
    opened = Run.open(run, *(["reactive"] if own else []), seed=seed, trust_scripts=trust_scripts)
    take_settings(opened, "committor", config, resume)
    if band is not None:
        asked = opened.settings.committor.model_copy(update={"band": (float(band[0]), float(band[1]))})
        opened.settings = opened.settings.model_copy(update={"committor": asked})
    request = CommittorRequest(
        source=str(source) if own else str(Path(source).resolve()),
        shots=shots,
        max_frames=MAX_FRAMES if own and max_frames is None else max_frames,
        band=opened.settings.committor.band,
        confidence=opened.settings.committor.confidence,
        seed=opened.base_seed,
        settings=job_settings(opened.settings, "committor"),
    )
    with working_on(opened, "committor", request.to_json(), resume, overwrite) as folder:
        chosen = _load_frames(opened) if resume else _begin(opened, request)
        molecule = opened.molecule
        states = state_indices(molecule.states, chosen.positions)
        with WorkerPool(Engine.for_system(molecule, ()), workers) as pool:
            rows = _shoot(folder / layout.COMMITTOR_JOURNAL, pool, _tasks(opened, chosen, states, shots))
        predicted = predicted_committors(opened, chosen.positions)
        a, b = (state.name for state in molecule.states)
        frames = frame_committors(chosen, states, predicted, rows, (a, b), request.confidence)
        seed_of_test = opened.seed("committor histogram")
        result = committor_result(molecule.name, molecule.temperature, request, frames, rows, seed_of_test)
        _tell((a, b), result, rows)
        _write(folder, molecule, chosen, result, rows)
        opened.finish("committor", started, {"shooting": result.evaluations}, after=[layout.BEGINNING])
    return result


def _begin(run: Run, request: CommittorRequest) -> ChosenFrames:
    """A folder with the chosen frames and nothing else, in place of an earlier one."""
    chosen = choose_frames(run, request, np.random.default_rng(run.seed("committor frames")))
    with begun_folder(run.path(layout.COMMITTOR), request.to_json()) as partial:
        number = np.arange(len(chosen.index), dtype=float)
        write_trr(partial / layout.CHOSEN_FRAMES, chosen.positions, None, number, run.molecule.box)
        rows = [{"source": str(s), "index": int(i)} for s, i in zip(chosen.source, chosen.index, strict=True)]
        digest = asdict(FileDigest.of(partial / layout.CHOSEN_FRAMES))
        write_json(partial / layout.CHOSEN_FRAMES_TABLE, {"frames": rows, "file": digest})
    return chosen


def _load_frames(run: Run) -> ChosenFrames:
    """The frames that were chosen when the job was begun.

    Raises
    ------
    OutputError
        If a file is missing or damaged.
    """
    folder = run.path(layout.COMMITTOR)
    path, trajectory = folder / layout.CHOSEN_FRAMES_TABLE, folder / layout.CHOSEN_FRAMES
    try:
        content = json.loads(path.read_bytes())
        rows, digest = content["frames"], FileDigest(**content["file"])
        source, index = np.array([row["source"] for row in rows]), np.array([int(row["index"]) for row in rows])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"{path} is missing or damaged ({error}); take --overwrite to begin anew") from error
    if not trajectory.is_file() or FileDigest.of(trajectory) != digest:
        raise OutputError(
            f"{trajectory} is missing, or not the file that {path} tells of; take --overwrite to begin anew"
        )
    positions, _, _ = read_trr(trajectory)
    return ChosenFrames(positions, source, index)


def _tasks(run: Run, chosen: ChosenFrames, states: NDArray[np.intp], shots: int) -> dict[tuple[int, int], Shot]:
    """Shots by frame and number; each has a seed of its own. There are none of frames in a state."""
    molecule, settings = run.molecule, run.settings.shooting
    frame_steps = whole_steps(settings.frame_interval, molecule.time_step, "shooting.frame_interval")
    return {
        (frame, shot): Shot(
            positions=chosen.positions[frame],
            temperature=molecule.temperature,
            time_step=molecule.time_step,
            frame_steps=frame_steps,
            max_frames=max(1, round(settings.time_limit / settings.frame_interval)),
            seed=run.seed("committor shots", frame, shot),
        )
        for frame in np.flatnonzero(states < 0).tolist()
        for shot in range(shots)
    }


def _shoot(path: Path, pool: Pool, tasks: Mapping[tuple[int, int], Shot]) -> list[ShotRow]:
    """Rows of every shot; those that are not in the journal yet are run, and written there as they come."""
    journal = Journal.read(path)
    done = {(row.frame, row.shot): row for row in journal.rows(ShotRow.from_json)}
    left = {key: task for key, task in tasks.items() if key not in done}
    if done:
        log.info("%d of %d shots are there already", len(done), len(tasks))
    with journal.appending() as appender:
        shot = pool.map(commit, list(left.values()), lost=lost_commitment)
        for (frame, number), end in zip(left, track(shot, "committor", len(left)), strict=True):
            failure = " ".join((end.failure or "").split())
            row = ShotRow(frame, number, end.outcome, round(end.time, 4), end.evaluations, failure)
            appender.add(row.to_json())
            done[frame, number] = row
    return [done[key] for key in tasks]


def _tell(state_names: tuple[str, str], result: CommittorResult, shots: Sequence[ShotRow]) -> None:
    inside, none, failed = result.in_a_state, result.outcomes["none"], result.outcomes["failed"]
    if inside:
        log.warning("%d frames lie in a state: their p_B is 0 (%s) or 1 (%s) without shots", inside, *state_names)
    if none:
        log.warning(
            "%d of %d shots reached no state in time; take a longer shooting.time_limit in a file for --config, with "
            "--overwrite",
            *(none, len(shots)),
        )
    if failed:
        first = next(shot for shot in shots if shot.outcome == "failed")
        where = (first.frame, first.failure)
        log.error("%d of %d shots failed, the first from frame %s: %s", failed, len(shots), *where)
    test = result.histogram
    if test is not None:
        log.info(
            "p_B of %d frames: mean %.3f ± %.3f, spread %.3f without the noise of counting; %d transition states",
            *(test.frames, test.mean, test.mean_error, test.standard_deviation),
            len(result.transition_states),
        )


def _write(
    folder: Path, molecule: MolecularSystem, chosen: ChosenFrames, result: CommittorResult, shots: Sequence[ShotRow]
) -> None:
    write_table(folder / layout.COMMITTOR_TABLE, [row.to_json() for row in result.frames])
    rows = [row.to_json() | {"time_ps": f"{row.time_ps:.4f}"} for row in shots]
    write_table(folder / layout.COMMITTOR_SHOTS, rows, [field.name for field in fields(ShotRow)])
    frames = np.array(result.transition_states, dtype=int)
    for name in (layout.TRANSITION_STATES_FILE, layout.TRANSITION_STATES_HDF5):
        remove(folder / name)
    if len(frames):
        positions, number = chosen.positions[frames], frames.astype(float)
        write_trr(folder / layout.TRANSITION_STATES_FILE, positions, None, number, molecule.box)
        write_hdf5(folder / layout.TRANSITION_STATES_HDF5, molecule.trajectory(positions, number))
    reached_b, decided = decided_shots(result.frames)
    told = decided > 0
    if told.any():
        title = f"{molecule.name}: committor of {told.sum()} frames at {molecule.temperature:g} K"
        committor_figure(folder / layout.COMMITTOR_FIGURE, reached_b[told], decided[told], result.histogram, title)
    write_json(folder / layout.COMMITTOR_RESULTS, result.to_json())
