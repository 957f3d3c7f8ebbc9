"""Figures of paths made by hand: target hits, RMSD and the energy of the transition state."""

import mdtraj
import numpy as np
import pytest

from spacetime_tps.dynamics.annealing import TransitionPath
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.pipeline.annealing import compared_atoms
from spacetime_tps.pipeline.metrics import path_metrics
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.statistics.intervals import MeanSd


@pytest.fixture(scope="module")
def molecule():
    return MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)


HEAVY = mdtraj.load(str(find_system("alanine_dipeptide").parent / "c5.pdb")).topology.select("element != H").tolist()


def path(*frames: np.ndarray, energies=None, failure: str | None = None) -> TransitionPath:
    count = len(frames)
    highest = np.zeros(count) if energies is None else np.array(energies, dtype=float)
    positions = np.array(frames) if count else np.empty((0, 22, 3))
    nothing = np.zeros(count)
    return TransitionPath(
        positions=positions,
        velocities=np.zeros_like(positions),
        time=np.arange(count, dtype=float),
        log_snr=nothing,
        potential_energy=nothing,
        restraint_energy=nothing,
        highest_potential_energy=highest,
        work=nothing,
        evaluations=count,
        failure=failure,
    )


def metrics(paths, molecule, tolerance=0.75):
    return path_metrics(paths, molecule, HEAVY, list(molecule.variables.values()), tolerance)


def moved(positions: np.ndarray) -> np.ndarray:
    """The same structure, rotated and shifted."""
    rotation = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    return positions @ (rotation * np.sign(np.linalg.det(rotation))) + [1.0, -2.0, 0.5]


def test_the_last_frame_decides(molecule):
    a, b = molecule.structures["c5"], molecule.structures["c7ax"]
    found = metrics([path(a, b), path(a, moved(b)), path(b, a), path(a)], molecule)
    assert found.hit.tolist() == [True, True, False, False]
    np.testing.assert_allclose(found.rmsd_angstrom[:2], 0, atol=1e-2)
    assert (found.rmsd_angstrom[2:] > 1).all()


def test_rmsd_is_that_of_mdtraj_over_heavy_atoms(molecule):
    b = molecule.structures["c7ax"]
    rng = np.random.default_rng(1)
    frames = [moved(b + rng.normal(0, 0.02, b.shape)) for _ in range(4)]
    hydrogens = molecule.topology.select("element H")
    displaced = moved(b)
    displaced[hydrogens] += rng.normal(0, 0.1, (len(hydrogens), 3))
    found = metrics([path(b, frame) for frame in (*frames, displaced)], molecule)
    heavy = [atom.index for atom in molecule.topology.atoms if atom.element.symbol != "H"]
    expected = mdtraj.rmsd(molecule.trajectory(frames), molecule.trajectory(b[None]), atom_indices=heavy)
    np.testing.assert_allclose(found.rmsd_angstrom[:4], 10 * expected, rtol=1e-5)
    assert found.rmsd_angstrom[4] == pytest.approx(0, abs=1e-2)


def test_the_tolerance_is_in_every_variable(molecule):
    """C7ax to C5 differs by about 2.7 rad in phi (3.6 the long way round) and by 2.8 in psi."""
    a, b = molecule.structures["c5"], molecule.structures["c7ax"]
    values = molecule.collective_variables(molecule.trajectory(np.array([a, b])))
    distance = [abs(molecule.variables[name].difference(v, v[1])[0]) for name, v in values.items()]
    assert max(distance) < np.pi
    between = sorted(distance)
    assert metrics([path(a)], molecule, max(distance) + 1e-3).hit.tolist() == [True]
    assert metrics([path(a)], molecule, max(distance) - 1e-3).hit.tolist() == [False]
    nearer = min(values, key=lambda name: distance[list(values).index(name)])
    alone = path_metrics([path(a)], molecule, HEAVY, [molecule.variables[nearer]], between[0] + 1e-3)
    assert alone.hit.tolist() == [True]


def test_transition_state_energy_is_over_the_paths_that_hit(molecule):
    a, b = molecule.structures["c5"], molecule.structures["c7ax"]
    paths = [
        path(a, b, energies=[10.0, 4.0]),
        path(a, a, energies=[500.0, 500.0]),
        path(a, b, energies=[3.0, 16.0]),
        path(a, b, energies=[900.0, 5.0], failure="it broke"),
    ]
    found = metrics(paths, molecule)
    assert found.hit.tolist() == [True, False, True, False]
    np.testing.assert_array_equal(found.highest_energy, [10, 500, 16, 900])
    summary = found.summary()
    assert summary.target_hit_percentage == 50.0
    ets = summary.ets_kj_per_mol
    assert ets.mean == pytest.approx(13.0)
    assert ets.sd == pytest.approx(np.sqrt(18.0))
    assert ets.standard_error == pytest.approx(3.0)


def test_a_path_without_frames_has_no_figures(molecule):
    a, b = molecule.structures["c5"], molecule.structures["c7ax"]
    found = metrics([path(failure="at once"), path(a, b, energies=[7.0, 1.0])], molecule)
    assert found.hit.tolist() == [False, True]
    assert np.isnan(found.rmsd_angstrom[0])
    assert np.isnan(found.highest_energy[0])
    summary = found.summary()
    assert summary.target_hit_percentage == 50.0
    assert summary.ets_kj_per_mol == MeanSd(7.0, 0.0, 0.0)
    assert summary.rmsd_angstrom.mean == pytest.approx(0, abs=1e-2)


def test_nothing_that_hits_has_no_energy(molecule):
    nothing = MeanSd(None, None, None)
    for paths in ([], [path(molecule.structures["c5"], energies=[1.0])]):
        summary = metrics(paths, molecule).summary()
        assert summary.target_hit_percentage == 0.0
        assert summary.ets_kj_per_mol == nothing
    assert metrics([], molecule).summary().rmsd_angstrom == nothing


@pytest.mark.parametrize("kind", ["cartesian", "torsions"])
def test_the_compared_atoms_are_the_models(begin_run, tmp_path, kind):
    """Of positions those that the model sees; of dihedrals the heavy atoms of their molecule."""
    sections = {"cartesian": {"coordinates": {"atoms": "name C or name CA or name H"}}}
    sections["torsions"] = {"coordinates": {"kind": "torsions"}, "geodesics": {"region": None}}
    run = begin_run(tmp_path, **sections[kind])
    expected = HEAVY if kind == "torsions" else run.molecule.topology.select("name C or name CA")
    assert compared_atoms(run) == list(expected)
