"""Which spacing of windows gives the best ΔF at equal cost: by Fisher-Rao length, by distance, or straight lines.

From a finished run of the main job, for which the job of ``spacetime-tps free-energy`` is done once. What lies between
the free states and the ends of a curve is the same for all spacings, so these are compared between the ends alone; each
is repeated with other seeds, and the spread of the repeats is the error that counts. The reference is the mean of two
replica exchanges of its own: that of the main job, long enough for a denoiser, crosses too seldom between the states.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from schedules import opened, started

from spacetime_tps import free_energies
from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.friction import uniform
from spacetime_tps.errors import DynamicsError
from spacetime_tps.free_energy.estimates import check_overlap
from spacetime_tps.free_energy.windows import (
    annealing_estimate,
    equilibrium_ends,
    make_series,
    reduced,
    replica_estimate,
    sample_series,
    stiffened,
)
from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.pipeline.geodesics import load_geodesic
from spacetime_tps.pipeline.samples import make_samples
from spacetime_tps.runs.context import RunContext
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.run import ReplicaExchangeSettings, RunSettings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.statistics.mbar import mbar


@dataclass(frozen=True)
class Effort:
    """How long to measure: windows, frames of each sweep in each, annealed paths each way, repeats of each spacing.

    And at which SNR (nm⁻², at the model's temperature) the straight lines are: windows overlap on the softest one.
    """

    windows: int = 16
    frames: int = 60
    paths: int = 32
    repeats: int = 6
    straight_snr: tuple[float, ...] = (600.0, 2000.0, 5500.0, 15000.0)


EFFORT = Effort()
LADDER = ("300 K", "405 K", "548 K", "740 K", "1000 K", "1350 K", "1800 K")
LENGTH = "15 ns"
REPEATS = 2


def reference(folder: Path, length: str = LENGTH, repeats: int = REPEATS) -> dict[str, Any]:
    """ΔF by long replica exchanges with different seeds, 105 million evaluations each; samples in ``folder`` are kept.

    Parameters
    ----------
    folder : Path
    length : str
        Of each replica.
    repeats : int
        Their mean is ``value``.
    """
    settings = load_settings(find_system("alanine_dipeptide"))
    assert isinstance(settings, RunSettings)
    exchange = ReplicaExchangeSettings(
        method="replica_exchange",
        temperatures=LADDER,
        length=length,
        exchange_interval="0.25 ps",
        frame_interval="1 ps",
        discard="20 ps",
        model_temperature="1000 K",
    )
    settings = settings.model_copy(update={"samples": exchange})
    estimates = []
    for repeat in range(repeats):
        output = folder / str(repeat)
        finished = output / "samples.json"
        with started(settings, output, [repeat, *b"reference"]) as run:
            if not finished.is_file():
                (output / "samples").mkdir(parents=True, exist_ok=True)
                report = make_samples(run)
                finished.write_text(json.dumps({"evaluations": report.evaluations, **report.results}) + "\n")
            estimate = replica_estimate(run, np.random.default_rng(repeat))
        if estimate is None:
            raise SystemExit(f"{output}: one of the states is never seen in {length}; take a longer reference")
        estimates.append(estimate | json.loads(finished.read_text()))
    return {
        "value": float(np.mean([estimate["value"] for estimate in estimates])),
        "error": float(np.sqrt(sum(estimate["error"] ** 2 for estimate in estimates)) / repeats),
        "evaluations": {"sampling": sum(estimate["evaluations"]["sampling"] for estimate in estimates)},
        "repeats": estimates,
    }


def section(output: Path, seed: int, effort: Effort = EFFORT) -> dict[str, Any]:
    """The job's estimates of ΔF(A→B), and a row for each spacing and repeat of ΔF between the ends of the curve.

    Parameters
    ----------
    output : Path
        Folder of a finished run of the main job; ``free_energy/`` is written into it.
    seed : int
    effort : Effort
    """
    job = free_energies(output, seed=seed, overwrite=True)
    rows: list[dict[str, Any]] = []
    with opened(output, seed) as run:
        geodesic = load_geodesic(output, "low_variance")
        assert geodesic is not None  # the job has used it
        stiff = stiffened(run, geodesic.schedule)
        curves = {
            "geodesic, Fisher-Rao": stiff,
            "geodesic, uniform": uniform(stiff),
        }
        curves |= {
            f"straight line, SNR {snr:g}": stiffened(run, straight_line(run, snr)) for snr in effort.straight_snr
        }
        for name, schedule in curves.items():
            for repeat, repeat_seed in enumerate(np.random.SeedSequence([seed, *name.encode()]).spawn(effort.repeats)):
                row: dict[str, Any] = {"spacing": name, "repeat": repeat}
                rows.append(row)
                try:
                    row |= between_ends(run, schedule, effort, repeat_seed, f"{name}, {repeat}")
                except DynamicsError as error:
                    row["failure"] = str(error)
    return {"seed": seed, "job": job, "rows": rows}


def between_ends(
    run: RunContext, schedule: RestraintSchedule, effort: Effort, seed: np.random.SeedSequence, name: str
) -> dict[str, Any]:
    """ΔF between the ends of a curve by windows on it, and by annealing from their ends, in kJ/mol."""
    kt = run.molecule.kt
    window_seed, path_seed = seed.spawn(2)
    series = make_series(schedule, effort.windows).windows
    with TemporaryDirectory() as folder:
        frames = sample_series(run, series, effort.frames, window_seed, name, Path(folder))
    sampled, _, _ = reduced(run, series, frames)
    solved = mbar(sampled)
    check_overlap(solved.overlap, series.names)
    nothing = {"value": 0.0, "error": 0.0}  # that leads from the curve's ends to the states
    annealing, spent = annealing_estimate(
        run, schedule, equilibrium_ends(series, frames), nothing, effort.paths, path_seed
    )
    return {
        "value": kt * float(solved.values[-1]),
        "error": kt * float(solved.errors[-1]),
        "evaluations": frames.evaluations,
        "least_overlap": float(np.diagonal(solved.overlap, 1).min()),
        "annealing": annealing,
        "annealing_evaluations": spent,
    }


def print_tables(content: dict[str, Any]) -> None:
    """ΔF by every method, and a line for each spacing: mean over repeats, their spread, and the error each claims."""
    job, reference = content["job"], content["reference"]
    print("| ΔF(A → B) | kJ/mol | evaluations |\n|---|---|---|")
    evaluations = job["evaluations"]
    estimates = [
        ("windows, MBAR", job["windows"], evaluations["windows"]),
        ("annealing, BAR", job["annealing"], evaluations["windows"] + evaluations["annealing"]),
        ("replica exchange of the run", job["replica_exchange"], None),
        ("replica exchange, reference", reference, reference["evaluations"]["sampling"]),
    ]
    for name, estimate, spent in estimates:
        told = "" if estimate is None else f"{estimate['value']:.2f} ± {estimate['error']:.2f}"
        print(f"| {name} | {told} | {'' if spent is None else format(spent, ',')} |")
    print("\n| spacing | evaluations | ΔF of the ends, windows | spread | claimed | annealing | spread | overlap |")
    print("|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(row["spacing"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["spacing"] == name]
        done = [row for row in rows if "failure" not in row]
        if len(done) < 2:
            print(f"| {name} |", f"{len(rows) - len(done)} of {len(rows)} failed: {rows[-1].get('failure')} |")
            continue
        windows, annealing = np.array([[row["value"], row["annealing"]["value"]] for row in done]).T
        claimed = np.sqrt(np.mean([row["error"] ** 2 for row in done]))
        overlap = min(row["least_overlap"] for row in done)
        cells = (f"{done[0]['evaluations']:,}", f"{windows.mean():.2f}", f"{windows.std(ddof=1):.2f}", f"{claimed:.2f}")
        cells += (f"{annealing.mean():.2f}", f"{annealing.std(ddof=1):.2f}", f"{overlap:.3f}")
        print(f"| {name} |", " | ".join(cells), "|")
