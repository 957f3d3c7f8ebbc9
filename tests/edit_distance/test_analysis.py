"""The MDAnalysis analysis of edit distances against the distances it stands for."""

import time

import MDAnalysis
import mdtraj
import numpy as np
import pytest
import torch
from MDAnalysis.coordinates.memory import MemoryReader

from spacetime_tps.coordinates import CartesianCoordinates
from spacetime_tps.denoisers import FreeRotations, GaussianMixtureDenoiser, PotentialDenoiser
from spacetime_tps.denoisers.potential import build_network
from spacetime_tps.edit_distance import EditDistance
from spacetime_tps.errors import GeometryError, MoleculeError, OutputError, TrajectoryError
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.spacetime import pairwise_edit_distances

FOLDER = find_system("alanine_dipeptide").parent
STRUCTURES = {name: mdtraj.load(FOLDER / f"{name}.pdb") for name in ("c5", "c7eq", "c7ax")}
TOPOLOGY = STRUCTURES["c7eq"].topology
COORDINATES = CartesianCoordinates.from_structure(TOPOLOGY.select("element != H"), STRUCTURES["c7eq"].xyz[0])
MEANS = COORDINATES.encode(np.concatenate([structure.xyz for structure in STRUCTURES.values()]))
DENOISER = GaussianMixtureDenoiser([1, 1, 1], MEANS, np.tile(0.02**2 * np.eye(24), (3, 1, 1)))
LOG_SNR = 6.0
OPTIONS = {"points": 24, "knots": 4}


def frames() -> np.ndarray:
    """Five frames near the three structures, each turned and moved, in nm."""
    rng = np.random.default_rng(0)
    positions = np.concatenate([STRUCTURES[name].xyz for name in ("c5", "c7eq", "c7ax", "c7eq", "c5")]).astype(float)
    rotations = np.linalg.qr(rng.normal(size=(5, 3, 3)))[0]
    rotations *= np.linalg.det(rotations)[:, None, None]
    return (positions + rng.normal(0, 0.01, positions.shape)) @ rotations + rng.normal(size=(5, 1, 3))


def universe(positions: np.ndarray) -> MDAnalysis.Universe:
    return MDAnalysis.Universe(str(FOLDER / "c7eq.pdb"), 10 * positions, format=MemoryReader)


@pytest.fixture(scope="module")
def expected() -> np.ndarray:
    return pairwise_edit_distances(DENOISER, COORDINATES.encode(frames()), LOG_SNR, **OPTIONS).distances


def test_it_is_the_direct_call(expected):
    """MDAnalysis keeps positions in Å and single precision: 1e-6 Å in a box of some nm."""
    analysis = EditDistance(universe(frames()), DENOISER, COORDINATES, LOG_SNR, topology=TOPOLOGY, **OPTIONS).run()
    np.testing.assert_allclose(analysis.results.distances, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(analysis.results.latent, COORDINATES.encode(frames()), atol=1e-6)
    assert analysis.results.unconverged == []
    same = expected[1, 3], expected[0, 4]  # frames of one structure
    assert max(same) < np.delete(expected[np.triu_indices(5, 1)], [5, 3]).min()


@pytest.mark.parametrize("selection", [slice(0, 5, 2), slice(1, 3, None)])
def test_some_frames(expected, selection):
    analysis = EditDistance(universe(frames()), DENOISER, COORDINATES, LOG_SNR, **OPTIONS)
    analysis.run(start=selection.start, stop=selection.stop, step=selection.step)
    np.testing.assert_array_equal(analysis.frames, np.arange(5)[selection])
    np.testing.assert_allclose(analysis.results.distances, expected[selection, selection], rtol=1e-4, atol=1e-4)
    analysis.run(frames=[0, 4])  # again, on others
    np.testing.assert_allclose(analysis.results.distances[0, 1], expected[0, 4], rtol=1e-4)


def test_a_group_of_a_larger_universe(expected):
    """The molecule behind an ion."""
    ion = MDAnalysis.Universe.empty(1, trajectory=True)
    ion.add_TopologyAttr("elements", ["Na"])
    ion.add_TopologyAttr("names", ["NA"])
    both = MDAnalysis.Merge(ion.atoms, universe(frames()[:1]).atoms)
    both.load_new(10 * np.concatenate([np.zeros((5, 1, 3)), frames()], axis=1), format=MemoryReader)
    with pytest.raises(MoleculeError, match="there are 23 atoms, but the molecule has 22"):
        EditDistance(both, DENOISER, COORDINATES, LOG_SNR, topology=TOPOLOGY)
    analysis = EditDistance(both.atoms[1:], DENOISER, COORDINATES, LOG_SNR, topology=TOPOLOGY, **OPTIONS)
    np.testing.assert_allclose(analysis.run(stop=2).results.distances[0, 1], expected[0, 1], rtol=1e-4)


def test_from_a_run(tmp_path, begin_run, expected):
    """A folder with what the main job leaves there."""
    run = begin_run(tmp_path)
    with pytest.raises(OutputError, match="has not finished its stage 'denoiser'"):
        EditDistance.from_run(universe(frames()), tmp_path, LOG_SNR)
    DENOISER.save(tmp_path / "denoiser.safetensors", {})
    run.finish("denoiser", time.perf_counter())
    with pytest.raises(GeometryError, match="was made for other atoms"):
        EditDistance.from_run(universe(frames()), tmp_path, LOG_SNR)
    made_for = {"system": "alanine_dipeptide", "atoms": list(COORDINATES.atoms)}
    DENOISER.save(tmp_path / "denoiser.safetensors", made_for)
    run.finish("denoiser", time.perf_counter())
    analysis = EditDistance.from_run(universe(frames()), tmp_path, LOG_SNR, **OPTIONS).run(stop=2)
    np.testing.assert_allclose(analysis.results.distances[0, 1], expected[0, 1], rtol=1e-4)

    refined = GaussianMixtureDenoiser([1, 1, 1], MEANS, np.tile(0.03**2 * np.eye(24), (3, 1, 1)))
    (tmp_path / "geodesics").mkdir()
    refined.save(tmp_path / "geodesics" / "denoiser.safetensors", made_for)  # as on-policy rounds leave it
    run.finish("geodesics", time.perf_counter())
    found = EditDistance.from_run(universe(frames()), tmp_path, LOG_SNR, **OPTIONS).denoiser
    torch.testing.assert_close(found.variances, refined.variances)


def test_from_a_run_with_a_network(tmp_path, begin_run):
    run = begin_run(tmp_path)
    base = FreeRotations(DENOISER)
    axes = torch.eye(24, dtype=torch.float64)
    constants = {"mean": torch.from_numpy(MEANS[0]), "axes": axes, "variances": torch.full((24,), 4e-4).double()}
    network = build_network("perceptron", constants, (0.0, 12.0), 16, 2).double()
    made_for = {"system": "alanine_dipeptide", "atoms": list(COORDINATES.atoms)}
    PotentialDenoiser(base, network, (0.0, 12.0)).save(tmp_path / "denoiser.safetensors", made_for)
    run.finish("denoiser", time.perf_counter())
    analysis = EditDistance.from_run(universe(frames()), tmp_path, LOG_SNR, **OPTIONS)
    assert isinstance(analysis.denoiser, PotentialDenoiser)
    assert analysis.run(stop=2).results.distances[0, 1] > 0


def test_refusals():
    whole = universe(frames())
    with pytest.raises(MoleculeError, match="there are 10 atoms, but the coordinates use atom 18"):
        EditDistance(whole.select_atoms("not element H"), DENOISER, COORDINATES, LOG_SNR)
    with pytest.raises(MoleculeError, match="atom 0 is H, but the molecule's is C"):
        EditDistance(whole.atoms[::-1], DENOISER, COORDINATES, LOG_SNR, topology=TOPOLOGY)
    with pytest.raises(GeometryError, match="the denoiser has 1 dimensions, the coordinates 24"):
        EditDistance(whole, GaussianMixtureDenoiser([1], [[0.0]], [[[1.0]]]), COORDINATES, LOG_SNR)
    with pytest.raises(GeometryError, match="two or more"):
        EditDistance(whole, DENOISER, COORDINATES, LOG_SNR).run(stop=1)
    broken = frames()
    broken[3, 4] = np.nan
    with pytest.raises(TrajectoryError, match="frame 3 has positions that are not finite"):
        EditDistance(universe(broken), DENOISER, COORDINATES, LOG_SNR).run()
