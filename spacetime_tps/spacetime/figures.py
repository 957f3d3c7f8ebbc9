"""Figures of a geodesic, or why there is none: what runs report."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

from spacetime_tps.errors import GeometryError
from spacetime_tps.records import Record
from spacetime_tps.spacetime.geodesic import Geodesic


@dataclass(frozen=True)
class GeodesicFigures(Record):
    """Of a geodesic that was solved, as in :class:`Geodesic`; of another one only why it was not.

    Its depth is in nats, and in kJ/mol where the temperature of the model is known.
    """

    feasible: bool
    converged: bool
    message: str
    energy: float | None = None
    length: float | None = None
    speed_ratio: float | None = None
    negative_chord_fraction: float | None = None
    max_variance: float | None = None
    evaluations: int | None = None
    max_violation: float | None = None
    max_depth: float | None = None
    max_depth_kj_per_mol: float | None = None

    @classmethod
    def of(cls, geodesic: Geodesic, kt: float | None = None) -> Self:
        """Those of a geodesic; kT of the model in kJ/mol, where there is one."""
        figures = cls.from_json(geodesic.to_json())
        if kt is None or figures.max_depth is None:
            return figures
        return replace(figures, max_depth_kj_per_mol=kt * figures.max_depth)

    @classmethod
    def of_failure(cls, error: GeometryError) -> Self:
        """Those of a geodesic that was not found."""
        return cls(feasible=False, converged=False, message=str(error))

    def to_json(self) -> dict[str, object]:
        """What is kept of it; the violation of a solved geodesic is null if it is not finite."""
        return super().to_json() | ({} if self.length is None else {"max_violation": self.max_violation})
