"""The committor job: p_B of frames by shots, and those near one half as the transition state ensemble."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.committor.candidates import OWN, ChosenFrames, choose_frames, predicted_committors
from spacetime_tps.committor.figure import committor_figure
from spacetime_tps.committor.shots import commit, lost_commitment
from spacetime_tps.committor.statistics import HistogramTest, histogram_test
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.shooting import Shot
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, Pool, WorkerPool
from spacetime_tps.errors import OutputError
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log, track
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.layout import BEGINNING, COMMITTOR
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.runs.requests import begun_folder, check_band, check_options, working_on
from spacetime_tps.runs.trajectories import read_trr, write_hdf5, write_trr
from spacetime_tps.statistics.intervals import wilson_interval
from spacetime_tps.writing import remove, write_json, write_table

JOURNAL = "shots.jsonl"
FRAMES = "frames.json"
MAX_FRAMES = 40
"""Frames that are taken of the run's own trajectories if not told."""

_SHOT_COLUMNS = ("frame", "shot", "outcome", "time_ps", "evaluations", "failure")


def measure_committor(
    run: str | Path,
    *,
    source: str | Path = "model",
    shots: int = 50,
    max_frames: int | None = None,
    band: tuple[float, float] | None = None,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> dict[str, Any]:
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
        Lowest and highest p_B of the transition state ensemble, in place of ``committor.band`` of the settings.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with an interrupted one that was asked for the same.
    overwrite : bool
        Replace an earlier one.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    dict
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
    request: dict[str, Any] = {
        "source": str(source) if own else str(Path(source).resolve()),
        "shots": shots,
        "max_frames": MAX_FRAMES if own and max_frames is None else max_frames,
        "band": list(opened.settings.committor.band if band is None else band),
        "confidence": opened.settings.committor.confidence,
        "seed": opened.base_seed,
    }
    with working_on(opened, "committor", request, resume, overwrite) as folder:
        chosen = _load_frames(opened) if resume else _begin(opened, request)
        states = state_indices(opened.molecule.states, chosen.positions)
        tasks = _tasks(opened, chosen, states, shots)
        with WorkerPool(Engine.for_system(opened.molecule, ()), workers) as pool:
            done = _shoot(folder / JOURNAL, pool, tasks)
        rows = _frame_rows(opened, chosen, states, done)
        test = _test(rows, opened.seed("committor histogram"))
        results = _results(opened.molecule, request, rows, done, test)
        _tell(opened.molecule, results, done)
        _write(folder, opened.molecule, chosen, results, done, test)
        opened.finish("committor", started, {"shooting": results["evaluations"]}, after=[BEGINNING])
    return results


def _begin(run: Run, request: dict[str, Any]) -> ChosenFrames:
    """A folder with the chosen frames and nothing else, in place of an earlier one."""
    chosen = choose_frames(run, request, np.random.default_rng(run.seed("committor frames")))
    with begun_folder(run.path(COMMITTOR), request) as partial:
        write_trr(partial / "frames.trr", chosen.positions, None, np.arange(len(chosen.index), dtype=float))
        rows = [{"source": str(s), "index": int(i)} for s, i in zip(chosen.source, chosen.index, strict=True)]
        write_json(partial / FRAMES, {"frames": rows, "file": asdict(FileDigest.of(partial / "frames.trr"))})
    return chosen


def _load_frames(run: Run) -> ChosenFrames:
    """The frames that were chosen when the job was begun.

    Raises
    ------
    OutputError
        If a file is missing or damaged.
    """
    path, trajectory = run.path(COMMITTOR) / FRAMES, run.path(COMMITTOR) / "frames.trr"
    try:
        content = json.loads(path.read_bytes())
        rows, digest = content["frames"], FileDigest(**content["file"])
        source, index = np.array([row["source"] for row in rows]), np.array([int(row["index"]) for row in rows])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise OutputError(f"{path} is missing or damaged ({error}); take --overwrite to begin anew") from error
    if not trajectory.is_file() or FileDigest.of(trajectory) != digest:
        raise OutputError(f"{trajectory} is missing or damaged; take --overwrite to begin anew")
    positions, _, _ = read_trr(trajectory)
    return ChosenFrames(positions, source, index)


def _tasks(run: Run, chosen: ChosenFrames, states: np.ndarray, shots: int) -> dict[tuple[int, int], Shot]:
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


def _shoot(path: Path, pool: Pool, tasks: Mapping[tuple[int, int], Shot]) -> list[dict[str, str]]:
    """Rows of every shot; those that are not in the journal yet are run, and written there as they come."""
    journal = Journal.read(path)
    done = {(int(row["frame"]), int(row["shot"])): row for row in journal.records}
    left = {key: task for key, task in tasks.items() if key not in done}
    if done:
        log.info("%d of %d shots are there already", len(done), len(tasks))
    with journal.appending() as appender:
        shot = pool.map(commit, list(left.values()), lost=lost_commitment)
        for (frame, number), result in zip(left, track(shot, "committor", len(left)), strict=True):
            row = {
                "frame": str(frame),
                "shot": str(number),
                "outcome": result.outcome,
                "time_ps": f"{result.time:.4f}",
                "evaluations": str(result.evaluations),
                "failure": " ".join((result.failure or "").split()),
            }
            appender.add(row)
            done[frame, number] = row
    return [done[key] for key in tasks]


def _frame_rows(
    run: Run, chosen: ChosenFrames, states: np.ndarray, shots: Sequence[Mapping[str, str]]
) -> list[dict[str, Any]]:
    predicted = predicted_committors(run, chosen.positions)
    by_frame: dict[int, list[Mapping[str, str]]] = {frame: [] for frame in range(len(states))}
    for shot in shots:
        by_frame[int(shot["frame"])].append(shot)
    return [
        {"frame": frame, "source": str(chosen.source[frame]), "index": int(chosen.index[frame])}
        | {"predicted": float(predicted[frame]) if np.isfinite(predicted[frame]) else None}
        | _of_frame(run.molecule, int(states[frame]), of_frame, run.settings.committor.confidence)
        for frame, of_frame in by_frame.items()
    ]


def _of_frame(
    molecule: MolecularSystem, state: int, shots: Sequence[Mapping[str, str]], confidence: float
) -> dict[str, Any]:
    """Counts, p_B among decided shots, and its interval, for which any other shot may have gone either way."""
    outcomes = [shot["outcome"] for shot in shots]
    a, b = outcomes.count("A"), outcomes.count("B")
    p_b = b / (a + b) if a + b else None
    low = float(wilson_interval(b, len(shots), confidence)[0])
    high = float(wilson_interval(len(shots) - a, len(shots), confidence)[1])
    if state >= 0:
        p_b = low = high = float(state)
    times = [float(shot["time_ps"]) for shot in shots if shot["outcome"] in ("A", "B")]
    return {
        "state": molecule.states[state].name if state >= 0 else None,
        "shots": len(shots),
        "reached_a": a,
        "reached_b": b,
        "undecided": outcomes.count("none"),
        "failed": outcomes.count("failed"),
        "p_b": p_b,
        "low": low,
        "high": high,
        "mean_time_ps": float(np.mean(times)) if times else None,
    }


def _decided(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Shots that reached B, and all that reached a state, of each frame that was shot from; shape (frames, 2)."""
    counts = [(row["reached_b"], row["reached_a"] + row["reached_b"]) for row in rows if row["state"] is None]
    return np.array(counts).reshape(-1, 2)


def _test(rows: Sequence[Mapping[str, Any]], seed: np.random.SeedSequence) -> HistogramTest | None:
    reached_b, shots = _decided(rows).T
    enough = shots >= 2
    if enough.sum() < 2:
        return None
    return histogram_test(reached_b[enough], shots[enough], np.random.default_rng(seed))


def _results(
    molecule: MolecularSystem,
    asked: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    shots: Sequence[Mapping[str, str]],
    test: HistogramTest | None,
) -> dict[str, Any]:
    low, high = asked["band"]
    outcomes = [shot["outcome"] for shot in shots]
    return {
        "system": molecule.name,
        "temperature": molecule.temperature,
        "asked": dict(asked),
        "interval": f"Wilson, {100 * asked['confidence']:g} %",
        "evaluations": sum(int(shot["evaluations"]) for shot in shots),
        "outcomes": {outcome: outcomes.count(outcome) for outcome in ("A", "B", "none", "failed")},
        "in_a_state": sum(row["state"] is not None for row in rows),
        "histogram": None if test is None else asdict(test) | {"standard_deviation": test.standard_deviation},
        "transition_states": [r["frame"] for r in rows if r["p_b"] is not None and low <= r["p_b"] <= high],
        "frames": list(rows),
    }


def _tell(molecule: MolecularSystem, results: Mapping[str, Any], shots: Sequence[Mapping[str, str]]) -> None:
    a, b = (state.name for state in molecule.states)
    inside, none, failed = results["in_a_state"], results["outcomes"]["none"], results["outcomes"]["failed"]
    if inside:
        log.warning("%d frames lie in a state: their p_B is 0 (%s) or 1 (%s) without shots", inside, a, b)
    if none:
        log.warning("%d of %d shots reached no state in time; take a longer shooting.time_limit", none, len(shots))
    if failed:
        first = next(shot for shot in shots if shot["outcome"] == "failed")
        where = (first["frame"], first["failure"])
        log.error("%d of %d shots failed, the first from frame %s: %s", failed, len(shots), *where)
    test = results["histogram"]
    if test is not None:
        log.info(
            "p_B of %d frames: mean %.3f ± %.3f, spread %.3f without the noise of counting; %d transition states",
            *(test["frames"], test["mean"], test["mean_error"], test["standard_deviation"]),
            len(results["transition_states"]),
        )


def _write(
    folder: Path,
    molecule: MolecularSystem,
    chosen: ChosenFrames,
    results: Mapping[str, Any],
    shots: Sequence[Mapping[str, str]],
    test: HistogramTest | None,
) -> None:
    write_table(folder / "committor.csv", results["frames"])
    write_table(folder / "shots.csv", shots, _SHOT_COLUMNS)
    frames = np.array(results["transition_states"], dtype=int)
    for name in ("transition_states.trr", "transition_states.h5"):
        remove(folder / name)
    if len(frames):
        positions, number = chosen.positions[frames], frames.astype(float)
        write_trr(folder / "transition_states.trr", positions, None, number)
        write_hdf5(folder / "transition_states.h5", molecule.trajectory(positions, number))
    counts = _decided(results["frames"])
    counts = counts[counts[:, 1] > 0]
    if len(counts):
        title = f"{molecule.name}: committor of {len(counts)} frames at {molecule.temperature:g} K"
        committor_figure(folder / "committor.png", counts[:, 0], counts[:, 1], test, title)
    write_json(folder / "committor.json", results)
