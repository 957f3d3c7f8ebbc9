"""Trajectories come back as they were written, other tools read them, and broken ones are refused."""

from pathlib import Path

import MDAnalysis
import mdtraj
import numpy as np
import openmm.app
import pytest

from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.runs.hdf5 import read_hdf5_energies
from spacetime_tps.runs.trajectories import read_trr, write_hdf5, write_topology_pdb, write_trr
from spacetime_tps.settings.shipped import data_folder

FRAMES = 150  # more than mdtraj reads at a time


@pytest.fixture
def structure():
    return openmm.app.PDBFile(str(data_folder("systems") / "alanine_dipeptide" / "c5.pdb"))


@pytest.fixture
def positions(structure):
    start = structure.getPositions(asNumpy=True)._value
    return start + np.random.default_rng(0).normal(0, 0.01, (FRAMES, *start.shape))


@pytest.fixture
def velocities(positions):
    return np.random.default_rng(1).normal(0, 0.5, positions.shape)


@pytest.fixture
def time():
    return 0.004 * np.arange(FRAMES)


def test_trr_round_trip_is_exact_in_single_precision(tmp_path, positions, velocities, time):
    path = tmp_path / "path.trr"
    write_trr(path, positions, velocities, time)
    for read, written in zip(read_trr(path), (positions, velocities, time), strict=True):
        assert read.dtype == np.float64
        np.testing.assert_array_equal(read, written.astype(np.float32))
    assert list(tmp_path.iterdir()) == [path]


def test_trr_overwrites(tmp_path, positions, time):
    path = tmp_path / "path.trr"
    write_trr(path, positions, None, time)
    write_trr(path, positions[:3], None, time[:3])
    assert len(read_trr(path)[0]) == 3


def test_trr_without_velocities(tmp_path, positions, time):
    write_trr(tmp_path / "path.trr", positions, None, time)
    assert read_trr(tmp_path / "path.trr")[1] is None


def test_mdanalysis_reads_trr(tmp_path, structure, positions, velocities, time):
    write_topology_pdb(tmp_path / "topology.pdb", structure.topology, positions[0])
    write_trr(tmp_path / "path.trr", positions, velocities, time)
    universe = MDAnalysis.Universe(tmp_path / "topology.pdb", tmp_path / "path.trr")
    assert universe.trajectory.n_frames == FRAMES
    assert universe.trajectory.dt == pytest.approx(0.004)
    for i, frame in enumerate(universe.trajectory):
        np.testing.assert_allclose(frame.positions, 10 * positions[i], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(frame.velocities, 10 * velocities[i], rtol=1e-5, atol=1e-5)
        assert frame.time == pytest.approx(time[i])
        assert frame.data["step"] == i
        assert frame.dimensions is None


def test_box_is_written(tmp_path, structure, positions, velocities, time):
    box = np.diag([3.0, 4.0, 5.0]) * np.ones((FRAMES, 1, 1))
    write_trr(tmp_path / "path.trr", positions, velocities, time, box)
    topology = mdtraj.Topology.from_openmm(structure.topology)
    read = mdtraj.load(tmp_path / "path.trr", top=topology)
    np.testing.assert_allclose(read.unitcell_vectors, box, atol=1e-6)


@pytest.mark.parametrize("broken", ["positions", "velocities"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_frame_that_is_not_finite_is_named(tmp_path, positions, velocities, time, broken, value):
    {"positions": positions, "velocities": velocities}[broken][7, 2, 1] = value
    with pytest.raises(TrajectoryError, match=rf"path\.trr not written: {broken} in frame 7 of 150"):
        write_trr(tmp_path / "path.trr", positions, velocities, time)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, v, t: (x[0], v, t), r"positions have shape \(22, 3\)"),
        (lambda x, v, t: (x[:0], v[:0], t[:0]), "at least one frame"),
        (lambda x, v, t: (x, v[:, :-1], t), r"velocities have shape \(150, 21, 3\), expected \(150, 22, 3\)"),
        (lambda x, v, t: (x, v, t[:-1]), r"times have shape \(149,\), expected \(150,\)"),
        (lambda x, v, t: (x, v, t, np.eye(3)[:2]), r"box vectors have shape \(2, 3\), expected \(150, 3, 3\)"),
    ],
)
def test_shapes_that_do_not_agree_are_refused(tmp_path, positions, velocities, time, change, message):
    with pytest.raises(TrajectoryError, match=message):
        write_trr(tmp_path / "path.trr", *change(positions, velocities, time))
    assert list(tmp_path.iterdir()) == []


def test_interrupted_write_leaves_the_old_file(tmp_path, monkeypatch, positions, velocities, time):
    path = tmp_path / "path.trr"
    write_trr(path, positions, velocities, time)

    def interrupt(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_trr(path, positions[:3], velocities[:3], time[:3])
    assert list(tmp_path.iterdir()) == [path]
    assert len(read_trr(path)[0]) == FRAMES


def test_path_that_mdtraj_cannot_write_is_refused(tmp_path, positions, time):
    with pytest.raises(OutputError, match="plain ASCII"):
        write_trr(tmp_path / "é.trr", positions, None, time)


@pytest.mark.parametrize("read", [read_trr, read_hdf5_energies])
def test_unreadable_file_is_named(tmp_path, read):
    with pytest.raises(TrajectoryError, match=r"missing\.file cannot be read"):
        read(tmp_path / "missing.file")
    (tmp_path / "text.file").write_text("not a trajectory\n" * 100)
    with pytest.raises(TrajectoryError, match=r"text\.file cannot be read"):
        read(tmp_path / "text.file")


def test_truncated_trr_is_refused(tmp_path, positions, velocities, time):
    path = tmp_path / "path.trr"
    write_trr(path, positions, velocities, time)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(TrajectoryError, match=r"path\.trr cannot be read as TRR"):
        read_trr(path)


@pytest.fixture
def trajectory(structure, positions, time):
    return mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(structure.topology), time=time)


def test_hdf5_round_trip(tmp_path, trajectory):
    path = tmp_path / "samples.h5"
    energies = np.random.default_rng(2).normal(-60, 20, FRAMES)
    write_hdf5(path, trajectory, energies, 300.0)
    np.testing.assert_array_equal(read_hdf5_energies(path), energies.astype(np.float32))
    with mdtraj.formats.HDF5TrajectoryFile(str(path)) as file:
        frames = file.read()
    np.testing.assert_array_equal(frames.potentialEnergy, energies.astype(np.float32))
    np.testing.assert_array_equal(frames.temperature, 300.0)
    loaded = mdtraj.load(path)
    assert loaded.topology == trajectory.topology
    np.testing.assert_array_equal(loaded.xyz, trajectory.xyz)
    np.testing.assert_array_equal(loaded.time, trajectory.time.astype(np.float32))
    assert list(tmp_path.iterdir()) == [path]


def test_hdf5_without_energies(tmp_path, trajectory):
    write_hdf5(tmp_path / "samples.h5", trajectory)
    assert read_hdf5_energies(tmp_path / "samples.h5") is None


def test_hdf5_refuses_other_numbers_of_energies(tmp_path, trajectory):
    with pytest.raises(TrajectoryError, match=r"energies have shape \(149,\), expected \(150,\)"):
        write_hdf5(tmp_path / "samples.h5", trajectory, np.zeros(FRAMES - 1))
    assert list(tmp_path.iterdir()) == []


def test_topology_pdb_has_atoms_and_positions(tmp_path, structure, positions):
    path = tmp_path / "topology.pdb"
    write_topology_pdb(path, structure.topology, positions[0])
    read = mdtraj.load(path)
    np.testing.assert_allclose(read.xyz[0], positions[0], atol=6e-5)  # three decimals of Å
    assert [atom.name for atom in read.topology.atoms] == [atom.name for atom in structure.topology.atoms()]
    assert read.topology.n_bonds == structure.topology.getNumBonds()


def test_topology_pdb_refuses_another_molecule(tmp_path, structure, positions):
    with pytest.raises(TrajectoryError, match="positions have shape"):
        write_topology_pdb(tmp_path / "topology.pdb", structure.topology, positions[0, :-1])
    assert list(tmp_path.iterdir()) == []
