"""The hand-off to OpenPathSampling: paths of the wrong shape are explained, and the folder stands on its own.

That OpenPathSampling itself opens it is checked by scripts/check_openpathsampling.sh, in an environment of its own.
"""

import ast
import json
import sys
from importlib.resources import files
from pathlib import Path

import mdtraj
import numpy as np
import openmm
import pytest

from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.integrators import shooting_integrator
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.export.openpathsampling import (
    LOADER,
    frame_steps,
    to_openpathsampling,
    write_openpathsampling,
)
from spacetime_tps.runs.stored import StoredTrajectory
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system


@pytest.fixture(scope="module")
def molecule():
    return MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)


def crossing(molecule: MolecularSystem, name: str = "reactive_0000", spacing: float = 0.01, frames: int = 9):
    """The straight line from A to B, from the last frame in A to the first in B, passed off as dynamics."""
    atoms = molecule.topology.select("element != H")
    a = molecule.trajectory(molecule.structures["c7eq"][None])
    b = molecule.trajectory(molecule.structures["c7ax"][None]).superpose(a, atom_indices=atoms)

    def line(share: np.ndarray) -> np.ndarray:
        return (1 - share[:, None, None]) * a.xyz + share[:, None, None] * b.xyz

    fine = np.linspace(0.0, 1.0, 400)
    where = state_indices(molecule.states, line(fine))
    first = np.flatnonzero(where == 1)[0]
    positions = line(np.linspace(fine[np.flatnonzero(where[:first] == 0)[-1]], fine[first], frames))
    velocities = np.random.default_rng(0).normal(0, 0.5, positions.shape)
    return StoredTrajectory(name, positions, velocities, spacing * np.arange(frames))


def test_frames_are_a_whole_number_of_steps_apart(molecule):
    path = crossing(molecule)
    assert frame_steps(path, 0.001) == 10
    long = StoredTrajectory("long", path.positions, None, (0.01 * np.arange(5000, 5009)).astype(np.float32))
    assert frame_steps(long, 0.001) == 10  # times of a file are single precision
    for time, message in (
        (path.time**2, "reactive_0000: frames 0 and 1 are 0.0001 ps apart"),
        (0.25 * path.time, "frames 0 and 1 are 0.0025 ps apart, which is not 2 time steps of 0.001 ps"),
        (0.0 * path.time, "frames 0 and 1 are 0 ps apart"),
    ):
        with pytest.raises(TrajectoryError, match=message):
            frame_steps(StoredTrajectory(path.name, path.positions, None, time), 0.001)


def test_folder(tmp_path, molecule):
    paths = [crossing(molecule), crossing(molecule, "reactive_0007", frames=12)]
    write_openpathsampling(tmp_path, molecule, paths, 1001)
    settings = json.loads((tmp_path / "settings.json").read_text())
    assert (settings["frame_steps"], settings["max_frames"], settings["temperature"]) == (10, 1001, 300.0)
    assert [state["name"] for state in settings["states"]] == ["C5/C7eq", "C7ax"]
    assert settings["variables"]["phi"] == {"kind": "dihedral", "atoms": [4, 6, 8, 14]}
    for state, told in zip(molecule.states, settings["states"], strict=True):
        for box, bounds in zip(state.boxes, told["boxes"], strict=True):
            assert {name: tuple(pair) for name, pair in bounds.items()} == box
    for path in paths:
        with np.load(tmp_path / "trajectories" / f"{path.name}.npz", allow_pickle=False) as arrays:
            for key in ("positions", "velocities", "time"):
                np.testing.assert_array_equal(arrays[key], getattr(path, key))
    assert mdtraj.load(tmp_path / "topology.pdb").topology.n_atoms == 22
    assert (tmp_path / "system.xml").read_text() == molecule.system_xml


def test_integrator_is_the_one_of_our_shots(tmp_path, molecule):
    """Read from its file and run from the same state with the same seed, it goes where ours goes."""
    write_openpathsampling(tmp_path, molecule, [crossing(molecule)], 1001)
    stored = openmm.XmlSerializer.deserialize((tmp_path / "integrator.xml").read_text())
    ours = shooting_integrator(molecule.temperature, molecule.friction, molecule.time_step, False)
    ends = []
    for integrator in (stored, ours):
        integrator.setRandomNumberSeed(5)
        context = openmm.Context(
            openmm.XmlSerializer.deserialize(molecule.system_xml),
            integrator,
            openmm.Platform.getPlatformByName("Reference"),
        )
        context.setPositions(molecule.structures["c5"])
        context.setVelocitiesToTemperature(300, 1)
        integrator.step(50)
        ends.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    np.testing.assert_array_equal(*ends)
    assert np.abs(ends[0] - molecule.structures["c5"]).max() > 1e-3


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"velocities": None}, "reactive_0000 has no velocities: OpenPathSampling shoots"),
        ({"positions": "reversed"}, "reactive_0000 goes from C7ax to C5/C7eq"),
        ({"time": "slower"}, "slower has another time between frames than reactive_0000"),
    ],
)
def test_refused(tmp_path, molecule, changes, message):
    path = crossing(molecule)
    others = []
    if "velocities" in changes:
        path = StoredTrajectory(path.name, path.positions, None, path.time)
    elif "positions" in changes:
        path = StoredTrajectory(path.name, path.positions[::-1], path.velocities, path.time)
    else:
        others = [crossing(molecule, "slower", 0.02)]
    with pytest.raises(TrajectoryError, match=message):
        write_openpathsampling(tmp_path, molecule, [path, *others], 1001)


def test_loader_needs_nothing_of_this_package(tmp_path, molecule):
    write_openpathsampling(tmp_path, molecule, [crossing(molecule)], 1001)
    imported = set()
    for node in ast.walk(ast.parse((tmp_path / LOADER).read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    ours = {"__future__", "dataclasses", "json", "math", "pathlib", "typing"}
    assert imported - ours == {"mdtraj", "numpy", "openmm", "openpathsampling"}


def test_openpathsampling_is_imported_by_its_loader_alone(monkeypatch, tmp_path):
    package = Path(str(files("spacetime_tps")))
    importers = [path.name for path in package.rglob("*.py") if "import openpathsampling" in path.read_text()]
    assert importers == [LOADER]
    assert "spacetime_tps.export.load_openpathsampling" not in sys.modules
    monkeypatch.setitem(sys.modules, "openpathsampling", None)  # as if it were not installed
    with pytest.raises(OutputError, match=r"cannot be imported here .*numpy<2 and six"):
        to_openpathsampling(tmp_path)
