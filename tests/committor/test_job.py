"""The committor job: what it refuses, its files, and that an interrupted one ends like one that was not."""

import csv
import json
import time
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest
import yaml
from contracts.jobs import JobContract

from spacetime_tps.committor import job as committor_job
from spacetime_tps.committor.job import measure_committor
from spacetime_tps.committor.model import CommittorModel, Descriptors
from spacetime_tps.committor.results import CommittorRequest
from spacetime_tps.committor.shots import Commitment
from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import InProcessPool
from spacetime_tps.errors import OutputError, SpacetimeError
from spacetime_tps.runs.reports import write_report
from spacetime_tps.runs.trajectories import read_trr, write_hdf5, write_trr
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.statistics.intervals import wilson_interval

PHI = np.linspace(-40, 30, 8)  # degrees, between the states


@pytest.fixture(scope="module")
def molecule():
    return MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)


@pytest.fixture(scope="module")
def crossing(molecule):
    """Minimised structures from C5/C7eq over the barrier to C7ax: both ends in the states, eight frames between."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    force = openmm.CustomTorsionForce("2000*(1-cos(theta-theta0))")
    force.addPerTorsionParameter("theta0")
    for variable in ("phi", "psi"):
        force.addTorsion(*molecule.variables[variable].atoms, [0.0])
    system.addForce(force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    frames = [molecule.structures["c7eq"]]
    for phi in PHI:
        for index, (variable, angle) in enumerate((("phi", phi), ("psi", 60 - 1.2 * (phi + 40)))):
            force.setTorsionParameters(index, *molecule.variables[variable].atoms, [np.radians(angle)])
        force.updateParametersInContext(context)
        context.setPositions(frames[-1])
        openmm.LocalEnergyMinimizer.minimize(context, maxIterations=200)
        frames.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    positions = np.array([*frames, molecule.structures["c7ax"]])
    assert (state_indices(molecule.states, positions) == [0, *[-1] * len(PHI), 1]).all()
    return positions


@pytest.fixture
def run(tmp_path, molecule, crossing, begin_run) -> Path:
    """Folder of a run with one reactive trajectory and a committor model that knows that p_B rises with phi."""
    run = begin_run(tmp_path, seed=3, shooting={"time_limit": "1 ps"})
    run.made("reactive")
    write_trr(tmp_path / "reactive" / "reactive_0000.trr", crossing, None, np.arange(len(crossing)))
    model = CommittorModel(Descriptors.of_molecule(molecule.variables, molecule.topology), crossing)
    last = len(crossing) - 1
    model.fit(np.repeat(crossing, last, axis=0), np.concatenate([[0] * (last - i) + [2] * i for i in range(last + 1)]))
    (tmp_path / "reactive" / "committor.json").write_text(json.dumps(model.to_json()))
    run.finish("reactive", time.perf_counter())
    return tmp_path


@pytest.fixture
def here(monkeypatch):
    """Work in this process."""
    monkeypatch.setattr(committor_job, "WorkerPool", lambda engine, workers: InProcessPool(engine))


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class TestContract(JobContract):
    part = "committor"
    options = {"source": "reactive", "max_frames": 3, "shots": 2}
    least = {"shots": 1, "max_frames": 1}
    wrong = {"band": ((0.6, 0.4), "--band must rise within 0 and 1, not 0.6 0.4")}
    needs = "reactive"
    reads = ("config.yaml", "topology.pdb", "inputs/*", "reactive/*.trr", "reactive/committor.json")

    def job(self, folder, **options):
        return measure_committor(folder, **options)

    @pytest.fixture
    def ready(self, run):
        return run


def user_file(folder: Path, molecule: MolecularSystem, positions: np.ndarray) -> Path:
    write_hdf5(folder / "mine.h5", molecule.trajectory(positions))
    return folder / "mine.h5"


def refused(run: Path, **asked) -> str:
    with pytest.raises(SpacetimeError) as caught:
        measure_committor(run, **asked)
    assert not (run / "committor").exists()
    return str(caught.value)


def test_band_beyond_one(run):
    assert "--band must rise within 0 and 1, not 0.5 1.5" in refused(run, band=(0.5, 1.5))


def test_run_that_cannot_be_used(run):
    (run / "reactive" / "committor.json").unlink()
    write_report(run, "reactive", 0.0, {}, {})
    assert "has no committor model" in refused(run)
    (run / "reactive" / "reactive_0000.trr").unlink()
    write_report(run, "reactive", 0.0, {}, {})
    assert "has no reactive trajectories" in refused(run, source="reactive")


def test_states_that_hold_both_ends_or_not_their_own(run):
    content = yaml.safe_load((run / "config.yaml").read_text())
    a, b = content["system"]["states"].values()
    for boxes, message in ((a["boxes"], "overlap"), ([{"phi": ["100 deg", "110 deg"]}], "does not hold its own")):
        b["boxes"] = boxes
        (run / "config.yaml").write_text(yaml.safe_dump(content))
        write_report(run, "beginning", 0.0, {}, {})
        assert message in refused(run)


def test_model_that_calls_no_frame_so(run):
    message = refused(run, band=(0.499999, 0.500001))
    assert "puts none of 8 frames between 0.499999 and 0.500001 (it says 0." in message
    assert "take a wider --band, or --source reactive" in message


def test_user_frames_that_are_refused(run, molecule, crossing):
    assert "there is no trajectory" in refused(run, source=run / "none.h5")
    broken = crossing.copy()
    broken[4, 3, 1] = np.nan
    mdtraj.Trajectory(broken, molecule.topology).save_hdf5(str(run / "broken.h5"))
    assert "broken.h5: frame 4 has positions that are not finite" in refused(run, source=run / "broken.h5")
    mdtraj.Trajectory(crossing[:, :-1], molecule.topology.subset(range(21))).save_hdf5(str(run / "other.h5"))
    assert "other.h5 has 21 atoms, alanine_dipeptide has 22" in refused(run, source=run / "other.h5")
    ends = user_file(run, molecule, crossing[[0, -1]])
    assert "every frame is in C5/C7eq or in C7ax: there is nothing to shoot from" in refused(run, source=ends)


def test_files_and_figures(run, molecule, crossing, here):
    """A frame in A, three between, one in B."""
    chosen = [0, 1, 4, 8, 9]
    results = measure_committor(run, source=user_file(run, molecule, crossing[chosen]), shots=12, band=(0.02, 0.98))
    folder = run / "committor"
    assert json.loads((folder / "committor.json").read_text()) == results.to_json()
    table, shots = rows_of(folder / "committor.csv"), rows_of(folder / "shots.csv")
    assert len(table) == 5 and len(shots) == 3 * 12
    for row, stored in zip(table, results.frames, strict=True):
        assert {key: "" if value is None else str(value) for key, value in stored.to_json().items()} == row
    first, *between, last = results.frames
    assert (first.state, first.p_b, first.low, first.high, first.shots) == ("C5/C7eq", 0, 0, 0, 0)
    assert (last.state, last.p_b, last.low, last.high, last.shots) == ("C7ax", 1, 1, 1, 0)
    for row in between:
        mine = [shot for shot in shots if shot["frame"] == str(row.frame)]
        counts = {end: [shot["outcome"] for shot in mine].count(end) for end in ("A", "B", "none")}
        assert [row.reached_a, row.reached_b, row.undecided] == list(counts.values())
        assert row.p_b == counts["B"] / (counts["A"] + counts["B"])
        assert row.low <= row.p_b <= row.high
    assert between[0].p_b < 0.5 < between[2].p_b  # far on either side
    assert results.evaluations == sum(int(shot["evaluations"]) for shot in shots)
    assert sum(results.outcomes.values()) == 36
    assert results.in_a_state == 2
    assert results.histogram.mean == pytest.approx(np.mean([row.p_b for row in between]))
    expected = [row.frame for row in between if 0.02 <= row.p_b <= 0.98]
    assert results.transition_states == tuple(expected) != ()
    positions, velocities, number = read_trr(folder / "transition_states.trr")
    np.testing.assert_allclose(positions, crossing[chosen][expected], atol=1e-6)
    np.testing.assert_array_equal(number, expected)
    assert velocities is None
    assert mdtraj.load(folder / "transition_states.h5").n_frames == len(expected)
    assert (folder / "committor.png").is_file()


def test_model_frames_are_those_within_the_band(run, molecule, crossing, here):
    results = measure_committor(run, shots=1, max_frames=3, band=(0.1, 0.9))
    assert all(0.1 <= row.predicted <= 0.9 for row in results.frames)
    settings = {"committor.band": [0.1, 0.9], "committor.confidence": 0.95}
    settings |= {"shooting.frame_interval": "0.01 ps", "shooting.time_limit": "1.0 ps"}
    assert results.request == CommittorRequest("model", 1, 3, (0.1, 0.9), 0.95, 3, settings)
    model = CommittorModel.from_json(json.loads((run / "reactive" / "committor.json").read_text()))
    inside = np.flatnonzero(abs(model(crossing[1:-1]) - 0.5) <= 0.4) + 1
    drawn = [row.index for row in results.frames]
    assert set(drawn) <= set(inside.tolist())
    assert len(drawn) == min(3, len(inside))
    assert results.histogram is None  # one shot each says nothing of a spread


def test_a_journal_that_is_cut_within_a_row(run, here):
    asked = {"source": "reactive", "max_frames": 2, "shots": 4}
    whole = measure_committor(run, **asked)
    journal = run / "committor" / "shots.jsonl"
    lines = journal.read_bytes()
    journal.write_bytes(lines[: len(lines) // 2])
    assert measure_committor(run, **asked, resume=True) == whole
    assert journal.read_bytes() == lines


def test_undecided_and_failed_shots_are_reported(run, here, monkeypatch, caplog):
    """Four of six shots from each frame do not tell: p_B is that of the two, and the interval allows for all six."""
    ends = ["A", "B", "none", "none", "none", "failed"]

    def commit(task):
        outcome = ends[task.seed.spawn_key[-1]]
        return Commitment(outcome, 0.5, 501, "it broke\ndown" if outcome == "failed" else None)

    monkeypatch.setattr(committor_job, "commit", commit)
    with caplog.at_level("WARNING", "spacetime_tps"):
        results = measure_committor(run, source="reactive", shots=6, max_frames=2)
    assert results.outcomes == {"A": 2, "B": 2, "none": 6, "failed": 2}
    row = results.frames[0]
    assert (row.p_b, row.undecided, row.failed) == (0.5, 3, 1)
    alone, all_others = wilson_interval([1, 5], [6, 6], 0.95)
    assert (row.low, row.high) == (alone[0], all_others[1])
    assert "6 of 12 shots reached no state in time" in caplog.text
    assert "2 of 12 shots failed, the first from frame 0: it broke down" in caplog.text


def test_settings_of_its_own(run, here):
    """A longer time limit by a file; what is resumed has it too, also without the file."""
    config = run / "job.yaml"
    config.write_text("committor: {band: [0.2, 0.8]}\nshooting: {time_limit: 20 fs, frame_interval: 5 fs}\n")
    asked = {"source": "reactive", "max_frames": 2, "shots": 2}
    results = measure_committor(run, **asked, config=config)
    steps = {int(row["evaluations"]) for row in rows_of(run / "committor" / "shots.csv")}
    assert max(steps) <= 21  # 1 ps of the run would be 1001
    assert results.request.band == (0.2, 0.8)
    settings = results.to_json()["request"]["settings"]
    assert settings["committor.band"] == [0.2, 0.8]
    assert (settings["shooting.time_limit"], settings["shooting.frame_interval"]) == ("0.02 ps", "0.005 ps")
    assert measure_committor(run, **asked, resume=True) == results
    assert measure_committor(run, **asked, config=config, resume=True) == results
    with pytest.raises(OutputError, match=r"was begun with committor.band \[0.2, 0.8\], not \[0.4, 0.6\]"):
        measure_committor(run, **asked, band=(0.4, 0.6), resume=True)
    config.write_text("committor: {band: [0.2, 0.8]}\n")
    with pytest.raises(OutputError, match=r"was begun with shooting.frame_interval 0.005 ps, not 0.01 ps"):
        measure_committor(run, **asked, config=config, resume=True)
    assert measure_committor(run, **asked, overwrite=True, band=(0.1, 0.9)).request.band == (0.1, 0.9)


def test_settings_without_effect(run):
    (run / "job.yaml").write_text("shooting: {reactive: 3}\n")
    assert "line 1: shooting.reactive: has no effect on 'committor'" in refused(run, config=run / "job.yaml")
    assert "cannot be read" in refused(run, config=run / "none.yaml")
