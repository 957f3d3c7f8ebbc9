"""Cartesian coordinates of chosen atoms, superposed on a template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import mdtraj
import numpy as np
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.base import checked_frames
from spacetime_tps.coordinates.rotations import restraint_energies
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.errors import MoleculeError

if TYPE_CHECKING:  # workers do without torch
    from spacetime_tps.denoisers.noise_space import NoiseSpace
    from spacetime_tps.training.mixtures import MixtureKind


@dataclass(frozen=True, eq=False)
class CartesianCoordinates:
    """Positions of ``atoms`` after superposition on a template, as vectors of the space that leaves.

    Superposed positions x_i (centred, optimally rotated onto the template t_i) obey Σ x_i = 0 and Σ t_i × x_i = 0
    exactly, whatever the molecule's shape: six linear conditions (the Eckart frame). Latent vectors are the
    coordinates in an orthonormal basis of what is left, so distances in nm are kept, there are no null directions
    and |x − y|² is the same in latent and in Cartesian space. Chirality is kept: rotations are proper.

    Attributes
    ----------
    atoms : tuple of int
    template : array, shape (len(atoms), 3)
        Positions in nm; centred on creation.
    """

    atoms: tuple[int, ...]
    template: FloatArray

    @classmethod
    def from_structure(cls, atoms: Sequence[int], positions: FloatArray) -> CartesianCoordinates:
        """Coordinates whose template is one structure, ``positions`` of shape (all atoms, 3) in nm.

        Raises
        ------
        MoleculeError
            If there are fewer than three atoms, or they lie on a line: then frames cannot be superposed uniquely.
        """
        template = np.asarray(positions, dtype=float)[np.asarray(atoms, dtype=int)]
        template = template - (template.mean(axis=0) if len(atoms) else 0.0)
        if len(atoms) < 3 or np.linalg.matrix_rank(template, rtol=1e-3) < 2:
            raise MoleculeError(
                f"the {len(atoms)} chosen atoms of the template lie on a line, so frames cannot be superposed on them; "
                "select at least three atoms that do not"
            )
        return cls(tuple(int(atom) for atom in atoms), template)

    @property
    def positioned(self) -> tuple[int, ...]:
        """The chosen atoms."""
        return self.atoms

    @property
    def mixture(self) -> MixtureKind:
        """Gaussian mixtures."""
        from spacetime_tps.training.mixtures import GAUSSIAN

        return GAUSSIAN

    @property
    def dimension(self) -> int:
        """Number of latent coordinates: 3n − 6."""
        return int(self.basis.shape[1])

    @property
    def unit(self) -> str:
        """Nanometres."""
        return "nm"

    @property
    def labels(self) -> dict[str, NDArray[np.generic]]:
        """``atoms`` (n,)."""
        return {"atoms": np.array(self.atoms)}

    @cached_property
    def basis(self) -> FloatArray:
        """Orthonormal basis of the superposed positions, shape (3n, dimension)."""
        n = len(self.atoms)
        translations = np.tile(np.eye(3), (n, 1))
        rotations = np.stack([np.cross(axis, self.template).ravel() for axis in np.eye(3)], axis=1)
        vectors, _, _ = np.linalg.svd(np.hstack([translations, rotations]), full_matrices=True)
        return np.asarray(vectors[:, 6:])

    def superpose(self, positions: FloatArray) -> FloatArray:
        """All atoms of every frame, (frames, all atoms, 3), rotated so that the chosen atoms lie on the template."""
        positions = np.asarray(positions, dtype=float)
        chosen = positions[:, list(self.atoms)]
        centre = chosen.mean(axis=1, keepdims=True)
        rotation = optimal_rotation(chosen - centre, self.template)
        return np.asarray((positions - centre) @ rotation)

    def encode(self, positions: FloatArray) -> FloatArray:
        """Latent vectors (frames, dimension) of positions (frames, all atoms, 3) in nm.

        Raises
        ------
        TrajectoryError
            If a frame has positions that are not finite, or the frames are of another molecule.
        """
        chosen = self.superpose(checked_frames(positions, self.atoms))[:, list(self.atoms)]
        return np.asarray(chosen.reshape(len(chosen), len(self.basis)) @ self.basis)

    def project(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Components in the latent space of the chosen atoms, centred but not rotated, and what lies outside of it.

        A restraint to centred y leaves the centroid to fluctuate on its own: centred x are what p(x|z) is about.

        Returns
        -------
        latent : array, shape (frames, dimension)
        outside : array, shape (frames,)
            Squared length in nm² along the three directions of rotation.
        """
        chosen = np.asarray(positions, dtype=float)[:, list(self.atoms)]
        centred = (chosen - chosen.mean(axis=1, keepdims=True)).reshape(len(chosen), len(self.basis))
        latent = centred @ self.basis
        return latent, ((centred - latent @ self.basis.T) ** 2).sum(axis=1)

    def decode(self, latent: FloatArray) -> FloatArray:
        """Positions (..., n, 3) of the chosen atoms in nm, superposed on the template."""
        latent = np.asarray(latent)
        return np.asarray((latent @ self.basis.T).reshape(*latent.shape[:-1], len(self.atoms), 3))

    def canonical(self, centres: FloatArray, log_snr: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Themselves: no two spacetime points have the same denoising distribution."""
        return centres, log_snr

    def narrowed(self, centres: FloatArray, means: FloatArray, narrowing: float) -> FloatArray:
        """y' = x̂ + (y − x̂)/s for narrowing s, so that s SNR (y' − x̂) = SNR (y − x̂); see :class:`Coordinates`."""
        return np.asarray(centres / narrowing + (1 - 1 / narrowing) * means)

    def noise_space(self) -> NoiseSpace:
        """Centred positions in the laboratory, in which the molecule turns."""
        import torch

        from spacetime_tps.denoisers.noise_space import RigidNoiseSpace

        return RigidNoiseSpace(torch.from_numpy(self.basis), torch.from_numpy(self.template))

    def restraint_energies(self, positions: FloatArray, centres: FloatArray, log_snr: FloatArray) -> FloatArray:
        """Reduced energies (points, frames), in kT: those of molecules that turn and move freely; see `Coordinates`."""
        return restraint_energies(np.asarray(positions, dtype=float)[:, list(self.atoms)], centres, log_snr)

    def knows(self, variable: CollectiveVariable) -> bool:
        """Whether all atoms of a collective variable are among the chosen ones."""
        return set(variable.atoms) <= set(self.atoms)

    def values(self, variable: CollectiveVariable, centres: FloatArray) -> FloatArray:
        """A collective variable (frames,) of positions (frames, n, 3) of the chosen atoms in nm.

        Raises
        ------
        MoleculeError
            If one of its atoms is not among them.
        """
        return variable.on_subset(self.atoms)(mdtraj.Trajectory(centres, None))


def optimal_rotation(mobile: FloatArray, template: FloatArray) -> FloatArray:
    """Proper rotations R (frames, 3, 3) that minimise |mobile R − template| (Kabsch, Acta Cryst. A 32, 922 (1976))."""
    u, _, vt = np.linalg.svd(np.einsum("fni,nj->fij", mobile, template))
    u[..., -1] *= np.sign(np.linalg.det(u @ vt))[:, None]
    return np.asarray(u @ vt)
