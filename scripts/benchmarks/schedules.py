"""Where to spend the steps of an annealed path: schedules of one geodesic, and straight lines, at equal evaluations.

From a finished run of the main job. Every row has the same number of evaluations: where friction is measured its
windows count, and fewer paths are left. Paths go there and back, each from equilibrium under the restraint at its
start; work dissipated is half of the sum of the mean works, which needs no ΔF, and is by way of BAR that of the paths
there. MaxEnergy and hits are those of the paths there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.free_energy.windows import stiffened
from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.pipeline.annealing import annealing_steps, measure_paths, run_paths, works
from spacetime_tps.pipeline.geodesics import load_geodesic
from spacetime_tps.pipeline.schedules import Kind, make_schedule
from spacetime_tps.runs.context import RunContext, make_coordinates
from spacetime_tps.runs.requests import open_molecule_run
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.statistics.intervals import mean_sd
from spacetime_tps.statistics.mbar import bar

KINDS: tuple[Kind, ...] = ("uniform", "arc_length", "friction")


@dataclass(frozen=True)
class Effort:
    """How long to measure.

    Attributes
    ----------
    paths : int
        Each way, where no windows are needed.
    lengths : tuple of float
        Of the paths, ps.
    equilibration : float
        Before each path, ps.
    """

    paths: int = 128
    lengths: tuple[float, ...] = (1.024,)
    equilibration: float = 0.5


EFFORT = Effort()


@contextmanager
def started(settings: RunSettings, output: Path, seed: int | Sequence[int]) -> Iterator[RunContext]:
    """A run with workers, by its settings."""
    torch.set_num_threads(1)
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    with WorkerPool(Engine.for_system(molecule, coordinates.atoms)) as pool:
        yield RunContext(settings, molecule, coordinates, output, pool, np.random.SeedSequence(seed))


@contextmanager
def opened(output: Path, seed: int) -> Iterator[RunContext]:
    """A finished run with workers."""
    settings, _ = open_molecule_run(output)
    with started(settings, output, seed) as run:
        yield run


def section(output: Path, seed: int, effort: Effort = EFFORT) -> dict[str, Any]:
    """A row for each curve, schedule and length.

    Parameters
    ----------
    output : Path
        Folder of a finished run of the main job; nothing is written into it.
    seed : int
    effort : Effort
    """
    rows = []
    with opened(output, seed) as run:
        geodesic = load_geodesic(output, "low_variance")
        if geodesic is None:
            raise SystemExit(f"{output} has no low-variance geodesic")
        straight = {f"straight, SNR {snr:g}": straight_line(run, snr) for snr in run.settings.paths.baseline_snr}
        for length in effort.lengths:
            timed_run = replace(
                run,
                settings=run.settings.model_copy(
                    update={"paths": run.settings.paths.model_copy(update={"length": length})}
                ),
            )
            curves = {
                "low-variance geodesic": geodesic.schedule,
                "the same, at the model's spring constants": stiffened(run, geodesic.schedule),
            }
            for name, schedule in curves.items():
                for kind in KINDS:
                    rows.append(_row(timed_run, name, schedule, kind, effort))
            for name, schedule in straight.items():
                rows.append(_row(timed_run, name, schedule, "arc_length", effort))
    return {"seed": seed, "rows": rows}


def _row(run: RunContext, name: str, schedule: RestraintSchedule, kind: Kind, effort: Effort) -> dict[str, Any]:
    friction_seed, there_seed, back_seed = np.random.SeedSequence(run.seed.entropy, spawn_key=(len(name),)).spawn(3)
    made = make_schedule(run, schedule, kind, friction_seed, name)
    equilibration = round(effort.equilibration / run.molecule.time_step)
    each = annealing_steps(run) + 1 + equilibration
    count = effort.paths - -(-made.evaluations // (2 * each))
    there, back = (
        run_paths(run, curve, count, seed, name, starts=[run.structure(state)], equilibration_steps=equilibration)
        for state, (curve, seed) in enumerate([(made.schedule, there_seed), (made.schedule.reversed(), back_seed)])
    )
    forward, backward = works(there), works(back)
    kt = run.molecule.kt
    difference, error = bar(forward / kt, backward / kt)
    metrics = measure_paths(run, there)
    return {
        "curve": name,
        "schedule": kind,
        "length_ps": run.settings.paths.length,
        "paths": count,
        "evaluations": made.evaluations + sum(path.evaluations for path in (*there, *back)),
        "friction_evaluations": made.evaluations,
        "work_there": mean_sd(forward),
        "work_back": mean_sd(backward),
        "dissipated": 0.5 * float(forward.mean() + backward.mean()),
        "dissipated_error": 0.5 * float(np.sqrt(forward.var(ddof=1) + backward.var(ddof=1)) / np.sqrt(count)),
        "bar": kt * difference,
        "bar_error": kt * error,
        "dissipated_there": float(forward.mean()) - kt * difference,
        **metrics.summary(),
    }


def print_tables(content: dict[str, Any]) -> None:
    """One table."""
    columns = (
        "curve",
        "schedule",
        "ps",
        "paths",
        "evaluations",
        "dissipated kJ/mol",
        "ΔF by BAR",
        "MaxEnergy",
        "hits %",
    )
    print("|", " | ".join(columns), "|\n" + "|---" * len(columns) + "|")
    for row in content["rows"]:
        highest = row["ets_kj_per_mol"]
        energy = "" if highest["mean"] is None else f"{highest['mean']:.1f} ± {highest['standard_error']:.1f}"
        cells = (
            *(row["curve"], row["schedule"].replace("_", " "), f"{row['length_ps']:g}", f"{row['paths']}"),
            *(f"{row['evaluations']:,}", f"{row['dissipated']:.1f} ± {row['dissipated_error']:.1f}"),
            *(f"{row['bar']:.1f} ± {row['bar_error']:.1f}", energy, f"{row['target_hit_percentage']:.0f}"),
        )
        print("|", " | ".join(cells), "|")
