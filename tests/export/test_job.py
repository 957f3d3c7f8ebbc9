"""The export job: what it writes for each tool, what it refuses, and that it never removes what is not its own."""

import json
import shutil
import time
from pathlib import Path

import MDAnalysis
import numpy as np
import pytest
from contracts.jobs import RefusalContract

from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import ConfigError, OutputError, TrajectoryError
from spacetime_tps.export.job import TOOLS, export_run
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.reports import write_report
from spacetime_tps.runs.trajectories import write_trr
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system

FRAMES = 9


@pytest.fixture(scope="module")
def molecule():
    return MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)


@pytest.fixture(scope="module")
def crossing(molecule):
    """Straight lines from A to B, passed off as dynamics of three durations: positions of all atoms."""
    atoms = molecule.topology.select("element != H")
    a = molecule.trajectory(molecule.structures["c7eq"][None])
    b = molecule.trajectory(molecule.structures["c7ax"][None]).superpose(a, atom_indices=atoms)
    fine = np.linspace(0.0, 1.0, 400)[:, None, None]
    where = state_indices(molecule.states, (1 - fine) * a.xyz + fine * b.xyz)
    first = np.flatnonzero(where == 1)[0]
    last = np.flatnonzero(where[:first] == 0)[-1]
    shares = [np.linspace(fine[last], fine[first], FRAMES + extra) for extra in (0, 2, 9)]
    return [(1 - share) * a.xyz + share * b.xyz for share in shares]


@pytest.fixture(autouse=True)
def built_once(monkeypatch, molecule):
    """The molecule of the settings takes a while to build, and is the same in every test."""
    monkeypatch.setattr(Run, "molecule", molecule)


@pytest.fixture
def run(tmp_path, molecule, crossing, begin_run) -> Path:
    """Folder of a run that has three reactive trajectories, an annealed path and a geodesic."""
    begun = begin_run(tmp_path / "run", seed=0)
    folder = begun.folder
    for name in ("reactive", "paths", "geodesics"):
        (folder / name).mkdir()
    for index, positions in enumerate(crossing):
        velocities = np.random.default_rng(index).normal(0, 0.5, positions.shape)
        write_trr(
            folder / "reactive" / f"reactive_{index:04d}.trr", positions, velocities, 0.01 * np.arange(len(positions))
        )
    write_trr(folder / "paths" / "path_0000.trr", crossing[0], crossing[0], 0.004 * np.arange(FRAMES))
    mean = crossing[0][:, molecule.topology.select("element != H")]
    arrays = {"y": mean, "mean": mean, "log_snr": np.zeros(FRAMES), "variance": np.zeros(FRAMES)}
    np.savez(folder / "geodesics" / "low_variance.npz", **arrays)
    for part in ("geodesics", "paths", "reactive"):
        begun.finish(part, time.perf_counter())
    return folder


def report_again(folder: Path, part: str) -> None:
    """Make what the part has left what it has written."""
    write_report(folder, part, 0.0, {}, {})


class TestRefusals(RefusalContract):
    """It has neither numbers nor anything to resume."""

    part = "export"
    options = {"to": "xtc"}
    wrong = {"to": ("docx", "--to: unknown tool or format 'docx'"), "what": ("dreams", "--what: unknown 'dreams'")}
    reads = ("config.yaml", "topology.pdb", "inputs/*", "reactive/*.trr")

    test_options_that_are_too_low = test_nothing_to_resume = test_resume_and_overwrite = None
    test_a_run_that_has_not_come_so_far = None  # it has none of what is asked for: test_refused_without_a_trace

    def job(self, folder, to, **options):
        return export_run(folder, to, **options)

    @pytest.fixture
    def ready(self, run):
        return run

    def place(self, folder):
        return folder / "export" / "xtc"

    def leave(self, folder):
        if not self.place(folder).exists():
            export_run(folder, "xtc")

    def test_results_that_are_there(self, ready):
        self.leave(ready)
        message = self.refused(ready, OutputError)
        assert "xtc is there already; take --overwrite to replace it, or another --output" in message


@pytest.mark.parametrize("to", TOOLS)
def test_every_tool(run, to):
    report = export_run(run, to)
    folder = run / "export" / to
    written = json.loads((folder / "export.json").read_text())
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert written.pop("files").keys() == there - {"export.json"}
    assert written == report.to_json()
    assert report.folder == folder
    assert (report.to, report.system) == (to, "alanine_dipeptide")
    assert report.note
    assert (folder / "topology.pdb").is_file()
    expected = {
        "openpathsampling": "trajectories/*.npz",
        "gromacs": "*.trr",
        "plumed": "plumed.dat",
        "pdb": "reactive_*.pdb",
    }.get(to, f"*.{to}")
    assert len(list(folder.glob(expected))) == (1 if to == "plumed" else 3)
    assert not list((run / "export").glob("partial-*"))
    with pytest.raises(OutputError, match="take --overwrite"):
        export_run(run, to)
    assert export_run(run, to, overwrite=True) == report


def test_openpathsampling_may_run_as_long_as_our_shots(run):
    export_run(run, "openpathsampling")
    settings = json.loads((run / "export" / "openpathsampling" / "settings.json").read_text())
    assert settings["max_frames"] == 2 * 500 + 1  # 5 ps either way, a frame every 0.01 ps
    assert settings["frame_steps"] == 10


def test_other_sources_and_folders(run, tmp_path, caplog, crossing):
    report = export_run(run, "gromacs", what="paths", output=tmp_path / "deep" / "mine")
    assert (report.what, report.trajectories) == ("paths", 1)
    assert "paths are not unbiased dynamics" in caplog.text
    universe = MDAnalysis.Universe(*(tmp_path / "deep" / "mine" / name for name in ("topology.pdb", "path_0000.trr")))
    assert universe.trajectory.dt == pytest.approx(0.004)
    np.testing.assert_allclose(universe.atoms.positions, 10 * crossing[0][0], atol=1e-5)


def test_plumed_reference_is_of_the_geodesic_or_of_a_trajectory_of_median_duration(run):
    assert export_run(run, "plumed", reference_frames=4).what == "low_variance"
    text = (run / "export" / "plumed" / "reference.pdb").read_text()
    assert text.count("END") == 4
    report = export_run(run, "plumed", what="reactive", reference_frames=5, overwrite=True)
    assert "reactive_0001 of reactive" in report.note
    assert "reactive_0001" in (run / "export" / "plumed" / "plumed.dat").read_text()


def test_plumed_needs_the_geodesics(run):
    (run / "reports" / "geodesics.json").unlink()
    with pytest.raises(OutputError, match=r"not finished its stage 'geodesics' yet.* reports/geodesics\.json"):
        export_run(run, "plumed")


def test_plumed_where_the_model_sees_torsions(run, tmp_path, begin_run, molecule):
    torsions = {"kind": "torsions", "dihedrals": ["phi", "psi"]}
    other = begin_run(tmp_path / "torsions", coordinates=torsions, geodesics={"region": None})
    for part in ("geodesics", "reactive"):
        shutil.copytree(run / part, other.folder / part)
        other.finish(part, time.perf_counter())
    run = other.folder
    assert export_run(run, "plumed").what == "reactive"
    atoms = {int(line[6:11]) - 1 for line in (run / "export" / "plumed" / "reference.pdb").open() if line[:4] == "ATOM"}
    assert atoms == set(molecule.topology.select("element != H").tolist())
    with pytest.raises(ConfigError, match="one of torsions, not of positions; take reactive"):
        export_run(run, "plumed", what="low_variance", overwrite=True)


@pytest.mark.parametrize(
    "asked, error, message",
    [
        ({"to": "xtc", "what": "transition_states"}, OutputError, "has no transition_states"),
        ({"to": "plumed", "what": "unconstrained"}, OutputError, "nor a geodesic called 'unconstrained'"),
        ({"to": "plumed", "reference_frames": 1}, ConfigError, "has 2 to 60 frames, not 1"),
        (
            {"to": "openpathsampling", "what": "paths"},
            ConfigError,
            "paths cannot go to OpenPathSampling: only reactive",
        ),
    ],
)
def test_refused_without_a_trace(run, asked, error, message):
    with pytest.raises(error, match=message):
        export_run(run, **asked)
    assert not (run / "export").exists()


def test_trajectory_without_velocities(run, crossing):
    write_trr(run / "reactive" / "reactive_0001.trr", crossing[1], None, np.arange(len(crossing[1])))
    report_again(run, "reactive")
    for to in ("openpathsampling", "gromacs"):
        with pytest.raises(TrajectoryError, match="reactive_0001 has no velocities"):
            export_run(run, to)
        assert not (run / "export" / to).exists()


def test_what_is_not_an_export_stays(run, tmp_path):
    before = sorted(run.rglob("*"))
    for folder in (run, run / "reactive", tmp_path):
        with pytest.raises(OutputError, match="holds something else than an earlier export"):
            export_run(run, "xtc", output=folder, overwrite=True)
    assert sorted(run.rglob("*")) == before


@pytest.mark.parametrize("name", ["notes.txt", "reactive_0000.xtc", "sub/notes.txt", "link"])
def test_files_of_the_user_stay(run, name):
    folder = export_run(run, "xtc").folder
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    file.symlink_to(run / "config.yaml") if name == "link" else file.write_text("mine")
    with pytest.raises(OutputError, match=rf"{name} (was not written by|has been changed since) the export.*move it"):
        export_run(run, "xtc", overwrite=True)
    assert file.is_symlink() or file.read_text() == "mine"
    file.unlink()
    export_run(run, "xtc", overwrite=True)


def test_a_report_that_is_damaged(run):
    (export_run(run, "xtc").folder / "export.json").write_text("{")
    with pytest.raises(OutputError, match=r"export\.json is damaged"):
        export_run(run, "xtc", overwrite=True)


def test_a_folder_beside_the_export_stays(run, tmp_path):
    (tmp_path / "partial-xtc").mkdir()
    with pytest.raises(OutputError, match=r"partial-xtc is there already"):
        export_run(run, "xtc", output=tmp_path / "xtc")
    assert (tmp_path / "partial-xtc").is_dir()


def test_a_failed_export_keeps_the_earlier_one(run, crossing):
    export_run(run, "gromacs")
    kept = sorted(path.name for path in (run / "export" / "gromacs").iterdir())
    write_trr(run / "reactive" / "reactive_0002.trr", crossing[2], None, np.arange(len(crossing[2])))
    report_again(run, "reactive")
    with pytest.raises(TrajectoryError):
        export_run(run, "gromacs", overwrite=True)
    assert sorted(path.name for path in (run / "export" / "gromacs").iterdir()) == kept
