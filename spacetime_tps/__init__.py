"""Transition paths of molecules from the spacetime geometry of diffusion models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacetime_tps.calibration.job import calibrate
    from spacetime_tps.committor.job import committors
    from spacetime_tps.free_energy.job import free_energies
    from spacetime_tps.path_ensemble.job import sample_paths
    from spacetime_tps.pipeline.run import run
    from spacetime_tps.pipeline.training import train

__all__ = ["__version__", "calibrate", "committors", "free_energies", "run", "sample_paths", "train"]
__version__ = "0.1.0"
_JOBS = {
    "calibrate": "calibration.job",
    "committors": "committor.job",
    "free_energies": "free_energy.job",
    "run": "pipeline.run",
    "sample_paths": "path_ensemble.job",
    "train": "pipeline.training",
}


def __getattr__(name: str) -> Any:
    """Import a job (and with it torch) only when asked: worker processes do without."""
    if name in _JOBS:
        return getattr(import_module(f"{__name__}.{_JOBS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
