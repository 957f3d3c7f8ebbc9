"""How large a run is: steps of dynamics, memory and disk, estimated from its settings before any work.

Estimates are of what grows with the settings (frames, paths, networks), and of the worst case where shots may end
early. They are there to refuse what no machine can do and to name the setting that asks for it.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from spacetime_tps.errors import ConfigError
from spacetime_tps.progress import log
from spacetime_tps.settings.denoiser import MixtureSettings
from spacetime_tps.settings.run import RunSettings, TorsionSettings
from spacetime_tps.settings.samples import (
    FilesSettings,
    MolecularDynamicsSettings,
    OtherRunSettings,
    ReplicaExchangeSettings,
)
from spacetime_tps.settings.surface import SurfaceRunSettings

MOST_STEPS = 1e13
"""Steps of dynamics: ten milliseconds at a time step of 1 fs."""
MOST_MEMORY = 4e12
"""Bytes."""
MOST_DISK = 1e14
"""Bytes."""

_DOUBLE, _SINGLE = 8, 4
_TABLE_ROW = 80
"""Bytes of energies written for a frame, about."""


@dataclass(frozen=True)
class RunPart:
    """What one part of a run takes.

    Attributes
    ----------
    name : str
        Section of the settings.
    remedy : str
        Settings that it grows with, and which way to change them.
    steps : float
        Steps of dynamics, of all trajectories together.
    memory : float
        Most memory at once, in bytes.
    disk : float
        Size of the files, in bytes.
    """

    name: str
    remedy: str
    steps: float = 0.0
    memory: float = 0.0
    disk: float = 0.0


@dataclass(frozen=True)
class RunEstimate:
    """What a run takes.

    Attributes
    ----------
    parts : tuple of RunPart
        In the order in which they run.
    """

    parts: tuple[RunPart, ...]

    @property
    def steps(self) -> float:
        """Steps of dynamics of all parts."""
        return sum(part.steps for part in self.parts)

    @property
    def memory(self) -> float:
        """Most memory at once, in bytes: parts run one after another."""
        return max(part.memory for part in self.parts)

    @property
    def disk(self) -> float:
        """Size of the files of all parts, in bytes."""
        return sum(part.disk for part in self.parts)


def estimate_run(settings: RunSettings, atoms: int, dimension: int) -> RunEstimate:
    """What the run of a molecule takes.

    Parameters
    ----------
    settings : RunSettings
    atoms : int
        Number of atoms of the system, solvent included.
    dimension : int
        Number of latent coordinates.
    """
    samples, frames = _samples(settings, atoms)
    parts = (
        samples,
        _denoiser(settings, frames, dimension),
        _windows(settings, atoms),
        _geodesics(settings, atoms, dimension),
        _paths(settings, atoms),
        _shooting(settings, atoms),
    )
    return RunEstimate(parts)


def estimate_surface_run(settings: SurfaceRunSettings) -> RunEstimate:
    """What the run on a model surface takes."""
    geodesics, paths = settings.geodesics, settings.paths
    curves = 4 + geodesics.channels + len(paths.baseline_log_snr)  # geodesics, and straight lines beside them
    frames = curves * paths.count * (paths.steps / paths.frame_steps + 2)
    nodes = sum(coordinate.nodes for coordinate in settings.surface.coordinates.values())
    graph = geodesics.graph_samples * (6 * nodes + 20 * geodesics.graph_levels)
    return RunEstimate(
        (
            RunPart("geodesics", "take fewer geodesics.graph_samples or graph_levels", memory=graph * _DOUBLE),
            RunPart(
                "paths",
                "take fewer paths.count or paths.steps, or more paths.frame_steps",
                steps=curves * paths.count * float(paths.steps),
                memory=3 * frames * _DOUBLE,
                disk=3 * frames * _DOUBLE,
            ),
        )
    )


def check_estimate(estimate: RunEstimate) -> None:
    """Refuse a run that no machine can do, and warn of one that needs more memory than this machine has.

    Raises
    ------
    ConfigError
        Naming the setting that makes it so large, and what to do.
    """
    for quantity, most, unit in (("steps", MOST_STEPS, ""), ("memory", MOST_MEMORY, "GB"), ("disk", MOST_DISK, "GB")):
        total = getattr(estimate, quantity)
        largest = max(estimate.parts, key=lambda part: float(getattr(part, quantity)))
        if total > most:
            what = "steps of dynamics" if quantity == "steps" else quantity
            scale = 1e9 if unit else 1.0
            share, sizes = getattr(largest, quantity) / scale, (total / scale, most / scale)
            raise ConfigError(
                f"the run is too large: it would take about {sizes[0]:.1e}{unit and ' ' + unit + ' of'} {what}, and at "
                f"most {sizes[1]:.0e} are allowed; most of it ({share:.1e}) is for {largest.name}: {largest.remedy}"
            )
        machine = _machine_memory()
        if quantity == "memory" and machine and total > machine:
            log.warning(
                "the run may need about %.0f GB of memory, and this machine has %.0f GB; for %s %s",
                *(total / 1e9, machine / 1e9, largest.name, largest.remedy),
            )


def _samples(settings: RunSettings, atoms: int) -> tuple[RunPart, float]:
    """Sampling, and the number of frames that the model learns from (0 where only files know)."""
    samples = settings.samples
    if isinstance(samples, FilesSettings | OtherRunSettings):
        return RunPart("samples", "take a larger samples.stride"), 0.0
    if isinstance(samples, ReplicaExchangeSettings):
        count, learned = len(samples.temperatures), 1 if samples.weights == "replica" else len(samples.temperatures)
        remedy = "take a shorter samples.length, a longer samples.frame_interval or fewer samples.temperatures"
    else:
        assert isinstance(samples, MolecularDynamicsSettings)
        count = learned = 2 * samples.trajectories_per_state
        remedy = (
            "take a shorter samples.length, a longer samples.frame_interval or fewer samples.trajectories_per_state"
        )
    frames = samples.length / samples.frame_interval
    coordinates = 3 * atoms
    part = RunPart(
        "samples",
        remedy,
        steps=count * samples.length / settings.system.time_step,
        memory=2 * count * frames * coordinates * _DOUBLE,  # as a list, and as an array
        disk=(count + learned) * frames * coordinates * _SINGLE,
    )
    return part, learned * frames


def _denoiser(settings: RunSettings, frames: float, dimension: int) -> RunPart:
    denoiser = settings.denoiser
    if isinstance(denoiser, MixtureSettings):
        axes = denoiser.rank if denoiser.covariance == "low_rank" else dimension
        axes = 1 if isinstance(settings.coordinates, TorsionSettings) else axes
        gaussians = denoiser.fits * sum(denoiser.components) * dimension * axes
        shares = denoiser.fits * max(denoiser.components) * min(frames, denoiser.max_frames)
        return RunPart(
            "denoiser",
            "take fewer denoiser.components, denoiser.fits or denoiser.max_frames",
            memory=2 * (gaussians + shares) * _DOUBLE,
            disk=denoiser.fits * max(denoiser.components) * dimension * axes * _DOUBLE,
        )
    weights = denoiser.width * (dimension + denoiser.depth * denoiser.width)
    nodes = dimension if denoiser.network == "message_passing" else 1
    activations = denoiser.batch * denoiser.depth * denoiser.width * nodes
    return RunPart(
        "denoiser",
        "take a smaller denoiser.width, denoiser.depth or denoiser.batch",
        memory=(8 * weights + 4 * activations) * _DOUBLE,
        disk=4 * weights * _DOUBLE,
    )


def _windows(settings: RunSettings, atoms: int) -> RunPart:
    """Restrained windows that check the denoiser, refine it in on-policy rounds and measure the friction."""
    windows, friction, step = settings.windows, settings.paths.friction, settings.system.time_step
    measured = settings.geodesics.rounds and (settings.geodesics.rounds + 1) * windows.count
    each = windows.replicas * (windows.equilibration + windows.frames * windows.frame_interval)
    frames = float(windows.replicas * windows.frames)
    curves = 3 + len(settings.paths.baseline_snr) if settings.paths.schedule == "friction" else 0
    sweeps = curves * friction.sweeps * friction.windows * (friction.equilibration + friction.length)
    return RunPart(
        "windows",
        "take a shorter windows.equilibration or windows.frame_interval, fewer windows.frames or windows.replicas, or "
        "a shorter paths.friction",
        steps=((settings.denoiser.check_points + measured) * each + sweeps) / step,
        memory=2 * max(settings.denoiser.check_points, measured) * frames * 3 * atoms * _DOUBLE,
    )


def _geodesics(settings: RunSettings, atoms: int, dimension: int) -> RunPart:
    geodesics, paths = settings.geodesics, settings.paths
    graph = float(geodesics.graph_samples) * geodesics.graph_levels * (4 * dimension + 64)  # nodes and their edges
    trials = geodesics.trial_paths if geodesics.channels > 1 else 0
    frames = trials * paths.length / paths.frame_interval
    remedies = ["take fewer geodesics.graph_samples or geodesics.graph_levels"]
    if trials:
        remedies.append("fewer geodesics.trial_paths or geodesics.channels, or a shorter paths.length")
    return RunPart(
        "geodesics",
        "; ".join(remedies),
        steps=2 * (1 + geodesics.rounds) * trials * geodesics.channels * paths.length / settings.system.time_step,
        memory=max(graph * _DOUBLE, frames * 6 * atoms * _DOUBLE),
        disk=float(geodesics.points) * dimension * 3 * _DOUBLE,
    )


def _paths(settings: RunSettings, atoms: int) -> RunPart:
    paths = settings.paths
    frames = paths.length / paths.frame_interval
    curves = 3 + len(paths.baseline_snr)  # two geodesics, and straight lines beside them
    stored = (paths.count + paths.count_region_avoiding) * frames
    return RunPart(
        "paths",
        "take fewer paths.count, a shorter paths.length or a longer paths.frame_interval",
        steps=(curves * paths.count + paths.count_region_avoiding) * paths.length / settings.system.time_step,
        memory=max(paths.count, paths.count_region_avoiding) * frames * 6 * atoms * _DOUBLE,
        disk=stored * (6 * atoms * _SINGLE + _TABLE_ROW),
    )


def _shooting(settings: RunSettings, atoms: int) -> RunPart:
    shooting = settings.shooting
    if not shooting.reactive:
        return RunPart("shooting", "")
    frames = min(shooting.reactive, shooting.max_shots) * 2 * shooting.time_limit / shooting.frame_interval
    return RunPart(
        "shooting",
        "take fewer shooting.max_shots or shooting.reactive, a shorter shooting.time_limit or a longer "
        "shooting.frame_interval",
        steps=2 * shooting.max_shots * shooting.time_limit / settings.system.time_step,
        memory=frames * 3 * atoms * _DOUBLE,
        disk=frames * 6 * atoms * _SINGLE,
    )


def _machine_memory() -> float:
    """Memory of this machine in bytes, 0 where that is not known."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, OSError, ValueError):  # not on every system
        return 0.0
