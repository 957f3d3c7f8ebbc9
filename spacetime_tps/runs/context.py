"""What a stage reports, and the coordinates of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from spacetime_tps.coordinates import CartesianCoordinates, Coordinates, TorsionCoordinates
from spacetime_tps.coordinates.states import select
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import MoleculeError
from spacetime_tps.records import Record
from spacetime_tps.settings.run import RunSettings, TorsionSettings

ResultOfStage = TypeVar("ResultOfStage", bound=Record, covariant=True)


@dataclass(frozen=True)
class StageReport(Generic[ResultOfStage]):
    """What a stage did.

    Attributes
    ----------
    evaluations : mapping of str to int
        Energy or force evaluations, by purpose.
    results : Record
        Figures for the summary.
    """

    evaluations: Mapping[str, int]
    results: ResultOfStage


def make_coordinates(settings: RunSettings, molecule: MolecularSystem) -> Coordinates:
    """Latent coordinates of a run.

    Raises
    ------
    MoleculeError
        If a selection is empty, or an atom of the coordinates is a virtual site, where a restraint has nothing to hold.
    """
    wanted = settings.coordinates
    coordinates: Coordinates
    if isinstance(wanted, TorsionSettings):
        coordinates = TorsionCoordinates.from_topology(molecule.topology, wanted.dihedrals, molecule.variables)
    else:
        atoms = select(molecule.topology, wanted.atoms, "coordinates.atoms")
        template = wanted.template or molecule.states[0].structure
        coordinates = CartesianCoordinates.from_structure(atoms.tolist(), molecule.structures[template])
    sites = molecule.virtual_sites.intersection(np.unique(np.array(coordinates.atoms)).tolist())
    if sites:
        raise MoleculeError(
            f"coordinates: {molecule.topology.atom(min(sites))} is a virtual site, which no restraint can hold; leave "
            "virtual sites out of the selection"
        )
    return coordinates
