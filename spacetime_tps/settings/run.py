"""Settings of a run: what ``system.yaml``, ``--config`` and ``config.yaml`` hold.

All three files have the same keys. Defaults are overridden by ``system.yaml``, then by ``--config``, then by the
command line; ``config.yaml`` in the output directory has every value as it was used. Quantities carry their units.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.denoiser import DenoiserSettings, MixtureSettings
from spacetime_tps.settings.samples import SamplesSettings
from spacetime_tps.settings.system import AtomIndex, SystemSettings
from spacetime_tps.settings.units import Duration, In, PlainSnr, Snr
from spacetime_tps.settings.windows import (
    CalibrationSettings,
    CommittorSettings,
    FreeEnergySettings,
    FrictionSettings,
    WindowSettings,
)

MOST_STEPS_AT_ONCE = 2**31 - 1
"""OpenMM counts the steps between two looks with a 32-bit integer."""


class CartesianSettings(Settings):
    """Latent coordinates: Cartesian positions of atoms, superposed on a template."""

    kind: Literal["cartesian"] = Field("cartesian", description="kind of the latent coordinates")
    atoms: str = Field("element != H", description="mdtraj selection of the atoms the score model sees")
    template: str | None = Field(
        None,
        description="name of the structure that all frames are superposed on, by default A's; the straight line "
        "between two structures depends on it, and one that lies between the states is best",
    )


class TorsionSettings(Settings):
    """Latent coordinates: (cos θ, sin θ) of dihedrals. SNR and variances of these have no unit."""

    kind: Literal["torsions"] = Field("torsions", description="kind of the latent coordinates")
    dihedrals: tuple[str | tuple[AtomIndex, AtomIndex, AtomIndex, AtomIndex], ...] = Field(
        ("phi", "psi"),
        min_length=1,
        description="dihedrals: phi, psi, omega, chi1 … chi4 (every such dihedral of the molecule), collective "
        "variables, or four atoms (0-based)",
    )


CoordinatesSettings = Annotated[CartesianSettings | TorsionSettings, Field(discriminator="kind")]


class RegionSettings(Settings):
    """The region that the region-avoiding geodesic keeps away from: where a curve crosses a surface.

    The denoising distribution to avoid is centred where the low-variance geodesic first crosses
    ``collective_variable = value``; KL from it must stay above ``divergence`` (nats), or above nine tenths of what the
    nearer end has.
    Frames within ``radius`` of that centre in ``plane`` are counted as inside.
    """

    collective_variable: str = Field(description="name of the collective variable whose value makes the surface")
    value: str = Field(description="its value on the surface, with its unit")
    plane: tuple[str, ...] = Field(
        min_length=1, description="names of the collective variables that frames are seen in"
    )
    radius: str = Field(description="radius of the region in the plane, with its unit")
    snr: Snr = Field(20000.0, description="SNR of the denoising distribution to avoid, in 1/nm²")
    divergence: float = Field(
        40.0, ge=1e-6, le=1e6, description="smallest KL divergence from the distribution to avoid, in nats"
    )


class TorsionRegionSettings(RegionSettings):
    """The same for torsions."""

    snr: PlainSnr = Field(400.0, description="SNR of the denoising distribution to avoid")
    divergence: float = Field(
        25.0, ge=1e-6, le=1e6, description="smallest KL divergence from the distribution to avoid, in nats"
    )


class GeodesicSettings(Settings):
    """Curves on spacetime between the two states' structures."""

    end_snr: Snr = Field(5500.0, description="signal-to-noise ratio (SNR) at both ends, in 1/nm²")
    snr_bounds: tuple[Snr, Snr] = Field((1.0, 40000.0), description="lowest and highest SNR of the curves, in 1/nm²")
    points: int = Field(128, ge=8, le=10000, description="number of points of each curve")
    knots: int = Field(14, ge=2, le=500, description="number of inner knots of the spline")
    variance_bound: Annotated[float, Field(ge=1e-12, le=1e6), In("nm**2")] = Field(
        0.004, description="largest variance on the low-variance geodesic, in nm²"
    )
    region: RegionSettings | None = Field(None, description="region that the region-avoiding geodesic keeps away from")
    graph_samples: int = Field(
        600, ge=10, le=100_000, description="number of samples, those that cover all best, in the graph of the search"
    )
    channels: int = Field(2, ge=1, le=100, description="number of different geodesics to look for")
    trial_paths: int = Field(
        16,
        ge=0,
        le=10_000,
        description="number of annealed paths that try each channel of a constrained geodesic: the one whose paths hit "
        "most often and then stay lowest in energy is kept; with 0 the one of the lowest barrier by the model is",
    )
    graph_levels: int = Field(10, ge=2, le=1000, description="number of levels of log SNR in that graph")
    rounds: int = Field(
        0,
        ge=0,
        le=100,
        description="largest number of on-policy rounds: restrained windows along the low-variance geodesic join the "
        "samples, the denoiser learns from them and the geodesics are solved again, until lengths by model and by MD "
        "agree",
    )

    @model_validator(mode="after")
    def _ends_inside_bounds(self) -> Self:
        low, high = self.snr_bounds
        if not low < self.end_snr <= high:
            raise ValueError("end_snr must lie within snr_bounds")
        return self


class TorsionGeodesicSettings(GeodesicSettings):
    """The same for torsions."""

    end_snr: PlainSnr = Field(200.0, description="signal-to-noise ratio (SNR) at both ends")
    snr_bounds: tuple[PlainSnr, PlainSnr] = Field((0.1, 2000.0), description="lowest and highest SNR of the curves")
    variance_bound: float = Field(
        0.05, ge=1e-12, le=1e6, description="largest variance of (cos θ, sin θ) on the low-variance geodesic"
    )
    region: TorsionRegionSettings | None = Field(
        None, description="region that the region-avoiding geodesic keeps away from"
    )
    graph_samples: int = Field(
        2000, ge=10, le=100_000, description="number of samples, those that cover all best, in the graph of the search"
    )


class PathSettings(Settings):
    """Annealed Langevin dynamics along the geodesics."""

    count: int = Field(
        64, ge=1, le=1_000_000, description="number of paths along the low-variance geodesic and each comparison"
    )
    count_region_avoiding: int = Field(
        16, ge=0, le=1_000_000, description="number of paths along the region-avoiding geodesic"
    )
    length: Duration = Field(1.024, description="time of the annealing from the first to the last point, in ps")
    frame_interval: Duration = Field(0.004, description="time between two stored frames, in ps")
    schedule: Literal["uniform", "arc_length", "friction"] = Field(
        "arc_length",
        description="how time is allotted along the geodesics: at constant Fisher-Rao speed, at constant speed of the "
        "restraint, or by the friction in short restrained windows",
    )
    spring_temperature: Literal["system", "model"] = Field(
        "system",
        description="temperature in the spring constant kT·SNR of the restraint along the geodesics: that of the "
        "dynamics, or that of the model, at which molecule and restraint are in balance where the geodesic is",
    )
    narrowing: float = Field(
        1.0,
        ge=0.1,
        le=100,
        description="factor that stiffens the restraint about the mean of the geodesics: above 1 paths keep closer to "
        "them",
    )
    friction: FrictionSettings = Field(
        FrictionSettings(), description="windows that measure the friction, for schedule: friction"
    )
    baseline_snr: tuple[Snr, ...] = Field(
        (2000.0, 5500.0, 15000.0),
        max_length=100,
        description="SNR of each straight line that is run for comparison, in 1/nm²",
    )


class TorsionPathSettings(PathSettings):
    """The same for torsions."""

    baseline_snr: tuple[PlainSnr, ...] = Field(
        (50.0, 200.0, 800.0), max_length=100, description="SNR of each straight line that is run for comparison"
    )


class ShootingSettings(Settings):
    """Unbiased dynamics forward and backward from frames between the states."""

    reactive: int = Field(64, ge=0, le=1_000_000, description="number of reactive trajectories after which shots end")
    max_shots: int = Field(512, ge=1, le=10_000_000, description="largest number of shots")
    batch: int = Field(
        8, ge=1, le=100_000, description="number of shots at a time: after each batch the committor model learns"
    )
    frame_interval: Duration = Field(0.01, description="time between two frames, in ps")
    time_limit: Duration = Field(5.0, description="longest time for each side to commit, in ps")


class RunSettings(Settings):
    """Everything that defines a run, but for its seed and its versions."""

    system: SystemSettings = Field(description="molecule, force field and metastable states")
    coordinates: CoordinatesSettings = Field(CartesianSettings(), description="latent coordinates of the model")
    samples: SamplesSettings = Field(description="samples that the model learns")
    denoiser: DenoiserSettings = Field(MixtureSettings(), description="the model")
    geodesics: GeodesicSettings = Field(GeodesicSettings(), description="curves on spacetime")
    paths: PathSettings = Field(PathSettings(), description="annealed paths along the curves")
    shooting: ShootingSettings = Field(ShootingSettings(), description="unbiased dynamics from the paths")
    windows: WindowSettings = Field(WindowSettings(), description="restrained dynamics that checks the model")
    calibration: CalibrationSettings = Field(CalibrationSettings(), description="the job 'calibrate'")
    committor: CommittorSettings = Field(CommittorSettings(), description="the job 'committor'")
    free_energy: FreeEnergySettings = Field(FreeEnergySettings(), description="the job 'free-energy'")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.geodesics.knots + 2 > self.geodesics.points:
            raise ValueError(
                f"geodesics.points ({self.geodesics.points}) must be more than "
                f"geodesics.knots ({self.geodesics.knots}) + 1"
            )
        step = self.system.time_step
        for name, value in (
            *((f"samples.{key}", getattr(self.samples, key, step)) for key in ("exchange_interval", "frame_interval")),
            ("paths.length", self.paths.length),
            ("paths.frame_interval", self.paths.frame_interval),
            ("shooting.frame_interval", self.shooting.frame_interval),
            ("shooting.time_limit", self.shooting.time_limit),
        ):
            if value < step * (1 - 1e-9):
                raise ValueError(f"{name} ({value:g} ps) is shorter than system.time_step ({step:g} ps)")
            if name.endswith("interval") and value / step > MOST_STEPS_AT_ONCE:
                raise ValueError(
                    f"{name} ({value:g} ps) is more than {MOST_STEPS_AT_ONCE:,} time steps; take a shorter"
                )
        template = self.coordinates.template if isinstance(self.coordinates, CartesianSettings) else None
        if template is not None and template not in self.system.structures:
            raise ValueError(
                f"coordinates.template: no structure {template!r} (there are: {', '.join(self.system.structures)})"
            )
        message_passing = getattr(self.denoiser, "network", "perceptron") == "message_passing"
        if message_passing and not isinstance(self.coordinates, CartesianSettings):
            raise ValueError("denoiser.network: message_passing is of positions; with torsions take perceptron")
        region = self.geodesics.region
        if region is not None:
            self.system.parse(region.collective_variable, region.value, "geodesics.region")
            for variable in region.plane:
                if self.system.parse(variable, region.radius, "geodesics.region.plane") <= 0:
                    raise ValueError(f"geodesics.region.radius must be more than 0, not {region.radius!r}")
        return self


class TorsionRunSettings(RunSettings):
    """Those of a run in torsions, where SNR and variances are plain numbers."""

    coordinates: TorsionSettings = Field(description="latent coordinates of the model")
    geodesics: TorsionGeodesicSettings = Field(TorsionGeodesicSettings(), description="curves on spacetime")
    paths: TorsionPathSettings = Field(TorsionPathSettings(), description="annealed paths along the curves")


def spelled_out(content: dict[str, Any]) -> dict[str, Any]:
    """Content in which ``coordinates`` and ``denoiser`` are mappings with their kind.

    ``denoiser: potential`` is short for ``denoiser: {kind: potential}``. Without a kind, coordinates are Cartesian and
    a denoiser is a mixture.
    """
    spelled = dict(content)
    for section, kind in (("coordinates", "cartesian"), ("denoiser", "mixture")):
        given = content.get(section, {})
        if isinstance(given, str):
            spelled[section] = {"kind": given}
        elif isinstance(given, dict):
            spelled[section] = {"kind": kind} | given
        else:
            spelled[section] = given
    return spelled
