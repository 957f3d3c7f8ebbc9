"""Committor of frames that a run's committor model calls one half: the mean by shots, and the spread beyond counting.

The frames are of reactive trajectories that shooting has found, drawn at random among those whose predicted p_B is
within the band. A perfect reaction coordinate would leave no spread but that of the band; the histogram test takes the
noise of counting out (Peters, J. Chem. Phys. 125, 241101 (2006)).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from common import Bench, number, table

from spacetime_tps.committor.figure import BINS
from spacetime_tps.committor.job import measure_committor


@dataclass(frozen=True)
class CommittorFigures:
    """Figures of p_B by shots; ``histogram`` has ``BINS`` bins from 0 to 1."""

    seed: int
    evaluations: int
    frames: int
    shots: int
    undecided: int
    predicted_mean: float
    mean: float
    mean_error: float
    observed_deviation: float
    deviation: float
    counting_noise: float
    transition_states: int
    histogram: list[int]


@dataclass(frozen=True)
class Committor:
    """Committors near one half, as :class:`Section`: frames, shots of each, and the band of predicted p_B."""

    name: ClassVar[str] = "committor"
    cost: ClassVar[str] = "4 minutes"
    every_seed: ClassVar[bool] = True
    frames: int = 40
    shots: int = 50
    band: tuple[float, float] = (0.4, 0.6)

    def measure(self, bench: Bench, seed: int) -> CommittorFigures:
        """From the run of a seed, whose ``committor`` folder is replaced."""
        run = bench.main_job(seed)
        found = measure_committor(
            run, max_frames=self.frames, shots=self.shots, band=self.band, seed=seed, overwrite=True
        )
        measured = [row.p_b for row in found.frames if row.p_b is not None]
        test = found.histogram
        return CommittorFigures(
            seed=seed,
            evaluations=found.evaluations,
            frames=len(found.frames),
            shots=self.shots,
            undecided=found.outcomes["none"] + found.outcomes["failed"],
            predicted_mean=float(np.mean([row.predicted for row in found.frames])),
            mean=test.mean,
            mean_error=test.mean_error,
            observed_deviation=float(np.sqrt(test.observed_variance)),
            deviation=test.standard_deviation,
            counting_noise=float(np.sqrt(0.25 / self.shots)),
            transition_states=len(found.transition_states),
            histogram=np.histogram(measured, np.linspace(0, 1, BINS + 1))[0].tolist(),
        )

    def tables(self, results: Sequence[CommittorFigures]) -> list[str]:
        """A line for each run, and the histograms."""
        columns = ("seed", "frames × shots", "predicted mean", "measured mean", "spread", "counting alone")
        rows = [
            [
                *(row.seed, f"{row.frames} × {row.shots}", number(row.predicted_mean, 3)),
                number(row.mean, 3, row.mean_error),
                f"{row.deviation:.3f} (observed {row.observed_deviation:.3f})",
                *(number(row.counting_noise, 3), number(row.evaluations)),
            ]
            for row in results
        ]
        histograms = [[row.seed, " ".join(map(str, row.histogram))] for row in results]
        return [table((*columns, "evaluations"), rows), table(("seed", f"p_B in {BINS} bins from 0 to 1"), histograms)]
