"""A network of a molecule's shape: its cost per atom does not grow with the molecule.

Atoms pass messages along a graph that is fixed by bonds and samples, in the manner of SchNet (Schütt et al., J. Chem.
Phys. 148, 241722 (2018)): filters come from the distances of near pairs and from the signed volumes of bonded
quadruples, with weights shared by all ties between atoms of the same kinds. Neither depends on how the molecule lies; a
mirror changes the sign of every volume, so handedness is seen. These resolve stiff bonds, but noise as large as a bond
hides them; what it leaves, soft motions of many atoms, is seen from each atom's place in the frame of the superposed
molecule, where noise averages out. Since the graph is fixed no pair ever enters or leaves it: the network is smooth in
y without a cut-off function.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import reduce
from itertools import combinations

import torch
from torch import Tensor, nn

from spacetime_tps.denoisers.perceptron import LEVELS
from spacetime_tps.errors import GeometryError

SOFTENING = 1e-3  # nm: distances are √(r² + SOFTENING²), smooth where atoms coincide


@dataclass(frozen=True)
class MolecularGraph:
    """Which atoms of a molecule speak to each other, and how far their distances, volumes and places range.

    Attributes
    ----------
    basis : tensor, shape (3n, dimension)
        Positions in nm are ``basis @ y``, up to a rigid motion.
    pairs : tensor of int, shape (pairs, 2)
    quadruples : tensor of int, shape (quadruples, 4)
    tie_kinds : tensor of int, shape (pairs + quadruples,)
        Of pairs by the kinds of the two atoms and the number of bonds between them, of quadruples by the kinds of the
        four atoms.
    mean, variance : tensor, shape (pairs + quadruples,)
        Of distances in nm and of signed volumes, over the samples.
    slope : tensor, shape (pairs + quadruples,)
        Mean square of their gradients: times σ² it is the variance that a little noise gives them.
    place : tensor, shape (n, 3)
        Mean positions in nm, superposed.
    place_variance : tensor, shape (n,)
        Of positions about them, per direction.
    """

    basis: Tensor
    pairs: Tensor
    quadruples: Tensor
    tie_kinds: Tensor
    mean: Tensor
    variance: Tensor
    slope: Tensor
    place: Tensor
    place_variance: Tensor

    @classmethod
    def from_samples(
        cls, basis: Tensor, kinds: Tensor, bonds: Tensor, samples: Tensor, weights: Tensor, cutoff: float
    ) -> MolecularGraph:
        """The graph of pairs up to three bonds apart or ever nearer than a cut-off, and of all bonded quadruples.

        Quadruples are chains of three bonds i–j–k–l and, for handedness, every atom with three atoms bonded to it.

        Parameters
        ----------
        basis : tensor, shape (3n, dimension)
        kinds : tensor of int, shape (n,)
            Atoms of one kind, say of one name in residues of one name, share the weights of their ties.
        bonds : tensor of int, shape (bonds, 2)
        samples : tensor, shape (samples, dimension)
        weights : tensor, shape (samples,)
            Of the samples; they sum to one.
        cutoff : float
            In nm.

        Raises
        ------
        GeometryError
            If shapes do not fit, a bond is between atoms that are not there, or there is no pair.
        """
        n = len(kinds)
        if basis.shape != (3 * n, samples.shape[-1]) or bonds.ndim != 2 or bonds.shape[1] != 2:
            raise GeometryError(
                f"molecular graph: basis {tuple(basis.shape)}, samples {tuple(samples.shape)}, kinds of {n} atoms and "
                f"bonds {tuple(bonds.shape)} do not fit"
            )
        if len(bonds) and not 0 <= int(bonds.min()) <= int(bonds.max()) < n:
            raise GeometryError(f"molecular graph: a bond is between atoms that are not among the {n} given")
        apart = _bonds_between(bonds, n)
        x = (samples @ basis.T).view(-1, n, 3)
        nearest = reduce(torch.minimum, (torch.cdist(frame, frame) for frame in x))
        pairs = torch.triu((apart <= 3) | (nearest < cutoff), 1).nonzero()
        if not len(pairs):
            raise GeometryError(f"molecular graph: no bonds, and no two atoms within the cut-off of {cutoff:g} nm")
        quadruples = torch.tensor(sorted(_quadruples(bonds, n)), dtype=torch.long).reshape(-1, 4)
        pair_labels = torch.cat([kinds[pairs].sort(1).values, apart[pairs[:, :1], pairs[:, 1:]]], dim=1)
        labels = torch.cat([nn.functional.pad(pair_labels, (0, 1), value=-1), kinds[quadruples]])
        place = torch.einsum("s,sni->ni", weights, x)
        mean, variance, slope = _ranges(x, weights, pairs, quadruples)
        return cls(
            basis=basis,
            pairs=pairs,
            quadruples=quadruples,
            tie_kinds=torch.unique(labels, dim=0, return_inverse=True)[1],
            mean=mean,
            variance=variance,
            slope=slope,
            place=place,
            place_variance=torch.einsum("s,sni->n", weights, (x - place).square()) / 3,
        )


class MessagePassingNetwork(nn.Module):
    """φ(y, λ): a sum over atoms, each of which has heard of its neighbourhood.

    A distance or volume f of variance c over the samples, to which noise of variance σ² adds g σ², enters as
    u = √c/(c + g σ²) · (f − f̄), like the directions of :class:`PreconditionedNetwork`: what the noise hides fades.
    Positions enter in the same way, with g = 1. In a round of messages the atoms of each pair and of each quadruple
    speak, and all of them hear the sum of what was said, filtered by u.

    Parameters
    ----------
    graph : MolecularGraph
    log_snr_range : tuple of float
    width : int
        Features of each atom, pair and quadruple.
    depth : int
        Rounds of messages.
    generator : torch.Generator
        Of the first weights; those of the last layer are zero, so that φ = 0.
    """

    basis: Tensor
    pairs: Tensor
    quadruples: Tensor
    tie_kinds: Tensor
    mean: Tensor
    variance: Tensor
    slope: Tensor
    place: Tensor
    place_variance: Tensor
    members: Tensor

    def __init__(
        self,
        graph: MolecularGraph,
        log_snr_range: tuple[float, float],
        width: int,
        depth: int,
        generator: torch.Generator,
    ) -> None:
        super().__init__()
        for field in fields(graph):
            self.register_buffer(field.name, getattr(graph, field.name))
        self.log_snr_range, self.depth = log_snr_range, depth
        self.register_buffer("members", _incidence(graph), persistent=False)
        self.atom_scale = nn.Parameter(torch.empty(len(graph.place), 3, width))
        self.atom_shift = nn.Parameter(torch.empty(len(graph.place), width))
        self.atom_level = nn.Linear(LEVELS, width)
        ties = int(graph.tie_kinds.max()) + 1
        self.tie_scale, self.tie_shift = nn.Embedding(ties, width), nn.Embedding(ties, width)
        self.tie_level = nn.Linear(LEVELS, width)
        self.rounds = nn.ModuleList(_Round(width) for _ in range(depth))
        self.last = nn.Linear(width, 1, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                bound = module.in_features**-0.5
                nn.init.uniform_(module.weight, -bound, bound, generator)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Embedding):
                nn.init.uniform_(module.weight, -1.0, 1.0, generator)
        nn.init.uniform_(self.atom_scale, -1.0, 1.0, generator)
        nn.init.uniform_(self.atom_shift, -1.0, 1.0, generator)
        nn.init.zeros_(self.last.weight)
        self.double()

    def forward(self, y: Tensor, log_snr: Tensor) -> Tensor:
        """φ (B,) of y (B, dimension) and log SNR (B,)."""
        x = (y @ self.basis.T).view(len(y), len(self.place), 3).transpose(0, 1)  # (n, B, 3): rows of atoms
        values = torch.cat([_distances(x, self.pairs), _volumes(x, self.quadruples)])
        noisy = self.variance[:, None] + self.slope[:, None] * torch.exp(-log_snr)
        u = self.variance.sqrt()[:, None] / noisy * (values - self.mean[:, None])
        low, high = self.log_snr_range
        angle = math.pi * (log_snr - low) / (high - low)
        level = torch.cos(torch.outer(angle, torch.arange(LEVELS).to(angle)))
        scale, shift = (table(self.tie_kinds)[:, None] for table in (self.tie_scale, self.tie_shift))
        ties = nn.functional.silu(u[..., None] * scale + (shift + self.tie_level(level)))
        c = self.place_variance[:, None]
        shifted = (c.sqrt() / (c + torch.exp(-log_snr)))[..., None] * (x - self.place[:, None])
        atoms = nn.functional.silu(shifted @ self.atom_scale + self.atom_shift[:, None] + self.atom_level(level))
        for messages in self.rounds:
            atoms = messages(atoms, ties, self.members, level)
        phi: Tensor = self.last(atoms.sum(0))[:, 0]
        return phi


class _Round(nn.Module):
    """One round of messages between atoms (n, B, width), filtered by features of their ties (E, B, width)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.speak, self.hear, self.keep, self.filter = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.level = nn.Linear(LEVELS, width)

    def forward(self, atoms: Tensor, ties: Tensor, members: Tensor, level: Tensor) -> Tensor:
        said = torch.sparse.mm(members.t(), self.speak(atoms).flatten(1)).view_as(ties)
        heard = torch.sparse.mm(members, (self.filter(ties) * said).flatten(1)).view_as(atoms)
        return atoms + nn.functional.silu((self.hear(heard) + self.keep(atoms)) * (1 + self.level(level)))


def _incidence(graph: MolecularGraph) -> Tensor:
    """Which atoms (n) are in which pairs and quadruples (E): sparse, scaled so that features keep their size."""
    atoms = torch.cat([graph.pairs.flatten(), graph.quadruples.flatten()])
    sizes = torch.tensor([2] * len(graph.pairs) + [4] * len(graph.quadruples))
    ties = torch.arange(len(sizes)).repeat_interleave(sizes)
    scale = (len(graph.place) / len(atoms)) ** 0.25 * torch.ones(len(atoms), dtype=torch.float64)
    shape = (len(graph.place), len(graph.tie_kinds))
    return torch.sparse_coo_tensor(torch.stack([atoms, ties]), scale, shape, check_invariants=True).coalesce()


def _distances(x: Tensor, pairs: Tensor) -> Tensor:
    """Softened distances (pairs, B) in positions (n, B, 3)."""
    i, j = pairs.unbind(1)
    return ((x[i] - x[j]).square().sum(-1) + SOFTENING**2).sqrt()


def _volumes(x: Tensor, quadruples: Tensor) -> Tensor:
    """Signed volumes (quadruples, B) of the chains i–j–k–l, as parts of the volume their three steps could span."""
    i, j, k, last = (x[corner] for corner in quadruples.unbind(1))
    a, b, c = j - i, k - j, last - k
    square = torch.stack([step.square().sum(-1) + SOFTENING**2 for step in (a, b, c)]).prod(0)
    volumes: Tensor = (torch.linalg.cross(a, b) * c).sum(-1) * square.rsqrt()
    return volumes


def _ranges(x: Tensor, weights: Tensor, pairs: Tensor, quadruples: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, variance and mean square gradient of distances and volumes over weighted positions (samples, n, 3)."""
    x = x.transpose(0, 1)
    values = torch.cat([_distances(x, pairs), _volumes(x, quadruples)])
    mean = values @ weights
    variance = (values - mean[:, None]).square() @ weights
    corners = x[quadruples].requires_grad_()  # (quadruples, 4, samples, 3)
    own = torch.arange(4).expand(len(quadruples), 4) + 4 * torch.arange(len(quadruples))[:, None]
    (gradient,) = torch.autograd.grad(_volumes(corners.flatten(0, 1), own).sum(), corners)
    slope = torch.cat([torch.full((len(pairs),), 2.0, dtype=x.dtype), gradient.square().sum((1, 3)) @ weights])
    return mean, variance, slope


def _bonds_between(bonds: Tensor, n: int) -> Tensor:
    """Number of bonds between atoms, shape (n, n); 4 stands for more than three."""
    bonded = torch.eye(n, dtype=torch.long)
    bonded[bonds[:, 0], bonds[:, 1]] = bonded[bonds[:, 1], bonds[:, 0]] = 1
    apart, within = torch.full((n, n), 4), torch.eye(n, dtype=torch.long)
    for count in range(4):
        apart[(within > 0) & (apart == 4)] = count
        within = (within @ bonded).clamp(max=1)
    return apart


def _quadruples(bonds: Tensor, n: int) -> Iterator[tuple[int, int, int, int]]:
    partners: list[list[int]] = [[] for _ in range(n)]
    for a, b in bonds.tolist():
        partners[a].append(b)
        partners[b].append(a)
    for j, k in bonds.tolist():
        yield from ((i, j, k, last) for i in partners[j] for last in partners[k] if len({i, j, k, last}) == 4)
    for centre, around in enumerate(partners):
        yield from ((a, centre, b, c) for a, b, c in combinations(sorted(around), 3))
