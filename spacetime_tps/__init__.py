"""Transition paths of molecules from the spacetime geometry of diffusion models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacetime_tps.calibration_job import calibrate
    from spacetime_tps.committor_job import committors
    from spacetime_tps.free_energy_job import free_energies
    from spacetime_tps.path_sampling_job import sample_paths
    from spacetime_tps.pipeline import run
    from spacetime_tps.training_job import train

__all__ = ["__version__", "calibrate", "committors", "free_energies", "run", "sample_paths", "train"]
__version__ = "0.1.0"
_JOBS = {
    "calibrate": "calibration_job",
    "committors": "committor_job",
    "free_energies": "free_energy_job",
    "run": "pipeline",
    "sample_paths": "path_sampling_job",
    "train": "training_job",
}


def __getattr__(name: str) -> Any:
    """Import a job (and with it torch) only when asked: worker processes do without."""
    if name in _JOBS:
        return getattr(import_module(f"{__name__}.{_JOBS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
