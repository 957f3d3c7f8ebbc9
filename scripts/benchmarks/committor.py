"""Committor of frames that a run's committor model calls one half: the mean by shots, and the spread beyond counting.

The frames are of reactive trajectories that shooting has found, drawn at random among those whose predicted p_B is
within the band. A perfect reaction coordinate would leave no spread but that of the band; the histogram test takes the
noise of counting out (Peters, J. Chem. Phys. 125, 241101 (2006)).
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from spacetime_tps.committor.figure import BINS
from spacetime_tps.committor.job import committors


@dataclass(frozen=True)
class Effort:
    """How much is measured: frames, and shots of each."""

    frames: int = 40
    shots: int = 50


EFFORT = Effort()
BAND = (0.4, 0.6)


def section(output: Path, seed: int, effort: Effort = EFFORT) -> dict[str, Any]:
    """Figures of one run; they and every frame are in its ``committor`` folder too.

    Parameters
    ----------
    output : Path
        Folder of a run that has its reactive trajectories.
    seed : int
        Of the choice of frames and of the shots.
    effort : Effort
    """
    begun = time.perf_counter()
    results = committors(output, count=effort.frames, shots=effort.shots, band=BAND, seed=seed, overwrite=True)
    measured = np.array([row["p_b"] for row in results["frames"] if row["p_b"] is not None])
    return {
        "seed": seed,
        "band": list(BAND),
        "frames": len(results["frames"]),
        "shots": effort.shots,
        "undecided": results["outcomes"]["none"] + results["outcomes"]["failed"],
        "predicted_mean": float(np.mean([row["predicted"] for row in results["frames"]])),
        "histogram_test": results["histogram"],
        "histogram": np.histogram(measured, np.linspace(0, 1, BINS + 1))[0].tolist(),
        "counting_noise": float(np.sqrt(0.25 / effort.shots)),
        "transition_states": len(results["transition_states"]),
        "evaluations": results["evaluations"],
        "wall_seconds": time.perf_counter() - begun,
    }


def print_tables(content: list[dict[str, Any]]) -> None:
    """A line for each seed, and the histograms.

    Parameters
    ----------
    content : list of dict
        What :func:`section` has returned for each seed.
    """
    columns = ("seed", "frames × shots", "predicted mean", "measured mean", "spread", "counting alone", "evaluations")
    print("|", " | ".join(columns), "|\n|" + "---|" * len(columns))
    for row in content:
        test = row["histogram_test"]
        spread = f"{test['standard_deviation']:.3f} (observed {np.sqrt(test['observed_variance']):.3f})"
        cells = (
            str(row["seed"]),
            f"{row['frames']} × {row['shots']}",
            f"{row['predicted_mean']:.3f}",
            f"{test['mean']:.3f} ± {test['mean_error']:.3f}",
            spread,
            f"{row['counting_noise']:.3f}",
            f"{row['evaluations']:,}",
        )
        print("|", " | ".join(cells), "|")
    for row in content:
        print(f"p_B by shots in {BINS} bins from 0 to 1, seed {row['seed']}:", *row["histogram"])
