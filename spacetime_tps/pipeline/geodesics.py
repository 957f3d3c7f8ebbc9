"""Stage 3: geodesics between the states' structures: unconstrained, low-variance, region-avoiding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from spacetime_tps.arrays import FloatArray
from spacetime_tps.calibration.windows import Windows
from spacetime_tps.coordinates.base import squared
from spacetime_tps.coordinates.states import Values
from spacetime_tps.denoisers import Denoiser
from spacetime_tps.denoisers.base import RefinedDenoiser
from spacetime_tps.denoisers.noise_space import NoiseSpace
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.errors import GeometryError
from spacetime_tps.pipeline.annealing import fraction_in_region, measure_paths, run_paths
from spacetime_tps.pipeline.on_policy import join, measure_curve, retrain
from spacetime_tps.pipeline.stage_results import (
    ChannelFigures,
    GeodesicsResult,
    RegionFigures,
    Round,
)
from spacetime_tps.progress import log, track
from spacetime_tps.runs.context import StageReport
from spacetime_tps.runs.denoiser import read_denoiser, write_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import GEODESIC_FILE, GEODESICS, REFINED_DENOISER
from spacetime_tps.runs.read import TrainingSet, geodesic_path, read_training_set
from spacetime_tps.settings.run import GeodesicSettings, RegionSettings
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.spacetime import (
    Geodesic,
    NoiseShell,
    Points,
    RegionAvoidance,
    VarianceBound,
    kl_divergence,
    point,
    solve_channels,
)
from spacetime_tps.spacetime.constraints import Constraint
from spacetime_tps.spacetime.figures import GeodesicFigures
from spacetime_tps.writing import replacing


@dataclass(frozen=True)
class Region:
    """A region to avoid: a spacetime point, and a ball in collective-variable space to count frames in.

    Attributes
    ----------
    centre : Points
    values : dict of str to float
        Collective variables of its mean.
    """

    centre: Points
    values: dict[str, float]


@dataclass
class _Solved:
    """What is known of the curves by one denoiser; filled while they are solved.

    Attributes
    ----------
    low_variance : Geodesic, optional
    geodesics : dict of str to GeodesicFigures
    channels : dict of str to list of ChannelFigures
    region : RegionFigures, optional
    evaluations : int
        Spent on trials of channels.
    """

    low_variance: Geodesic | None = None
    geodesics: dict[str, GeodesicFigures] = field(default_factory=dict)
    channels: dict[str, list[ChannelFigures]] = field(default_factory=dict)
    region: RegionFigures | None = None
    evaluations: int = 0

    def fail(self, name: str, error: GeometryError) -> None:
        """Enter a curve that was not found."""
        log.error("%s: %s", name, error)
        self.geodesics[name] = GeodesicFigures.of_failure(error)

    def result(self, rounds: list[Round] | None) -> GeodesicsResult:
        """What the stage reports."""
        return GeodesicsResult(
            unconstrained=self.geodesics.get("unconstrained"),
            low_variance=self.geodesics.get("low_variance"),
            region_avoiding=self.geodesics.get("region_avoiding"),
            channels=self.channels or None,
            region=self.region,
            rounds=rounds,
        )


def make_geodesics(run: Run) -> StageReport[GeodesicsResult]:
    """Solve and write ``geodesics/*.npz``; in on-policy rounds refine the denoiser and solve again."""
    denoiser, samples = read_denoiser(run), read_training_set(run)
    training = samples
    rounds = run.settings.geodesics.rounds
    evaluations = {"channel_trials": 0, "windows": 0}
    history: list[Round] = []
    sampled: list[tuple[Windows, Points]] = []
    for index in range(rounds + 1):
        solved = _solve_all(run, denoiser, training)
        low_variance = solved.low_variance
        evaluations["channel_trials"] += solved.evaluations
        if not rounds:
            break
        measure_seed, train_seed = run.seed("on_policy_rounds", index).spawn(2)
        curve = low_variance.points if low_variance is not None else _straight_line(run)
        windows, at, lengths = measure_curve(run, denoiser, curve, training, measure_seed, f"round {index}")
        evaluations["windows"] += windows.evaluations
        known = Round(lengths.model, lengths.dynamics, lengths.dynamics_error, found=low_variance is not None)
        history.append(known)
        if index == rounds or (low_variance is not None and lengths.agree):
            break
        sampled.append((windows, at))
        training = join(samples, sampled, run.coordinates)
        training = replace(training, positions=run.molecule.named_alike(training.positions))
        made = retrain(run, denoiser, training, train_seed)
        denoiser, history[-1] = made.denoiser, replace(known, denoiser=made.results)
        write_denoiser(run, denoiser, run.path(REFINED_DENOISER))
    return StageReport(evaluations, solved.result(history if rounds else None))


def _straight_line(run: Run) -> Points:
    """Between the ends, at their SNR: where windows begin if the samples do not connect the states."""
    a, b = endpoints(run)
    share = torch.linspace(0, 1, run.settings.geodesics.points, dtype=torch.float64)
    return Points(torch.lerp(a.y, b.y, share[:, None]), a.log_snr.expand(len(share)))


def _solve_all(run: Run, denoiser: Denoiser, training: TrainingSet) -> _Solved:
    """Solve for every curve, and save them."""
    settings = run.settings.geodesics
    for stored in run.made(GEODESICS).glob(
        GEODESIC_FILE.format("*")
    ):  # of an earlier round: none may stand for one not found now
        stored.unlink()
    samples = torch.from_numpy(run.coordinates.encode(training.positions))
    known: Sequence[Constraint] = ()  # where the denoiser can be asked
    bound = VarianceBound(settings.variance_bound)
    if isinstance(denoiser, RefinedDenoiser):
        bound, *known = network_constraints(run.coordinates.noise_space(), settings)
    solved = _Solved()

    def solve(name: str, constraints: tuple[Constraint, ...]) -> Geodesic | None:
        """Solve, choose among channels, save and report."""
        try:
            channels = _solve(run, denoiser, samples, name, (*constraints, *known))
        except GeometryError as error:
            solved.fail(name, error)
            return None
        best = _try_channels(run, name, channels, solved) if constraints else channels[0]
        save_geodesic(run, name, best)
        _log(run, name, best)
        solved.geodesics[name] = GeodesicFigures.of(best, _model_kt(run))
        return best

    solve("unconstrained", ())
    solved.low_variance = solve("low_variance", (bound,))
    if settings.region is not None and solved.low_variance is not None:
        try:
            region = find_region(run, settings.region, solved.low_variance)
        except GeometryError as error:
            solved.fail("region_avoiding", error)
            return solved
        divergence = _reachable_divergence(run, denoiser, region, settings.region.divergence)
        solved.region = RegionFigures(float(region.centre.log_snr), divergence, region.values)
        solve("region_avoiding", (bound, RegionAvoidance(region.centre, divergence)))
    return solved


def network_constraints(noise_space: NoiseSpace, settings: GeodesicSettings) -> tuple[VarianceBound, NoiseShell]:
    """For curves by a network, which knows that molecules librate: the bound with the ends' librations, and its domain.

    The domain is where noise takes samples, up to three standard deviations of |ε|².
    """
    librations = (noise_space.degrees - noise_space.dimension) / settings.end_snr
    shell = NoiseShell(noise_space.degrees + 3 * np.sqrt(2 * noise_space.degrees))
    return VarianceBound(settings.variance_bound + librations), shell


def _solve(
    run: Run, denoiser: Denoiser, samples: torch.Tensor, name: str, constraints: tuple[Constraint, ...]
) -> list[Geodesic]:
    """The channels of one problem.

    Raises
    ------
    GeometryError
        If it cannot be solved.
    """
    settings = run.settings.geodesics
    low, high = settings.snr_bounds
    return solve_channels(
        denoiser,
        *endpoints(run),
        constraints,
        samples=samples,
        points=settings.points,
        knots=settings.knots,
        log_snr_bounds=(float(np.log(low)), float(np.log(high))),
        graph_levels=settings.graph_levels,
        graph_samples=settings.graph_samples,
        channels=settings.channels,
        progress=lambda starts: track(starts, f"{name} geodesic", len(starts)),
    )


def _reachable_divergence(run: Run, denoiser: Denoiser, region: Region, asked: float) -> float:
    """The divergence asked for, or nine tenths of that of the end nearest to the region if that is less."""
    nearest = min(float(kl_divergence(denoiser, region.centre, end)) for end in endpoints(run))
    if asked <= 0.9 * nearest:
        return asked
    log.warning("geodesics.region.divergence: an end has only %.1f nats; avoiding %.1f", nearest, 0.9 * nearest)
    return 0.9 * nearest


def _try_channels(run: Run, name: str, channels: list[Geodesic], solved: _Solved) -> Geodesic:
    """The channel that a few annealed paths recommend.

    First by how far their paths keep out of the region to avoid, down to one frame in a hundred (a narrow distribution
    in its middle diverges from it too), then by hits, then by the highest energies met. What the model says of its
    barriers, at its own temperature, ranks them only where no paths are tried.
    """
    count = run.settings.geodesics.trial_paths
    channels = [channel for channel in channels if channel.feasible] or channels[:1]
    if len(channels) < 2 or not count:
        return channels[0]
    energies, hits, inside = [], [], []
    for index, channel in enumerate(channels):
        seed = run.seed(f"channel_trials {name}", index)
        paths = run_paths(run, _schedule(run, channel), count, seed, f"{name}, trial of channel {index}")
        solved.evaluations += sum(path.evaluations for path in paths)
        metrics = measure_paths(run, paths)
        hits.append(int(metrics.hit.sum()))
        region = solved.region
        inside.append(fraction_in_region(run, region.collective_variables, paths) if region is not None else 0.0)
        energies.append(float(metrics.highest_energy[metrics.hit].mean()) if metrics.hit.any() else np.inf)
        log.info(
            "%s, channel %d: length %.2f%s, highest energy %.1f kJ/mol in %d trial paths, %.0f %% hit",
            *(name, index, channel.length, _barrier(run, channel), energies[-1], count, 100 * metrics.hit.mean()),
        )
    solved.channels[name] = [
        ChannelFigures(
            channel.length,
            hit,
            fraction if name == "region_avoiding" else None,
            energy if np.isfinite(energy) else None,
            channel.max_depth,
        )
        for channel, hit, fraction, energy in zip(channels, hits, inside, energies, strict=True)
    ]
    return channels[min(range(len(channels)), key=lambda i: (max(inside[i], 0.01), -hits[i], energies[i]))]


def _log(run: Run, name: str, geodesic: Geodesic) -> None:
    (log.info if geodesic.feasible and geodesic.converged else log.warning)(
        "%s: length %.2f%s, 2E/L² %.4f, largest variance %.4f%s, %s, %s",
        name,
        geodesic.length,
        _barrier(run, geodesic),
        geodesic.speed_ratio,
        geodesic.max_variance,
        squared(run.coordinates.unit),
        "feasible" if geodesic.feasible else "NOT FEASIBLE",
        geodesic.message,
    )


def _model_kt(run: Run) -> float:
    """kT of the model, in kJ/mol."""
    return MOLAR_GAS_CONSTANT * run.settings.samples.model_temperature


def _barrier(run: Run, geodesic: Geodesic) -> str:
    """The model's barrier along a geodesic, for the log; empty if it is not known."""
    if geodesic.max_depth is None:
        return ""
    energy = _model_kt(run) * geodesic.max_depth
    return f", barrier of the model {geodesic.max_depth:.2f} nats ({energy:.1f} kJ/mol)"


def endpoints(run: Run) -> tuple[Points, Points]:
    """Spacetime points of the structures of A and B at the end SNR."""
    log_snr = float(np.log(run.settings.geodesics.end_snr))
    structures = [run.molecule.structures[state.structure] for state in run.molecule.states]
    a, b = (point(run.coordinates.encode(structure[None])[0], log_snr) for structure in structures)
    return a, b


def latent_values(run: Run, latent: FloatArray, names: Sequence[str]) -> Values:
    """Collective variables of latent vectors (frames, dimension)."""
    centres = run.coordinates.decode(latent)
    return {name: run.coordinates.values(run.molecule.variables[name], centres) for name in names}


def find_region(run: Run, settings: RegionSettings, geodesic: Geodesic) -> Region:
    """Where a geodesic's means first cross ``collective_variable = value``.

    Raises
    ------
    GeometryError
        If they never do.
    """
    name = settings.collective_variable
    variable = run.molecule.variables[name]
    target = run.settings.system.collective_variables[name].unit.parse(settings.value)
    means = geodesic.moments.mean.detach().numpy()
    beyond = variable.difference(latent_values(run, means, [name])[name], target)
    crosses = (beyond[:-1] * beyond[1:] <= 0) & (np.abs(beyond[1:] - beyond[:-1]) < np.pi)
    if not crosses.any():
        raise GeometryError(
            f"geodesics.region: the low-variance geodesic never crosses {name} = {settings.value}; "
            "choose another surface"
        )
    left = int(np.argmax(crosses))
    share = beyond[left] / (beyond[left] - beyond[left + 1]) if beyond[left] != beyond[left + 1] else 0.0
    centre = (1 - share) * means[left] + share * means[left + 1]
    values = latent_values(run, centre[None], settings.plane)
    return Region(point(centre, float(np.log(settings.snr))), {key: float(v[0]) for key, v in values.items()})


def save_geodesic(run: Run, name: str, geodesic: Geodesic) -> None:
    """Write a geodesic: ``y`` and ``mean`` as the restraint's centres, ``log_snr``, ``variance``, ``depth``, labels.

    Centres are positions (points, atoms, 3) in nm, or (cos, sin) of dihedrals (points, dihedrals, 2).
    """
    schedule = _schedule(run, geodesic)
    run.made(GEODESICS)
    with replacing(geodesic_path(run, name)) as partial:
        np.savez(
            partial,
            y=schedule.centres,
            log_snr=schedule.log_snr,
            mean=run.coordinates.decode(geodesic.moments.mean.numpy()),
            variance=geodesic.moments.variance.numpy(),
            **({} if geodesic.depth is None else {"depth": geodesic.depth.numpy()}),
            allow_pickle=False,
            **run.coordinates.labels,
        )


def _schedule(run: Run, geodesic: Geodesic) -> RestraintSchedule:
    """A geodesic as a schedule of restraints."""
    centres = run.coordinates.decode(geodesic.points.y.numpy())
    return RestraintSchedule(*run.coordinates.canonical(centres, geodesic.points.log_snr.numpy()))
