"""What other tools read is what the run has, in their units, with the real box or none."""

import dataclasses
import re

import MDAnalysis
import mdtraj
import numpy as np
import openmm
import pytest

from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.export.formats import NOTES, WRITERS, write_trajectories
from spacetime_tps.runs.stored import StoredTrajectory
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system

FRAMES, SPACING = 7, 0.01


@pytest.fixture(scope="module")
def vacuum():
    """In vacuum, though its structure files and its System have a box."""
    molecule = MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)
    molecule.openmm_topology.setPeriodicBoxVectors(np.diag([9.0, 9.0, 9.0]) * openmm.unit.nanometer)
    return molecule


@pytest.fixture(scope="module")
def in_box(vacuum):
    """The same in a triclinic box of 3 nm."""
    system = openmm.XmlSerializer.deserialize(vacuum.system_xml)
    for force in system.getForces():
        if isinstance(force, openmm.NonbondedForce):
            force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    system.setDefaultPeriodicBoxVectors([3, 0, 0], [0.5, 3, 0], [-0.5, 0.25, 3])
    return dataclasses.replace(vacuum, system_xml=openmm.XmlSerializer.serialize(system))


@pytest.fixture
def trajectory(vacuum):
    start = vacuum.structures["c5"]
    rng = np.random.default_rng(0)
    positions = start + rng.normal(0, 0.01, (FRAMES, *start.shape))
    velocities = rng.normal(0, 0.5, positions.shape)
    return StoredTrajectory("reactive_0003", positions, velocities, SPACING * np.arange(FRAMES))


def read_by_mdanalysis(folder, ending: str) -> MDAnalysis.Universe:
    return MDAnalysis.Universe(folder / "topology.pdb", folder / f"reactive_0003.{ending}")


@pytest.mark.parametrize(
    "to, ending, tolerance",
    [("gromacs", "trr", 1e-5), ("xtc", "xtc", 6e-3), ("dcd", "dcd", 1e-5), ("pdb", "pdb", 6e-4)],
)
@pytest.mark.parametrize("boxed", [False, True])
def test_mdanalysis_and_mdtraj_read_the_same(tmp_path, vacuum, in_box, trajectory, to, ending, tolerance, boxed):
    """Å and Å/ps there, nm and nm/ps here."""
    molecule = in_box if boxed else vacuum
    write_trajectories(tmp_path, molecule, [trajectory], to)
    universe = read_by_mdanalysis(tmp_path, ending)
    assert universe.trajectory.n_frames == FRAMES
    for index, frame in enumerate(universe.trajectory):
        np.testing.assert_allclose(frame.positions, 10 * trajectory.positions[index], rtol=0, atol=tolerance)
        if boxed and to != "pdb":  # MDAnalysis does not read the head of a file with several models
            lengths = np.linalg.norm(in_box.box, axis=1)
            np.testing.assert_allclose(frame.dimensions[:3], 10 * lengths, rtol=1e-3)
        elif not boxed:
            assert frame.dimensions is None
        if to == "gromacs":
            np.testing.assert_allclose(frame.velocities, 10 * trajectory.velocities[index], rtol=0, atol=1e-5)
        if to != "pdb":
            assert frame.time == pytest.approx(SPACING * index, abs=1e-6)
    if to != "pdb":
        assert universe.trajectory.dt == pytest.approx(SPACING, rel=1e-5)
    read = mdtraj.load(tmp_path / f"reactive_0003.{ending}", top=str(tmp_path / "topology.pdb"))
    np.testing.assert_allclose(read.xyz, trajectory.positions, rtol=0, atol=tolerance / 10)
    if boxed:
        np.testing.assert_allclose(read.unitcell_vectors[0], in_box.box, atol=2e-3)
    else:
        assert read.unitcell_lengths is None or not read.unitcell_lengths.any()


def test_gromacs_structure_and_index(tmp_path, vacuum, trajectory):
    write_trajectories(tmp_path, vacuum, [trajectory], "gromacs")
    frame = MDAnalysis.Universe(tmp_path / "reactive_0003.gro")
    np.testing.assert_allclose(frame.atoms.positions, 10 * trajectory.positions[0], atol=6e-3)
    np.testing.assert_allclose(frame.atoms.velocities, 10 * trajectory.velocities[0], atol=6e-4)
    assert frame.dimensions is None
    assert [atom.name for atom in vacuum.topology.atoms] == frame.atoms.names.tolist()
    assert mdtraj.load(tmp_path / "reactive_0003.gro").n_atoms == 22
    groups = re.split(r"\[ (\w+) \]", (tmp_path / "index.ndx").read_text())
    found = {name: [int(word) for word in text.split()] for name, text in zip(groups[1::2], groups[2::2], strict=True)}
    assert found["System"] == list(range(1, 23))
    assert [vacuum.topology.atom(i - 1).element.symbol for i in found["Heavy"]].count("H") == 0
    assert len(found["Heavy"]) == 10


def test_gro_has_the_box(tmp_path, in_box, trajectory):
    write_trajectories(tmp_path, in_box, [trajectory], "gromacs")
    read = mdtraj.load(tmp_path / "reactive_0003.gro")
    np.testing.assert_allclose(read.unitcell_vectors[0], in_box.box, atol=1e-4)
    assert in_box.box[1, 0] == 0.5


def test_energies_from_xtc_are_off_and_from_trr_are_not(tmp_path, vacuum, trajectory):
    """Which is why one is said to be for viewing only."""
    context = openmm.Context(
        openmm.XmlSerializer.deserialize(vacuum.system_xml),
        openmm.VerletIntegrator(0.001),
        openmm.Platform.getPlatformByName("Reference"),
    )

    def energies(frames: np.ndarray) -> np.ndarray:
        values = []
        for positions in frames:
            context.setPositions(positions.astype(float))
            values.append(context.getState(energy=True).getPotentialEnergy()._value)
        return np.array(values)

    off = {}
    for to, ending in (("gromacs", "trr"), ("xtc", "xtc")):
        write_trajectories(tmp_path, vacuum, [trajectory], to)
        read = mdtraj.load(tmp_path / f"reactive_0003.{ending}", top=vacuum.topology)
        off[to] = np.abs(energies(read.xyz) - energies(trajectory.positions)).max()
    assert off["gromacs"] < 0.02
    assert off["xtc"] > 1
    assert "for viewing only" in NOTES["xtc"]
    assert set(NOTES) == set(WRITERS)


def test_gromacs_needs_velocities(tmp_path, vacuum, trajectory):
    still = dataclasses.replace(trajectory, velocities=None)
    with pytest.raises(TrajectoryError, match="reactive_0003 has no velocities"):
        write_trajectories(tmp_path, vacuum, [still], "gromacs")


def test_dcd_wants_equal_spacing(tmp_path, vacuum, trajectory):
    uneven = dataclasses.replace(trajectory, time=trajectory.time**2)
    with pytest.raises(TrajectoryError, match="not equally spaced in time"):
        write_trajectories(tmp_path, vacuum, [uneven], "dcd")
