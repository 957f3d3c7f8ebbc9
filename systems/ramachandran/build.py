"""Build the free-energy surface of ``systems/ramachandran``: alanine dipeptide in vacuum over (phi, psi).

Two independent well-tempered metadynamics runs (Barducci et al., PRL 100, 020603) of the molecule of
``systems/alanine_dipeptide``: same force field, 300 K, no constraints, 1 fs. The surface is the mean of the two free
energies, its error half their difference, at each grid point; before that each is shifted so that its Boltzmann
weights add up to one. Where a run has put no bias, its free energy is the highest that it knows: all is finite.

``free_energy.npz`` holds ``phi``, ``psi`` (rad, 90 each, on [-pi, pi)), ``energy`` and ``error`` (kJ/mol, [phi, psi],
lowest energy 0), ``temperature`` (K), ``bias_factor`` and ``length`` (ns, of each run).

Usage: ``python systems/ramachandran/build.py [--length NS] [--seed N] [--workers N] [--output FILE] [--work FOLDER]``

Every 50 ps a run leaves its bias and state in the work folder, from where another call goes on; a ``--length`` that
the runs have behind them already makes the surface of what there is.
"""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system

GRID = 90  # points along phi and along psi
BIAS_FACTOR = 10.0
HEIGHT = 5.0  # of the first Gaussians, kJ/mol
WIDTH = 0.2  # of all Gaussians, rad
INTERVAL = 500  # steps between Gaussians
SEGMENT = 50_000  # steps between checkpoints


def metadynamics(
    molecule: MolecularSystem, folder: Path, state: openmm.State | None, seed: int
) -> tuple[app.Metadynamics, app.Simulation]:
    """A run with the bias that lies in its folder, at the state where it stopped or at its beginning."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    variables = []
    for name in ("phi", "psi"):
        torsion = openmm.CustomTorsionForce("theta")
        torsion.addTorsion(*molecule.variables[name].atoms, [])
        variables.append(app.BiasVariable(torsion, -np.pi, np.pi, WIDTH, True, GRID + 1))  # first again at the end
    bias = app.Metadynamics(
        system, variables, molecule.temperature, BIAS_FACTOR, HEIGHT, INTERVAL, SEGMENT, str(folder)
    )
    integrator = openmm.LangevinMiddleIntegrator(molecule.temperature, molecule.friction, molecule.time_step)
    integrator.setRandomNumberSeed(seed)
    platform = openmm.Platform.getPlatform(molecule.platform)
    simulation = app.Simulation(molecule.openmm_topology, system, integrator, platform)
    if state is None:
        simulation.context.setPositions(molecule.structures["c7eq"])
        simulation.context.setVelocitiesToTemperature(molecule.temperature, seed)
    else:
        simulation.context.setState(state)
    return bias, simulation


def run(molecule: MolecularSystem, folder: Path, length: float, seed: int) -> tuple[np.ndarray, float]:
    """Free energy of one run, shape (GRID, GRID), kJ/mol, and how long it is, ns."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = folder / "state.xml"
    state = openmm.XmlSerializer.deserialize(checkpoint.read_text()) if checkpoint.is_file() else None
    step = state.getStepCount() if state else 0
    fresh_seed = int(np.random.SeedSequence([seed, step]).generate_state(1)[0] >> 1)
    bias, simulation = metadynamics(molecule, folder, state, fresh_seed)
    last = round(length * 1000 / molecule.time_step)
    while simulation.currentStep < last:
        bias.step(simulation, SEGMENT)
        simulation.saveState(str(checkpoint))
        print(f"{folder.name}: {simulation.currentStep * molecule.time_step / 1000:.2f} of {length} ns", flush=True)
    energy = bias.getFreeEnergy().value_in_unit(unit.kilojoule_per_mole)
    return energy.T[:-1, :-1], simulation.currentStep * molecule.time_step / 1000


def surface(energies: np.ndarray, kt: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean of two free energies, lowest value 0, and half their difference; ``energies`` has shape (2, GRID, GRID)."""
    lowest = energies.min(axis=(1, 2), keepdims=True)
    weight = np.exp((lowest - energies) / kt).sum(axis=(1, 2), keepdims=True)
    first, second = energies - lowest + kt * np.log(weight)
    mean = (first + second) / 2
    return mean - mean.min(), np.abs(first - second) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--length", type=float, default=14.4, help="of each run, ns (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="processes; two runs have use for two")
    parser.add_argument("--output", type=Path, default=Path(__file__).resolve().with_name("free_energy.npz"))
    parser.add_argument("--work", type=Path, default=Path("runs/ramachandran"), help="checkpoints of the runs")
    options = parser.parse_args()
    molecule = MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)
    tasks = [(molecule, options.work / f"run_{i}", options.length, 2 * options.seed + i) for i in range(2)]
    with multiprocessing.get_context("spawn").Pool(options.workers) as pool:
        energies, lengths = zip(*pool.starmap(run, tasks, chunksize=1), strict=True)
    energy, error = surface(np.array(energies), molecule.kt)
    angles = -np.pi + 2 * np.pi / GRID * np.arange(GRID)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(
        options.output,
        phi=angles,
        psi=angles,
        energy=energy,
        error=error,
        temperature=molecule.temperature,
        bias_factor=BIAS_FACTOR,
        length=min(lengths),
    )
    print(f"{options.output}: {min(lengths):.2f} ns")
    for level in (20, 40, 60, 100):
        low = error[energy < level]
        print(f"below {level} kJ/mol: {low.size} grid points, rms error {np.sqrt(np.mean(low**2)):.2f} kJ/mol")


if __name__ == "__main__":
    main()
