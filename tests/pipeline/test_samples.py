"""Trajectories of users: those that load and those that are refused."""

import mdtraj
import numpy as np
import pytest

from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import TrajectoryError
from spacetime_tps.pipeline.samples import user_training_set
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.samples import FilesSettings
from spacetime_tps.settings.shipped import find_system

FRAMES = 12


@pytest.fixture(scope="module")
def molecule():
    return MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)


@pytest.fixture
def frames(molecule) -> mdtraj.Trajectory:
    """C5 with every atom displaced a little, centred for the formats that hold few digits."""
    rng = np.random.default_rng(2)
    start = molecule.structures["c5"] - molecule.structures["c5"].mean(axis=0)
    return molecule.trajectory(start + rng.normal(0, 0.004, (FRAMES, *start.shape)), np.arange(FRAMES, dtype=float))


def settings(*paths, weights=None, stride=1) -> FilesSettings:
    return FilesSettings(method="files", trajectories=paths, weights=weights, stride=stride)


def refused(message: str, molecule, given: FilesSettings) -> None:
    with pytest.raises(TrajectoryError, match=message):
        user_training_set(given, molecule)


@pytest.mark.parametrize("stride", [1, 5])
@pytest.mark.parametrize(
    "suffix, precision", [("dcd", 1e-6), ("xtc", 6e-4), ("trr", 1e-6), ("h5", 1e-6), ("pdb", 6e-5)]
)
def test_formats(suffix, precision, stride, frames, molecule, tmp_path):
    path = tmp_path / f"good.{suffix}"
    frames.save(str(path))
    (tmp_path / "weights.txt").write_text("\n".join(str(w) for w in range(FRAMES)))
    given = settings(path, weights=[tmp_path / "weights.txt"], stride=stride)
    loaded = user_training_set(given, molecule)
    np.testing.assert_allclose(loaded.positions, frames.xyz[::stride], rtol=0, atol=precision)
    kept = np.arange(FRAMES)[::stride]
    np.testing.assert_allclose(loaded.weights, kept / kept.sum())


def test_several_files_come_in_their_order(frames, molecule, tmp_path):
    frames[:3].save(str(tmp_path / "a.dcd"))
    frames[3:].save(str(tmp_path / "b.h5"))
    loaded = user_training_set(settings(tmp_path / "b.h5", tmp_path / "a.dcd"), molecule)
    np.testing.assert_array_equal(loaded.source, [0] * (FRAMES - 3) + [1] * 3)
    np.testing.assert_allclose(loaded.positions[-3:], frames.xyz[:3], atol=1e-6)


def test_missing_file(molecule, tmp_path):
    refused(r"there is no trajectory .*nowhere\.dcd", molecule, settings(tmp_path / "nowhere.dcd"))


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "trr", "h5", "pdb", "unknown"])
def test_unreadable_file(suffix, molecule, tmp_path):
    path = tmp_path / f"bad.{suffix}"
    path.write_bytes(b"\x07 this is no trajectory\n" * 40)
    refused(rf"bad\.{suffix} (cannot be read|has)", molecule, settings(path))


@pytest.mark.parametrize("suffix", ["dcd", "xtc", "trr", "h5", "pdb"])
def test_other_number_of_atoms(suffix, frames, molecule, tmp_path):
    path = tmp_path / f"small.{suffix}"
    frames.atom_slice(range(20)).save(str(path))
    refused(rf"small\.{suffix} .*2[02].* atoms", molecule, settings(path))


def test_atoms_in_another_order(frames, molecule, tmp_path):
    """The first two atoms change places, in the file's topology and in its positions."""
    order = [1, 0, *range(2, 22)]
    swapped = mdtraj.Topology()
    residue = swapped.add_residue("ALL", swapped.add_chain())
    for atom in (molecule.topology.atom(index) for index in order):
        swapped.add_atom(atom.name, atom.element, residue)
    path = tmp_path / "swapped.h5"
    mdtraj.Trajectory(frames.xyz[:, order], swapped).save(str(path))
    elements = [atom.element.symbol for atom in molecule.topology.atoms]
    assert elements[0] != elements[1]
    message = rf"swapped\.h5: atom 1 is .* \({elements[1]}\), in alanine_dipeptide it is .* \({elements[0]}\)"
    refused(message, molecule, settings(path))


@pytest.mark.parametrize("stride, frame", [(1, 6), (3, 6), (4, 6)])
def test_frame_that_is_not_finite(stride, frame, frames, molecule, tmp_path):
    frames.xyz[frame, 4, 2] = np.nan
    path = tmp_path / "holes.dcd"
    frames.save(str(path))
    refused(rf"holes\.dcd: frame {frame} has positions that are not finite", molecule, settings(path, stride=stride))


@pytest.mark.parametrize("factor", [2.5, 0.3])
def test_broken_bond(factor, frames, molecule, tmp_path):
    """The last bond is stretched or crushed in frame 8."""
    one, two = list(molecule.topology.bonds)[-1]
    x = frames.xyz[8]
    x[two.index] = x[one.index] + factor * (x[two.index] - x[one.index])
    path = tmp_path / "broken.xtc"
    frames.save(str(path))
    message = rf"broken\.xtc: frame 8 is broken: {one} and {two} are bonded but \d\.\d+ nm apart"
    refused(message, molecule, settings(path))
    refused(message, molecule, settings(path, stride=2))


@pytest.mark.parametrize(
    "weights, message",
    [
        (np.ones(FRAMES - 1), rf"weights\.npy has {FRAMES - 1} weights for {FRAMES} frames"),
        (np.ones(FRAMES + 4), rf"weights\.npy has {FRAMES + 4} weights for {FRAMES} frames"),
        (np.ones((FRAMES, 2)), r"weights\.npy has"),
        (np.r_[np.ones(FRAMES - 1), -0.1], r"weights\.npy: frame weights must be numbers, finite and not negative"),
        (np.r_[np.nan, np.ones(FRAMES - 1)], r"weights\.npy: frame weights must be numbers, finite and not negative"),
        (np.r_[np.inf, np.ones(FRAMES - 1)], r"weights\.npy: frame weights must be numbers, finite and not negative"),
        (np.zeros(FRAMES), r"weights\.npy.*zero"),
        (np.array(["a"] * FRAMES), r"weights\.npy"),
    ],
    ids=["few", "many", "two columns", "negative", "nan", "inf", "all zero", "text"],
)
def test_weights_that_do_not_fit(weights, message, frames, molecule, tmp_path):
    frames.save(str(tmp_path / "good.dcd"))
    np.save(tmp_path / "weights.npy", weights)
    refused(message, molecule, settings(tmp_path / "good.dcd", weights=[tmp_path / "weights.npy"]))


@pytest.mark.parametrize("name, content", [("weights.txt", "one\ntwo\n"), ("weights.npy", "text"), ("gone.txt", None)])
def test_unreadable_weights(name, content, frames, molecule, tmp_path):
    frames.save(str(tmp_path / "good.dcd"))
    if content is not None:
        (tmp_path / name).write_text(content)
    given = settings(tmp_path / "good.dcd", weights=[tmp_path / name])
    refused(rf"frame weights .*{name} cannot be read", molecule, given)


@pytest.mark.parametrize("count", [3, FRAMES - 1, FRAMES + 1])
def test_weights_are_for_the_frames_before_the_stride(count, frames, molecule, tmp_path):
    frames.save(str(tmp_path / "good.dcd"))
    np.save(tmp_path / "weights.npy", np.ones(count))
    given = settings(tmp_path / "good.dcd", weights=[tmp_path / "weights.npy"], stride=4)
    refused(r"weights\.npy has \d+ weights for", molecule, given)
