"""Which spacing of windows gives the best ΔF at equal cost: by Fisher-Rao length, by distance, or a straight line.

From a finished run of the main job with replica exchange, which is the reference (or a longer one, given by its run).
Each spacing is repeated with other seeds; the spread of the repeats is the error that counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from dynamics_schedules import opened

from spacetime_tps.dynamics.friction import uniform
from spacetime_tps.errors import DynamicsError
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


@dataclass(frozen=True)
class Effort:
    """How long to measure: windows on the curve, frames of each chain in each, annealed paths each way, repeats."""

    windows: int = 16
    frames: int = 40
    paths: int = 32
    repeats: int = 4


EFFORT = Effort()


def section(output: Path, seed: int, effort: Effort = EFFORT, reference: Path | None = None) -> dict[str, Any]:
    """A row for each spacing and repeat.

    Parameters
    ----------
    output : Path
        Folder of a finished run of the main job; nothing is written into it.
    seed : int
    effort : Effort
    reference : Path, optional
        Run of the same system whose replica exchange is the reference.
    """
    with opened(reference or output, seed) as run:
        by_exchange = replica_estimate(run, np.random.default_rng(seed))
    rows: list[dict[str, Any]] = []
    with opened(output, seed) as run:
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
    reference = content["replica_exchange"]
    if reference is not None:
        print(f"replica exchange: {reference['value']:.2f} ± {reference['error']:.2f} kJ/mol\n")
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
