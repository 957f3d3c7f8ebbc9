"""On-policy rounds on alanine dipeptide, from samples of the two basins alone: plain dynamics at 300 K in each.

The main job runs with 0, 1 and 2 rounds on the same samples. Of each run the low-variance geodesic's length by the
model stands beside that by windows of restrained dynamics other than those learned from, and the share of shots from
its paths that are reactive. Where the samples do not connect the states there is no such geodesic, and windows of the
first round lie along the straight line.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import yaml
from denoiser_molecule import EFFORT, Effort, of_calibration, share_samples, start

from spacetime_tps.calibration.job import calibrate
from spacetime_tps.runs.context import report_path
from spacetime_tps.settings.files import merge

ROUNDS = (0, 1, 2)
SETTINGS: dict[str, Any] = {
    "samples": {
        "method": "molecular_dynamics",
        "length": "100 ps",
        "trajectories_per_state": 2,
        "model_temperature": "300 K",
    }
}


def section(output: Path, seed: int, override: dict[str, Any], effort: Effort = EFFORT) -> dict[str, Any]:
    """A row for each number of rounds.

    Parameters
    ----------
    output : Path
        Where the runs are kept; those that are there already are gone on with.
    seed : int
    override : dict
        Settings on top of the section's; with ``denoiser: {kind: potential}`` a network goes through the rounds.
    effort : Effort
    """
    folder, rows = output / "rounds", []
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    for rounds in ROUNDS:
        run, config = folder / str(rounds), folder / f"{rounds}.yaml"
        config.write_text(yaml.safe_dump(merge(merge(SETTINGS, override), {"geodesics": {"rounds": rounds}})))
        if rounds != ROUNDS[0]:
            share_samples(folder / str(ROUNDS[0]), run, config)
        summary = start(run, config, seed)
        row: dict[str, Any] = {
            "rounds": rounds,
            "history": json.loads(report_path(run, "geodesics").read_text())["results"].get("rounds", []),
            "low_variance": summary["geodesics"].get("low_variance"),
            "paths": summary["paths"],
            "reactive": summary["reactive"],
            "evaluations": summary["energy_evaluations"]["total"],
            "wall_seconds": summary["wall_seconds"]["total"],
        }
        if (run / "geodesics" / "low_variance.npz").is_file():
            sizes = {"points": effort.points, "windows": effort.windows, "frames": effort.frames}
            row["calibration"] = of_calibration(calibrate(run, **sizes, overwrite=True)["curve"])
        rows.append(row)
    return {"seed": seed, "rows": rows}


def print_tables(content: dict[str, Any]) -> None:
    """A line for each number of rounds."""
    print("| rounds | length by the model | by dynamics | ratio | hits % | reactive shots |\n|---|---|---|---|---|---|")
    for row in content["rows"]:
        lengths, shots = row.get("calibration"), row["reactive"].get("shots")
        cells = ["no low-variance geodesic", "", ""]
        if lengths is not None:
            cells = [
                f"{lengths['length_model']:.2f}",
                f"{lengths['length_md']:.2f} ± {lengths['length_md_error']:.2f}",
                f"{lengths['length_ratio']:.2f} ± {lengths['length_ratio_error']:.2f}",
            ]
        hits = row["paths"].get("target_hit_percentage")
        cells.append("" if hits is None else f"{hits:.0f}")
        cells.append(f"{row['reactive']['reactive']} of {shots}" if shots else "")
        print(f"| {row['rounds']} |", " | ".join(cells), "|")
    for index, figures in enumerate(content["rows"][-1]["history"]):
        along = "the low-variance geodesic" if figures["found"] else "the straight line"
        print(
            f"round {index}: along {along} length {figures['length_model']:.2f} by the model, "
            f"{figures['length_md']:.2f} ± {figures['length_md_error']:.2f} by dynamics"
        )
