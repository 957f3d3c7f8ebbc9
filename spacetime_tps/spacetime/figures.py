"""Figures of a geodesic, or why there is none: what runs report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

from spacetime_tps.errors import GeometryError
from spacetime_tps.records import Record
from spacetime_tps.spacetime.geodesic import Geodesic


@dataclass(frozen=True)
class GeodesicFigures(Record):
    """Of a geodesic that was solved, as in :class:`Geodesic`; of another one only why it was not."""

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

    @classmethod
    def of(cls, geodesic: Geodesic) -> Self:
        """Those of a geodesic."""
        return cls.from_json(geodesic.to_json())

    @classmethod
    def of_failure(cls, error: GeometryError) -> Self:
        """Those of a geodesic that was not found."""
        return cls(feasible=False, converged=False, message=str(error))

    def to_json(self) -> dict[str, object]:
        """What is kept of it; the violation of a solved geodesic is null if it is not finite."""
        return super().to_json() | ({} if self.length is None else {"max_violation": self.max_violation})
