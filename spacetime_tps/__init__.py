"""Transition paths of molecules from the spacetime geometry of diffusion models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacetime_tps.pipeline import run

__all__ = ["__version__", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Import the pipeline (and with it torch) only when asked: worker processes do without."""
    if name == "run":
        from spacetime_tps.pipeline import run

        return run
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
