"""Users' trajectories: handedness of frames, alternate locations, boxes, endings, names of equivalent atoms."""

import dataclasses

import mdtraj
import numpy as np
import openmm
import pytest

from spacetime_tps.committor.candidates import choose_frames
from spacetime_tps.committor.results import CommittorRequest
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.runs.user_trajectories import load_user_trajectory

FRAMES = 4


@pytest.fixture
def frames(molecule) -> mdtraj.Trajectory:
    start = molecule.structures["c5"] - molecule.structures["c5"].mean(axis=0)
    noise = np.random.default_rng(2).normal(0, 0.002, (FRAMES, *start.shape))
    return molecule.trajectory(start + noise, np.arange(FRAMES, dtype=float))


@pytest.fixture
def boxed(molecule):
    """The same molecule in a box of 3 nm whose forces see it."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    system.setDefaultPeriodicBoxVectors(*(3.0 * np.eye(3)))
    force = openmm.NonbondedForce()
    force.setNonbondedMethod(openmm.NonbondedForce.CutoffPeriodic)
    for _ in range(system.getNumParticles()):
        force.addParticle(0, 1, 0)
    for index in reversed(range(system.getNumForces())):
        system.removeForce(index)
    system.addForce(force)
    return dataclasses.replace(molecule, system_xml=openmm.XmlSerializer.serialize(system))


@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr", "h5", "pdb", "gro", "nc"])
def test_a_mirrored_frame_is_refused(kind, frames, run, tmp_path):
    """Only frame 2 is D-alanine. Samples and frames of a committor are read alike."""
    frames.xyz[2] *= [1, 1, -1]
    path = tmp_path / f"d.{kind}"
    frames.save(str(path))
    message = rf"d\.{kind}: frame 2 is the mirror image of the structures at ALA2-CA"
    with pytest.raises(TrajectoryError, match=message):
        load_user_trajectory(path, run.molecule)
    request = CommittorRequest(
        str(path), shots=1, max_frames=None, band=(0.4, 0.6), confidence=0.95, seed=0, settings={}
    )
    with pytest.raises(TrajectoryError, match=message):
        choose_frames(run, request, np.random.default_rng(0))


def test_equivalent_atoms_are_named_as_in_the_structures(frames, molecule, tmp_path):
    frames.save(str(tmp_path / "a.h5"))
    methyl = molecule.topology.select("resname ACE and element H")
    frames.xyz[1:, methyl] = frames.xyz[1:, methyl[[1, 2, 0]]]
    frames.xyz[2:, methyl] = frames.xyz[2:, methyl[[1, 0, 2]]]
    frames.save(str(tmp_path / "b.h5"))
    a, b = (load_user_trajectory(tmp_path / name, molecule).xyz for name in ("a.h5", "b.h5"))
    np.testing.assert_array_equal(a, b)


def test_alternate_locations_are_refused(frames, molecule, tmp_path):
    path = tmp_path / "a.pdb"
    frames.save(str(path))
    lines = path.read_text().splitlines(keepends=True)
    number = next(i for i, line in enumerate(lines) if line.startswith("ATOM") and " CB " in line)
    lines[number] = lines[number][:16] + "B" + lines[number][17:]
    path.write_text("".join(lines))
    with pytest.raises(TrajectoryError, match=rf"a\.pdb: line {number + 1} is an alternate location \(B\) of atom CB"):
        load_user_trajectory(path, molecule)


@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr", "h5", "pdb", "gro", "nc"])
def test_another_box_is_refused(kind, frames, boxed, tmp_path, caplog):
    def save(length):
        frames.unitcell_lengths = None if length is None else np.full((FRAMES, 3), length)
        frames.unitcell_angles = None if length is None else np.full((FRAMES, 3), 90.0)
        frames.save(str(tmp_path / f"a.{kind}"))
        return tmp_path / f"a.{kind}"

    assert load_user_trajectory(save(3.0), boxed).n_frames == FRAMES
    assert "has no box" not in caplog.text
    with pytest.raises(TrajectoryError, match=r"frame 0 is in a box of 3\.1000 × 3\.1000 × 3\.1000 nm, the structures"):
        load_user_trajectory(save(3.1), boxed)
    with caplog.at_level("WARNING"):
        assert load_user_trajectory(save(None), boxed).n_frames == FRAMES
    assert f"a.{kind} has no box; its frames are taken to be in that of the structures" in caplog.text


@pytest.mark.parametrize("written, named", [("pdb", "gro"), ("nc", "h5"), ("h5", "nc"), ("gro", "pdb"), ("dcd", "pdb")])
def test_another_ending_is_told_with_the_file(written, named, frames, molecule, tmp_path):
    frames.save(str(tmp_path / f"a.{written}"))
    (tmp_path / f"a.{written}").rename(tmp_path / f"b.{named}")
    with pytest.raises(TrajectoryError, match=rf"b\.{named}"):
        load_user_trajectory(tmp_path / f"b.{named}", molecule)


def test_an_unknown_ending_is_refused(molecule, tmp_path):
    (tmp_path / "a.lh5").write_bytes(b"")
    with pytest.raises(TrajectoryError, match=r"a\.lh5 cannot be read .* its ending must be one of \.dcd, \.xtc"):
        load_user_trajectory(tmp_path / "a.lh5", molecule)
