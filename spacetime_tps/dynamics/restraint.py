"""The denoising distribution p(x|y, SNR) as an OpenMM force: a harmonic restraint with spring constant kT·SNR."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import openmm

from spacetime_tps.dynamics.integrators import RESTRAINT
from spacetime_tps.states import FloatArray


class HarmonicRestraint:
    """Isotropic harmonic restraint of some atoms to centres, ½ kT SNR Σ|x_i − y_i|².

    With it, the Boltzmann density of the molecule is q(x) exp(−SNR/2 |x − y|²) up to normalisation: the denoising
    distribution of the spacetime point (y, log SNR) (arXiv 2505.17517, Eq. 4, in schedule-free form).

    Parameters
    ----------
    atoms : sequence of int
        Restrained atoms.
    kt : float
        Thermal energy, kJ/mol.
    periodic : bool
        Whether distances are taken to the nearest periodic image.
    """

    def __init__(self, atoms: Sequence[int], kt: float, periodic: bool = False) -> None:
        self.atoms = [int(atom) for atom in atoms]
        self.kt = kt
        distance = "periodicdistance(x, y, z, x0, y0, z0)^2" if periodic else "(x-x0)^2 + (y-y0)^2 + (z-z0)^2"
        self.force = openmm.CustomExternalForce(f"0.5*spacetime_k*({distance})")
        self.force.addGlobalParameter("spacetime_k", 0.0)
        for coordinate in ("x0", "y0", "z0"):
            self.force.addPerParticleParameter(coordinate)
        for atom in self.atoms:
            self.force.addParticle(atom, [0.0, 0.0, 0.0])
        self.force.setForceGroup(RESTRAINT)

    def update(self, context: openmm.Context, centres: FloatArray, snr: float) -> None:
        """Move the restraint to a spacetime point.

        Parameters
        ----------
        context : openmm.Context
            A context whose system holds :attr:`force`.
        centres : array, shape (restrained atoms, 3)
            y as positions in nm.
        snr : float
            Signal-to-noise ratio, nm⁻².
        """
        for index, (atom, centre) in enumerate(zip(self.atoms, np.asarray(centres).tolist(), strict=True)):
            self.force.setParticleParameters(index, atom, centre)
        self.force.updateParametersInContext(context)
        context.setParameter("spacetime_k", self.kt * snr)
