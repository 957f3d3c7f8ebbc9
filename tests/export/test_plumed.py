"""PLUMED's path: a strict reading of the reference, even spacing, and LAMBDA; superposition has no say in either."""

import mdtraj
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from spacetime_tps.errors import ConfigError, TrajectoryError
from spacetime_tps.export.plumed import INPUT, REFERENCE, pick_reference, plumed_input, write_plumed
from spacetime_tps.settings.shipped import data_folder

ALANINE = data_folder("systems") / "alanine_dipeptide"


@pytest.fixture(scope="module")
def structures():
    first, last = (mdtraj.load(ALANINE / f"{name}.pdb") for name in ("c7eq", "c7ax"))
    atoms = first.topology.select("element != H")
    return first, last.superpose(first, atom_indices=atoms), atoms


@pytest.fixture
def path(structures):
    """The straight line between two structures, unevenly paced, each frame turned and shifted on its own."""
    first, last, atoms = structures
    share = (np.linspace(0, 1, 60) ** 2)[:, None, None]
    line = (1 - share) * first.xyz[0, atoms] + share * last.xyz[0, atoms]
    turns = Rotation.random(60, random_state=0).as_matrix()
    return np.einsum("fax,fyx->fay", line, turns) + np.random.default_rng(0).normal(0, 5, (60, 1, 3))


def read_reference(text: str) -> list[list[tuple[int, str, str, int, np.ndarray]]]:
    """Frames of a PATHMSD reference: fixed columns, nothing but ATOM lines each frame ended by END."""
    frames: list[list[tuple[int, str, str, int, np.ndarray]]] = [[]]
    assert text.endswith("END\n")
    for line in text.splitlines():
        if line == "END":
            frames.append([])
            continue
        assert len(line) == 66
        assert line[:6] == "ATOM  " and line[11] == " " and line[20] == " " and line[26:30] == "    "
        assert line[54:60] == line[60:66] == "  1.00"  # weights in the superposition and in the deviation
        for start in (30, 38, 46):
            assert line[start + 4] == "."
        xyz = np.array([float(line[start : start + 8]) for start in (30, 38, 46)])
        frames[-1].append((int(line[6:11]), line[12:16].strip(), line[17:20].strip(), int(line[22:26]), xyz))
    assert frames.pop() == []
    return frames


def settings_of(text: str) -> dict[str, dict[str, str]]:
    """Actions of a plumed.dat by label or name; comments are left out."""
    actions = {}
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        label, *words = line.split()
        actions[label.rstrip(":")] = dict(word.split("=", 1) if "=" in word else (word, "") for word in words)
    return actions


def test_reference_is_read_as_written(tmp_path, structures, path):
    topology, atoms = structures[0].topology, structures[2]
    reference = pick_reference(path, atoms, 8, "the line")
    write_plumed(tmp_path, topology, reference, False, "the line")
    frames = read_reference((tmp_path / REFERENCE).read_text())
    assert len(frames) == 8
    for frame, positions in zip(frames, reference.positions, strict=True):
        assert [serial for serial, *_ in frame] == [atom + 1 for atom in atoms]  # of the molecule, with gaps
        for (serial, name, residue, number, xyz), expected in zip(frame, positions, strict=True):
            atom = topology.atom(serial - 1)
            assert (name, residue, number) == (atom.name, atom.residue.name, atom.residue.resSeq)
            np.testing.assert_allclose(xyz, 10 * expected, atol=5.1e-4)  # Å


def test_frames_are_evenly_spaced_from_end_to_end(structures, path):
    """Whatever the pace of the path and however its frames lie: within 3 %, and RMSD as mdtraj computes it."""
    reference = pick_reference(path, structures[2], 8, "the line")
    assert np.abs(reference.spacing / reference.spacing.mean() - 1).max() < 0.03
    assert reference.even
    heavy = structures[0].topology.subset(structures[2])
    picked = mdtraj.Trajectory(reference.positions, heavy)
    for i in range(7):
        assert mdtraj.rmsd(picked[i + 1], picked, i)[0] == pytest.approx(reference.spacing[i], abs=2e-5)
    for end, place in ((0, 0), (-1, -1)):
        assert mdtraj.rmsd(mdtraj.Trajectory(path[place], heavy), picked[end])[0] < 1e-4


def test_lambda_is_that_of_the_mean_squared_deviation(tmp_path, structures, path):
    reference = pick_reference(path, structures[2], 5, "the line")
    write_plumed(tmp_path, structures[0].topology, reference, False, "the line")
    action = settings_of((tmp_path / INPUT).read_text())["path"]
    assert float(action["LAMBDA"]) == pytest.approx(2.3 / np.mean(reference.spacing**2), rel=1e-5)
    assert action["REFERENCE"] == REFERENCE
    assert np.exp(-reference.decay * np.mean(reference.spacing**2)) == pytest.approx(0.1, rel=0.01)


def test_box_rules_and_atoms_of_the_input(structures, path):
    reference = pick_reference(path, structures[2], 5, "the line")
    vacuum, periodic = (settings_of(plumed_input(reference, 22, box, "x")) for box in (False, True))
    assert "NOPBC" in vacuum["path"] and "WHOLEMOLECULES" not in vacuum
    assert "NOPBC" not in periodic["path"] and periodic["WHOLEMOLECULES"] == {"ENTITY0": "1-22"}
    assert vacuum["PRINT"]["ARG"] == "path.sss,path.zzz"
    listed = [part.split("-") for part in vacuum["DUMPATOMS"]["ATOMS"].split(",")]
    atoms = [atom for part in listed for atom in range(int(part[0]), int(part[-1]) + 1)]
    assert atoms == (structures[2] + 1).tolist()


def test_progress_rises_from_a_to_b(structures, path):
    """s = Σ i exp(−λ d²)/Σ exp(−λ d²), as PLUMED has it, of the frames of the path itself."""
    reference = pick_reference(path, structures[2], 8, "the line")
    heavy = structures[0].topology.subset(structures[2])
    picked, line = (mdtraj.Trajectory(x, heavy) for x in (reference.positions, path[[*range(0, 60, 4), 59]]))
    squared = np.array([mdtraj.rmsd(line, picked, i) ** 2 for i in range(8)])
    weight = np.exp(-reference.decay * squared)
    progress = (np.arange(1, 9)[:, None] * weight).sum(0) / weight.sum(0)
    assert (np.diff(progress) > -1e-3).all()
    assert progress[0] < 1.2 and progress[-1] > 7.2


def test_a_path_that_jumps_is_told(structures):
    first, last, atoms = structures
    noise = np.random.default_rng(1).normal(0, 1e-4, (600, len(atoms), 3))
    jump = np.where(np.arange(600)[:, None, None] < 300, first.xyz[0, atoms], last.xyz[0, atoms]) + noise
    assert not pick_reference(jump, atoms, 6, "a jump").even


def test_refused(structures, path):
    atoms = structures[2]
    with pytest.raises(ConfigError, match="has 2 to 60 frames, not 1"):
        pick_reference(path, atoms, 1, "p")
    with pytest.raises(TrajectoryError, match="p: a path reference needs two frames"):
        pick_reference(path[:1], atoms, 4, "p")
    with pytest.raises(TrajectoryError, match="neighbouring reference frames are alike; ask for fewer than 4"):
        pick_reference(path[[0, 0, 0]], atoms, 4, "p")
    with pytest.raises(TrajectoryError, match="three atoms"):
        pick_reference(path[:, :2], atoms[:2], 4, "p")
