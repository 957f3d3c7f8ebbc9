"""The denoising distribution p(x|y, SNR) as an OpenMM force: harmonic for positions, von Mises for dihedrals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import openmm

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.base import Dihedral, Restrained
from spacetime_tps.dynamics.integrators import RESTRAINT, SHARE, STIFFNESS


class Restraint(Protocol):
    """kT SNR/2 |x − y|² in some latent coordinates x of the molecule, up to a constant.

    Attributes
    ----------
    kt : float
        Thermal energy, kJ/mol.
    unit : str
        Of the spring constant kT SNR.
    force : openmm.Force
        In the force group of restraints.
    """

    kt: float
    unit: str
    force: openmm.Force

    def update(
        self, context: openmm.Context, centres: FloatArray, snr: float, towards: FloatArray | None = None
    ) -> None:
        """Move the restraint to a spacetime point; until then it is off.

        Parameters
        ----------
        context : openmm.Context
            A context whose system holds :attr:`force`.
        centres : array, shape (atoms, 3) or (dihedrals, 2)
            y as positions in nm, or as (cos, sin).
        snr : float
            Signal-to-noise ratio, in the inverse square of y's unit.
        towards : array, same shape, optional
            Where the centres are when the context's parameter ``spacetime_share``, which is 0 now, is 1; linear
            between. By default they stay.
        """
        ...


def make_restraint(restrained: Restrained, kt: float, periodic: bool) -> Restraint:
    """The restraint of atoms or of dihedrals, whichever are given."""
    kind: Callable[..., Restraint] = VonMisesRestraint if np.ndim(restrained) == 2 else HarmonicRestraint
    return kind(restrained, kt, periodic)


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

    unit = "kJ/mol/nm^2"

    def __init__(self, atoms: Sequence[int], kt: float, periodic: bool = False) -> None:
        self.atoms = [int(atom) for atom in atoms]
        self.kt = kt
        distance = "periodicdistance(x, y, z, xc, yc, zc)^2" if periodic else "(x-xc)^2 + (y-yc)^2 + (z-zc)^2"
        centre = "; ".join(f"{axis}c = {axis}0 + {SHARE}*d{axis}" for axis in "xyz")
        self.force = openmm.CustomExternalForce(f"0.5*{STIFFNESS}*({distance}); {centre}")
        self.force.addGlobalParameter(STIFFNESS, 0.0)
        self.force.addGlobalParameter(SHARE, 0.0)
        for coordinate in ("x0", "y0", "z0", "dx", "dy", "dz"):
            self.force.addPerParticleParameter(coordinate)
        for atom in self.atoms:
            self.force.addParticle(atom, [0.0] * 6)
        self.force.setForceGroup(RESTRAINT)

    def update(
        self, context: openmm.Context, centres: FloatArray, snr: float, towards: FloatArray | None = None
    ) -> None:
        """Move the restraint to a spacetime point; see :class:`Restraint`."""
        for index, (atom, line) in enumerate(zip(self.atoms, _lines(centres, towards), strict=True)):
            self.force.setParticleParameters(index, atom, line)
        self.force.updateParametersInContext(context)
        context.setParameter(STIFFNESS, self.kt * snr)
        context.setParameter(SHARE, 0.0)


class VonMisesRestraint:
    """Restraint of dihedrals to directions, −kT SNR Σ (y_c cos θ + y_s sin θ).

    This is ½ kT SNR |x − y|² of x = (cos θ, sin θ) but for a constant, for |x|² = 1: a von Mises density about the
    direction of y with concentration SNR |y|. Periodic by construction, and without force at y = 0.

    Parameters
    ----------
    dihedrals : sequence of (int, int, int, int)
        Four atoms each.
    kt : float
        Thermal energy, kJ/mol.
    periodic : bool
        Whether the distances between neighbouring atoms are taken to the nearest periodic image.
    """

    unit = "kJ/mol"

    def __init__(self, dihedrals: Sequence[Dihedral], kt: float, periodic: bool = False) -> None:
        self.dihedrals = [tuple(int(atom) for atom in dihedral) for dihedral in dihedrals]
        self.kt = kt
        centre = "; ".join(f"y{part} = {part}0 + {SHARE}*d{part}" for part in "cs")
        self.force = openmm.CustomTorsionForce(f"-{STIFFNESS}*(yc*cos(theta) + ys*sin(theta)); {centre}")
        self.force.addGlobalParameter(STIFFNESS, 0.0)
        self.force.addGlobalParameter(SHARE, 0.0)
        for coordinate in ("c0", "s0", "dc", "ds"):
            self.force.addPerTorsionParameter(coordinate)
        for dihedral in self.dihedrals:
            self.force.addTorsion(*dihedral, [0.0] * 4)
        self.force.setUsesPeriodicBoundaryConditions(periodic)
        self.force.setForceGroup(RESTRAINT)

    def update(
        self, context: openmm.Context, centres: FloatArray, snr: float, towards: FloatArray | None = None
    ) -> None:
        """Move the restraint to a spacetime point; see :class:`Restraint`."""
        for index, (dihedral, line) in enumerate(zip(self.dihedrals, _lines(centres, towards), strict=True)):
            self.force.setTorsionParameters(index, *dihedral, line)
        self.force.updateParametersInContext(context)
        context.setParameter(STIFFNESS, self.kt * snr)
        context.setParameter(SHARE, 0.0)


def _lines(centres: FloatArray, towards: FloatArray | None) -> list[list[float]]:
    """Where each centre is, and what it must go."""
    start = np.asarray(centres)
    way = np.zeros_like(start) if towards is None else towards - start
    return [[float(value) for value in line] for line in np.hstack([start, way])]
