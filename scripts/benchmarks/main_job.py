"""The main job over several seeds, beside its straight-line baselines: the table of the README.

Runs ``spacetime-tps run alanine_dipeptide`` once for each seed (runs that are there already are read) and prints means
over seeds; "±" is the mean over seeds of the standard deviation over paths.

Usage: ``python scripts/benchmarks/main_job.py [--seeds 0 1 2] [--output runs/benchmark] [--json FILE]``
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps import run
from spacetime_tps.progress import configure_logging

FIGURES = ("target_hit_percentage", "rmsd_angstrom", "ets_kj_per_mol")


def summaries(seeds: list[int], output: Path) -> list[dict[str, Any]]:
    """Summaries of the runs, run now where they are missing."""
    found = []
    for seed in seeds:
        folder = output / f"seed_{seed}"
        summary = folder / "summary.json"
        if not summary.is_file():
            run("alanine_dipeptide", folder, seed=seed, resume=(folder / "config.yaml").is_file())
        found.append(json.loads(summary.read_text()))
    return found


def curves(summary: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Figures of every kind of path in a run."""
    named = {"low-variance geodesic": summary["paths"], "region-avoiding geodesic": summary["paths_region_avoiding"]}
    return named | {name.replace("_", " "): figures for name, figures in summary["baselines"].items()}


def path_table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each kind of path: figures averaged over seeds, with the range of the ETS over seeds."""
    rows = []
    for name in curves(runs[0]):
        figures = [curves(summary)[name] for summary in runs if FIGURES[0] in curves(summary).get(name, {})]
        row: dict[str, Any] = {"curve": name, "thp": float(np.mean([f[FIGURES[0]] for f in figures]))}
        for key, column in zip(FIGURES[1:], ("rmsd", "ets"), strict=True):
            for part in ("mean", "sd"):
                values = [f[key][part] for f in figures if f[key][part] is not None]
                row[f"{column}_{part}"] = float(np.mean(values)) if values else None
                row[f"{column}_{part}_by_seed"] = values
        row["in_region_percent"] = 100 * float(np.mean([f.get("fraction_in_region", np.nan) for f in figures]))
        rows.append(row)
    return rows


def cost_table(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for each seed: cost of the whole run, geodesics and reactive trajectories."""
    return [
        {
            "seed": summary["seed"],
            "wall_seconds": summary["wall_seconds"]["total"],
            "evaluations": summary["energy_evaluations"]["total"],
            "sampling": summary["energy_evaluations"]["sampling"],
            "reactive": summary["reactive"]["reactive"],
            "shots": summary["reactive"]["shots"],
            "evaluations_per_reactive": summary["reactive"]["evaluations_per_reactive"],
            "negative_chords": max(g.get("negative_chord_fraction", 0) for g in summary["geodesics"].values()),
            "speed_ratio": max(g.get("speed_ratio", 0) for g in summary["geodesics"].values()),
            "feasible": all(g["feasible"] for g in summary["geodesics"].values()),
        }
        for summary in runs
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--output", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    configure_logging()
    runs = summaries(arguments.seeds, arguments.output)
    paths, costs = path_table(runs), cost_table(runs)
    print("| paths along | hits % | RMSD Å | ETS kJ/mol | ETS by seed | frames in region % |")
    print("|---|---|---|---|---|---|")
    for row in paths:
        by_seed = " / ".join(f"{value:.1f}" for value in row["ets_mean_by_seed"])
        print(
            f"| {row['curve']} | {row['thp']:.0f} | {row['rmsd_mean']:.2f} ± {row['rmsd_sd']:.2f} "
            f"| {row['ets_mean']:.1f} ± {row['ets_sd']:.1f} | {by_seed} | {row['in_region_percent']:.1f} |"
        )
    print()
    print("| seed | wall s | evaluations | of them sampling | reactive / shots | evaluations per reactive |")
    print("|---|---|---|---|---|---|")
    for row in costs:
        print(
            f"| {row['seed']} | {row['wall_seconds']:.0f} | {row['evaluations']:,} | {row['sampling']:,} "
            f"| {row['reactive']} / {row['shots']} | {row['evaluations_per_reactive']:.0f} |"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({"paths": paths, "runs": costs}, indent=2) + "\n")


if __name__ == "__main__":
    main()
