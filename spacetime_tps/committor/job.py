"""The committor job: p_B of frames by shots, and those near one half as the transition state ensemble."""

from __future__ import annotations

import csv
import json
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
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.errors import ConfigError
from spacetime_tps.progress import log, track
from spacetime_tps.runs.requests import begun_folder, check_options, check_request, open_molecule_run
from spacetime_tps.runs.trajectories import read_trr, write_hdf5, write_trr
from spacetime_tps.settings.run import ShootingSettings
from spacetime_tps.statistics.intervals import CONFIDENCE, wilson_interval

FOLDER = "committor"
COUNT = 40
"""Frames that are taken of the run's own trajectories if not told."""

_SHOT_COLUMNS = ("frame", "shot", "outcome", "time_ps", "evaluations", "failure")


def committors(
    output: str | Path,
    *,
    frames: str | Path = "model",
    shots: int = 50,
    count: int | None = None,
    band: tuple[float, float] = (0.4, 0.6),
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Committor p_B of frames by unbiased shots, and those within a band as a trajectory, in ``committor/`` of a run.

    There are ``committor.json`` and ``committor.csv`` with a row for each frame, ``shots.csv`` with every shot,
    ``frames.trr`` with all frames, ``transition_states.trr`` and ``.h5`` with those whose p_B is within the band, and
    ``committor.png``. A frame in A has p_B = 0 and one in B 1, without shots. Scripts that call this need an
    ``if __name__ == "__main__":`` guard, for it starts worker processes.

    Parameters
    ----------
    output : str or Path
        Folder of a run of a molecule.
    frames : str or Path
        ``"model"``: frames of the run's reactive trajectories that its committor model puts within the band;
        ``"reactive"``: any of their frames between the states; else a trajectory file of yours.
    shots : int
        Of each frame.
    count : int, optional
        Frames at most, drawn at random; by default :data:`COUNT` of the run's own, and all of a file.
    band : tuple of float
        Lowest and highest p_B of the transition state ensemble.
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with an interrupted one that was asked for the same.
    overwrite : bool
        Replace an earlier one.

    Returns
    -------
    dict
        What ``committor.json`` holds.

    Raises
    ------
    SpacetimeError
        If an input is wrong (before any shot).
    """
    output = Path(output)
    check_options({"shots": (shots, 1), "count": (count, 1), "workers": (workers, 1), "seed": (seed, 0)})
    if not 0 <= band[0] < band[1] <= 1:
        raise ConfigError(f"--band must rise within 0 and 1, not {band[0]:g} {band[1]:g}")
    settings, run_seed = open_molecule_run(output)
    own = str(frames) in OWN
    request: dict[str, Any] = {
        "frames": str(frames) if own else str(Path(frames).resolve()),
        "shots": shots,
        "count": COUNT if own and count is None else count,
        "band": list(band),
        "seed": run_seed if seed is None else seed,
    }
    molecule = MolecularSystem.from_settings(settings.system)
    choice_seed, shot_seed = np.random.SeedSequence([request["seed"], *FOLDER.encode()]).spawn(2)
    folder = output / FOLDER
    check_request(folder, request, resume, overwrite)
    if resume:
        chosen = _load_frames(folder)
    else:
        chosen = choose_frames(output, molecule, request, np.random.default_rng(choice_seed))
        _begin(folder, request, chosen)
    states = state_indices(molecule.states, chosen.positions)
    tasks = _tasks(molecule, settings.shooting, chosen, states, shots, shot_seed)
    with WorkerPool(Engine.for_system(molecule, ()), workers) as pool:
        done = _shoot(folder / "shots.csv", pool, tasks)
    rows = _frame_rows(output, molecule, chosen, states, done)
    test = _test(rows, request["seed"])
    results = _results(molecule, request, rows, done, test)
    _tell(molecule, results, done)
    _write(folder, molecule, chosen, results, test)
    return results


def _begin(folder: Path, request: dict[str, Any], chosen: ChosenFrames) -> None:
    """A folder with the chosen frames and nothing else, in place of an earlier one."""
    with begun_folder(folder, request) as partial:
        write_trr(partial / "frames.trr", chosen.positions, None, np.arange(len(chosen.index), dtype=float))
        _write_table(
            partial / "frames.csv",
            [{"source": s, "index": int(i)} for s, i in zip(chosen.source, chosen.index, strict=True)],
        )
        _write_table(partial / "shots.csv", [], _SHOT_COLUMNS)


def _load_frames(folder: Path) -> ChosenFrames:
    with (folder / "frames.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    positions, _, _ = read_trr(folder / "frames.trr")
    return ChosenFrames(
        positions, np.array([row["source"] for row in rows]), np.array([int(row["index"]) for row in rows])
    )


def _tasks(
    molecule: MolecularSystem,
    settings: ShootingSettings,
    chosen: ChosenFrames,
    states: np.ndarray,
    shots: int,
    seed: np.random.SeedSequence,
) -> dict[tuple[int, int], Shot]:
    """Shots by frame and number; each has a seed of its own. There are none of frames in a state."""
    frame_steps = whole_steps(settings.frame_interval, molecule.time_step, "shooting.frame_interval")
    return {
        (frame, shot): Shot(
            positions=chosen.positions[frame],
            temperature=molecule.temperature,
            time_step=molecule.time_step,
            frame_steps=frame_steps,
            max_frames=max(1, round(settings.time_limit / settings.frame_interval)),
            seed=np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, frame, shot)),
        )
        for frame in np.flatnonzero(states < 0).tolist()
        for shot in range(shots)
    }


def _shoot(table: Path, pool: WorkerPool, tasks: Mapping[tuple[int, int], Shot]) -> list[dict[str, str]]:
    """Rows of every shot; those that are not in the table yet are run, and written as they come."""
    done = _finished_shots(table)
    left = {key: task for key, task in tasks.items() if key not in done}
    if done:
        log.info("%d of %d shots are there already", len(done), len(tasks))
    with table.open("a", newline="") as file:
        writer = csv.DictWriter(file, _SHOT_COLUMNS)
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
            writer.writerow(row)
            file.flush()
            done[frame, number] = row
    return [done[key] for key in tasks]


def _finished_shots(table: Path) -> dict[tuple[int, int], dict[str, str]]:
    """Rows by frame and shot; a last row that an interruption has cut short is removed from the table."""
    text = table.read_text()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        table.write_text(whole)
    return {(int(row["frame"]), int(row["shot"])): row for row in csv.DictReader(whole.splitlines())}


def _frame_rows(
    output: Path,
    molecule: MolecularSystem,
    chosen: ChosenFrames,
    states: np.ndarray,
    shots: Sequence[Mapping[str, str]],
) -> list[dict[str, Any]]:
    predicted = predicted_committors(output, chosen.positions)
    by_frame: dict[int, list[Mapping[str, str]]] = {frame: [] for frame in range(len(states))}
    for shot in shots:
        by_frame[int(shot["frame"])].append(shot)
    return [
        {"frame": frame, "source": str(chosen.source[frame]), "index": int(chosen.index[frame])}
        | {"predicted": float(predicted[frame]) if np.isfinite(predicted[frame]) else None}
        | _of_frame(molecule, int(states[frame]), of_frame)
        for frame, of_frame in by_frame.items()
    ]


def _of_frame(molecule: MolecularSystem, state: int, shots: Sequence[Mapping[str, str]]) -> dict[str, Any]:
    """Counts, p_B among decided shots, and its interval, for which any other shot may have gone either way."""
    outcomes = [shot["outcome"] for shot in shots]
    a, b = outcomes.count("A"), outcomes.count("B")
    p_b = b / (a + b) if a + b else None
    low, high = float(wilson_interval(b, len(shots))[0]), float(wilson_interval(len(shots) - a, len(shots))[1])
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


def _test(rows: Sequence[Mapping[str, Any]], seed: int) -> HistogramTest | None:
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
        "interval": f"Wilson, {100 * CONFIDENCE:g} %",
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
    test: HistogramTest | None,
) -> None:
    _write_table(folder / "committor.csv", results["frames"])
    frames = np.array(results["transition_states"], dtype=int)
    for name in ("transition_states.trr", "transition_states.h5"):
        (folder / name).unlink(missing_ok=True)
    if len(frames):
        positions, number = chosen.positions[frames], frames.astype(float)
        write_trr(folder / "transition_states.trr", positions, None, number)
        write_hdf5(folder / "transition_states.h5", molecule.trajectory(positions, number))
    counts = _decided(results["frames"])
    counts = counts[counts[:, 1] > 0]
    if len(counts):
        title = f"{molecule.name}: committor of {len(counts)} frames at {molecule.temperature:g} K"
        committor_figure(folder / "committor.png", counts[:, 0], counts[:, 1], test, title)
    (folder / "committor.json").write_text(json.dumps(results, indent=2, allow_nan=False) + "\n")


def _write_table(path: Path, rows: Sequence[Mapping[str, Any]], columns: Sequence[str] | None = None) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, columns or list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
