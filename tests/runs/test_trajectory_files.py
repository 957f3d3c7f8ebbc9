"""Frames of binary trajectories are counted before they are read: cut files and false counts are refused."""

import struct

import mdtraj
import numpy as np
import pytest

from spacetime_tps.errors import TrajectoryError
from spacetime_tps.runs.trajectory_files import check_frames

FRAMES = 5


@pytest.fixture
def frames(molecule) -> mdtraj.Trajectory:
    return molecule.trajectory(np.stack([molecule.structures["c5"]] * FRAMES), np.arange(FRAMES))


def written(frames, kind, folder, box=None):
    if box is not None:
        frames.unitcell_lengths, frames.unitcell_angles = (
            np.full((len(frames), 3), box),
            np.full((len(frames), 3), 90.0),
        )
    frames.save(str(folder / f"a.{kind}"))
    return folder / f"a.{kind}"


@pytest.mark.parametrize("box", [None, 3.0])
@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr"])
def test_whole_files(kind, box, frames, tmp_path):
    path = written(frames, kind, tmp_path, box)
    assert check_frames(path, 22) == FRAMES
    assert check_frames(path) == FRAMES


@pytest.mark.parametrize("atoms", [1, 9])
@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr"])
def test_few_atoms(kind, atoms, frames, tmp_path):
    """XTC does not pack positions of nine atoms or fewer."""
    assert check_frames(written(frames.atom_slice(range(atoms)), kind, tmp_path), atoms) == FRAMES


@pytest.mark.parametrize("share", [0.3, 0.5, 0.77, 0.999])
@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr"])
def test_a_file_cut_within_a_frame(kind, share, frames, tmp_path):
    path = written(frames, kind, tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(TrajectoryError, match=rf"a\.{kind} cannot be read as {kind.upper()}: it is cut short and ends"):
        check_frames(path, 22)


def test_a_dcd_cut_between_frames_says_so(frames, tmp_path):
    path = written(frames, "dcd", tmp_path, 3.0)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) - 56 - 3 * (8 + 4 * 22)])
    with pytest.raises(TrajectoryError, match=r"a\.dcd says that it has 5 frames, but 4 are there"):
        check_frames(path, 22)


def test_a_dcd_with_more_frames_than_it_says(frames, tmp_path, caplog):
    """As programs leave it that append."""
    path = written(frames, "dcd", tmp_path)
    data = bytearray(path.read_bytes())
    data[8:12] = struct.pack("<i", 2)
    path.write_bytes(data)
    with caplog.at_level("WARNING"):
        assert check_frames(path, 22) == FRAMES
    assert "says that it has 2 frames, but 5 are there; all are read" in caplog.text


@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr"])
def test_a_damaged_frame_is_named(kind, frames, tmp_path):
    path = written(frames, kind, tmp_path)
    data = bytearray(path.read_bytes())
    head = len(data) - FRAMES * (len(data) // FRAMES) if kind != "dcd" else len(data) - FRAMES * 3 * (8 + 88)
    at = head + 2 * ((len(data) - head) // FRAMES)
    data[at : at + 4] = b"\x07\x07\x07\x07"
    path.write_bytes(data)
    with pytest.raises(TrajectoryError, match=rf"a\.{kind} cannot be read: frame 2 is damaged"):
        check_frames(path, 22)


@pytest.mark.parametrize("kind", ["dcd", "xtc", "trr"])
def test_other_number_of_atoms(kind, frames, tmp_path):
    path = written(frames.atom_slice(range(20)), kind, tmp_path)
    with pytest.raises(TrajectoryError, match=rf"a\.{kind} has 20 atoms in frame 0, the structures have 22"):
        check_frames(path, 22)


@pytest.mark.parametrize("other", ["xtc", "trr", "dcd"])
def test_another_ending(other, frames, tmp_path):
    path = written(frames, {"xtc": "dcd", "trr": "xtc", "dcd": "trr"}[other], tmp_path)
    path = path.rename(tmp_path / f"b.{other}")
    with pytest.raises(TrajectoryError, match=rf"b\.{other} cannot be read as {other.upper()}.*its ending"):
        check_frames(path, 22)
