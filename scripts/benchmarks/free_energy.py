"""Which spacing of windows gives the best ΔF at equal cost: by Fisher-Rao length, by distance, or straight lines.

From a finished run of the main job, for which the job of ``spacetime-tps free-energy`` is done once. What lies between
the free states and the ends of a curve is the same for all spacings, so these are compared between the ends alone; each
is repeated with other seeds, and the spread of the repeats is the error that counts. The reference is the mean of two
replica exchanges of its own: that of the main job, long enough for a denoiser, crosses too seldom between the states.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
from common import SYSTEM, Bench, Result, begun, number, spread, table

from spacetime_tps import compute_free_energy
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.friction import uniform
from spacetime_tps.dynamics.springs import set_springs
from spacetime_tps.errors import DynamicsError
from spacetime_tps.free_energy import results as job
from spacetime_tps.free_energy.core import annealing_estimate, equilibrium_ends, reduce_frames, replica_estimate
from spacetime_tps.free_energy.estimates import check_overlap
from spacetime_tps.free_energy.sampling import anneal_both_ways, read_ladder, sample_series
from spacetime_tps.free_energy.series import make_series
from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.pipeline.samples import make_samples
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import BEGINNING
from spacetime_tps.runs.read import need_geodesic
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.settings.samples import ReplicaExchangeSettings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.statistics.mbar import mbar


@dataclass(frozen=True)
class Estimate:
    """ΔF(A → B) in kJ/mol by some method, with the error that it claims."""

    method: str
    value: float
    error: float
    evaluations: int | None


@dataclass(frozen=True)
class Spacing:
    """ΔF between the ends of a curve, in kJ/mol, by one repeat; or why it failed."""

    name: str
    repeat: int
    value: float | None = None
    error: float | None = None
    evaluations: int = 0
    least_overlap: float | None = None
    annealing: float | None = None
    annealing_error: float | None = None
    annealing_evaluations: int = 0
    failure: str | None = None


@dataclass(frozen=True)
class FreeEnergyResult:
    """The job's estimates, and a row for each spacing and repeat."""

    seed: int
    evaluations: int
    estimates: list[Estimate]
    spacings: list[Spacing]


@dataclass(frozen=True)
class FreeEnergy:
    """Free energies and spacings of windows, as :class:`Section`.

    Attributes
    ----------
    windows : int
        Number along a curve.
    frames : int
        Number of each sweep in each window.
    paths : int
        Number of annealed paths each way.
    repeats : int
        Number for each spacing.
    straight_snr : tuple of float
        Where straight lines are, nm⁻² at the model's temperature: windows overlap on the softest one.
    """

    name: ClassVar[str] = "free_energy"
    cost: ClassVar[str] = "40 minutes"
    every_seed: ClassVar[bool] = True
    windows: int = 16
    frames: int = 60
    paths: int = 32
    repeats: int = 6
    straight_snr: tuple[float, ...] = (600.0, 2000.0, 5500.0, 15000.0)

    def measure(self, bench: Bench, seed: int) -> FreeEnergyResult:
        """From the run of a seed, whose ``free_energy`` folder is replaced."""
        output = bench.main_job(seed)
        estimates = _estimates(compute_free_energy(output, seed=seed, overwrite=True))
        run, spacings = Run.open(output, "geodesics", seed=seed), []
        temperatures = (run.settings.samples.model_temperature, run.molecule.temperature)
        geodesic = need_geodesic(run, "low_variance")
        stiff = set_springs(run.coordinates, geodesic.schedule, geodesic.mean, *temperatures)
        with run.workers():
            curves = {"geodesic, Fisher-Rao": stiff, "geodesic, uniform": uniform(stiff)}
            for snr in self.straight_snr:
                line = straight_line(run, snr)
                curves[f"straight line, SNR {snr:g}"] = set_springs(run.coordinates, line, line.centres, *temperatures)
            for name, schedule in curves.items():
                for repeat, repeat_seed in enumerate(
                    np.random.SeedSequence([seed, *name.encode()]).spawn(self.repeats)
                ):
                    spacings.append(self._between_ends(run, name, schedule, repeat, repeat_seed))
        evaluations = max(estimate.evaluations or 0 for estimate in estimates)
        evaluations += sum(spacing.evaluations + spacing.annealing_evaluations for spacing in spacings)
        return FreeEnergyResult(seed, evaluations, estimates, spacings)

    def _between_ends(
        self, run: Run, name: str, schedule: RestraintSchedule, repeat: int, seed: np.random.SeedSequence
    ) -> Spacing:
        """By windows on a curve, and by annealing from the ends."""
        kt = run.molecule.kt
        window_seed, path_seed = seed.spawn(2)
        series = make_series(schedule, self.windows, run.settings.free_energy).windows
        try:
            with TemporaryDirectory() as folder:
                frames = sample_series(run, series, self.frames, window_seed, f"{name}, {repeat}", Path(folder))
            sampled = reduce_frames(run.molecule.states, run.coordinates, series, frames.positions).sampled
            solved = mbar(sampled)
            check_overlap(solved.overlap, series.names, run.settings.free_energy.least_overlap)
            works = anneal_both_ways(run, schedule, equilibrium_ends(series, frames.positions), self.paths, path_seed)
            nothing = job.Ends(0.0, 0.0)  # that leads from the curve's ends to the states
            annealing = annealing_estimate(kt, works.there, works.back, nothing)
        except DynamicsError as error:
            return Spacing(name, repeat, failure=str(error))
        return Spacing(
            name,
            repeat,
            kt * float(solved.values[-1]),
            kt * float(solved.errors[-1]),
            frames.evaluations,
            float(np.diagonal(solved.overlap, 1).min()),
            annealing.value,
            annealing.error,
            works.evaluations,
        )

    def tables(self, results: Sequence[FreeEnergyResult]) -> list[str]:
        """ΔF by every method, and for each spacing: mean over repeats, their spread, and the error that each claims."""
        methods = [_line(result.seed, estimate) for result in results for estimate in result.estimates]
        columns = ("spacing", "seed", "evaluations", "ΔF of the ends, windows", "spread", "claimed", "annealing")
        rows = []
        for result in results:
            for name in dict.fromkeys(spacing.name for spacing in result.spacings):
                repeats = [spacing for spacing in result.spacings if spacing.name == name]
                rows.append([name, result.seed, *_cells(repeats)])
        return [table(METHODS, methods), table((*columns, "spread", "overlap"), rows)]


METHODS = ("ΔF(A → B)", "seed", "kJ/mol", "evaluations")


def _line(seed: int, estimate: Estimate) -> list[Any]:
    return [estimate.method, seed, number(estimate.value, 2, estimate.error), number(estimate.evaluations)]


def _estimates(found: job.FreeEnergyResult) -> list[Estimate]:
    windows, annealing = (found.evaluations[name] for name in ("windows", "annealing"))
    names = {"windows": "windows, MBAR", "annealing": "annealing, BAR"}
    spent = {"windows": windows, "annealing": windows + annealing}
    return [
        Estimate(names.get(method, f"{method} of the run"), of.value, of.error, spent.get(method))
        for method, of in found.estimates.items()
    ]


def _cells(repeats: Sequence[Spacing]) -> list[str]:
    done = [repeat for repeat in repeats if repeat.failure is None]
    if not done:
        return [f"all failed: {repeats[-1].failure}", *["–"] * 6]
    windows, annealing = [repeat.value for repeat in done], [repeat.annealing for repeat in done]
    claimed = np.sqrt(np.mean([repeat.error**2 for repeat in done]))
    failed = f", {len(repeats) - len(done)} failed" if len(done) < len(repeats) else ""
    return [
        number(done[0].evaluations) + failed,
        *(number(np.mean(windows), 2), number(spread(windows), 2), number(claimed, 2)),
        *(number(np.mean(annealing), 2), number(spread(annealing), 2)),
        number(min(repeat.least_overlap for repeat in done), 3),
    ]


@dataclass(frozen=True)
class Reference:
    """ΔF by long replica exchanges that start in A and B by turns, as :class:`Section`; their samples are kept.

    Attributes
    ----------
    temperatures : tuple of str
    length : str
        Length of each replica.
    repeats : int
        Number of replica exchanges.
    """

    name: ClassVar[str] = "reference"
    cost: ClassVar[str] = "1 hour, 211 million evaluations"
    every_seed: ClassVar[bool] = False
    temperatures: tuple[str, ...] = ("300 K", "405 K", "548 K", "740 K", "1000 K", "1350 K", "1800 K")
    length: str = "15 ns"
    repeats: int = 2

    def measure(self, bench: Bench, seed: int) -> Result[Estimate]:
        """With seeds of its own for each seed and repeat."""
        settings = load_settings(find_system(SYSTEM))
        assert isinstance(settings, RunSettings)
        exchange = ReplicaExchangeSettings(
            method="replica_exchange",
            temperatures=self.temperatures,
            length=self.length,
            exchange_interval="0.25 ps",
            frame_interval="1 ps",
            discard="20 ps",
            model_temperature="1000 K",
        )
        settings = settings.model_copy(update={"samples": exchange})
        estimates = []
        for repeat in range(self.repeats):
            folder = bench.output / f"reference_{seed}_{repeat}"
            with begun(folder, settings, 1000 * (seed + 1) + repeat) as run:
                if not run.is_finished("samples"):
                    started = time.perf_counter()
                    with run.workers():
                        report = make_samples(run)
                    run.finish("samples", started, report.evaluations, report.results.to_json(), [BEGINNING])
                ladder, rng = read_ladder(run), np.random.default_rng(run.seed("replica estimate"))
                estimate = None if ladder is None else replica_estimate(ladder, run.molecule.kt, rng)
                spent = run.report("samples").evaluations["sampling"]
            if estimate is None:
                raise SystemExit(f"{folder}: one of the states is never seen in {self.length}; take longer replicas")
            estimates.append(Estimate("replica exchange", estimate.value, estimate.error, spent))
        mean = Estimate(
            "replica exchange, mean",
            float(np.mean([estimate.value for estimate in estimates])),
            float(np.sqrt(sum(estimate.error**2 for estimate in estimates)) / self.repeats),
            sum(estimate.evaluations for estimate in estimates),
        )
        return Result(seed, mean.evaluations or 0, [mean, *estimates])

    def tables(self, results: Sequence[Result[Estimate]]) -> list[str]:
        """A line for the mean, and a line for each replica exchange."""
        return [table(METHODS, [_line(r.seed, estimate) for r in results for estimate in r.rows])]
