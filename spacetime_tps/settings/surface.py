"""Settings of a run on a model surface, for a ``system.yaml`` with ``surface:`` in the place of ``system:``.

Everything is in reduced units: energies in the unit that ``kt`` is given in too, lengths in the coordinates' own,
angles in rad, times such that the mobility is 1. The SNR is in the inverse square of the latent coordinates' unit.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, model_validator

from spacetime_tps.settings.base import Settings

Coordinate = Annotated[float, Field(ge=-1e6, le=1e6)]
Energy = Annotated[float, Field(ge=1e-9, le=1e9)]
LogSnr = Annotated[float, Field(ge=-50, le=50)]
TABLE = "table"
"""Name, in energy expressions, of the periodic spline through tabulated energies."""


class CoordinateSettings(Settings):
    """One coordinate of a surface: an interval, or an angle."""

    domain: tuple[Coordinate, Coordinate] | None = Field(
        None, description="lowest and highest value, between which the density is known"
    )
    periodic: bool = Field(
        False, description="whether it is an angle in rad, from −π to π; it has no domain of its own"
    )
    nodes: int = Field(96, ge=8, le=2000, description="number of nodes of the exact denoiser's grid")

    @model_validator(mode="after")
    def _interval_or_angle(self) -> Self:
        if self.periodic == (self.domain is not None):
            raise ValueError("a coordinate has a domain or is periodic, one of the two")
        if self.domain is not None and not self.domain[0] < self.domain[1]:
            raise ValueError(f"domain must rise, not go from {self.domain[0]:g} to {self.domain[1]:g}")
        return self

    @property
    def limits(self) -> tuple[float, float]:
        """Lowest and highest value."""
        return self.domain or (-math.pi, math.pi)


class DiscSettings(Settings):
    """All points within a distance of a centre; differences of angles are taken the short way round."""

    centre: tuple[Coordinate, Coordinate] = Field(description="values of the two coordinates at the centre")
    radius: Annotated[float, Field(ge=1e-9, le=1e6)] = Field(description="radius, in the unit of the coordinates")


class SurfaceSettings(Settings):
    """A potential energy of two coordinates, its temperature and its metastable states."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9_.-]+$", max_length=100, description="name of the surface: letters, digits, '_', '.', '-'"
    )
    description: str = Field("", description="what the surface is, for people")
    coordinates: dict[str, CoordinateSettings] = Field(
        min_length=2, max_length=2, description="the two coordinates by name"
    )
    energy: str | None = Field(
        None, min_length=1, description="expression of the coordinates, as in OpenMM's custom forces"
    )
    grid: Path | None = Field(
        None,
        description=".npz beside the YAML with energies at uniform nodes of two angles from −π on, without the "
        "repeated end: an array named after each coordinate, and energy",
    )
    kt: Energy = Field(description="thermal energy, in the energy's unit")
    states: dict[str, DiscSettings] = Field(min_length=2, max_length=2, description="the two states by name: A, then B")
    channel: DiscSettings | None = Field(None, description="disc where a path must have been to have taken the channel")

    @model_validator(mode="after")
    def _one_surface(self) -> Self:
        if (self.energy is None) == (self.grid is None):
            raise ValueError("a surface has an energy or a grid, one of the two")
        if self.grid is not None and not all(coordinate.periodic for coordinate in self.coordinates.values()):
            raise ValueError("a grid is of two periodic coordinates")
        for name in self.coordinates:
            if not name.isidentifier() or name in ("x1", "y1", "z1", TABLE):
                raise ValueError(
                    f"a coordinate cannot be called {name!r}; take a word other than x1, y1, z1 and {TABLE}"
                )
        discs = {f"states.{name}": disc for name, disc in self.states.items()}
        if self.channel is not None:
            discs["channel"] = self.channel
        for where, disc in discs.items():
            for (name, coordinate), value in zip(self.coordinates.items(), disc.centre, strict=True):
                low, high = coordinate.limits
                if not low <= value <= high:
                    raise ValueError(f"{where}: {name} = {value:g} is outside the domain, {low:g} to {high:g}")
        return self


class SurfaceGeodesicSettings(Settings):
    """Curves on spacetime between the centres of the two states."""

    end_log_snr: LogSnr = Field(4.0, description="log SNR at both ends")
    log_snr_bounds: tuple[LogSnr, LogSnr] = Field((-6.0, 5.0), description="lowest and highest log SNR of the curves")
    points: int = Field(96, ge=8, le=10000, description="number of points of each curve")
    knots: int = Field(14, ge=2, le=500, description="number of inner knots of the spline")
    variance_bound: Annotated[float, Field(ge=1e-12, le=1e6)] = Field(
        description="largest variance on the low-variance geodesic, in the square of the coordinates' unit"
    )
    graph_samples: int = Field(
        500, ge=10, le=100_000, description="number of samples of the Boltzmann density in the graph of the search"
    )
    graph_kt: Energy | None = Field(
        None, description="thermal energy of that density, by default the surface's: hotter samples fill barriers"
    )
    graph_levels: int = Field(13, ge=2, le=1000, description="number of levels of log SNR in that graph")
    channels: int = Field(1, ge=1, le=100, description="number of different low-variance geodesics to look for")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.log_snr_bounds
        if not low < self.end_log_snr <= high:
            raise ValueError("end_log_snr must lie within log_snr_bounds")
        if self.knots + 2 > self.points:
            raise ValueError(f"points ({self.points}) must be more than knots ({self.knots}) + 1")
        return self


class SurfacePathSettings(Settings):
    """Annealed overdamped Langevin dynamics along the geodesics."""

    count: int = Field(500, ge=1, le=1_000_000, description="number of paths along each curve")
    steps: int = Field(ge=1, le=10**9, description="number of steps from the first to the last point")
    time_step: Annotated[float, Field(ge=1e-12, le=1e6)] = Field(
        description="time step, in the unit that makes the mobility 1"
    )
    frame_steps: int = Field(ge=1, le=10**9, description="number of steps between two stored frames")
    baseline_log_snr: tuple[LogSnr, ...] = Field(
        (3.0, 4.0, 5.0), max_length=100, description="log SNR of each straight line that is run for comparison"
    )


class SurfaceRunSettings(Settings):
    """Everything that defines a run on a surface, but for its seed and its versions."""

    surface: SurfaceSettings = Field(description="energy and metastable states")
    geodesics: SurfaceGeodesicSettings = Field(description="curves on spacetime")
    paths: SurfacePathSettings = Field(description="annealed paths along the curves")
