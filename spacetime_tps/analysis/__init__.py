"""What was found: figures of samples, curves and paths; edit distances of frames."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spacetime_tps.analysis.edit_distance import EditDistance

__all__ = ["EditDistance"]


def __getattr__(name: str) -> Any:
    """Import MDAnalysis and torch only when asked: figures and metrics do without."""
    if name == "EditDistance":
        from spacetime_tps.analysis.edit_distance import EditDistance

        return EditDistance
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
