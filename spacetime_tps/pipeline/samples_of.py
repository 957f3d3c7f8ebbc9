"""The samples of another run, taken with their weights and their temperature."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.folder import Run, holds_run
from spacetime_tps.runs.layout import TRAINING_FRAMES
from spacetime_tps.runs.read import TrainingSet, read_training_set
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.settings.samples import FilesSettings, OtherRunSettings
from spacetime_tps.settings.surface import SurfaceRunSettings


def with_samples_of(settings: RunSettings | SurfaceRunSettings, other: Path) -> RunSettings:
    """Settings whose samples are those of another run.

    Raises
    ------
    ConfigError
        If the settings are of a model surface.
    OutputError
        If there is no such run, or it has no samples.
    """
    if not isinstance(settings, RunSettings):
        raise ConfigError("--samples-of is for runs of molecules; on a model surface everything is exact")
    temperature = Run.open(other, "samples").settings.samples.model_temperature
    samples = OtherRunSettings(method="run", folder=other.resolve(), model_temperature=f"{temperature!r} K")
    return settings.model_copy(update={"samples": samples})


def read_samples_of(settings: OtherRunSettings, molecule: MolecularSystem) -> tuple[TrainingSet, int]:
    """The training set of another run, and the evaluations that its samples took.

    Raises
    ------
    OutputError
        If its files are missing or damaged, or it is of another molecule, force field or temperature.
    """
    other = Run.open(settings.folder, "samples")
    named = [[atom.name for atom in known.topology.atoms] for known in (molecule, other.molecule)]
    if named[0] != named[1] or molecule.system_xml != other.molecule.system_xml:
        raise OutputError(
            f"{settings.folder} has samples of {other.molecule.name} in another force field or with other atoms; take "
            "samples of the same molecule in the same force field"
        )
    temperature = other.settings.samples.model_temperature
    if not np.isclose(temperature, settings.model_temperature):
        raise OutputError(
            f"{settings.folder} has samples at {temperature:g} K, not at {settings.model_temperature:g} K "
            "(samples.model_temperature)"
        )
    return read_training_set(other), other.report("samples").evaluations["sampling"]


def check_no_training_set(settings: FilesSettings) -> None:
    """Refuse the training set of a run as a user's trajectory: its temperature and its weights would be lost.

    Raises
    ------
    ConfigError
        Naming the file, and the right way.
    """
    for path in settings.trajectories:
        folder = path.parent.parent
        if path == folder / TRAINING_FRAMES and holds_run(folder):
            raise ConfigError(
                f"samples.trajectories: {path} is what the run in {folder} learned from, and has neither its weights "
                f"nor its temperature; take 'run … --samples-of {folder}' in the place of this section"
            )
