"""What the free-energy job finds: ΔF by windows, by annealing and by replica exchange, all in kJ/mol."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np

from spacetime_tps.arrays import FloatArray


class Estimate(Protocol):
    """ΔF(A→B) with its standard error, kJ/mol."""

    @property
    def value(self) -> float:
        """ΔF."""
        ...

    @property
    def error(self) -> float:
        """Standard error."""
        ...


@dataclass(frozen=True)
class WindowRow:
    """A window on the curve.

    Attributes
    ----------
    progress : float
        Place on the curve, from 0 to 1.
    log_snr : float
    free_energy, free_energy_error : float
        Of the restrained ensemble relative to state A, kJ/mol.
    profile, profile_error : float or None
        Free energy of being nearest to this window, kJ/mol; None where no frame, or a single draw, says so.
    statistical_inefficiency : float
    frames : int
        Number of uncorrelated frames.
    """

    progress: float
    log_snr: float
    free_energy: float
    free_energy_error: float
    profile: float | None
    profile_error: float | None
    statistical_inefficiency: float
    frames: int

    def to_json(self) -> dict[str, float | None]:
        """The row of ``profile.csv``."""
        return asdict(self)


@dataclass(frozen=True)
class WindowEstimate:
    """ΔF(A→B) by windows and MBAR.

    Attributes
    ----------
    value, error : float
        kJ/mol; the error is that of a bootstrap over sweeps.
    asymptotic_error : float
        Error that MBAR gives by itself, kJ/mol.
    frames : int
        Number of uncorrelated frames.
    independent_frames_of_states : tuple of int
        Number of these in the free ensembles A and B.
    profile : tuple of WindowRow
    overlap : array, shape (ensembles, ensembles)
        MBAR's overlap matrix; it does not count in ``==``.
    """

    value: float
    error: float
    asymptotic_error: float
    frames: int
    independent_frames_of_states: tuple[int, int]
    profile: tuple[WindowRow, ...]
    overlap: FloatArray = field(repr=False, compare=False)

    @property
    def least_overlap(self) -> float:
        """The smallest overlap of two neighbours."""
        return float(np.diagonal(self.overlap, 1).min())

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON, without the overlap matrix."""
        return {
            "value": self.value,
            "error": self.error,
            "asymptotic_error": self.asymptotic_error,
            "frames": self.frames,
            "independent_frames_of_states": list(self.independent_frames_of_states),
            "least_overlap": self.least_overlap,
            "profile": [row.to_json() for row in self.profile],
        }


@dataclass(frozen=True)
class Ends:
    """Free energy from the free states to the ends of a curve, both sides together.

    Attributes
    ----------
    value, error : float
        kJ/mol.
    """

    value: float
    error: float


@dataclass(frozen=True)
class AnnealingEstimate:
    """ΔF(A→B) by annealing there and back.

    Attributes
    ----------
    value, error : float
        kJ/mol.
    between_ends, between_ends_error : float
        Part between the curve's ends, by BAR, kJ/mol.
    paths : tuple of int
        Number of paths there, and back.
    work : tuple of float
        Mean work there, and back, kJ/mol.
    dissipated, dissipated_error : float
        Work dissipated on the way, mean of both directions, kJ/mol.
    """

    value: float
    error: float
    between_ends: float
    between_ends_error: float
    paths: tuple[int, int]
    work: tuple[float, float]
    dissipated: float
    dissipated_error: float

    def to_json(self) -> dict[str, Any]:
        """All figures as JSON."""
        return asdict(self) | {"paths": list(self.paths), "work": list(self.work)}


@dataclass(frozen=True)
class ReplicaEstimate:
    """ΔF(A→B) by replica exchange.

    Attributes
    ----------
    value, error : float
        kJ/mol.
    blocks : int
        Number of blocks of time that the error comes from.
    """

    value: float
    error: float
    blocks: int

    def to_json(self) -> dict[str, float]:
        """All figures as JSON."""
        return asdict(self)


@dataclass(frozen=True)
class FreeEnergyResult:
    """What :func:`spacetime_tps.compute_free_energy` finds.

    Attributes
    ----------
    system : str
    states : tuple of str
        Names of A and B.
    temperature : float
        K.
    curve : str
        Name of the stored geodesic.
    seed : int
    sweeps, frames : int
        Number of sweeps, and of frames of each sweep in a window.
    evaluations : mapping of str to int
        Number of energy evaluations for ``windows`` and for ``annealing``.
    windows : WindowEstimate
    annealing : AnnealingEstimate
    replica_exchange : ReplicaEstimate or None
        None if the run has no replica exchange, or one that has not seen both states.
    settings : mapping of str to object
        Settings that the job goes by, as in YAML, by names such as ``free_energy.sweeps``.
    """

    system: str
    states: tuple[str, str]
    temperature: float
    curve: str
    seed: int
    sweeps: int
    frames: int
    evaluations: Mapping[str, int]
    windows: WindowEstimate
    annealing: AnnealingEstimate
    replica_exchange: ReplicaEstimate | None
    settings: Mapping[str, object]

    @property
    def estimates(self) -> dict[str, Estimate]:
        """The estimates of ΔF(A→B) that there are, by method."""
        found: dict[str, Estimate] = {"windows": self.windows, "annealing": self.annealing}
        return found if self.replica_exchange is None else found | {"replica exchange": self.replica_exchange}

    def to_json(self) -> dict[str, Any]:
        """What ``free_energy.json`` holds."""
        return {
            "system": self.system,
            "states": list(self.states),
            "temperature": self.temperature,
            "curve": self.curve,
            "seed": self.seed,
            "sweeps": self.sweeps,
            "frames": self.frames,
            "settings": dict(self.settings),
            "evaluations": dict(self.evaluations),
            "windows": self.windows.to_json(),
            "annealing": self.annealing.to_json(),
            "replica_exchange": self.replica_exchange.to_json() if self.replica_exchange else None,
        }
