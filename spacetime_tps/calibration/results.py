"""What the calibration job finds: a model beside restrained dynamics, at points and along a curve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Compared:
    """A quantity by the model and by restrained dynamics.

    Attributes
    ----------
    model, md : float
        Value by the model, and by dynamics.
    md_error : float
        Standard error of the value by dynamics.
    """

    model: float
    md: float
    md_error: float

    @property
    def z(self) -> float:
        """Difference between model and dynamics, in standard errors."""
        return (self.model - self.md) / self.md_error

    @property
    def ratio(self) -> float:
        """Value by the model over the value by dynamics."""
        return self.model / self.md

    @property
    def ratio_error(self) -> float:
        """Standard error of the ratio."""
        return self.model * self.md_error / self.md**2


@dataclass(frozen=True)
class MomentComparison:
    """Moments of p(x|z) at one spacetime point, in the coordinate's unit or its square.

    Attributes
    ----------
    mean_distance, mean_distance_error : float
        Distance |x̂_model − x̂_MD| between the means, and the standard error of the mean by dynamics.
    variance_model, variance_md : float
        tr Cov[x|z] by the model, and by dynamics.
    mean_square_displacement : Compared
        E|x − y|².
    """

    mean_distance: float
    mean_distance_error: float
    variance_model: float
    variance_md: float
    mean_square_displacement: Compared

    @property
    def mean_z(self) -> float:
        """Distance between the means, in standard errors."""
        return self.mean_distance / self.mean_distance_error

    def to_json(self) -> dict[str, float]:
        """The moments and their errors as JSON."""
        return {
            "mean_distance": self.mean_distance,
            "mean_distance_error": self.mean_distance_error,
            "variance_model": self.variance_model,
            "variance_md": self.variance_md,
            "mean_square_displacement_model": self.mean_square_displacement.model,
            "mean_square_displacement_md": self.mean_square_displacement.md,
            "mean_square_displacement_md_error": self.mean_square_displacement.md_error,
        }


@dataclass(frozen=True)
class PointComparison:
    """The model and dynamics at a noised held-out frame.

    Attributes
    ----------
    log_snr : float
    moments : MomentComparison
    halves_z : float
        Change of |x − y|² between the halves of the replicas, in standard errors.
    """

    log_snr: float
    moments: MomentComparison
    halves_z: float

    def to_json(self) -> dict[str, float]:
        """The row of ``points.csv``."""
        return {
            "log_snr": self.log_snr,
            **self.moments.to_json(),
            "mean_z": self.moments.mean_z,
            "mean_square_displacement_z": self.moments.mean_square_displacement.z,
            "halves_z": self.halves_z,
        }


@dataclass(frozen=True)
class CurveWindow:
    """A window on a curve.

    Attributes
    ----------
    log_snr : float
    halves_z : float
        Change of |x − y|² between the halves of the replicas, in standard errors.
    turned : bool
        Whether y is not superposed on the template, so that dynamics turns the molecule.
    """

    log_snr: float
    halves_z: float
    turned: bool

    def to_json(self) -> dict[str, float | bool]:
        """The window as JSON."""
        return {"log_snr": self.log_snr, "halves_z": self.halves_z, "turned": self.turned}


@dataclass(frozen=True)
class ChordComparison:
    """J between two neighbouring windows of a curve.

    Attributes
    ----------
    log_snr_a, log_snr_b : float
        log SNR of the two windows.
    divergence : Compared
        J in nats.
    """

    log_snr_a: float
    log_snr_b: float
    divergence: Compared

    def to_json(self) -> dict[str, float]:
        """The row of ``chords.csv``."""
        return {
            "log_snr_a": self.log_snr_a,
            "log_snr_b": self.log_snr_b,
            "divergence_model": self.divergence.model,
            "divergence_md": self.divergence.md,
            "divergence_md_error": self.divergence.md_error,
            "divergence_z": self.divergence.z,
        }


@dataclass(frozen=True)
class CurveComparison:
    """A curve by the model and by dynamics, from the chords between its windows.

    Attributes
    ----------
    name : str
        Name of the stored geodesic.
    windows : tuple of CurveWindow
    chords : tuple of ChordComparison
        One fewer than the windows.
    energy, length : Compared
        (windows − 1)/2 Σ J, and Σ √J, where a negative J counts as zero.
    length_md_of_halves : tuple of float
        Length by the first halves of the replicas, and by the second.
    """

    name: str
    windows: tuple[CurveWindow, ...]
    chords: tuple[ChordComparison, ...]
    energy: Compared
    length: Compared
    length_md_of_halves: tuple[float, float]

    @property
    def negative_chords_model(self) -> int:
        """Number of chords whose J is negative by the model."""
        return sum(chord.divergence.model < 0 for chord in self.chords)

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON, derived ones included."""
        return {
            "name": self.name,
            "windows": [window.to_json() for window in self.windows],
            "chords": [chord.to_json() for chord in self.chords],
            "energy_model": self.energy.model,
            "energy_md": self.energy.md,
            "energy_md_error": self.energy.md_error,
            "length_model": self.length.model,
            "length_md": self.length.md,
            "length_md_error": self.length.md_error,
            "length_md_of_halves": list(self.length_md_of_halves),
            "negative_chords_model": self.negative_chords_model,
            "energy_ratio": self.energy.ratio,
            "energy_ratio_error": self.energy.ratio_error,
            "length_ratio": self.length.ratio,
            "length_ratio_error": self.length.ratio_error,
        }


@dataclass(frozen=True)
class CalibrationResult:
    """What :func:`spacetime_tps.calibrate` finds.

    Attributes
    ----------
    system : str
    denoiser : str
        Kind of the denoiser.
    unit : str
        Unit of the coordinates; empty if they have none.
    temperature : float
        The model's, K.
    seed : int
    replicas, frames : int
        Number of replicas at each point and in each window, and of frames of each replica.
    evaluations : mapping of str to int
        Number of energy evaluations for ``points`` and for ``curve``.
    points : tuple of PointComparison
    curve : CurveComparison
    settings : mapping of str to object
        Settings that the job goes by, as in YAML, by names such as ``windows.replicas``.
    """

    system: str
    denoiser: str
    unit: str
    temperature: float
    seed: int
    replicas: int
    frames: int
    evaluations: Mapping[str, int]
    points: tuple[PointComparison, ...]
    curve: CurveComparison
    settings: Mapping[str, object]

    def to_json(self) -> dict[str, Any]:
        """What ``calibration.json`` holds."""
        return {
            "system": self.system,
            "denoiser": self.denoiser,
            "unit": self.unit,
            "temperature": self.temperature,
            "seed": self.seed,
            "replicas": self.replicas,
            "frames": self.frames,
            "settings": dict(self.settings),
            "evaluations": dict(self.evaluations),
            "points": [point.to_json() for point in self.points],
            "curve": self.curve.to_json(),
        }
