"""What a run asks of its latent coordinates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.errors import TrajectoryError

if TYPE_CHECKING:  # workers do without torch
    from spacetime_tps.denoisers.noise_space import NoiseSpace
    from spacetime_tps.training.mixtures import MixtureKind

Dihedral = tuple[int, int, int, int]
Restrained = tuple[int, ...] | tuple[Dihedral, ...]
"""What a restraint holds: atoms, whose positions it holds, or dihedrals, four atoms each."""


class Coordinates(Protocol):
    """The way from molecule to latent vector, and from latent vector to restraint.

    A spacetime point's y is a latent vector; as ``centres`` it is in the shape that the restraint takes: positions
    (..., atoms, 3), or (cos, sin) of dihedrals (..., dihedrals, 2).
    """

    @property
    def atoms(self) -> Restrained:
        """Atoms or dihedrals that the latent vector is made of and the restraint acts on."""
        ...

    @property
    def positioned(self) -> tuple[int, ...] | None:
        """Atoms whose positions the centres are, in their order; None if centres are not positions."""
        ...

    @property
    def mixture(self) -> MixtureKind:
        """The kind of mixture that fits the density of latent vectors."""
        ...

    @property
    def dimension(self) -> int:
        """Number of latent coordinates."""
        ...

    @property
    def unit(self) -> str:
        """Unit of latent coordinates, empty if they have none; that of SNR is its inverse square."""
        ...

    @property
    def labels(self) -> Mapping[str, NDArray[np.generic]]:
        """Arrays that say what the centres belong to, stored beside them."""
        ...

    def superpose(self, positions: FloatArray) -> FloatArray:
        """Frames (frames, all atoms, 3) in nm in the frame of reference that the restraint has."""
        ...

    def encode(self, positions: FloatArray) -> FloatArray:
        """Latent vectors (frames, dimension) of positions (frames, all atoms, 3) in nm.

        Raises
        ------
        TrajectoryError
            If a frame has no latent vector, which the message names, or the frames are of another molecule.
        """
        ...

    def project(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """What a restraint sees of positions (frames, all atoms, 3) in nm: frames are not superposed.

        Returns
        -------
        latent : array, shape (frames, dimension)
            Components of the restrained x in the latent space, in which y lies.
        outside : array, shape (frames,)
            Squared length of the rest of x: |x − y|² is |latent − y|² + outside.
        """
        ...

    def decode(self, latent: FloatArray) -> FloatArray:
        """Centres (..., restrained, 3 or 2) of latent vectors (..., dimension)."""
        ...

    def canonical(self, centres: FloatArray, log_snr: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The same denoising distributions, by the one pair of centres and log SNR that stands for each.

        Parameters
        ----------
        centres : array, shape (points, restrained, 3 or 2)
        log_snr : array, shape (points,)
        """
        ...

    def narrowed(self, centres: FloatArray, means: FloatArray, narrowing: float) -> FloatArray:
        """Centres of restraints that are stiffer about the means and pull there as before.

        They belong to an SNR that is ``narrowing`` times as large: there the force of the restraint at the means is
        that of the given centres at the SNR of before, and its stiffness ``narrowing`` times that. Where forces of
        molecule and restraint are in balance at the means they stay so, and the window narrows about it.

        Parameters
        ----------
        centres, means : array, shape (points, restrained, 3 or 2)
            y, and the posterior means E[x|z] there.
        narrowing : float
            Above zero; at 1 the centres stay as they are.
        """
        ...

    def noise_space(self) -> NoiseSpace:
        """Where noise is added to latent vectors."""
        ...

    def restraint_energies(self, positions: FloatArray, centres: FloatArray, log_snr: FloatArray) -> FloatArray:
        """Reduced energies (points, frames), in kT, of restraints on frames however these lie.

        Parameters
        ----------
        positions : array, shape (frames, all atoms, 3)
            nm.
        centres : array, shape (points, restrained, 3 or 2)
        log_snr : array, shape (points,)
            Where it is −∞ there is no restraint, and the energy is 0.
        """
        ...

    def knows(self, variable: CollectiveVariable) -> bool:
        """Whether a collective variable can be computed from centres."""
        ...

    def values(self, variable: CollectiveVariable, centres: FloatArray) -> FloatArray:
        """A collective variable, shape (frames,), of centres (frames, restrained, 3 or 2).

        Raises
        ------
        SpacetimeError
            If these coordinates do not know it; the message says what to change.
        """
        ...


def checked_frames(positions: FloatArray, restrained: Restrained) -> FloatArray:
    """Positions (frames, all atoms, 3) in nm in float64, in which coordinates of these atoms or dihedrals can be seen.

    Raises
    ------
    TrajectoryError
        If the shape is another, an atom is not there, or a frame has positions that are not finite.
    """
    frames = np.asarray(positions, dtype=float)
    if frames.ndim != 3 or frames.shape[2] != 3:
        raise TrajectoryError(f"positions must have the shape (frames, atoms, 3), not {frames.shape}")
    last = int(np.max(restrained))
    if last >= frames.shape[1]:
        raise TrajectoryError(
            f"the frames have {frames.shape[1]} atoms, but the coordinates are made of atoms up to atom {last} "
            "(0-based); give frames with all atoms of the molecule"
        )
    finite = np.isfinite(frames).all(axis=(1, 2))
    if not finite.all():
        raise TrajectoryError(f"frame {int(np.argmin(finite))} has positions that are not finite")
    return frames


def squared(unit: str) -> str:
    """Square of a unit as it follows a number in a message: nothing if there is no unit."""
    return f" {unit}²" if unit else ""


def latent_vectors(coordinates: Coordinates, centres: FloatArray) -> FloatArray:
    """Latent vectors (points, dimension) of centres (points, restrained, 3 or 2), such as ``decode`` makes.

    Decoding is linear, and its axes are orthonormal.
    """
    axes = coordinates.decode(np.eye(coordinates.dimension)).reshape(coordinates.dimension, -1)
    return np.asarray(centres.reshape(len(centres), -1) @ axes.T)
