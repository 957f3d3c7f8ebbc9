"""HDF5 trajectories: read as mdtraj writes them; what could run code, leads elsewhere or is endless is refused."""

import contextlib
import pickle

import h5py
import mdtraj
import numpy as np
import pytest
import tables

from spacetime_tps.errors import OutputError, TrajectoryError
from spacetime_tps.runs.hdf5 import open_hdf5, read_hdf5
from spacetime_tps.runs.read import read_training_set
from spacetime_tps.runs.user_trajectories import load_user_trajectory


class Touch:
    """Unpickled, it makes a file."""

    def __init__(self, path) -> None:
        self.path = path

    def __reduce__(self):
        return (eval, (f"open({str(self.path)!r}, 'w').close()",))


@pytest.fixture
def marker(tmp_path):
    """What a pickle that is read makes; it must not be there at the end."""
    path = tmp_path / "marker"
    yield path
    assert not path.exists()


@pytest.fixture
def file(molecule, tmp_path):
    path = tmp_path / "samples" / "training.h5"
    path.parent.mkdir()
    frames = molecule.trajectory(np.stack([molecule.structures["c5"]] * 3), np.arange(3.0))
    frames.save(str(path))
    np.savez(path.with_suffix(".npz"), weights=np.ones(3), source=np.zeros(3, int))
    return path


def test_read_as_mdtraj_reads_it(molecule, tmp_path):
    path, rng = tmp_path / "a.h5", np.random.default_rng(0)
    written = molecule.trajectory(rng.normal(size=(4, 22, 3)), np.array([0.0, 2.0, 5.0, 6.0]))
    written.unitcell_lengths, written.unitcell_angles = np.full((4, 3), 3.0), np.full((4, 3), 90.0)
    written.save(str(path))
    ours, theirs = read_hdf5(path), mdtraj.load(str(path))
    assert ours.topology == theirs.topology
    for name in ("xyz", "time", "unitcell_lengths", "unitcell_angles"):
        np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))


@pytest.mark.parametrize("where", ["/", "/coordinates"])
@pytest.mark.parametrize("name", ["TITLE", "FILTERS", "title", "anything"])
@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_a_pickled_attribute_is_refused_by_name(protocol, name, where, file, marker, run):
    with h5py.File(file, "a") as opened:
        opened[where].attrs.pop(name, None)
        opened[where].attrs[name] = np.bytes_(pickle.dumps(Touch(marker), protocol))
    message = rf"training\.h5: attribute '{name}' of {where} may be pickled Python"
    with pytest.raises(TrajectoryError, match=message):
        load_user_trajectory(file, run.molecule)
    with pytest.raises(OutputError, match=message):
        read_training_set(run)


def test_the_pickle_of_these_tests_is_one_that_runs(file, tmp_path):
    """By PyTables, as it opens the file."""
    with h5py.File(file, "a") as opened:
        opened.attrs["TITLE"] = np.bytes_(pickle.dumps(Touch(tmp_path / "ran"), 0))
    with contextlib.suppress(Exception):
        tables.open_file(str(file)).close()
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("text", ["A run of mine.", "Version 1.", "no stop", "Å is a unit"])
def test_plain_titles_are_no_pickles(text, file):
    with h5py.File(file, "a") as opened:
        opened.attrs["title"] = np.bytes_(text.encode())
    assert read_hdf5(file).n_frames == 3


def test_arrays_of_objects_are_refused(file, marker, molecule):
    with tables.open_file(str(file), "a") as opened:
        opened.remove_node("/topology")
        opened.create_vlarray("/", "topology", tables.ObjectAtom()).append(Touch(marker))
    with pytest.raises(TrajectoryError, match=r"training\.h5: /topology is an array of objects"):
        load_user_trajectory(file, molecule)


@pytest.mark.parametrize("kind", [h5py.ExternalLink("other.h5", "/coordinates"), h5py.SoftLink("/time")])
def test_links_are_refused(kind, file, molecule):
    file.with_name("other.h5").write_bytes(file.read_bytes())
    with h5py.File(file, "a") as opened:
        del opened["coordinates"]
        opened["coordinates"] = kind
    with pytest.raises(TrajectoryError, match=r"training\.h5: /coordinates is an? (external )?link"):
        load_user_trajectory(file, molecule)


def test_data_in_another_file_are_refused(file, molecule):
    with h5py.File(file, "a") as opened:
        shape = opened["coordinates"].shape
        del opened["coordinates"]
        opened.create_dataset("coordinates", shape, "f4", external=[("/etc/hostname", 0, h5py.h5f.UNLIMITED)])
    with pytest.raises(TrajectoryError, match=r"the data of /coordinates are in other files"):
        load_user_trajectory(file, molecule)


def test_endless_arrays_are_refused_before_they_are_read(file, molecule):
    with h5py.File(file, "a") as opened:
        del opened["coordinates"]
        opened.create_dataset("coordinates", (10**9, 22, 3), "f4", chunks=(1, 22, 3))
    with pytest.raises(TrajectoryError, match=r"/coordinates has shape \(1000000000, 22, 3\), which cannot be in"):
        load_user_trajectory(file, molecule)


def test_other_units_are_refused(file, molecule):
    with h5py.File(file, "a") as opened:
        opened["coordinates"].attrs["units"] = np.bytes_(b"angstroms")
    with pytest.raises(TrajectoryError, match="coordinates in angstroms; write them in nanometers"):
        load_user_trajectory(file, molecule)


def test_groups_that_contain_each_other_end(file):
    with h5py.File(file, "a") as opened:
        opened.create_group("a")["again"] = opened["/"]
    with open_hdf5(file) as opened:
        assert "coordinates" in opened
