"""The denoiser of a run, in its folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.coordinates import Coordinates
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.denoisers.files import load_denoiser
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import GeometryError
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import DENOISER, REFINED_DENOISER


def write_denoiser(run: Run, denoiser: Any, path: Path) -> None:
    """Write a denoiser of a run with what it is of."""
    description = {
        "system": run.molecule.name,
        "coordinates": run.settings.coordinates.model_dump(mode="json"),
        "atoms": np.array(run.coordinates.atoms).tolist(),
        "model_temperature": run.settings.samples.model_temperature,
        "settings": run.settings.denoiser.model_dump(mode="json"),
    }
    denoiser.save(path, description)


def read_denoiser(run: Run) -> Denoiser:
    """The denoiser that a run goes by: that of its samples, or what on-policy rounds have made of it.

    Raises
    ------
    GeometryError
        If it cannot be read, or is of another system or other coordinates.
    """
    (path,) = run.files("geodesics", REFINED_DENOISER) or [run.path(DENOISER)]
    denoiser, description = load_denoiser(path)
    check_description(path, denoiser, description, run.molecule, run.coordinates)
    return denoiser


def check_description(
    path: Path, denoiser: Denoiser, description: dict[str, Any], molecule: MolecularSystem, coordinates: Coordinates
) -> None:
    """Refuse a denoiser of another system or other coordinates.

    Raises
    ------
    GeometryError
        Naming the file.
    """
    atoms = np.array(coordinates.atoms).tolist()
    if description.get("atoms") != atoms or denoiser.dimension != coordinates.dimension:
        raise GeometryError(f"{path} was made for other atoms than this run's")
    if description.get("system") != molecule.name:
        raise GeometryError(f"{path} was made for {description.get('system')}, not for {molecule.name}")
