"""On-policy rounds on alanine dipeptide, from samples of the two basins alone: plain dynamics at 300 K in each.

The main job runs with 0, 1 and 2 rounds on the same samples. Of each run the low-variance geodesic's length by the
model stands beside that by windows of restrained dynamics other than those learned from, and the share of shots from
its paths that are reactive. Where the samples do not connect the states there is no such geodesic, and windows of the
first round lie along the straight line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import yaml
from common import Bench, Result, number, start, table
from denoiser_molecule import Calibration, Lengths, evaluations_of, length_cells, share_samples

from spacetime_tps.pipeline.summary import read_summary
from spacetime_tps.runs.folder import Run
from spacetime_tps.settings.files import merge

SETTINGS: dict[str, Any] = {
    "samples": {
        "method": "molecular_dynamics",
        "length": "100 ps",
        "trajectories_per_state": 2,
        "model_temperature": "300 K",
    }
}


@dataclass(frozen=True)
class Round:
    """A round within a run: whether there was a low-variance geodesic, and lengths along it or the straight line."""

    found: bool
    model: float
    dynamics: float
    dynamics_error: float


@dataclass(frozen=True)
class Row:
    """A run with some number of rounds."""

    rounds: int
    history: list[Round]
    lengths: Lengths | None
    hits: float | None
    reactive: int
    shots: int
    evaluations: int
    sampling: int
    wall_seconds: float


@dataclass(frozen=True)
class Rounds:
    """On-policy rounds, as :class:`Section`. With ``denoiser: {kind: potential}`` a network goes through them."""

    name: ClassVar[str] = "rounds"
    cost: ClassVar[str] = "15 minutes"
    every_seed: ClassVar[bool] = False
    rounds: tuple[int, ...] = (0, 1, 2)
    calibration: Calibration = field(default_factory=Calibration)

    def measure(self, bench: Bench, seed: int) -> Result[Row]:
        """With runs of its own."""
        folder, rows = bench.folder(f"rounds_{seed}"), []
        for rounds in self.rounds:
            run, config = folder / str(rounds), folder / f"{rounds}.yaml"
            settings = merge(merge(SETTINGS, bench.settings), {"geodesics": {"rounds": rounds}})
            config.write_text(yaml.safe_dump(settings))
            if rounds != self.rounds[0]:
                share_samples(folder / str(self.rounds[0]), run, config)
            start(run, config, seed)
            summary = read_summary(Run.open(run))
            history, paths = summary.geodesics.rounds or [], summary.paths.paths
            rows.append(
                Row(
                    rounds,
                    [Round(of.found, of.length_model, of.length_md, of.length_md_error) for of in history],
                    self.calibration.lengths(run),
                    None if paths is None else paths.target_hit_percentage,
                    summary.reactive.reactive,
                    summary.reactive.shots,
                    summary.total_evaluations,
                    summary.energy_evaluations["sampling"],
                    summary.total_seconds,
                )
            )
        return Result(seed, evaluations_of(rows), rows)

    def tables(self, results: Sequence[Result[Row]]) -> list[str]:
        """A line for each number of rounds, and a line for each round of the last run."""
        columns = ("rounds", "length by the model", "by dynamics", "ratio", "hits %", "reactive shots")
        blocks = []
        for result in results:
            rows = [
                [row.rounds, *length_cells(row.lengths), number(row.hits), f"{row.reactive} of {row.shots}"]
                for row in result.rows
            ]
            history = [
                [
                    *(index, "the low-variance geodesic" if round_.found else "the straight line"),
                    *(number(round_.model, 2), number(round_.dynamics, 2, round_.dynamics_error)),
                ]
                for index, round_ in enumerate(result.rows[-1].history)
            ]
            blocks += [table(columns, rows), table(("round", "along", *columns[1:3]), history)]
        return blocks
