"""Transition paths of molecules from the spacetime geometry of diffusion models."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacetime_tps.calibration.job import calibrate
    from spacetime_tps.committor.job import measure_committor
    from spacetime_tps.export.job import export_run
    from spacetime_tps.free_energy.job import compute_free_energy
    from spacetime_tps.path_ensemble.job import sample_path_ensemble
    from spacetime_tps.pipeline.run import run
    from spacetime_tps.pipeline.training import train

__all__ = [
    "__version__",
    "calibrate",
    "compute_free_energy",
    "export_run",
    "measure_committor",
    "run",
    "sample_path_ensemble",
    "train",
]
__version__ = "0.1.0"
_JOBS = {
    "calibrate": "calibration.job",
    "compute_free_energy": "free_energy.job",
    "export_run": "export.job",
    "measure_committor": "committor.job",
    "run": "pipeline.run",
    "sample_path_ensemble": "path_ensemble.job",
    "train": "pipeline.training",
}


def __getattr__(name: str) -> Any:
    """Import a job (and with it torch) only when asked: worker processes do without."""
    if name in _JOBS:
        return getattr(import_module(f"{__name__}.{_JOBS[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
