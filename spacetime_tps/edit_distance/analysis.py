"""Diffusion Edit Distances between the frames of a trajectory, as an MDAnalysis analysis."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import MDAnalysis
import mdtraj
import numpy as np
from MDAnalysis.analysis.base import AnalysisBase

from spacetime_tps.coordinates import Coordinates
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.errors import GeometryError, MoleculeError
from spacetime_tps.runs.denoiser import read_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import REFINED_DENOISER
from spacetime_tps.spacetime.distance import pairwise_edit_distances

NM_PER_ANGSTROM = 0.1


class EditDistance(AnalysisBase):  # type: ignore[misc]
    """Diffusion Edit Distances of all pairs of frames; see :func:`spacetime_tps.spacetime.pairwise_edit_distances`.

    Molecules must be whole (``MDAnalysis.transformations.unwrap`` makes them so). Frames are read when it runs, and the
    distances computed at the end: ``EditDistance(...).run(step=10).results.distances``.

    Parameters
    ----------
    atoms : Universe or AtomGroup
        The molecule, all its atoms in the order that the coordinates know.
    denoiser : Denoiser
        Of these coordinates.
    coordinates : Coordinates
    log_snr : float
        The anchor λ, of SNR in the inverse square of the coordinates' unit (nm⁻² for positions).
    topology : mdtraj.Topology, optional
        Of the molecule as the coordinates know it: the atoms must have its elements.
    points, knots : int
        Of each geodesic.
    workers : int
        Processes that solve pairs.
    verbose : bool
        Progress of the reading.

    Attributes
    ----------
    results.distances : array, shape (n_frames, n_frames)
        Symmetric, zero on the diagonal.
    results.unconverged : list of (int, int)
        Pairs of rows whose geodesic is not converged.
    results.latent : array, shape (n_frames, dimension)
        What the distances are between.

    Raises
    ------
    MoleculeError
        If the atoms are not those of the coordinates.
    GeometryError
        If the denoiser is of other coordinates; when it runs, also what ``pairwise_edit_distances`` raises.
    TrajectoryError
        When it runs: if a frame's positions are not finite.
    """

    def __init__(
        self,
        atoms: MDAnalysis.Universe | MDAnalysis.AtomGroup,
        denoiser: Denoiser,
        coordinates: Coordinates,
        log_snr: float,
        *,
        topology: mdtraj.Topology | None = None,
        points: int = 48,
        knots: int = 8,
        workers: int = 1,
        verbose: bool = False,
    ) -> None:
        super().__init__(atoms.universe.trajectory, verbose=verbose)
        if denoiser.dimension != coordinates.dimension:
            raise GeometryError(
                f"the denoiser has {denoiser.dimension} dimensions, the coordinates {coordinates.dimension}; take the "
                "coordinates that it was made from"
            )
        self.atoms, self.denoiser, self.coordinates, self.log_snr = atoms.atoms, denoiser, coordinates, log_snr
        self.options = {"points": points, "knots": knots, "workers": workers}
        _check_atoms(self.atoms, coordinates, topology)

    @classmethod
    def from_run(
        cls,
        atoms: MDAnalysis.Universe | MDAnalysis.AtomGroup,
        folder: str | Path,
        log_snr: float,
        *,
        trust_scripts: bool = False,
        **options: Any,
    ) -> Self:
        """With the denoiser and the coordinates of a run of the main job, read from its folder.

        With ``trust_scripts`` its force-field files that are not OpenMM's may run code.

        Raises
        ------
        SpacetimeError
            If the folder holds no such run, or the structures that its ``config.yaml`` names are not there.
        """
        run = Run.open(folder, "denoiser", trust_scripts=trust_scripts)
        if run.is_finished("geodesics"):
            run.check("geodesics", REFINED_DENOISER)
        denoiser = read_denoiser(run)
        return cls(atoms, denoiser, run.coordinates, log_snr, topology=run.molecule.topology, **options)

    def _prepare(self) -> None:
        self._positions: list[np.ndarray] = []

    def _single_frame(self) -> None:
        self._positions.append(NM_PER_ANGSTROM * self.atoms.positions.astype(float))

    def _conclude(self) -> None:
        latent = self.coordinates.encode(np.reshape(self._positions, (-1, len(self.atoms), 3)))
        found = pairwise_edit_distances(self.denoiser, latent, self.log_snr, **self.options)
        self.results.distances = found.distances
        self.results.unconverged = found.unconverged
        self.results.latent = latent


def _check_atoms(atoms: MDAnalysis.AtomGroup, coordinates: Coordinates, topology: mdtraj.Topology | None) -> None:
    needed = int(np.max(coordinates.atoms)) + 1
    if len(atoms) < needed:
        raise MoleculeError(
            f"there are {len(atoms)} atoms, but the coordinates use atom {needed - 1}; give all of the molecule's"
        )
    if topology is None:
        return
    if len(atoms) != topology.n_atoms:
        raise MoleculeError(f"there are {len(atoms)} atoms, but the molecule has {topology.n_atoms}; select these")
    if not hasattr(atoms, "elements"):
        return  # the file had none
    for index, (mine, its) in enumerate(zip(atoms.elements, topology.atoms, strict=True)):
        if mine.capitalize() != its.element.symbol:
            raise MoleculeError(
                f"atom {index} is {mine or 'no element'}, but the molecule's is {its.element.symbol} ({its}); give its "
                "atoms in its order"
            )
