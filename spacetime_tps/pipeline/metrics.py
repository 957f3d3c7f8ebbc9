"""Figures that say how good transition paths are: RMSD to the target, target hits, energy of the transition state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.dynamics.annealing import TransitionPath
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.statistics.intervals import MeanSd, mean_sd


@dataclass(frozen=True)
class PathSummary:
    """Target hit percentage, RMSD, and energy of the transition state (ETS), which is over the paths that hit."""

    target_hit_percentage: float
    rmsd_angstrom: MeanSd
    ets_kj_per_mol: MeanSd


@dataclass(frozen=True)
class PathMetrics:
    """Figures of each path. Paths that broke down have not hit.

    Attributes
    ----------
    rmsd_angstrom : array, shape (paths,)
        Of the compared atoms of the last frame to the structure of B, after superposition.
    hit : array of bool, shape (paths,)
        Whether the last frame's collective variables are within the tolerance of B's structure.
    highest_energy : array, shape (paths,)
        Highest potential energy of any step, kJ/mol.
    """

    rmsd_angstrom: FloatArray
    hit: NDArray[np.bool_]
    highest_energy: FloatArray

    def summary(self) -> PathSummary:
        """Hits, RMSD and energies over all paths."""
        return PathSummary(
            100 * float(self.hit.mean()) if len(self.hit) else 0.0,
            mean_sd(self.rmsd_angstrom),
            mean_sd(self.highest_energy[self.hit]),
        )


def path_metrics(
    paths: Sequence[TransitionPath],
    molecule: MolecularSystem,
    atoms: Sequence[int],
    target_variables: Sequence[CollectiveVariable],
    tolerance: float,
) -> PathMetrics:
    """Figures of annealed paths.

    Parameters
    ----------
    paths : sequence of TransitionPath
    molecule : MolecularSystem
    atoms : sequence of int
        Those whose RMSD is taken.
    target_variables : sequence of CollectiveVariable
        In which B must be reached.
    tolerance : float
        Largest difference in each of them.
    """
    target = molecule.trajectory(molecule.structures[molecule.states[1].structure][None])
    rmsd, hit, energy = [], [], []
    for path in paths:
        if not len(path.positions):
            rmsd.append(np.nan)
            hit.append(False)
            energy.append(np.nan)
            continue
        last = molecule.trajectory(path.positions[-1:])
        close = [
            abs(variable.difference(variable(last), float(variable(target)[0]))[0]) <= tolerance
            for variable in target_variables
        ]
        rmsd.append(10 * float(mdtraj.rmsd(last, target, atom_indices=atoms)[0]))
        hit.append(path.failure is None and all(close))
        energy.append(float(path.highest_potential_energy.max()))
    return PathMetrics(np.array(rmsd), np.array(hit, dtype=bool), np.array(energy))
