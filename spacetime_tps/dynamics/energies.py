"""Potential energies of structures as they are, or after a short minimisation."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import openmm

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.workers import seeded_context
from spacetime_tps.errors import MoleculeError


@dataclass(frozen=True)
class EnergyTask:
    """Structures whose energies a worker computes.

    Attributes
    ----------
    positions : array, shape (frames, atoms, 3)
        All atoms, in nm.
    minimiser_iterations : int
        Iterations of OpenMM's L-BFGS minimiser that each structure is relaxed by; 0 leaves it as it is.
    """

    positions: FloatArray
    minimiser_iterations: int = 0


def potential_energies(task: EnergyTask) -> FloatArray:
    """Potential energies (frames,) in kJ/mol, NaN or infinite where atoms coincide; in a worker.

    Raises
    ------
    MoleculeError
        If atoms are missing.
    """
    context, _ = seeded_context("sampling", seed=1)  # nothing here is random
    atoms = context.getSystem().getNumParticles()
    if task.positions.shape[1:] != (atoms, 3):
        raise MoleculeError(
            f"energies need the positions of all {atoms} atoms, not an array of {task.positions.shape}; "
            'a score model of all atoms has coordinates.atoms: "all"'
        )
    energies = []
    for positions in task.positions:
        context.setPositions(positions)
        if task.minimiser_iterations:
            openmm.LocalEnergyMinimizer.minimize(context, maxIterations=task.minimiser_iterations)
        energies.append(context.getState(energy=True).getPotentialEnergy()._value)
    return np.array(energies)
