"""Settings of restrained dynamics beside the paths: windows, free energies, calibration, friction; and of committors.

They hold for Cartesian coordinates and for torsions alike. Jobs that follow a run take them from its ``config.yaml``.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.units import Duration, Rate, Time

Equilibration = Annotated[Time, Field(ge=0, le=1e9)]
Probability = Annotated[float, Field(ge=0, le=1)]


class WindowSettings(Settings):
    """Restrained dynamics at points of spacetime, at the model's temperature: what the model is checked against.

    In alanine dipeptide at 1000 K restrained averages settle within 1–2 ps and stay correlated for 0.05–2 ps.
    """

    replicas: int = Field(
        8,
        ge=2,
        le=1000,
        description="number of independent trajectories in each window: their spread gives the errors of its averages",
    )
    equilibration: Equilibration = Field(3.0, description="time before the first frame of each replica, in ps")
    frame_interval: Duration = Field(0.05, description="time between two frames of each replica, in ps")
    frames: int = Field(
        40,
        ge=10,
        le=1_000_000,
        description="number of frames of each replica where the main job checks its denoiser and in on-policy rounds; "
        "'calibrate' has its own option",
    )
    count: int = Field(
        24, ge=2, le=10_000, description="number of windows along the low-variance geodesic in each on-policy round"
    )


class FrictionSettings(Settings):
    """Restrained dynamics along a curve that measures its friction, for ``paths.schedule: friction``."""

    windows: int = Field(16, ge=2, le=10_000, description="number of windows along the curve")
    sweeps: int = Field(
        2,
        ge=2,
        le=1000,
        description="number of walks through all windows, in turn from A to B and from B to A: where these disagree, "
        "relaxation is slow",
    )
    equilibration: Equilibration = Field(0.1, description="time before the first frame of each window, in ps")
    length: Duration = Field(0.4, description="time that the frames of each window span, in ps")
    frame_interval: Duration = Field(0.005, description="time between two frames, in ps")
    memory: float = Field(
        0.1,
        ge=1e-6,
        le=1,
        description="share of paths.length after which forces are taken as forgotten: by then the restraint pulls "
        "elsewhere",
    )


class FreeEnergySettings(Settings):
    """Windows from free A along a curve to free B, at the system's own temperature."""

    sweeps: int = Field(
        8,
        ge=2,
        le=1000,
        description="number of walks through all windows, in turn from A to B and from B to A: their spread is the "
        "error",
    )
    frame_interval: Duration = Field(0.03, description="time between two frames of windows on the curve, in ps")
    weak_frame_interval: Duration = Field(
        0.1, description="longest time between two frames between the curve's ends and the free states, in ps"
    )
    free_frame_interval: Duration = Field(
        1.0, description="time between two frames of the free states, which have slow basins of their own, in ps"
    )
    equilibration: int = Field(
        30, ge=0, le=1_000_000, description="number of frame intervals before the first frame of each window"
    )
    friction: Annotated[Rate, Field(ge=1e-6, le=1000)] = Field(
        10.0,
        description="friction of the dynamics in the median window of the curve, in 1/ps; it goes as the restraint's "
        "frequency, and the free states have system.friction",
    )
    narrowing: float = Field(
        1.0,
        ge=0.1,
        le=100,
        description="factor that stiffens the restraint about the mean of the geodesic: above 1 windows are narrower "
        "and stay where the geodesic is",
    )
    ramp: float = Field(
        0.8, ge=1e-3, le=100, description="largest step in log SNR between the curve's ends and the free states"
    )
    selectivity: float = Field(
        25.0,
        ge=1e-3,
        le=1e6,
        description="energy in kT by which the weakest restraint to one end disfavours the structure of the other: "
        "windows stay in their state",
    )
    least_overlap: float = Field(
        1e-3,
        ge=1e-12,
        le=1,
        description="overlap of neighbours in MBAR's matrix below which the free energy between them is not known",
    )
    least_independent_frames: int = Field(
        20,
        ge=0,
        le=1_000_000,
        description="number of independent frames of a free state below which there is a warning: its own basins are "
        "hardly known, and sweeps that never met them hide the error",
    )


class CalibrationSettings(Settings):
    """Where a model is compared with restrained dynamics."""

    log_snr_margin: float = Field(
        0.5,
        ge=0,
        le=100,
        description="how far beyond the log SNR of the stored geodesics the model is checked, at either end",
    )


class CommittorSettings(Settings):
    """Committors p_B by shots, and the transition states among the frames."""

    band: tuple[Probability, Probability] = Field(
        (0.4, 0.6), description="lowest and highest p_B of a transition state"
    )
    confidence: float = Field(0.95, ge=0.01, le=0.9999, description="confidence of the interval of each p_B")

    @model_validator(mode="after")
    def _band_rises(self) -> Self:
        if not self.band[0] < self.band[1]:
            raise ValueError(f"band must rise, not go from {self.band[0]:g} to {self.band[1]:g}")
        return self
