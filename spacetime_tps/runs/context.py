"""What every stage is given, and what it reports."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.coordinates import CartesianCoordinates, Coordinates, TorsionCoordinates
from spacetime_tps.coordinates.states import FloatArray, select
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import WorkerPool
from spacetime_tps.settings.run import RunSettings, TorsionSettings

REFINED_DENOISER = Path("geodesics", "denoiser.safetensors")
"""Of on-policy rounds, in the output of a run; it goes when the geodesics are solved anew."""


def report_path(output: Path, stage: str) -> Path:
    """Where the report of a stage is kept; it is there once the stage has finished."""
    return output / "stages" / f"{stage}.json"


@dataclass(frozen=True)
class RunContext:
    """One run.

    Attributes
    ----------
    settings : RunSettings
    molecule : MolecularSystem
    coordinates : Coordinates
    output : Path
        Folder of the results.
    pool : WorkerPool
    seed : SeedSequence
        Of the stage that is given this.
    """

    settings: RunSettings
    molecule: MolecularSystem
    coordinates: Coordinates
    output: Path
    pool: WorkerPool
    seed: np.random.SeedSequence

    def folder(self, name: str) -> Path:
        """A folder of the output, made if it is not there."""
        path = self.output / name
        path.mkdir(exist_ok=True)
        return path

    def finished(self, stage: str) -> dict[str, Any]:
        """Results that a finished stage has reported; empty if it has not finished."""
        return dict(self._report(stage).get("results", {}))

    def finished_evaluations(self, stage: str) -> dict[str, int]:
        """Evaluations that a finished stage has reported; empty if it has not finished."""
        return dict(self._report(stage).get("evaluations", {}))

    def _report(self, stage: str) -> dict[str, Any]:
        path = report_path(self.output, stage)
        report: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
        return report

    def structure(self, state: int) -> FloatArray:
        """All atoms of the structure of A (0) or B (1), superposed as the geodesics are, (atoms, 3) in nm."""
        structure = self.molecule.structures[self.molecule.states[state].structure]
        return np.asarray(self.coordinates.superpose(structure[None])[0])


@dataclass(frozen=True)
class StageReport:
    """What a stage did.

    Attributes
    ----------
    evaluations : dict of str to int
        Energy or force evaluations, by purpose.
    results : dict
        Figures for the summary; JSON.
    """

    evaluations: dict[str, int] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)


def make_coordinates(settings: RunSettings, molecule: MolecularSystem) -> Coordinates:
    """Latent coordinates of a run."""
    wanted = settings.coordinates
    if isinstance(wanted, TorsionSettings):
        return TorsionCoordinates.from_topology(molecule.topology, wanted.dihedrals, molecule.variables)
    atoms = select(molecule.topology, wanted.atoms, "coordinates.atoms")
    template = wanted.template or molecule.states[0].structure
    return CartesianCoordinates.from_structure(atoms.tolist(), molecule.structures[template])
