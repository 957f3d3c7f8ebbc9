"""The C-shaped channel: what a variance bound and a global search change, over several seeds.

Walkers follow straight lines, the unconstrained geodesic, and variance-bounded ones started from a straight line or
from a graph of Boltzmann samples, all with the settings of ``systems/c_channel``; nothing tells them of the channel.
"through the channel": some frame within 0.5 of (1, 0). "reached B": last frame within 0.5 of B's centre.
"±" is the mean over seeds of the standard deviation over paths. A variance bound alone does not decide: from a straight
start the solver obeys it by a shorter curve through the wall, where two narrow modes 0.9 apart exchange weights.

Usage: ``python scripts/benchmarks/c_channel.py [--seeds 0 1 2] [--json FILE]``, or ``--seed 0`` for one
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from spacetime_tps.errors import GeometryError
from spacetime_tps.progress import configure_logging, log, track
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.surface import SurfaceRunSettings
from spacetime_tps.spacetime import Geodesic, Points, VarianceBound
from spacetime_tps.surfaces.job import path_figures, run_walkers, solve, straight_line
from spacetime_tps.surfaces.surface import Surface

STRAIGHT_LOG_SNR = (2.0, 3.0, 4.0, 5.0)
STRAIGHT_START_BOUND = 0.2
BOUNDS = (0.2, 0.3, 0.5)


def curves(surface: Surface, settings: SurfaceRunSettings, seed: int) -> Iterator[tuple[str, Points, Geodesic | None]]:
    """Every curve of the table with its name, and its geodesic if it is one."""
    denoiser, geodesics = surface.denoiser(), settings.geodesics
    line = straight_line(surface, denoiser, geodesics.end_log_snr, geodesics.points)
    for log_snr in STRAIGHT_LOG_SNR:
        yield f"straight line, λ = {log_snr:g}", Points(line.y, torch.full_like(line.log_snr, log_snr)), None
    free, *_ = solve(surface, denoiser, geodesics, np.random.default_rng(seed))
    yield "straight line, unconstrained geodesic's λ", Points(line.y, free.points.log_snr), None
    yield "unconstrained geodesic", free.points, free
    bound = VarianceBound(STRAIGHT_START_BOUND)
    straight, *_ = solve(surface, denoiser, geodesics, np.random.default_rng(seed), (bound,), starts=[line])
    yield f"variance ≤ {bound.limit:g}, straight start", straight.points, straight
    for limit in BOUNDS:
        try:
            found, *_ = solve(surface, denoiser, geodesics, np.random.default_rng(seed), (VarianceBound(limit),))
        except GeometryError as error:
            log.error("variance ≤ %g, seed %d: %s", limit, seed, error)
            continue
        default = " (default)" if limit == geodesics.variance_bound else ""
        yield f"variance ≤ {limit:g}, start from the graph{default}", found.points, found


def measure(surface: Surface, settings: SurfaceRunSettings, seed: int) -> list[dict[str, Any]]:
    """Figures of every curve with one seed."""
    rows = []
    for name, curve, geodesic in curves(surface, settings, seed):
        paths = run_walkers(surface, curve, settings.paths, np.random.default_rng([seed, 1]))
        row = {"curve": name, "seed": seed, **path_figures(surface, paths), "feasible": None}
        if geodesic is not None:
            row |= {key: getattr(geodesic, key) for key in ("feasible", "converged", "length", "max_variance")}
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each curve: figures averaged over the seeds that have it."""
    merged = []
    for name in dict.fromkeys(row["curve"] for row in rows):
        mine = [row for row in rows if row["curve"] == name]

        def mean(*keys: str, mine: list[dict[str, Any]] = mine) -> float:
            values = [row[keys[0]][keys[1]] if len(keys) > 1 else row[keys[0]] for row in mine]
            return float(np.mean(values))

        merged.append(
            {
                "curve": name,
                "seeds": len(mine),
                "max_energy_mean": mean("max_energy", "mean"),
                "max_energy_sd": mean("max_energy", "sd"),
                "on_segments_mean": mean("max_energy_on_segments", "mean"),
                "on_segments_by_seed": [row["max_energy_on_segments"]["mean"] for row in mine],
                "reached_b": mean("reached_b_percentage"),
                "reached_b_lowest": min(row["reached_b_percentage"] for row in mine),
                "through_channel": mean("through_channel_percentage"),
                "through_channel_lowest": min(row["through_channel_percentage"] for row in mine),
                "steps_per_path": mine[0]["steps_per_path"],
                "length": mean("length") if "length" in mine[0] else None,
                "feasible": None if mine[0]["feasible"] is None else all(row["feasible"] for row in mine),
            }
        )
    return merged


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", "--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    configure_logging()
    torch.set_num_threads(1)
    started = time.perf_counter()
    settings = load_settings(find_system("c_channel"))
    assert isinstance(settings, SurfaceRunSettings)
    surface = Surface.from_settings(settings.surface)
    rows = [
        row
        for seed in track(arguments.seeds, "seeds", len(arguments.seeds))
        for row in measure(surface, settings, seed)
    ]
    merged = table(rows)
    print("| curve | MaxEnergy | on segments | by seed | reached B % | through channel % | steps | length | feasible |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in merged:
        by_seed = " / ".join(f"{value:.1f}" for value in row["on_segments_by_seed"])
        feasible = {None: "–", True: "yes", False: "no"}[row["feasible"]]
        length = "–" if row["length"] is None else f"{row['length']:.2f}"
        print(
            f"| {row['curve']} | {row['max_energy_mean']:.1f} ± {row['max_energy_sd']:.1f} "
            f"| {row['on_segments_mean']:.1f} | {by_seed} | {row['reached_b']:.1f} | {row['through_channel']:.1f} "
            f"| {row['steps_per_path']:,} | {length} | {feasible} |"
        )
    print(f"\n{settings.paths.count} paths a curve and seed; {time.perf_counter() - started:.0f} s in all")
    if arguments.json:
        arguments.json.write_text(json.dumps({"table": merged, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    main()
