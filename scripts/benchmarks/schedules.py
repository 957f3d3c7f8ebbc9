"""Where to spend the steps of an annealed path: schedules of one geodesic, and straight lines, at equal evaluations.

From a finished run of the main job. Every row has the same number of evaluations: where friction is measured its
windows count, and fewer paths are left. Paths go there and back, each from equilibrium under the restraint at its
start; work dissipated is half of the sum of the mean works, which needs no ΔF, and is by way of BAR that of the paths
there. MaxEnergy and hits are those of the paths there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from common import Bench, Result, number, table

from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.springs import set_springs
from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.pipeline.annealing import annealing_steps, measure_paths, run_paths, works
from spacetime_tps.pipeline.schedules import Kind, make_schedule
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import need_geodesic
from spacetime_tps.statistics.mbar import bar

KINDS: tuple[Kind, ...] = ("uniform", "arc_length", "friction")


@dataclass(frozen=True)
class Row:
    """Paths there and back along one schedule; energies in kJ/mol, length in ps."""

    curve: str
    schedule: Kind
    length: float
    paths: int
    evaluations: int
    friction_evaluations: int
    work_there: float
    work_back: float
    dissipated: float
    dissipated_error: float
    bar: float
    bar_error: float
    dissipated_there: float
    hits: float
    highest: float | None
    highest_error: float | None


@dataclass(frozen=True)
class Schedules:
    """Schedules of annealed paths, as :class:`Section`.

    Attributes
    ----------
    paths : int
        Number each way, where no windows are needed.
    lengths : tuple of float
        Lengths of the paths, ps.
    equilibration : float
        Time before each path, ps.
    """

    name: ClassVar[str] = "schedules"
    cost: ClassVar[str] = "20 minutes"
    every_seed: ClassVar[bool] = True
    paths: int = 128
    lengths: tuple[float, ...] = (1.024,)
    equilibration: float = 0.5

    def measure(self, bench: Bench, seed: int) -> Result[Row]:
        """From the run of a seed, into which nothing is written."""
        run, rows = Run.open(bench.main_job(seed), "geodesics", seed=seed), []
        geodesic = need_geodesic(run, "low_variance")
        with run.workers():
            curves = {"low-variance geodesic": (geodesic.schedule, KINDS)}
            temperatures = (run.settings.samples.model_temperature, run.molecule.temperature)
            stiff = set_springs(run.coordinates, geodesic.schedule, geodesic.mean, *temperatures)
            curves["the same, at the model's spring constants"] = (stiff, KINDS)
            for snr in run.settings.paths.baseline_snr:
                curves[f"straight, SNR {snr:g}"] = (straight_line(run, snr), KINDS[1:2])
            for length in self.lengths:
                paths = run.settings.paths.model_copy(update={"length": length})
                timed = replace(run, settings=run.settings.model_copy(update={"paths": paths}))
                with timed.working(run.pool):
                    for name, (schedule, kinds) in curves.items():
                        rows += [self._row(timed, name, schedule, kind) for kind in kinds]
        return Result(seed, sum(row.evaluations for row in rows), rows)

    def _row(self, run: Run, name: str, schedule: RestraintSchedule, kind: Kind) -> Row:
        friction_seed, there_seed, back_seed = run.seed(f"schedules, {name}").spawn(3)
        made = make_schedule(run, schedule, kind, friction_seed, name)
        equilibration = round(self.equilibration / run.molecule.time_step)
        each = annealing_steps(run) + 1 + equilibration
        count = self.paths - -(-made.evaluations // (2 * each))
        there, back = (
            run_paths(run, curve, count, seed, name, starts=[run.structure(state)], equilibration_steps=equilibration)
            for state, (curve, seed) in enumerate([(made.schedule, there_seed), (made.schedule.reversed(), back_seed)])
        )
        forward, backward = works(there), works(back)
        kt = run.molecule.kt
        difference, error = bar(forward / kt, backward / kt)
        metrics = measure_paths(run, there).summary()
        return Row(
            curve=name,
            schedule=kind,
            length=run.settings.paths.length,
            paths=count,
            evaluations=made.evaluations + sum(path.evaluations for path in (*there, *back)),
            friction_evaluations=made.evaluations,
            work_there=float(forward.mean()),
            work_back=float(backward.mean()),
            dissipated=0.5 * float(forward.mean() + backward.mean()),
            dissipated_error=0.5 * float(np.sqrt(forward.var(ddof=1) + backward.var(ddof=1)) / np.sqrt(count)),
            bar=kt * difference,
            bar_error=kt * error,
            dissipated_there=float(forward.mean()) - kt * difference,
            hits=metrics.target_hit_percentage,
            highest=metrics.ets_kj_per_mol.mean,
            highest_error=metrics.ets_kj_per_mol.standard_error,
        )

    def tables(self, results: Sequence[Result[Row]]) -> list[str]:
        """A line for each row of each run."""
        columns = ("seed", "curve", "schedule", "ps", "paths", "evaluations", "dissipated kJ/mol", "ΔF by BAR")
        rows = [
            [
                *(result.seed, row.curve, row.schedule.replace("_", " "), f"{row.length:g}", row.paths),
                *(number(row.evaluations), number(row.dissipated, 1, row.dissipated_error)),
                *(number(row.bar, 1, row.bar_error), number(row.highest, 1, row.highest_error), number(row.hits)),
            ]
            for result in results
            for row in result.rows
        ]
        return [table((*columns, "MaxEnergy", "hits %"), rows)]
