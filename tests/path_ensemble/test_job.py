"""From one annealed path of alanine dipeptide to reactive trajectories and chains of paths, in this process."""

import csv
import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from contracts.jobs import JobContract, WorkContract

from spacetime_tps.committor.model import read_committor_model
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.shooting import lost_shot, shoot
from spacetime_tps.dynamics.workers import Engine, InProcessPool
from spacetime_tps.errors import ConfigError, DynamicsError, OutputError, TrajectoryError
from spacetime_tps.path_ensemble import job as path_sampling_job
from spacetime_tps.path_ensemble.job import sample_path_ensemble
from spacetime_tps.pipeline.reactive import ShootingPoints, make_reactive
from spacetime_tps.runs.beginning import prepared
from spacetime_tps.runs.folder import Run, named_seed
from spacetime_tps.runs.trajectories import read_trr, write_trr
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.run import ShootingSettings
from spacetime_tps.settings.shipped import find_system

SEED = 2
SHOOTING = named_seed(SEED, "shooting").entropy


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def report_again(folder: Path) -> None:
    """Make what the stage has left what it has written."""
    Run.open(folder).finish("reactive", time.perf_counter())


@pytest.fixture
def context(tmp_path, molecule, annealed_path, worker):
    """A run that has one annealed path, and asks for three reactive trajectories from 24 shots."""
    settings = load_settings(find_system("alanine_dipeptide"))
    settings = settings.model_copy(update={"shooting": ShootingSettings(reactive=3, max_shots=24)})
    with prepared(tmp_path, settings, SEED, resume=False, overwrite=True):
        pass
    run, path = Run(tmp_path, settings, SEED), annealed_path
    run.finish("beginning", time.perf_counter())
    write_trr(run.made("paths") / "path_0000.trr", path.positions, path.velocities, path.time)
    run.finish("paths", time.perf_counter(), {"annealing": path.evaluations})
    with run.working(worker(Engine.for_system(molecule, ()))):
        yield run


@pytest.fixture(scope="module")
def kept(tmp_path_factory) -> Path:
    """Where the run of the first test that needs one is kept for the others."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def run(kept, tmp_path, monkeypatch, request):
    """That run after shooting, and a pool that is this process."""
    if not kept.exists():
        context = request.getfixturevalue("context")
        report = make_reactive(context)
        assert report.results.reactive >= 3
        context.finish("reactive", time.perf_counter(), report.evaluations, report.results.to_json())
        shutil.copytree(tmp_path, kept)
    shutil.copytree(kept, tmp_path, dirs_exist_ok=True)

    monkeypatch.setattr(path_sampling_job, "WorkerPool", lambda engine, workers: InProcessPool(engine))
    return tmp_path


class TestContract(JobContract):
    part = "path-ensemble"
    options = {"moves": 4, "chains": 2, "keep_every": 2}
    other = {"move": "one_way"}
    least = {"moves": 1, "chains": 1, "keep_every": 1}
    wrong = {
        "move": ("sideways", "--move must be one_way or two_way"),
        "selection": ("best", "--selection must be uniform or committor"),
    }
    needs = "reactive"
    reads = ("config.yaml", "inputs/*", "reactive/*.trr", "reactive/committor.json")

    def job(self, folder, **options):
        return sample_path_ensemble(folder, **options)

    @pytest.fixture
    def ready(self, run):
        return run


def test_shots(run, molecule):
    """From frames between the states, each at most once; those of reactive trajectories among them, once there are."""
    table = rows(run / "reactive" / "shots.csv")
    assert len({(row["source"], row["frame"]) for row in table}) == len(table)
    for number, row in enumerate(table):
        assert row["seed"] == f"SeedSequence({SHOOTING}, spawn_key=(1, {number}))"
        positions = read_trr(run / row["source"])[0][int(row["frame"])]
        assert state_indices(molecule.states, positions[None])[0] == -1
    model = read_committor_model(Run.open(run, "reactive"))
    trajectories = [read_trr(file)[0] for file in (run / "reactive").glob("reactive_*.trr")]
    first, last = (np.mean(model(np.stack([x[end] for x in trajectories]))) for end in (0, -1))
    assert first < 0.5 < last


def test_a_lost_worker_loses_only_its_shot(context, monkeypatch):
    def map_and_lose(function, tasks, chunk=1, lost=None):
        return [lost(task) if task.seed.spawn_key[-1] == 1 else function(task) for task in tasks]

    monkeypatch.setattr(context.pool, "map", map_and_lose)
    report = make_reactive(context)
    table = rows(context.folder / "reactive" / "shots.csv")
    assert report.results.failed_shots == 1
    assert [row["failure"] != "" for row in table] == [number == 1 for number in range(len(table))]
    assert f"SeedSequence({SHOOTING}, spawn_key=(1, 1))" in table[1]["failure"]
    assert (shoot.__name__, lost_shot.__name__) == ("shoot", "lost_shot")


def test_path_that_never_leaves_a(context, annealed_path):
    """The message says how far it came; the run goes on to its results."""
    first = state_indices(context.molecule.states, annealed_path.positions) == 0
    inside = annealed_path.positions[: int(np.argmin(first))]
    write_trr(context.folder / "paths" / "path_0000.trr", inside, inside, np.arange(len(inside)))
    with pytest.raises(DynamicsError, match=r"none of the 1 paths ever leaves C5/C7eq.*nearest to C7ax comes frame"):
        ShootingPoints.of_paths([context.folder / "paths" / "path_0000.trr"], context.molecule.states)
    report = make_reactive(context)
    assert report.results.shots == 0
    assert "ever leaves" in report.results.message


def test_paths_without_a_frame_between(context, molecule):
    jump = np.stack([molecule.structures[s.structure] for s in molecule.states])
    write_trr(context.folder / "paths" / "path_0000.trr", jump, jump, np.arange(2))
    with pytest.raises(DynamicsError, match=r"between two frames.*shorter paths.frame_interval"):
        ShootingPoints.of_paths([context.folder / "paths" / "path_0000.trr"], molecule.states)


def test_chains(run, molecule):
    results = sample_path_ensemble(run, moves=4, chains=2, keep_every=2)
    folder = run / "path_ensemble"
    table = rows(folder / "moves.csv")
    assert [(int(row["move"]), int(row["chain"])) for row in table] == [(m, c) for m in range(1, 5) for c in range(2)]
    assert sum(results.verdicts.values()) == 8
    assert results.acceptance == np.mean([row["verdict"] == "accepted" for row in table])
    assert results.evaluations == sum(int(row["evaluations"]) for row in table)
    named = [row for row in table if row["path"]]
    assert {row["move"] for row in named} == {"2", "4"}
    assert {row["path"] for row in named} == {file.name for file in folder.glob("*.trr")}
    for row in named:
        positions, velocities, times = read_trr(folder / row["path"])
        indices = state_indices(molecule.states, positions)
        assert (indices[0], indices[-1]) == (0, 1)
        assert (indices[1:-1] == -1).all()
        assert velocities is not None
        assert times[-1] == pytest.approx(float(row["duration_ps"]), rel=1e-5)
        assert len(times) == int(row["frames"])
    assert json.loads((folder / "path_ensemble.json").read_text()) == results.to_json()
    assert results.duration.mean == pytest.approx(np.mean([float(row["duration_ps"]) for row in table]), abs=1e-4)
    assert list(results.crossings) == list(molecule.variables)
    assert list(table[0])[-len(molecule.variables) :] == [f"crossing_{name}" for name in molecule.variables]


@pytest.mark.slow
class TestOneWayContract(WorkContract):
    part = "path-ensemble"
    options = {"moves": 5, "chains": 2, "keep_every": 2, "move": "one_way", "selection": "uniform"}
    other = {"keep_every": 3}

    def job(self, folder, **options):
        return sample_path_ensemble(folder, **options)

    @pytest.fixture
    def ready(self, run):
        return run


def test_more_chains_than_trajectories(run):
    with pytest.raises(ConfigError, match="50 chains need as many reactive trajectories"):
        sample_path_ensemble(run, chains=50)
    assert not (run / "path_ensemble").exists()
    sample_path_ensemble(run, moves=1, chains=2)
    with pytest.raises(ConfigError, match="500 chains need as many reactive trajectories"):
        sample_path_ensemble(run, moves=2, chains=500, overwrite=True)
    assert (run / "path_ensemble" / "path_ensemble.json").is_file()  # what is refused replaces nothing


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda x, v, t: (x, None, t), "has no velocities"),
        (lambda x, v, t: (x, v, 2 * t), "frames are 0.02 ps apart"),
        (lambda x, v, t: (x[:-1], v[:-1], t[:-1]), "its last frame .* is in neither state, not in C7ax"),
    ],
)
def test_first_paths_that_are_none_are_refused(run, change, message):
    file = run / "reactive" / "reactive_0000.trr"
    write_trr(file, *change(*read_trr(file)))
    report_again(run)
    with pytest.raises(TrajectoryError, match=message):
        sample_path_ensemble(run, moves=1, chains=2)


def test_runs_that_have_no_model_or_no_trajectory(run, tmp_path):
    (run / "reactive" / "committor.json").write_text("{}")
    report_again(run)
    with pytest.raises(OutputError, match="not a committor model of ours"):
        sample_path_ensemble(run)
    (run / "reactive" / "committor.json").unlink()
    report_again(run)
    with pytest.raises(OutputError, match="has no committor model"):
        sample_path_ensemble(run)
    for file in (run / "reactive").glob("*.trr"):
        file.unlink()
    report_again(run)
    with pytest.raises(OutputError, match="has no reactive trajectory to begin with"):
        sample_path_ensemble(run)


def test_settings_of_its_own(run, tmp_path):
    """Paths may be as long as the file says; what is resumed has that limit too, also without the file."""
    config = tmp_path / "job.yaml"
    config.write_text("shooting: {time_limit: 2 ps}\n")
    results = sample_path_ensemble(run, moves=1, chains=2, config=config)
    assert results.max_duration_ps == pytest.approx(1.99)
    assert results.to_json()["settings"] == {"shooting.time_limit": "2.0 ps"}
    longer = sample_path_ensemble(run, moves=2, chains=2, resume=True)
    assert longer.request == results.request
    config.write_text("shooting: {time_limit: 3 ps}\n")
    with pytest.raises(OutputError, match=r"was begun with shooting.time_limit 2.0 ps, not 3.0 ps"):
        sample_path_ensemble(run, moves=2, chains=2, config=config, resume=True)
    config.write_text("shooting: {time_limit: 30 fs}\n")
    with pytest.raises(TrajectoryError, match=r"take a longer one in a file for --config"):
        sample_path_ensemble(run, moves=2, chains=2, config=config, overwrite=True)
    config.write_text("shooting: {frame_interval: 20 fs}\n")
    with pytest.raises(ConfigError, match=r"line 1: shooting.frame_interval: has no effect on 'path-ensemble'"):
        sample_path_ensemble(run, moves=2, chains=2, config=config, overwrite=True)
