"""What the stages of the main job report. Fields have the names of ``summary.json``."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self

from spacetime_tps.calibration.results import MomentComparison
from spacetime_tps.records import Record
from spacetime_tps.spacetime.figures import GeodesicFigures
from spacetime_tps.statistics.intervals import MeanSd
from spacetime_tps.training.mixtures import FitResult
from spacetime_tps.training.trainer import Training


@dataclass(frozen=True)
class SamplesResult(Record):
    """Of sampling.

    Attributes
    ----------
    training_frames : int
    effective_training_frames : float
        Kish's effective number of the weighted frames.
    model_temperature : float
        K.
    exchange_acceptance : list of float, optional
        For each pair of neighbouring temperatures, with replica exchange.
    """

    training_frames: int
    effective_training_frames: float
    model_temperature: float
    exchange_acceptance: list[float] | None = None


@dataclass(frozen=True)
class DenoisingErrors(Record):
    """Held-out E|x − x̂|² at one noise level, in the square of the coordinates' unit; None if there is no such model."""

    log_snr: float
    potential: float | None = None
    mixture: float | None = None
    single_component: float | None = None

    @property
    def by_model(self) -> dict[str, float]:
        """Errors of the models that there are, by name."""
        errors = {"potential": self.potential, "mixture": self.mixture, "single_component": self.single_component}
        return {name: error for name, error in errors.items() if error is not None}


@dataclass(frozen=True)
class MomentsCheck(Record):
    """Moments by the model and by restrained dynamics at one spacetime point, in the coordinates' unit."""

    log_snr: float
    mean_distance: float
    mean_distance_error: float
    variance_model: float
    variance_md: float
    mean_square_displacement_model: float
    mean_square_displacement_md: float
    mean_square_displacement_md_error: float

    @classmethod
    def of(cls, log_snr: float, compared: MomentComparison) -> Self:
        """That of a comparison at a log SNR."""
        displacement = compared.mean_square_displacement
        return cls(
            log_snr=log_snr,
            mean_distance=compared.mean_distance,
            mean_distance_error=compared.mean_distance_error,
            variance_model=compared.variance_model,
            variance_md=compared.variance_md,
            mean_square_displacement_model=displacement.model,
            mean_square_displacement_md=displacement.md,
            mean_square_displacement_md_error=displacement.md_error,
        )


@dataclass(frozen=True)
class DenoiserResult(Record):
    """Of the denoiser.

    Attributes
    ----------
    kind : str
        ``mixture`` or ``potential``.
    unit : str
        Of the latent coordinates; empty if they have none.
    denoising_error : list of DenoisingErrors
    restrained_dynamics : list of MomentsCheck
    components : int, optional
        Of a mixture, over all its fits.
    held_out_log_likelihood : dict of str to float, optional
        Of mixtures, by their number of components, per sample.
    training : Training, optional
        Of a network that was trained here.
    """

    kind: str
    unit: str
    denoising_error: list[DenoisingErrors]
    restrained_dynamics: list[MomentsCheck]
    components: int | None = None
    held_out_log_likelihood: dict[str, float] | None = None
    training: Training | None = None


@dataclass(frozen=True)
class ChannelFigures(Record):
    """Of a channel and the annealed paths that have tried it.

    Attributes
    ----------
    length : float
    trial_hits : int
    trial_fraction_in_region : float or None
        Of their frames; None if no region is to be avoided.
    trial_ets_kj_per_mol : float or None
        Mean highest energy of those that hit; None if none did.
    max_depth : float, optional
        Of the channel, in nats at the temperature of the model; None if the denoiser knows no depth.
    """

    length: float
    trial_hits: int
    trial_fraction_in_region: float | None
    trial_ets_kj_per_mol: float | None
    max_depth: float | None = None


@dataclass(frozen=True)
class RegionFigures(Record):
    """Of the region that a geodesic avoids.

    Attributes
    ----------
    log_snr : float
        Of its centre.
    divergence : float
        From its centre, nats.
    collective_variables : dict of str to float
        Of its centre, rad.
    """

    log_snr: float
    divergence: float
    collective_variables: dict[str, float]


@dataclass(frozen=True)
class Round(Record):
    """Of an on-policy round.

    Attributes
    ----------
    length_model, length_md, length_md_error : float
        Length of the curve by the model, and by restrained dynamics.
    found : bool
        Whether the curve was the low-variance geodesic; else it was the straight line.
    denoiser : FitResult, optional
        Of the denoiser that learned from the windows; none was made in the last round.
    """

    length_model: float
    length_md: float
    length_md_error: float
    found: bool
    denoiser: FitResult | None = None


@dataclass(frozen=True)
class GeodesicsResult(Record):
    """Of the geodesics.

    Attributes
    ----------
    unconstrained, low_variance, region_avoiding : GeodesicFigures, optional
        None if it was not asked for, or could not be without another one.
    channels : dict of str to list of ChannelFigures, optional
        By geodesic, where there were several.
    region : RegionFigures, optional
    rounds : list of Round, optional
    """

    unconstrained: GeodesicFigures | None = None
    low_variance: GeodesicFigures | None = None
    region_avoiding: GeodesicFigures | None = None
    channels: dict[str, list[ChannelFigures]] | None = None
    region: RegionFigures | None = None
    rounds: list[Round] | None = None

    @property
    def geodesics(self) -> dict[str, GeodesicFigures]:
        """Those that were sought, by name."""
        named = {
            "unconstrained": self.unconstrained,
            "low_variance": self.low_variance,
            "region_avoiding": self.region_avoiding,
        }
        return {name: figures for name, figures in named.items() if figures is not None}


@dataclass(frozen=True)
class WindowFriction(Record):
    """Of a window on a curve.

    Attributes
    ----------
    progress : float
        Where it is on the curve.
    friction, friction_error : float
        βζ in ps per square of progress.
    time : float
        When it is reached, as a share of the path's.
    """

    progress: float
    friction: float
    friction_error: float
    time: float


@dataclass(frozen=True)
class PathFigures(Record):
    """Of the annealed paths along one curve.

    Attributes
    ----------
    count : int
    failed : int
        How many broke down.
    target_hit_percentage : float
    rmsd_angstrom : MeanSd
        From the last frame to the structure of B.
    ets_kj_per_mol : MeanSd
        Energy of the transition state, of the paths that hit.
    work_kj_per_mol : MeanSd
        Done by the restraint, of the paths that did not fail.
    fraction_in_region : float, optional
        Of their frames, if there is a region.
    friction : list of WindowFriction, optional
        If the schedule is by friction.
    """

    count: int
    failed: int
    target_hit_percentage: float
    rmsd_angstrom: MeanSd
    ets_kj_per_mol: MeanSd
    work_kj_per_mol: MeanSd
    fraction_in_region: float | None = None
    friction: list[WindowFriction] | None = None


@dataclass(frozen=True)
class PathsResult(Record):
    """Of all annealed paths.

    Attributes
    ----------
    steps_per_path : int
    schedule : str
        How time was allotted along a geodesic.
    baselines : dict of str to PathFigures
        By curve.
    paths, paths_region_avoiding : PathFigures, optional
        None if there is no such geodesic.
    spring_temperature : str
        Whose temperature was in the spring constant kT·SNR along a geodesic: the system's or the model's.
    narrowing : float
        How many times as stiff the restraint was about a geodesic's means.
    """

    steps_per_path: int
    schedule: str
    baselines: dict[str, PathFigures]
    paths: PathFigures | None = None
    paths_region_avoiding: PathFigures | None = None
    spring_temperature: str = "system"
    narrowing: float = 1.0


@dataclass(frozen=True)
class ReactiveResult(Record):
    """Of the shots.

    Attributes
    ----------
    shots, reactive, failed_shots, undecided_shots : int
        Numbers of them; undecided is one that did not reach a state in time on both sides.
    evaluations_per_reactive, shooting_evaluations_per_reactive : float or None
        With and without those of the annealed paths; None if there is no reactive trajectory.
    mean_duration_ps : float or None
    message : str or None
        Why no shot could be made.
    """

    shots: int
    reactive: int
    failed_shots: int
    undecided_shots: int
    evaluations_per_reactive: float | None
    shooting_evaluations_per_reactive: float | None
    mean_duration_ps: float | None
    message: str | None


@dataclass(frozen=True)
class FiguresResult(Record):
    """Of the figures: the names of their files."""

    figures: list[str] = field(default_factory=list)
