"""The path sampling job: transition path sampling from the reactive trajectories of a run."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.committor.model import CommittorModel, read_committor_model
from spacetime_tps.dynamics.path_shape import check_path_shape
from spacetime_tps.dynamics.sampling import whole_steps
from spacetime_tps.dynamics.workers import Engine, Pool, WorkerPool
from spacetime_tps.errors import ConfigError, OutputError, TrajectoryError
from spacetime_tps.path_ensemble import moves as path_sampling
from spacetime_tps.path_ensemble.moves import Move, MoveKind, MoveResult, lost_move, try_move
from spacetime_tps.path_ensemble.statistics import crossing
from spacetime_tps.processes import check_guard
from spacetime_tps.progress import log, track
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.layout import PATH_ENSEMBLE, REACTIVE_FILES, SHOTS
from spacetime_tps.runs.reports import FileDigest
from spacetime_tps.runs.requests import begun_folder, check_options, working_on
from spacetime_tps.runs.trajectories import read_trr, write_trr
from spacetime_tps.statistics.correlation import effective_size, statistical_inefficiency
from spacetime_tps.writing import remove, replacing, write_json, write_table

JOURNAL = "moves.jsonl"
CHECKPOINT = "checkpoint.json"
_BEGIN = "put the right file back, or take --overwrite to begin anew"
KINDS = ("one_way", "two_way")
SELECTIONS = ("uniform", "committor")
CHECKPOINT_SECONDS = 10.0
COLUMNS = (
    *("move", "chain", "verdict", "direction", "frame", "frames", "duration_ps", "crossing_frame", "decorrelated"),
    *("evaluations", "path", "failure"),
)


def sample_path_ensemble(
    run: str | Path,
    *,
    moves: int = 100,
    move: str = "two_way",
    selection: str = "committor",
    chains: int = 8,
    keep_every: int = 10,
    seed: int | None = None,
    workers: int | None = None,
    resume: bool = False,
    overwrite: bool = False,
    trust_scripts: bool = False,
) -> dict[str, Any]:
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
    seed : int, optional
        By default that of the run.
    workers : int, optional
        Worker processes, by default one a core. Results do not depend on it.
    resume : bool
        Go on with interrupted chains, or make finished ones longer.
    overwrite : bool
        Replace an earlier ensemble.
    trust_scripts : bool
        Whether force-field files that are not OpenMM's may run code; never stored.

    Returns
    -------
    dict
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
    if not opened.files("reactive", REACTIVE_FILES):
        raise OutputError(
            f"{opened.folder} has no reactive trajectory to begin with; run it with shooting.reactive above 0, and "
            f"look at {SHOTS} for why no shot was reactive"
        )
    model = read_committor_model(opened)
    asked = {
        "move": move,
        "selection": selection,
        "chains": chains,
        "keep_every": keep_every,
        "seed": opened.base_seed,
    }
    with working_on(opened, "path-ensemble", asked, resume, overwrite):
        sampling = _Sampling(opened, model, asked)
        if resume:
            sampling.load()
        else:
            sampling.begin()
        with WorkerPool(Engine.for_system(opened.molecule, ()), workers) as pool:
            sampling.run(pool, moves)
        results = sampling.report()
        opened.finish("path-ensemble", started, {"path_ensemble": results["evaluations"]}, after=["reactive"])
    return results


@dataclass(frozen=True)
class _Chain:
    """Where a chain is: its path, that path's figures, the move that it is decorrelated from, and its kept file."""

    path: path_sampling.Path
    crossing_frame: int
    reference: int
    kept: str
    kept_born: int


@dataclass(frozen=True)
class _State:
    """All chains after so many moves, how many paths have been kept, and those of them that are not in files yet."""

    chains: list[_Chain]
    done: int
    paths: int
    kept: dict[str, path_sampling.Path]


class _Sampling:
    """All chains of a job, and their files."""

    def __init__(self, run: Run, model: CommittorModel, asked: dict[str, Any]) -> None:
        self._run, self.model, self.asked = run, model, asked
        self.folder, self.molecule, shooting = run.path(PATH_ENSEMBLE), run.molecule, run.settings.shooting
        self.frame_interval = shooting.frame_interval
        self.frame_steps = whole_steps(shooting.frame_interval, run.molecule.time_step, "shooting.frame_interval")
        self.max_frames = max(3, round(shooting.time_limit / shooting.frame_interval))
        self.first_files = run.files("reactive", REACTIVE_FILES)
        self.state = _State([], 0, 0, {})
        self.rows: list[dict[str, str]] = []
        self._kept_files: dict[str, FileDigest] = {}
        self._journal = Journal(self.folder / JOURNAL)
        self.seconds = 0.0

    @property
    def selecting(self) -> CommittorModel | None:
        """The model, if it selects the shooting points."""
        return self.model if self.asked["selection"] == "committor" else None

    def begin(self) -> None:
        """First paths, from reactive trajectories spread over those of the run; then an earlier ensemble goes."""
        places = np.linspace(0, len(self.first_files) - 1, self.asked["chains"]).round().astype(int)
        if len(set(places.tolist())) < len(places):
            raise ConfigError(
                f"--chains: {len(places)} chains need as many reactive trajectories to begin with, and the run has "
                f"{len(self.first_files)}; take fewer chains or shoot more (shooting.reactive)"
            )
        firsts = [self._first(self.first_files[place]) for place in places]
        self.state = _State([_Chain(path, self._crossing(path), 0, "", -1) for path in firsts], 0, 0, {})
        with begun_folder(self.folder, self.asked) as partial:
            self.save(partial)

    def run(self, pool: Pool, moves: int) -> None:
        """Move all chains on until each has made so many moves; what is finished is kept whatever happens."""
        begun, before = time.perf_counter(), self.seconds
        saved = begun
        try:
            for number in track(range(self.state.done + 1, moves + 1), "path sampling", moves - self.state.done):
                self._take(number, list(pool.map(try_move, self._moves(number), lost=lost_move)))
                self.seconds = before + time.perf_counter() - begun
                if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                    self.save(self.folder)
                    saved = time.perf_counter()
        finally:
            self.save(self.folder)

    def report(self) -> dict[str, Any]:
        """Figures of the ensemble so far, written to ``path_ensemble.json``."""
        accepted = [row["verdict"] == "accepted" for row in self.rows]
        decorrelated = sum(row["decorrelated"] == "1" for row in self.rows)
        evaluations = sum(int(row["evaluations"]) for row in self.rows)
        verdicts = [row["verdict"] for row in self.rows]
        names = ["duration_ps", *(f"crossing_{name}" for name in self.molecule.variables)]
        results: dict[str, Any] = {
            "system": self.molecule.name,
            **self.asked,
            "moves": self.state.done,
            "max_duration_ps": (self.max_frames - 1) * self.frame_interval,
            "acceptance": float(np.mean(accepted)) if accepted else None,
            "verdicts": {verdict: verdicts.count(verdict) for verdict in sorted(set(verdicts))},
            "decorrelated_paths": decorrelated,
            "stored_paths": self.state.paths,
            "evaluations": evaluations,
            "evaluations_per_decorrelated_path": evaluations / decorrelated if decorrelated else None,
            "wall_seconds": self.seconds,
            "observables": {name: self._observable(name) for name in names if self.rows},
        }
        write_table(self.folder / "moves.csv", self.rows, self._columns)
        write_json(self.folder / "path_ensemble.json", results)
        if results["verdicts"].get("too_long", 0) > 0.01 * len(self.rows):
            log.warning(
                "%d of %d trial paths were longer than %g ps and were rejected: the ensemble lacks long paths; "
                "run with a larger shooting.time_limit",
                *(results["verdicts"]["too_long"], len(self.rows), results["max_duration_ps"]),
            )
        return results

    def _first(self, file: Path) -> path_sampling.Path:
        positions, velocities, times = read_trr(file)
        if velocities is None:
            raise TrajectoryError(f"{file} has no velocities, which paths need; give trajectories of the run's stage")
        check_path_shape(self.molecule.states, positions, str(file))
        if not np.allclose(np.diff(times), self.frame_interval, rtol=1e-3):
            raise TrajectoryError(
                f"{file}: its frames are {np.diff(times).mean():.4g} ps apart, and shooting.frame_interval is "
                f"{self.frame_interval:g} ps; paths need frames at that interval"
            )
        if len(positions) > self.max_frames:
            raise TrajectoryError(
                f"{file} lasts {times[-1] - times[0]:g} ps, longer than any path may be "
                f"({(self.max_frames - 1) * self.frame_interval:g} ps, from shooting.time_limit)"
            )
        return path_sampling.Path.first(positions, velocities, self.selecting)

    def _moves(self, number: int) -> list[Move]:
        kind: MoveKind = self.asked["move"]
        return [
            Move(
                path=chain.path,
                kind=kind,
                model=self.selecting,
                number=number,
                temperature=self.molecule.temperature,
                frame_steps=self.frame_steps,
                max_frames=self.max_frames,
                seed=self._run.seed("path_ensemble", index, number),
            )
            for index, chain in enumerate(self.state.chains)
        ]

    def _take(self, number: int, results: Sequence[MoveResult]) -> None:
        """Results of one move of every chain; all of it or, if interrupted, nothing."""
        chains, rows, kept, paths = [], list[dict[str, str]](), dict(self.state.kept), self.state.paths
        for index, (chain, result) in enumerate(zip(self.state.chains, results, strict=True)):
            path, at, reference = chain.path, chain.crossing_frame, chain.reference
            name, kept_born = chain.kept, chain.kept_born
            if result.failure:
                log.error("chain %d, move %d: %s", index, number, result.failure)
            if result.path is not None:
                path, at = result.path, self._crossing(result.path)
            decorrelated = path.born.min() > reference
            if number % self.asked["keep_every"] == 0 and path.born.max() != kept_born:
                name, kept_born, paths = f"path_{paths:04d}.trr", int(path.born.max()), paths + 1
                kept[name] = path
            chains.append(_Chain(path, at, number if decorrelated else reference, name, kept_born))
            row = (
                *(number, index, result.verdict, result.direction, result.frame, len(path)),
                *(f"{(len(path) - 1) * self.frame_interval:.4f}", at, int(decorrelated), result.evaluations),
                *(name if number % self.asked["keep_every"] == 0 else "", result.failure or ""),
            )
            at_crossing = self.molecule.collective_variables(self.molecule.trajectory(path.positions[at][None]))
            rows.append(
                dict(zip(COLUMNS, map(str, row), strict=True))
                | {f"crossing_{variable}": f"{value[0]:.5f}" for variable, value in at_crossing.items()}
            )
        self.rows += rows
        self.state = _State(chains, number, paths, kept)

    def _crossing(self, path: path_sampling.Path) -> int:
        """First frame that is more likely to reach B than A, by the model."""
        return crossing(self.model(path.positions), 0.5)

    def _observable(self, name: str) -> dict[str, Any]:
        count = len(self.state.chains)
        values = [np.array([float(row[name]) for row in self.rows[index::count]]) for index in range(count)]
        variable = self.molecule.variables.get(name.removeprefix("crossing_"))
        if variable is not None and variable.periodic:
            middle = np.angle(np.exp(1j * np.concatenate(values)).mean())
            values = [variable.difference(value, float(middle)) + middle for value in values]
        every = np.concatenate(values)
        return {
            "mean": float(every.mean()),
            "sd": float(every.std()),
            "autocorrelation_moves": statistical_inefficiency(values),
            "effective_size": effective_size(values),
        }

    @property
    def _columns(self) -> list[str]:
        return [*COLUMNS, *(f"crossing_{name}" for name in self.molecule.variables)]

    def save(self, folder: Path) -> None:
        """Kept paths, the journal of moves, and the checkpoint, which names what it belongs to, last."""
        state = self.state
        for name, path in state.kept.items():
            times = np.arange(len(path), dtype=np.float64) * self.frame_interval
            write_trr(folder / name, path.positions, path.velocities, times)
            self._kept_files[name] = FileDigest.of(folder / name)
        self._journal.path = folder / JOURNAL
        with self._journal.appending() as appender:
            for row in self.rows[len(self._journal.records) :]:
                appender.add(row)
        arrays: dict[str, np.ndarray] = {
            "counts": np.array([state.done, state.paths]),
            "seconds": np.array(self.seconds),
        }
        for index, chain in enumerate(state.chains):
            arrays |= {
                f"positions_{index}": chain.path.positions,
                f"velocities_{index}": chain.path.velocities,
                f"weights_{index}": chain.path.weights,
                f"born_{index}": chain.path.born,
                f"counts_{index}": np.array([chain.crossing_frame, chain.reference, chain.kept_born]),
                f"kept_{index}": np.array(chain.kept),
            }
        before = set(folder.glob("chains_*.npz"))
        chains = folder / f"chains_{state.done:06d}.npz"
        with replacing(chains) as partial:
            np.savez(partial, allow_pickle=False, **arrays)
        files = self._kept_files | {chains.name: FileDigest.of(chains)}
        digests = {name: asdict(digest) for name, digest in files.items()}
        write_json(folder / CHECKPOINT, {"chains": chains.name, "files": digests})
        for old in before - {chains}:
            remove(old)
        self.state = replace(state, kept={})

    def load(self) -> None:
        """The chains as the checkpoint has them.

        Raises
        ------
        OutputError
            If a file is missing or damaged.
        """
        path = self.folder / CHECKPOINT
        try:
            content = json.loads(path.read_bytes())
            files = {name: FileDigest(**digest) for name, digest in content["files"].items()}
            name = content["chains"]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise OutputError(f"{path} is missing or damaged ({error}); {_BEGIN}") from error
        for file, digest in files.items():
            if not (self.folder / file).is_file() or FileDigest.of(self.folder / file) != digest:
                raise OutputError(f"{self.folder / file} is missing, or not as it was written; {_BEGIN}")
        self._kept_files = {file: digest for file, digest in files.items() if file != name}
        with np.load(self.folder / name, allow_pickle=False) as arrays:
            done, paths = map(int, arrays["counts"])
            chains = []
            self.seconds = float(arrays["seconds"])
            for index in range(self.asked["chains"]):
                names = ("positions", "velocities", "weights", "born")
                chain = path_sampling.Path(*(arrays[f"{key}_{index}"] for key in names))
                at, reference, kept_born = map(int, arrays[f"counts_{index}"])
                chains.append(_Chain(chain, at, reference, str(arrays[f"kept_{index}"]), kept_born))
        self.state = _State(chains, done, paths, {})
        self._journal = Journal.read(self.folder / JOURNAL)
        if len(self._journal.records) < done * len(chains):
            raise OutputError(f"{self._journal.path} lacks moves that {path} has; {_BEGIN}")
        self._journal.keep(done * len(chains))
        self.rows = list(self._journal.records)
