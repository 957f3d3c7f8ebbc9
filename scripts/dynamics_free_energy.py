"""Which spacing of windows gives the best ΔF at equal cost: by Fisher-Rao length, by distance, or a straight line.

From a finished run of the main job. Each spacing is repeated with other seeds; the spread of the repeats is the error
that counts. The reference is a replica exchange of its own, long enough to cross between the states often: states are
as rare as one crossing in about 200 ps in the ladder of the main job, whose own estimate stands in its rows.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from dynamics_schedules import opened

from spacetime_tps.config import ReplicaExchangeSettings, RunSettings
from spacetime_tps.config_files import load_settings
from spacetime_tps.dynamics.friction import uniform
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.errors import DynamicsError
from spacetime_tps.resources import find_system
from spacetime_tps.stages.context import RunContext, make_coordinates
from spacetime_tps.stages.free_energies import (
    annealing_estimate,
    equilibrium_ends,
    make_series,
    replica_estimate,
    sample_series,
    stiffened,
    window_estimate,
)
from spacetime_tps.stages.geodesics import load_geodesic
from spacetime_tps.stages.paths import straight_line
from spacetime_tps.stages.samples import make_samples


@dataclass(frozen=True)
class Effort:
    """How long to measure: windows on the curve, frames of each chain in each, annealed paths each way, repeats."""

    windows: int = 16
    frames: int = 40
    paths: int = 32
    repeats: int = 4


EFFORT = Effort()
LADDER = ("300 K", "405 K", "548 K", "740 K", "1000 K", "1350 K", "1800 K")
LENGTH = "15 ns"


def reference(folder: Path, length: str = LENGTH, seed: int = 0) -> dict[str, Any]:
    """ΔF by a long replica exchange, 105 million evaluations; its samples are kept in ``folder`` and found again.

    Parameters
    ----------
    folder : Path
    length : str
        Of each replica.
    seed : int
    """
    torch.set_num_threads(1)
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
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    with WorkerPool(Engine.for_system(molecule, coordinates.atoms)) as pool:
        run = RunContext(settings, molecule, coordinates, folder, pool, np.random.SeedSequence([seed, *b"reference"]))
        finished = folder / "samples.json"
        if not finished.is_file():
            (folder / "samples").mkdir(parents=True, exist_ok=True)
            report = make_samples(run)
            finished.write_text(json.dumps({"evaluations": report.evaluations, **report.results}) + "\n")
        estimate = replica_estimate(run, np.random.default_rng(seed))
    assert estimate is not None
    return estimate | json.loads(finished.read_text())


def section(output: Path, seed: int, effort: Effort = EFFORT) -> dict[str, Any]:
    """A row for each spacing and repeat, and what the run's own replica exchange says.

    Parameters
    ----------
    output : Path
        Folder of a finished run of the main job; nothing is written into it.
    seed : int
    effort : Effort
    """
    rows: list[dict[str, Any]] = []
    with opened(output, seed) as run:
        by_exchange = replica_estimate(run, np.random.default_rng(seed))
        geodesic = load_geodesic(output, "low_variance")
        if geodesic is None:
            raise SystemExit(f"{output} has no low-variance geodesic")
        stiff = stiffened(run, geodesic.schedule)
        curves = {
            "geodesic, Fisher-Rao": stiff,
            "geodesic, uniform": uniform(stiff),
            "straight line": straight_line(run, float(np.exp(stiff.log_snr[0]))),
        }
        for name, schedule in curves.items():
            series = make_series(schedule, effort.windows)
            for repeat, repeat_seed in enumerate(np.random.SeedSequence([seed, len(name)]).spawn(effort.repeats)):
                window_seed, bootstrap_seed, path_seed = repeat_seed.spawn(3)
                row: dict[str, Any] = {"spacing": name, "repeat": repeat}
                rows.append(row)
                try:
                    with TemporaryDirectory() as folder:
                        frames = sample_series(
                            run, series, effort.frames, window_seed, f"{name}, {repeat}", Path(folder)
                        )
                    row["evaluations"] = frames.evaluations
                    by_windows, ends, _ = window_estimate(run, series, frames, bootstrap_seed)
                    row["windows"] = {key: value for key, value in by_windows.items() if key != "profile"}
                    starts = equilibrium_ends(series, frames)
                    row["annealing"], row["annealing_evaluations"] = annealing_estimate(
                        run, schedule, starts, ends, effort.paths, path_seed
                    )
                except DynamicsError as error:
                    row["failure"] = str(error)
    return {"seed": seed, "replica_exchange": by_exchange, "rows": rows}


def print_tables(content: dict[str, Any]) -> None:
    """A line for each spacing: mean over repeats, their spread, and the errors that each claims."""
    for name, estimate in (("reference", content["reference"]), ("the run's own", content["replica_exchange"])):
        if estimate is not None:
            print(f"replica exchange, {name}: {estimate['value']:.2f} ± {estimate['error']:.2f} kJ/mol\n")
    print("| spacing | evaluations | ΔF, windows | spread | bootstrap error | ΔF, annealing | spread | least overlap |")
    print("|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(row["spacing"] for row in content["rows"]):
        rows = [row for row in content["rows"] if row["spacing"] == name]
        done = [row for row in rows if "annealing" in row]
        if len(done) < 2:
            print(f"| {name} |", f"{len(rows) - len(done)} of {len(rows)} failed: {rows[-1].get('failure')} |")
            continue
        windows, annealing = (np.array([row[kind]["value"] for row in done]) for kind in ("windows", "annealing"))
        claimed = np.sqrt(np.mean([row["windows"]["error"] ** 2 for row in done]))
        overlap = min(row["windows"]["least_overlap"] for row in done)
        cells = (f"{done[0]['evaluations']:,}", f"{windows.mean():.2f}", f"{windows.std(ddof=1):.2f}", f"{claimed:.2f}")
        cells += (f"{annealing.mean():.2f}", f"{annealing.std(ddof=1):.2f}", f"{overlap:.3f}")
        print(f"| {name} |", " | ".join(cells), "|")
