"""The network of messages: invariance, handedness, smoothness, locality, and the ranges its features are scaled by."""

import copy
from itertools import combinations

import mdtraj
import numpy as np
import pytest
import torch
from contracts.denoiser import FileContract, NormalizerContract
from scipy.spatial.transform import Rotation

from spacetime_tps.coordinates import CartesianCoordinates
from spacetime_tps.denoisers import FreeRotations, GaussianMixtureDenoiser, PotentialDenoiser
from spacetime_tps.denoisers.message_passing import MessagePassingNetwork, MolecularGraph
from spacetime_tps.errors import GeometryError
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.spacetime import Points

RANGE = (2.6, 12.6)
CUTOFF = 0.4


@pytest.fixture(scope="module")
def structure() -> mdtraj.Trajectory:
    """Alanine dipeptide in C7eq, heavy atoms."""
    frame = mdtraj.load(find_system("alanine_dipeptide").parent / "c7eq.pdb")
    return frame.atom_slice(frame.topology.select("element != H"))


@pytest.fixture(scope="module")
def coordinates(structure) -> CartesianCoordinates:
    return CartesianCoordinates.from_structure(range(structure.n_atoms), structure.xyz[0])


@pytest.fixture(scope="module")
def frames(structure) -> np.ndarray:
    """Positions around the structure, 0.01 nm apart in each direction."""
    return structure.xyz[0] + np.random.default_rng(0).normal(0, 0.01, (400, structure.n_atoms, 3))


def chemistry(structure: mdtraj.Trajectory) -> tuple[torch.Tensor, torch.Tensor]:
    """Kinds of atoms, and bonds."""
    names = [f"{atom.residue.name}:{atom.name}" for atom in structure.topology.atoms]
    bonds = torch.tensor([[a.index, b.index] for a, b in structure.topology.bonds])
    return torch.from_numpy(np.unique(names, return_inverse=True)[1]), bonds


def make_graph(structure, coordinates, frames, cutoff: float = CUTOFF) -> MolecularGraph:
    samples = torch.from_numpy(coordinates.encode(frames))
    weights = torch.full((len(samples),), 1 / len(samples), dtype=torch.float64)
    return MolecularGraph.from_samples(
        torch.from_numpy(coordinates.basis), *chemistry(structure), samples, weights, cutoff
    )


def make_network(graph: MolecularGraph, depth: int = 2, seed: int = 0) -> MessagePassingNetwork:
    """A network whose answer is not zero, as it is before training."""
    generator = torch.Generator().manual_seed(seed)
    network = MessagePassingNetwork(graph, RANGE, 16, depth, generator)
    torch.nn.init.normal_(network.last.weight, generator=generator)
    return network


@pytest.fixture(scope="module")
def graph(structure, coordinates, frames) -> MolecularGraph:
    return make_graph(structure, coordinates, frames)


@pytest.fixture(scope="module")
def network(graph) -> MessagePassingNetwork:
    return make_network(graph)


def levels(count: int) -> torch.Tensor:
    return torch.linspace(*RANGE, count, dtype=torch.float64)


class TestContract(NormalizerContract, FileContract):
    """As the correction of a mixture, within its range; y in nm near the structure."""

    levels = RANGE
    step = 1e-7  # nm: bonds are stiff

    @pytest.fixture
    def denoiser(self, network, coordinates, frames):
        samples = coordinates.encode(frames)
        base = GaussianMixtureDenoiser([1.0], samples.mean(0)[None], np.cov(samples.T)[None])
        made = copy.deepcopy(network).requires_grad_(False)
        return PotentialDenoiser(FreeRotations(base), made, RANGE)

    @pytest.fixture
    def points(self, coordinates, frames):
        return Points(torch.from_numpy(coordinates.encode(frames[:6])), levels(6))


def test_turning_and_moving_the_molecule_changes_nothing(network, coordinates, frames):
    rng = np.random.default_rng(1)
    rotations = Rotation.random(20, rng=rng).as_matrix()
    moved = frames[:20] @ rotations + rng.normal(size=(20, 1, 3))
    here, there = (network(torch.from_numpy(coordinates.encode(x)), levels(20)) for x in (frames[:20], moved))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-11)


def test_mirrored_molecules_are_told_apart(network, coordinates, frames):
    mirrored = frames[:20] * np.array([1.0, 1.0, -1.0])
    here, there = (network(torch.from_numpy(coordinates.encode(x)), levels(20)) for x in (frames[:20], mirrored))
    assert ((there - here).abs() > 1e-3).all()  # turning them changes 1e-11


def test_a_mirror_turns_the_sign_of_volumes_and_keeps_distances(structure, coordinates, frames, graph):
    mirror = np.array([1.0, 1.0, -1.0])
    image = CartesianCoordinates.from_structure(range(structure.n_atoms), structure.xyz[0] * mirror)
    other = make_graph(structure, image, frames * mirror)
    count = len(graph.pairs)
    torch.testing.assert_close(other.mean[:count], graph.mean[:count])
    torch.testing.assert_close(other.mean[count:], -graph.mean[count:])
    assert (graph.mean[count:].abs() > 0.2).any()


def test_pairs_up_to_three_bonds_apart_or_within_the_cutoff(structure, coordinates, frames, graph):
    bonded = {frozenset((a.index, b.index)) for a, b in structure.topology.bonds}
    steps = np.full((structure.n_atoms, structure.n_atoms), np.inf)
    for a, b in bonded:
        steps[a, b] = steps[b, a] = 1
    for k in range(structure.n_atoms):  # Floyd and Warshall
        steps = np.minimum(steps, steps[:, [k]] + steps[[k], :])
    nearest = np.linalg.norm(frames[:, :, None] - frames[:, None], axis=-1).min(axis=0)
    expected = {
        (i, j) for i, j in combinations(range(structure.n_atoms), 2) if steps[i, j] <= 3 or nearest[i, j] < CUTOFF
    }
    assert {tuple(pair) for pair in graph.pairs.tolist()} == expected
    only_bonded = make_graph(structure, coordinates, frames, cutoff=0.01)
    assert len(only_bonded.pairs) == (np.triu(steps, 1)[np.triu_indices(len(steps), 1)] <= 3).sum() < len(graph.pairs)


def test_the_chiral_centre_is_a_quadruple(structure, graph):
    atom = {(a.residue.name, a.name): a.index for a in structure.topology.atoms}
    centre = {atom["ALA", name] for name in ("N", "CA", "C", "CB")}
    assert centre in [set(four) for four in graph.quadruples.tolist()]
    chains = [tuple(four) for four in graph.quadruples.tolist()]
    phi = (atom["ACE", "C"], atom["ALA", "N"], atom["ALA", "CA"], atom["ALA", "C"])
    assert phi in chains or phi[::-1] in chains


def test_slope_is_the_variance_that_little_noise_gives(structure, coordinates, graph):
    # 4,000 draws: the relative standard error of a variance is √(2/4000) = 2.2 %; of some 50, none is 4.5 times as far
    sigma = 1e-4
    noise = np.random.default_rng(2).normal(0, sigma, (4000, structure.n_atoms, 3))
    one = make_graph(structure, coordinates, np.repeat(structure.xyz[:1].astype(float), 4, axis=0))
    noisy = make_graph(structure, coordinates, structure.xyz[0] + noise)
    assert one.pairs.tolist() == noisy.pairs.tolist()
    torch.testing.assert_close(noisy.variance / sigma**2, one.slope, rtol=0.1, atol=0)
    assert (one.slope[: len(one.pairs)] == 2).all()


def test_ranges_are_those_of_weighted_samples(structure, coordinates, frames, graph):
    samples = torch.from_numpy(coordinates.encode(frames))
    weights = torch.from_numpy(np.random.default_rng(5).dirichlet(np.ones(len(frames))))
    weighted = MolecularGraph.from_samples(graph.basis, *chemistry(structure), samples, weights, CUTOFF)
    i, j = graph.pairs.T.numpy()
    distances = np.linalg.norm(frames[:, i] - frames[:, j], axis=-1)
    mean = np.average(distances, axis=0, weights=weights)
    # softening a distance r by ε makes it ε²/2r longer: 5e-6 nm for a bond
    np.testing.assert_allclose(weighted.mean[: len(i)], mean, atol=1e-5)
    variance = np.average((distances - mean) ** 2, axis=0, weights=weights)
    np.testing.assert_allclose(weighted.variance[: len(i)], variance, rtol=1e-3)
    places = coordinates.decode(weights.numpy() @ samples.numpy())
    np.testing.assert_allclose(weighted.place, places, atol=1e-12)


def test_first_and_second_derivatives(network, coordinates, frames):
    y = torch.from_numpy(coordinates.encode(frames[:2])).requires_grad_()
    log_snr = levels(2).requires_grad_()
    assert torch.autograd.gradcheck(network, (y, log_snr), eps=1e-7, rtol=1e-4, atol=1e-5)

    def gradient(y: torch.Tensor, log_snr: torch.Tensor) -> torch.Tensor:
        return torch.cat(
            [g.flatten() for g in torch.autograd.grad(network(y, log_snr).sum(), (y, log_snr), create_graph=True)]
        )

    assert torch.autograd.gradcheck(gradient, (y, log_snr), eps=1e-7, rtol=1e-3, atol=1e-3)


def test_derivatives_are_finite_where_all_atoms_coincide(network):
    y = torch.zeros(3, network.basis.shape[1], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(network(y, levels(3)).sum(), y, create_graph=True)
    (second,) = torch.autograd.grad(gradient.square().sum(), y)
    assert gradient.isfinite().all() and second.isfinite().all()


def test_points_of_a_batch_do_not_see_each_other(network, coordinates, frames):
    y, log_snr = torch.from_numpy(coordinates.encode(frames[:5])), levels(5)
    alone = torch.cat([network(y[k : k + 1], log_snr[k : k + 1]) for k in range(5)])
    torch.testing.assert_close(network(y, log_snr), alone)


def test_single_precision_is_enough_for_training(graph, coordinates, frames):
    y, log_snr = torch.from_numpy(coordinates.encode(frames[:20])), levels(20)
    exact, rounded = make_network(graph)(y, log_snr), make_network(graph).float()(y.float(), log_snr.float())
    assert rounded.dtype == torch.float32
    assert (rounded - exact).abs().max() < 1e-4 * exact.abs().max()


def test_an_untrained_network_says_nothing_and_a_seed_gives_its_weights(graph, coordinates, frames):
    y, log_snr = torch.from_numpy(coordinates.encode(frames[:5])), levels(5)
    fresh = MessagePassingNetwork(graph, RANGE, 16, 2, torch.Generator().manual_seed(3))
    assert (fresh(y, log_snr) == 0).all()
    same, other = (make_network(graph, seed=seed)(y, log_snr) for seed in (0, 1))
    assert (make_network(graph)(y, log_snr) == same).all() and (other != same).all()


def test_messages_travel_one_tie_a_round():
    # a straight chain of atoms in any frame (the basis is the identity), tied up to three bonds apart
    n, depth = 16, 2
    chain = np.arange(n)[:, None] * np.array([0.15, 0.0, 0.0])
    samples = torch.from_numpy((chain + np.random.default_rng(4).normal(0, 0.02, (50, n, 3))).reshape(50, -1))
    bonds = torch.stack([torch.arange(n - 1), torch.arange(1, n)], dim=1)
    weights = torch.full((50,), 1 / 50, dtype=torch.float64)
    kinds = torch.zeros(n, dtype=torch.long)
    graph = MolecularGraph.from_samples(torch.eye(3 * n, dtype=torch.float64), kinds, bonds, samples, weights, 0.2)
    network = make_network(graph, depth)
    assert len(network.tie_shift.weight) == 4  # pairs one, two and three bonds apart, and chains: one kind of each

    def phi(y: torch.Tensor) -> torch.Tensor:
        return network(y[None], torch.tensor([9.0], dtype=torch.float64))[0]

    hessian = torch.autograd.functional.hessian(phi, samples[0]).reshape(n, 3, n, 3).abs().amax((1, 3))
    # φ is a sum over atoms, each of which hears of others up to `depth` ties away, of three bonds each
    reach = 3 * 2 * depth
    apart = (torch.arange(n)[:, None] - torch.arange(n)).abs()
    assert (hessian[apart > reach] == 0).all()
    assert (hessian[apart <= 3] > 0).all()


def test_what_does_not_fit_is_refused(structure, coordinates, frames):
    basis, samples = torch.from_numpy(coordinates.basis), torch.from_numpy(coordinates.encode(frames))
    weights = torch.full((len(samples),), 1 / len(samples), dtype=torch.float64)
    kinds, bonds = chemistry(structure)
    with pytest.raises(GeometryError, match="do not fit"):
        MolecularGraph.from_samples(basis, kinds[1:], bonds, samples, weights, CUTOFF)
    with pytest.raises(GeometryError, match="not among the 10"):
        MolecularGraph.from_samples(basis, kinds, bonds + 1, samples, weights, CUTOFF)
    with pytest.raises(GeometryError, match="no bonds"):
        MolecularGraph.from_samples(basis, kinds, bonds[:0], samples, weights, 0.05)
