"""How the cost of the neural denoisers grows with the molecule: Ace-(Ala)_n-Nme from 10 to 302 atoms.

Each molecule is an α-helix built by ``polyalanine`` and sampled by a short run of molecular dynamics at 300 K;
its denoiser is a coarse low-rank mixture with a network on top. Two networks are compared, message passing and a
perceptron on all latent coordinates, each in seconds of CPU time on one thread for

- one training step: a batch of noisy samples, moments, loss in y and in λ, gradient of the weights, optimiser,
- one evaluation of the geodesic solver: moments of a curve's points and the gradient of its Σ J.

The exponent is the slope of log seconds against log atoms over the largest molecules. The smallest molecule is alanine
dipeptide without its hydrogens.

Usage: ``python scripts/benchmarks/growth.py [--residues 1 3 7 14 29] [--batch 64] [--points 64] [--seconds 4]
[--seed 0] [--json FILE] [--figure FILE]``
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import openmm
import torch
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


def cpu_seconds(work: Callable[[], object], seconds: float) -> float:
    """Median CPU time of ``work``, over at least three runs after one that warms up, for about so many seconds."""
    work()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return float(np.median(times))


def measure(residues: int, heavy: bool, arguments: argparse.Namespace) -> list[dict[str, Any]]:
    """Rows of one molecule, one for each network."""
    molecule = sample(residues, heavy, 200, arguments.seed)
    x, coordinates = molecule.samples, molecule.coordinates
    mixture, _ = fit_mixture(x, 4, covariance="low_rank")
    base = FreeRotations(mixture)
    noise_space = coordinates.noise_space()
    rows = []
    for name, network in networks(molecule, arguments.seed).items():
        row = {"atoms": len(coordinates.atoms), "network": name, "ties": len(getattr(network, "tie_kinds", ()))}
        row["training_step"] = cpu_seconds(training_step(base, network, noise_space, x, arguments), arguments.seconds)
        denoiser = PotentialDenoiser(base, network.double().requires_grad_(False), LOG_SNR)
        row["geodesic_evaluation"] = cpu_seconds(geodesic_evaluation(denoiser, x, arguments.points), arguments.seconds)
        rows.append(row)
    return rows


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
    base: Denoiser, network: torch.nn.Module, noise_space: NoiseSpace, x: torch.Tensor, arguments: argparse.Namespace
) -> Callable[[], object]:
    """One step of denoising score matching in y and λ, in single precision."""
    network.float().requires_grad_(True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    generator = torch.Generator().manual_seed(arguments.seed)

    def step() -> None:
        chosen = x[torch.randint(len(x), (arguments.batch,), generator=generator)]
        log_snr = LOG_SNR[0] + (LOG_SNR[1] - LOG_SNR[0]) * torch.rand(arguments.batch, generator=generator).double()
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


def exponent(rows: list[dict[str, Any]], network: str, cost: str) -> float:
    """Slope of log cost against log atoms over the large molecules; not a number if there are not two of them."""
    chosen = [(row["atoms"], row[cost]) for row in rows if row["network"] == network and row["atoms"] >= LARGE]
    return float(np.polyfit(*np.log(chosen).T, 1)[0]) if len(chosen) > 1 else float("nan")


def print_table(rows: list[dict[str, Any]], exponents: dict[str, dict[str, float]]) -> None:
    names = [f"{network}, {label}" for label in COSTS.values() for network in NETWORKS]
    print("| atoms | ties |", " | ".join(names), "|\n|" + "---|" * (2 + len(names)))
    for atoms in dict.fromkeys(row["atoms"] for row in rows):
        mine = {row["network"]: row for row in rows if row["atoms"] == atoms}
        cells = [f"{1e3 * mine[network][cost]:.1f} ms" for cost in COSTS for network in NETWORKS]
        print(f"| {atoms} | {mine['message passing']['ties']} |", " | ".join(cells), "|")
    cells = [f"{exponents[cost][network]:.2f}" for cost in COSTS for network in NETWORKS]
    print(f"| exponent from {LARGE} atoms | |", " | ".join(cells), "|")


def draw(axes: Axes, rows: list[dict[str, Any]], cost: str, exponents: dict[str, float]) -> None:
    for network, colour in NETWORKS.items():
        atoms, seconds = np.array([(row["atoms"], row[cost]) for row in rows if row["network"] == network]).T
        axes.loglog(atoms, seconds, "o-", color=colour, label=f"{network}, n^{exponents[network]:.2f}")
    axes.set(xlabel="atoms", ylabel="CPU seconds", title=COSTS[cost])
    axes.legend(frameon=False)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--residues", type=int, nargs="+", default=[1, 3, 7, 14, 29])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--points", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--figure", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    rows = measure(1, True, arguments)
    for residues in arguments.residues:
        rows += measure(residues, False, arguments)
    exponents = {cost: {network: exponent(rows, network, cost) for network in NETWORKS} for cost in COSTS}
    print_table(rows, exponents)
    if arguments.json is not None:
        settings = {"batch": arguments.batch, "points": arguments.points, "threads": 1, "exponents_from": LARGE}
        arguments.json.write_text(json.dumps({**settings, "rows": rows, "exponents": exponents}, indent=2) + "\n")
    if arguments.figure is not None:
        figure = Figure(figsize=(9, 4), layout="constrained")
        for axes, cost in zip(figure.subplots(1, len(COSTS)), COSTS, strict=True):
            draw(axes, rows, cost, exponents[cost])
        figure.savefig(arguments.figure, dpi=150)


if __name__ == "__main__":
    main()
