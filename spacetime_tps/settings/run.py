"""Settings of a run: what ``system.yaml``, ``--config`` and ``config.yaml`` hold.

All three files have the same keys. Defaults are overridden by ``system.yaml``, then by ``--config``, then by the
command line; ``config.yaml`` in the output directory has every value as it was used. Quantities carry their units.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from spacetime_tps.settings.denoiser import DenoiserSettings, MixtureSettings, Positive, Settings
from spacetime_tps.settings.units import Area, In, InverseArea, Length, Rate, Temperature, Time


class CollectiveVariableSettings(Settings):
    """One collective variable: a dihedral, an angle or a distance of atoms (0-based indices or mdtraj selections)."""

    dihedral: tuple[int | str, int | str, int | str, int | str] | None = None
    angle: tuple[int | str, int | str, int | str] | None = None
    distance: tuple[int | str, int | str] | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if sum(atoms is not None for atoms in (self.dihedral, self.angle, self.distance)) != 1:
            raise ValueError("a collective variable is exactly one of dihedral, angle or distance")
        return self

    @property
    def kind(self) -> Literal["dihedral", "angle", "distance"]:
        """Which of the three it is."""
        return "dihedral" if self.dihedral else "angle" if self.angle else "distance"

    @property
    def atoms(self) -> tuple[int | str, ...]:
        """Its atoms, as written."""
        atoms: tuple[int | str, ...] = getattr(self, self.kind)
        return atoms

    @property
    def unit(self) -> In:
        """Unit of its values inside the package."""
        return In("nm") if self.kind == "distance" else In("rad")


class StateSettings(Settings):
    """A metastable state: one structure, and boxes in the collective variables (the state is their union)."""

    structure: str = Field(description="name of one of the structures")
    boxes: tuple[Annotated[dict[str, tuple[str, str]], Field(min_length=1)], ...] = Field(min_length=1)


class TargetSettings(Settings):
    """What counts as reaching the goal at the end of a path (target hit percentage)."""

    collective_variables: tuple[str, ...] = Field(min_length=1)
    tolerance: str = Field(description="largest difference in each collective variable, with its unit")


class SystemSettings(Settings):
    """The molecule, its force field, its thermodynamic state and its metastable states."""

    name: str = Field(pattern=r"^[A-Za-z0-9_.-]+$")
    description: str = ""
    structures: dict[str, Path] = Field(min_length=1, description="PDB files, relative to the YAML file")
    force_field: tuple[str, ...] = Field(
        min_length=1,
        description="OpenMM force-field XML names, files of forcefields/, files beside the YAML; "
        "or one .prmtop, or one serialised System (.xml)",
    )
    nonbonded_method: Literal["NoCutoff", "CutoffNonPeriodic", "CutoffPeriodic", "PME"] = "NoCutoff"
    nonbonded_cutoff: Annotated[Length, Positive] = 1.0
    constraints: Literal["none", "HBonds", "AllBonds", "HAngles"] = "none"
    temperature: Annotated[Temperature, Field(gt=0, le=5000)]
    time_step: Annotated[Time, Field(gt=0, le=0.01)]
    friction: Annotated[Rate, Field(gt=0, le=1000)]
    platform: str = Field("auto", description="an OpenMM platform, or auto: by the number of atoms")
    collective_variables: dict[str, CollectiveVariableSettings] = Field(min_length=1)
    states: dict[str, StateSettings] = Field(min_length=2, max_length=2, description="A, then B")
    target: TargetSettings

    @model_validator(mode="after")
    def _names_exist(self) -> Self:
        for name, state in self.states.items():
            if state.structure not in self.structures:
                raise ValueError(
                    f"states.{name}.structure: no structure {state.structure!r} "
                    f"(there are: {', '.join(self.structures)})"
                )
            for box in state.boxes:
                for variable, bounds in box.items():
                    unit = self._unit_of(variable, f"states.{name}.boxes")
                    low, high = (unit.parse(bound) for bound in bounds)
                    if self.collective_variables[variable].kind != "dihedral" and low >= high:
                        raise ValueError(f"states.{name}.boxes: {variable} has an empty interval {bounds}")
        for variable in self.target.collective_variables:
            self._unit_of(variable, "target").parse(self.target.tolerance)
        return self

    def _unit_of(self, variable: str, where: str) -> In:
        if variable not in self.collective_variables:
            known = ", ".join(self.collective_variables)
            raise ValueError(f"{where}: no collective variable {variable!r} (there are: {known})")
        return self.collective_variables[variable].unit


class CartesianSettings(Settings):
    """Latent coordinates: Cartesian positions of atoms, superposed on a template."""

    kind: Literal["cartesian"] = "cartesian"
    atoms: str = Field("element != H", description="mdtraj selection of the atoms the score model sees")
    template: str | None = Field(
        None,
        description="name of the structure that all frames are superposed on, by default A's; the straight line "
        "between two structures depends on it, and one that lies between the states is best",
    )


class TorsionSettings(Settings):
    """Latent coordinates: (cos θ, sin θ) of dihedrals. SNR and variances of these have no unit."""

    kind: Literal["torsions"] = "torsions"
    dihedrals: tuple[str | tuple[int, int, int, int], ...] = Field(
        ("phi", "psi"),
        min_length=1,
        description="phi, psi, omega, chi1 … chi4 (every such dihedral of the molecule), collective variables, or four "
        "atoms (0-based)",
    )


CoordinatesSettings = Annotated[CartesianSettings | TorsionSettings, Field(discriminator="kind")]


def _check_frames_left(length: float, frame_interval: float, discard: float) -> None:
    last = round(length / frame_interval) * frame_interval
    if last <= discard:
        raise ValueError(
            f"discard leaves no frames: the last is at {last:g} ps (length {length:g} ps, a frame every "
            f"{frame_interval:g} ps), and the first {discard:g} ps are left out"
        )


class ReplicaExchangeSettings(Settings):
    """Replica exchange over a ladder of temperatures."""

    method: Literal["replica_exchange"]
    temperatures: tuple[Annotated[Temperature, Field(gt=0, le=5000)], ...] = Field(
        (300.0, 405.0, 548.0, 740.0, 1000.0), min_length=2
    )
    length: Annotated[Time, Positive] = Field(850.0, description="of each replica")
    exchange_interval: Annotated[Time, Positive] = 0.25
    frame_interval: Annotated[Time, Positive] = 0.25
    discard: Annotated[Time, Field(ge=0)] = Field(20.0, description="from the start of each replica")
    model_temperature: Annotated[Temperature, Positive] = Field(
        1000.0, description="temperature of the Boltzmann density that the model learns"
    )
    weights: Literal["replica", "mbar"] = Field(
        "replica", description="frames of the replica at model_temperature, or of all replicas with MBAR weights"
    )

    @model_validator(mode="after")
    def _ladder(self) -> Self:
        if list(self.temperatures) != sorted(set(self.temperatures)):
            raise ValueError("temperatures must rise from one replica to the next")
        if self.weights == "replica" and self.model_temperature not in self.temperatures:
            raise ValueError(
                f"model_temperature {self.model_temperature:g} K is none of the replicas' temperatures; "
                "choose one of them or set weights: mbar"
            )
        if not self.temperatures[0] <= self.model_temperature <= self.temperatures[-1]:
            raise ValueError("model_temperature must lie within the ladder of temperatures")
        _check_frames_left(self.length, self.frame_interval, self.discard)
        return self


class MolecularDynamicsSettings(Settings):
    """Plain molecular dynamics started in each state."""

    method: Literal["molecular_dynamics"]
    length: Annotated[Time, Positive] = Field(100.0, description="of each trajectory")
    trajectories_per_state: int = Field(2, ge=1)
    frame_interval: Annotated[Time, Positive] = 0.2
    discard: Annotated[Time, Field(ge=0)] = 5.0
    model_temperature: Annotated[Temperature, Positive] = 300.0

    @model_validator(mode="after")
    def _something_left(self) -> Self:
        _check_frames_left(self.length, self.frame_interval, self.discard)
        return self


class FilesSettings(Settings):
    """The user's own trajectories, in any format mdtraj reads."""

    method: Literal["files"]
    trajectories: tuple[Path, ...] = Field(min_length=1, description="relative to the YAML file")
    weights: tuple[Path, ...] | None = Field(None, description="one text or .npy file of frame weights per trajectory")
    stride: int = Field(1, ge=1)
    model_temperature: Annotated[Temperature, Positive] = Field(
        300.0, description="temperature of the ensemble that the (weighted) frames represent"
    )

    @model_validator(mode="after")
    def _one_weight_file_each(self) -> Self:
        if self.weights is not None and len(self.weights) != len(self.trajectories):
            raise ValueError(f"{len(self.weights)} weight files for {len(self.trajectories)} trajectories")
        return self


SamplesSettings = Annotated[
    ReplicaExchangeSettings | MolecularDynamicsSettings | FilesSettings, Field(discriminator="method")
]


class RegionSettings(Settings):
    """The region that the region-avoiding geodesic keeps away from: where a curve crosses a surface.

    The denoising distribution to avoid is centred where the low-variance geodesic first crosses
    ``collective_variable = value``; KL from it must stay above ``divergence`` (nats), or above nine tenths of what the
    nearer end has.
    Frames within ``radius`` of that centre in ``plane`` are counted as inside.
    """

    collective_variable: str
    value: str
    plane: tuple[str, ...] = Field(min_length=1)
    radius: str
    snr: Annotated[InverseArea, Positive] = 20000.0
    divergence: float = Field(40.0, gt=0)


class TorsionRegionSettings(RegionSettings):
    """The same for torsions."""

    snr: Annotated[float, Positive] = 400.0
    divergence: float = Field(25.0, gt=0)


class GeodesicSettings(Settings):
    """Curves on spacetime between the two states' structures."""

    end_snr: Annotated[InverseArea, Positive] = Field(5500.0, description="signal-to-noise ratio at both ends")
    snr_bounds: tuple[Annotated[InverseArea, Positive], Annotated[InverseArea, Positive]] = (1.0, 40000.0)
    points: int = Field(128, ge=8, le=10000)
    knots: int = Field(14, ge=2, le=500, description="inner knots of the spline")
    variance_bound: Annotated[Area, Positive] = Field(0.004, description="of the low-variance geodesic")
    region: RegionSettings | None = None
    graph_samples: int = Field(600, ge=10, description="in the graph of the search: those that cover all samples best")
    channels: int = Field(2, ge=1, description="different ones to look for")
    trial_paths: int = Field(
        16,
        ge=0,
        description="annealed paths that try each channel of a constrained geodesic: the one whose paths hit most "
        "often and then stay lowest in energy is kept; with 0 the shortest is",
    )
    graph_levels: int = Field(10, ge=2, description="levels of log SNR in that graph")
    rounds: int = Field(
        0,
        ge=0,
        description="on-policy rounds at most: restrained windows along the low-variance geodesic join the samples, "
        "the denoiser learns from them and the geodesics are solved again, until lengths by model and by MD agree",
    )

    @model_validator(mode="after")
    def _ends_inside_bounds(self) -> Self:
        low, high = self.snr_bounds
        if not low < self.end_snr <= high:
            raise ValueError("end_snr must lie within snr_bounds")
        return self


class TorsionGeodesicSettings(GeodesicSettings):
    """The same for torsions."""

    end_snr: Annotated[float, Positive] = Field(200.0, description="signal-to-noise ratio at both ends")
    snr_bounds: tuple[Annotated[float, Positive], Annotated[float, Positive]] = (0.1, 2000.0)
    variance_bound: Annotated[float, Positive] = Field(0.05, description="of the low-variance geodesic")
    region: TorsionRegionSettings | None = None
    graph_samples: int = Field(2000, ge=10, description="in the graph of the search: those that cover all samples best")


class PathSettings(Settings):
    """Annealed Langevin dynamics along the geodesics."""

    count: int = Field(64, ge=1)
    count_region_avoiding: int = Field(16, ge=0)
    length: Annotated[Time, Positive] = Field(1.024, description="of the annealing, from the first to the last point")
    frame_interval: Annotated[Time, Positive] = 0.004
    schedule: Literal["uniform", "arc_length", "friction"] = Field(
        "arc_length",
        description="how time is allotted along the geodesics: at constant Fisher-Rao speed, at constant speed of the "
        "restraint, or by the friction in short restrained windows",
    )
    baseline_snr: tuple[Annotated[InverseArea, Positive], ...] = Field(
        (2000.0, 5500.0, 15000.0), description="of the straight lines that are run for comparison"
    )


class TorsionPathSettings(PathSettings):
    """The same for torsions."""

    baseline_snr: tuple[Annotated[float, Positive], ...] = Field(
        (50.0, 200.0, 800.0), description="of the straight lines that are run for comparison"
    )


class ShootingSettings(Settings):
    """Unbiased dynamics forward and backward from frames between the states."""

    reactive: int = Field(64, ge=0, description="stop when this many reactive trajectories are found")
    max_shots: int = Field(512, ge=1)
    batch: int = Field(8, ge=1, description="shots at a time: after each batch the committor model learns")
    frame_interval: Annotated[Time, Positive] = 0.01
    time_limit: Annotated[Time, Positive] = Field(5.0, description="for each side to commit")


class RunSettings(Settings):
    """Everything that defines a run, but for its seed and its versions."""

    system: SystemSettings
    coordinates: CoordinatesSettings = CartesianSettings()
    samples: SamplesSettings
    denoiser: DenoiserSettings = MixtureSettings()
    geodesics: GeodesicSettings = GeodesicSettings()
    paths: PathSettings = PathSettings()
    shooting: ShootingSettings = ShootingSettings()

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
            unit = self.system._unit_of(region.collective_variable, "geodesics.region")
            unit.parse(region.value)
            for variable in region.plane:
                self.system._unit_of(variable, "geodesics.region.plane").parse(region.radius)
        return self


class TorsionRunSettings(RunSettings):
    """Those of a run in torsions, where SNR and variances are plain numbers."""

    coordinates: TorsionSettings
    geodesics: TorsionGeodesicSettings = TorsionGeodesicSettings()
    paths: TorsionPathSettings = TorsionPathSettings()


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
