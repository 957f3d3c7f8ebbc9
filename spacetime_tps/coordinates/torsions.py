"""Dihedrals as latent coordinates: (cos θ, sin θ) of each, periodic by construction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import mdtraj
import numpy as np
from mdtraj.geometry import dihedral as by_mdtraj
from numpy.typing import NDArray

from spacetime_tps.arrays import FloatArray
from spacetime_tps.coordinates.base import Dihedral, checked_frames
from spacetime_tps.coordinates.states import CollectiveVariable
from spacetime_tps.errors import ConfigError, MoleculeError, TrajectoryError

if TYPE_CHECKING:  # workers do without torch
    from spacetime_tps.denoisers.noise_space import NoiseSpace
    from spacetime_tps.training.mixtures import MixtureKind


def indices_omega(topology: mdtraj.Topology) -> NDArray[np.intp]:
    """Atoms (dihedrals, 4) of every peptide bond's dihedral, those to the caps ACE and NME included.

    mdtraj's own leaves these out, for the carbons of caps are not named CA.
    """
    found = []
    for chain in topology.chains:
        residues = [{atom.name: atom.index for atom in residue.atoms} for residue in chain.residues]
        for one, two in pairwise(residues):
            before = [one[name] for name in ("CA", "CH3") if name in one]
            after = [two[name] for name in ("CA", "CH3", "C") if name in two]
            if before and after and "C" in one and "N" in two:
                found.append((before[0], one["C"], two["N"], after[0]))
    return np.array(found, dtype=np.intp).reshape(-1, 4)


NAMED = {
    "phi": by_mdtraj.indices_phi,
    "psi": by_mdtraj.indices_psi,
    "omega": indices_omega,
    "chi1": by_mdtraj.indices_chi1,
    "chi2": by_mdtraj.indices_chi2,
    "chi3": by_mdtraj.indices_chi3,
    "chi4": by_mdtraj.indices_chi4,
}
"""Names that stand for every dihedral of a kind in the molecule."""

_COLLINEAR = 1e-6  # of the product of the sines of both bond angles: below it a dihedral is rounding error


@dataclass(frozen=True)
class TorsionCoordinates:
    """(cos θ₁, sin θ₁, cos θ₂, sin θ₂, …) of dihedrals: numbers without unit, the same for every frame of reference.

    Angles follow the IUPAC convention, as OpenMM's and mdtraj's do: positive for a clockwise turn of the last bond
    seen along the middle one.

    Attributes
    ----------
    names : tuple of str
    atoms : tuple of (int, int, int, int)
        The four atoms of each dihedral.
    """

    names: tuple[str, ...]
    atoms: tuple[Dihedral, ...]

    @classmethod
    def from_topology(
        cls,
        topology: mdtraj.Topology,
        dihedrals: Sequence[str | Sequence[int]],
        variables: Mapping[str, CollectiveVariable] | None = None,
    ) -> TorsionCoordinates:
        """Find dihedrals in a molecule.

        Parameters
        ----------
        topology : mdtraj.Topology
        dihedrals : sequence of str or of four int
            A name of :data:`NAMED`, which stands for every such dihedral of the molecule; or else the name of a
            collective variable that is a dihedral; or four atoms (0-based).
        variables : mapping of str to CollectiveVariable, optional

        Raises
        ------
        MoleculeError
            If there is no such dihedral, atoms are out of range or not four different ones, or a dihedral comes twice.
        """
        found = [item for dihedral in dihedrals for item in _find(dihedral, topology, variables or {})]
        if not found:
            raise MoleculeError("coordinates.dihedrals: no dihedral is given; name at least one")
        names, atoms = zip(*found, strict=True)
        for index, one in enumerate(atoms):
            if one in atoms[:index] or one[::-1] in atoms[:index]:
                raise MoleculeError(f"coordinates.dihedrals: {names[index]} (atoms {one}) is there twice; take one out")
        return cls(names, atoms)

    @property
    def positioned(self) -> None:
        """None: centres are cosines and sines."""
        return None

    @property
    def mixture(self) -> MixtureKind:
        """Mixtures of von Mises densities, which are periodic."""
        from spacetime_tps.training.mixtures import VON_MISES

        return VON_MISES

    @property
    def dimension(self) -> int:
        """Number of latent coordinates, two for each dihedral."""
        return 2 * len(self.atoms)

    @property
    def unit(self) -> str:
        """None: cosines and sines are numbers."""
        return ""

    @property
    def labels(self) -> dict[str, NDArray[np.generic]]:
        """``atoms`` (dihedrals, 4) and ``names`` (dihedrals,)."""
        return {"atoms": np.array(self.atoms), "names": np.array(self.names)}

    def superpose(self, positions: FloatArray) -> FloatArray:
        """The frames themselves: dihedrals do not depend on the frame of reference."""
        return np.asarray(positions, dtype=float)

    def encode(self, positions: FloatArray) -> FloatArray:
        """Latent vectors (frames, dimension) of positions (frames, all atoms, 3) in nm.

        Raises
        ------
        TrajectoryError
            If a frame has positions that are not finite, or three atoms of a dihedral in it lie on a line; if the
            frames are of another molecule.
        """
        corners = checked_frames(positions, self.atoms)[:, np.array(self.atoms)]  # (frames, dihedrals, 4, 3)
        first, middle, last = np.moveaxis(np.diff(corners, axis=2), 2, 0)
        left, right = np.cross(first, middle), np.cross(middle, last)
        along = np.linalg.norm(middle, axis=-1)
        cosine, sine = (left * right).sum(-1), along * (first * right).sum(-1)
        scale = np.hypot(cosine, sine)  # |left| |right|
        size = np.linalg.norm(first, axis=-1) * along**2 * np.linalg.norm(last, axis=-1)
        degenerate = ~(scale > _COLLINEAR * size)
        if degenerate.any():
            frame, index = (int(i[0]) for i in np.nonzero(degenerate))
            raise TrajectoryError(
                f"frame {frame}: dihedral {self.names[index]} has no value, for three of its atoms {self.atoms[index]} "
                "lie on a line; remove the frame, or take another dihedral"
            )
        return np.asarray(np.stack([cosine / scale, sine / scale], axis=-1).reshape(len(corners), self.dimension))

    def project(self, positions: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Latent vectors (frames, dimension), and zeros (frames,): the restraint sees nothing but these."""
        return self.encode(positions), np.zeros(len(positions))

    def decode(self, latent: FloatArray) -> FloatArray:
        """(cos θ, sin θ) of each dihedral, shape (..., dihedrals, 2); inside the unit circle for means and centres."""
        latent = np.asarray(latent)
        return latent.reshape(*latent.shape[:-1], len(self.atoms), 2)

    def canonical(self, centres: FloatArray, log_snr: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Centres of unit length in the mean square, which leaves SNR·y as it is, and with it p(x|z).

        Parameters
        ----------
        centres : array, shape (points, dihedrals, 2)
        log_snr : array, shape (points,)
        """
        length = np.sqrt((centres**2).sum(-1).mean(-1)).clip(min=1e-12)
        return centres / length[:, None, None], log_snr + np.log(length)

    def narrowed(self, centres: FloatArray, means: FloatArray, narrowing: float) -> FloatArray:
        """Centres whose part across the direction of the mean is divided by s, the narrowing; see :class:`Coordinates`.

        The restraint of one dihedral is u(θ) = −SNR y·x, x = (cos θ, sin θ), in kT. A mean (cos, sin) is shorter than
        1, and what is kept is its direction e = (cos m, sin m); n = (−sin m, cos m) is across. There

            u'(m) = −SNR y·n,    u''(m) = SNR y·e.

        At s SNR the pull stays, s SNR y'·n = SNR y·n, if y'·n = y·n/s, and the curvature is s times as large,
        s SNR y'·e = s SNR y·e, if y'·e = y·e:

            y' = (y·e) e + (y·n) n/s = (y + (s − 1)(y·e) e)/s.

        So a von Mises restraint of concentration (s − 1) SNR y·e about m is added, as for positions a harmonic one of
        (s − 1) SNR about x̂. Only SNR y counts, as in the restraint itself.

        Where y points more than 90° away from the mean the restraint holds nothing at m: its curvature is negative,
        and more of it would drive the dihedral away. There, and where the mean has no direction, the dihedral's
        restraint stays as it is, SNR y.
        """
        along = means / np.linalg.norm(means, axis=-1, keepdims=True).clip(min=1e-12)
        held = (centres * along).sum(-1, keepdims=True).clip(min=0.0)
        return np.asarray((centres + (narrowing - 1) * held * along) / narrowing)

    def noise_space(self) -> NoiseSpace:
        """The latent space itself."""
        from spacetime_tps.denoisers.noise_space import PlainNoiseSpace

        return PlainNoiseSpace(self.dimension)

    def restraint_energies(self, positions: FloatArray, centres: FloatArray, log_snr: FloatArray) -> FloatArray:
        """Reduced energies (points, frames), in kT, SNR/2 |x − y|²; see :class:`Coordinates`."""
        x, y = self.encode(positions), np.reshape(centres, (len(centres), -1))
        return np.array([0.5 * np.exp(at) * ((x - to) ** 2).sum(axis=1) for to, at in zip(y, log_snr, strict=True)])

    def knows(self, variable: CollectiveVariable) -> bool:
        """Whether a collective variable is one of the dihedrals."""
        return self._index(variable) is not None

    def values(self, variable: CollectiveVariable, centres: FloatArray) -> FloatArray:
        """Angles (frames,), rad in [−π, π], of one dihedral in centres (frames, dihedrals, 2).

        Raises
        ------
        ConfigError
            If the collective variable is none of the dihedrals.
        """
        index = self._index(variable)
        if index is None:
            raise ConfigError(
                f"collective variable {variable.name!r} is none of the dihedrals that the score model sees "
                f"({', '.join(self.names)}); add it to coordinates.dihedrals"
            )
        return np.asarray(np.arctan2(centres[:, index, 1], centres[:, index, 0]))

    def _index(self, variable: CollectiveVariable) -> int | None:
        same = [index for index, atoms in enumerate(self.atoms) if variable.atoms in (atoms, atoms[::-1])]
        return same[0] if same else None


def _find(
    dihedral: str | Sequence[int], topology: mdtraj.Topology, variables: Mapping[str, CollectiveVariable]
) -> list[tuple[str, Dihedral]]:
    """Names and atoms of the dihedrals that one entry stands for."""
    if not isinstance(dihedral, str):
        return [(" ".join(str(atom) for atom in dihedral), _checked_atoms(dihedral, topology))]
    found = NAMED[dihedral](topology).tolist() if dihedral in NAMED else []
    if found:
        return [(f"{dihedral} {topology.atom(four[1]).residue}", _checked_atoms(four, topology)) for four in found]
    variable = variables.get(dihedral)
    if variable is None or variable.kind != "dihedral":
        angles = [name for name, known in variables.items() if known.kind == "dihedral"]
        raise MoleculeError(
            f"coordinates.dihedrals: there is no {dihedral!r} in this molecule; take one of {', '.join(NAMED)} that it "
            f"has, a dihedral among the collective variables ({', '.join(angles) or 'none'}), or four atoms"
        )
    return [(dihedral, _checked_atoms(variable.atoms, topology))]


def _checked_atoms(atoms: Sequence[int], topology: mdtraj.Topology) -> Dihedral:
    a, b, c, d = atoms = [int(atom) for atom in atoms]
    if len(set(atoms)) < 4 or not all(0 <= atom < topology.n_atoms for atom in atoms):
        raise MoleculeError(
            f"coordinates.dihedrals: {atoms} are not four different ones of the {topology.n_atoms} atoms (0-based)"
        )
    return a, b, c, d
