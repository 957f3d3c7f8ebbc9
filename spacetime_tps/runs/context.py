"""What a stage reports, and the coordinates of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from spacetime_tps.coordinates import CartesianCoordinates, Coordinates, TorsionCoordinates
from spacetime_tps.coordinates.states import select
from spacetime_tps.dynamics.system import MolecularSystem
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
    """Latent coordinates of a run."""
    wanted = settings.coordinates
    if isinstance(wanted, TorsionSettings):
        return TorsionCoordinates.from_topology(molecule.topology, wanted.dihedrals, molecule.variables)
    atoms = select(molecule.topology, wanted.atoms, "coordinates.atoms")
    template = wanted.template or molecule.states[0].structure
    return CartesianCoordinates.from_structure(atoms.tolist(), molecule.structures[template])
