"""How the cost of the neural denoisers grows with the molecule: Ace-(Ala)_n-Nme from 10 to 302 atoms.

Each molecule is an α-helix built by ``polyalanine`` and sampled by a short run of molecular dynamics at 300 K;
its denoiser is a coarse low-rank mixture with a network on top. Two networks are compared, message passing and a
perceptron on all latent coordinates, each in seconds of CPU time on one thread for

- one training step: a batch of noisy samples, moments, loss in y and in λ, gradient of the weights, optimiser,
- one evaluation of the geodesic solver: moments of a curve's points and the gradient of its Σ J.

The exponent is the slope of log seconds against log atoms over the largest molecules. The smallest molecule is alanine
dipeptide without its hydrogens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import mdtraj
import numpy as np
import openmm
import torch
from common import Bench, Result, cpu_seconds, exponent, number, table
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from polyalanine import polyalanine

from spacetime_tps.coordinates import CartesianCoordinates
from spacetime_tps.denoisers import Denoiser, Moments, fit_mixture
from spacetime_tps.denoisers.message_passing import MessagePassingNetwork, MolecularGraph
from spacetime_tps.denoisers.noise_space import FreeRotations, NoiseSpace
from spacetime_tps.denoisers.perceptron import PreconditionedNetwork
from spacetime_tps.denoisers.potential import PotentialDenoiser, corrected
from spacetime_tps.spacetime.family import Points, curve_divergences, moments_at

LOG_SNR = (2.6, 12.6)  # of nm⁻²: from −2 to 8 per Å²
CUTOFF = 0.35  # nm
LARGE = 40  # atoms, from which the exponent is fitted
NETWORKS = {"message passing": "tab:blue", "perceptron": "tab:orange"}
COSTS = {"training_step": "training step", "geodesic_evaluation": "geodesic evaluation"}


@dataclass(frozen=True)
class Molecule:
    """Samples of some atoms of a molecule: latent vectors (frames, dimension) and what the networks are made of."""

    coordinates: CartesianCoordinates
    samples: torch.Tensor
    kinds: torch.Tensor
    bonds: torch.Tensor


def sample(residues: int, heavy: bool, frames: int, seed: int) -> Molecule:
    """A molecule and frames of its dynamics at 300 K, 40 fs apart after 2 ps."""
    topology, system, positions = polyalanine(residues)
    integrator = openmm.LangevinMiddleIntegrator(300.0, 1.0, 0.001)
    integrator.setRandomNumberSeed(seed + 1)
    platform = openmm.Platform.getPlatformByName("CPU" if len(positions) > 100 else "Reference")
    context = openmm.Context(system, integrator, platform, {"Threads": "1"} if platform.getName() == "CPU" else {})
    context.setPositions(positions)
    context.setVelocitiesToTemperature(300.0, seed + 1)
    integrator.step(2000)
    taken = []
    for _ in range(frames):
        integrator.step(40)
        taken.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    top = mdtraj.Topology.from_openmm(topology)
    atoms = top.select("element != H" if heavy else "all")
    coordinates = CartesianCoordinates.from_structure(atoms.tolist(), positions)
    part = top.subset(atoms)
    names = [f"{atom.residue.name}:{atom.name}" for atom in part.atoms]
    return Molecule(
        coordinates,
        torch.from_numpy(coordinates.encode(np.array(taken))),
        torch.from_numpy(np.unique(names, return_inverse=True)[1]),
        torch.tensor([[a.index, b.index] for a, b in part.bonds]),
    )


def networks(molecule: Molecule, seed: int) -> dict[str, torch.nn.Module]:
    """The two networks of a molecule."""
    x = molecule.samples
    weights = torch.full((len(x),), 1 / len(x), dtype=torch.float64)
    basis = torch.from_numpy(molecule.coordinates.basis)
    graph = MolecularGraph.from_samples(basis, molecule.kinds, molecule.bonds, x, weights, CUTOFF)
    single, _ = fit_mixture(x, 1, covariance="low_rank")
    variances, axes = torch.linalg.eigh(single.covariances[0])
    generator = torch.Generator().manual_seed(seed)
    return {
        "message passing": MessagePassingNetwork(graph, LOG_SNR, 16, 3, generator),
        "perceptron": PreconditionedNetwork(single.means[0], axes, variances, LOG_SNR, 128, 3, generator),
    }


def geodesic_evaluation(denoiser: PotentialDenoiser, x: torch.Tensor, points: int) -> Callable[[], object]:
    """Σ J of a straight line between the first and the last sample, and its gradient by every point."""
    s = torch.linspace(0, 1, points, dtype=torch.float64)[:, None]
    y = ((1 - s) * x[0] + s * x[-1]).requires_grad_()
    log_snr = torch.full((points,), 0.5 * sum(LOG_SNR), dtype=torch.float64, requires_grad=True)

    def evaluate() -> tuple[torch.Tensor, ...]:
        curve = Points(y, log_snr)
        return torch.autograd.grad(curve_divergences(curve, moments_at(denoiser, curve)).sum(), (y, log_snr))

    return evaluate


def training_step(
    base: Denoiser, network: torch.nn.Module, noise_space: NoiseSpace, x: torch.Tensor, batch: int, seed: int
) -> Callable[[], object]:
    """One step of denoising score matching in y and λ, in single precision."""
    network.float().requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(seed)

    def step() -> None:
        chosen = x[torch.randint(len(x), (batch,), generator=generator)]
        log_snr = LOG_SNR[0] + (LOG_SNR[1] - LOG_SNR[0]) * torch.rand(batch, generator=generator).double()
        y, target, square = noise_space.noisy(chosen, log_snr, generator)
        coarse = base.moments(y, log_snr)
        y, log_snr, target, square, mean, variance = (
            tensor.float() for tensor in (y, log_snr, target, square, coarse.mean, coarse.variance)
        )
        moments = corrected(Moments(mean, variance), network, y, log_snr)
        off = (moments.mean - y).square().sum(1) + moments.variance - square
        loss = (log_snr.exp() * (moments.mean - target).square().sum(1) + (log_snr.exp() * off).square()).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@dataclass(frozen=True)
class Row:
    """CPU seconds of one network on one molecule."""

    atoms: int
    network: str
    ties: int
    training_step: float
    geodesic_evaluation: float


@dataclass(frozen=True)
class Growth:
    """Costs by the number of atoms, as :class:`Section`.

    Attributes
    ----------
    residues : tuple of int
        Numbers of alanines in the helices.
    batch, points : int
        Of a training step, and of a curve.
    seconds : float
        CPU time of each measurement.
    """

    name: ClassVar[str] = "growth"
    cost: ClassVar[str] = "3 minutes"
    every_seed: ClassVar[bool] = False
    residues: tuple[int, ...] = (1, 3, 7, 14, 29)
    batch: int = 64
    points: int = 64
    seconds: float = 4.0

    def measure(self, bench: Bench, seed: int) -> Result[Row]:
        """Alanine dipeptide without its hydrogens, and helices."""
        rows = self._molecule(1, True, seed)
        for residues in self.residues:
            rows += self._molecule(residues, False, seed)
        figure = Figure(figsize=(9, 4), layout="constrained")
        for axes, cost in zip(figure.subplots(1, len(COSTS)), COSTS, strict=True):
            draw(axes, rows, cost)
        figure.savefig(bench.picture(self.name), dpi=150)
        return Result(seed, 0, rows)

    def _molecule(self, residues: int, heavy: bool, seed: int) -> list[Row]:
        molecule = sample(residues, heavy, 200, seed)
        x, coordinates = molecule.samples, molecule.coordinates
        mixture, _ = fit_mixture(x, 4, covariance="low_rank")
        base = FreeRotations(mixture)
        rows = []
        for name, network in networks(molecule, seed).items():
            step = cpu_seconds(
                training_step(base, network, coordinates.noise_space(), x, self.batch, seed), self.seconds
            )
            denoiser = PotentialDenoiser(base, network.double().requires_grad_(False), LOG_SNR)
            evaluation = cpu_seconds(geodesic_evaluation(denoiser, x, self.points), self.seconds)
            rows.append(Row(len(coordinates.atoms), name, len(getattr(network, "tie_kinds", ())), step, evaluation))
        return rows

    def tables(self, results: Sequence[Result[Row]]) -> list[str]:
        """A line for each number of atoms, and the exponents."""
        pairs = [(cost, network) for cost in COSTS for network in NETWORKS]
        columns = ("atoms", "ties", *(f"{network}, {COSTS[cost]}" for cost, network in pairs))
        blocks = []
        for result in results:
            lines = []
            for atoms in dict.fromkeys(row.atoms for row in result.rows):
                mine = {row.network: row for row in result.rows if row.atoms == atoms}
                times = [f"{1e3 * getattr(mine[network], cost):.1f} ms" for cost, network in pairs]
                lines.append([atoms, mine["message passing"].ties, *times])
            slopes = [number(slope(result.rows, network, cost), 2) for cost, network in pairs]
            blocks.append(table(columns, [*lines, [f"exponent from {LARGE} atoms", "", *slopes]]))
        return blocks


def slope(rows: Sequence[Row], network: str, cost: str) -> float | None:
    """Exponent of a cost over the large molecules."""
    large = [row for row in rows if row.network == network and row.atoms >= LARGE]
    return exponent([row.atoms for row in large], [getattr(row, cost) for row in large])


def draw(axes: Axes, rows: Sequence[Row], cost: str) -> None:
    """A cost against the number of atoms."""
    for network, colour in NETWORKS.items():
        mine = [row for row in rows if row.network == network]
        label = f"{network}, n^{number(slope(rows, network, cost), 2)}"
        axes.loglog([row.atoms for row in mine], [getattr(row, cost) for row in mine], "o-", color=colour, label=label)
    axes.set(xlabel="atoms", ylabel="CPU seconds", title=COSTS[cost])
    axes.legend(frameon=False)
