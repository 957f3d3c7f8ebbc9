"""What a hundred decorrelated transition paths cost, by every kind of move, beside OpenPathSampling's.

Chains from the reactive trajectories of a main-job run are made longer until as many paths as wanted share no frame
with the path before, by ``spacetime_tps.sample_paths``. OpenPathSampling's figures, of one-way moves with uniform
selection from the same trajectories, are those that ``check_openpathsampling.sh`` has left in the run.
"""

from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spacetime_tps import sample_paths
from spacetime_tps.path_ensemble.job import FOLDER, KINDS, SELECTIONS


@dataclass(frozen=True)
class Effort:
    """How much is measured: paths, chains, and moves of each chain between two looks at the count."""

    paths: int = 100
    chains: int = 8
    moves: int = 20
    most_moves: int = 400


EFFORT = Effort()


def section(output: Path, seed: int, effort: Effort = EFFORT) -> dict[str, Any]:
    """A row for each kind of move and selection.

    Parameters
    ----------
    output : Path
        Folder of a finished run of the main job; its path ensemble is replaced.
    seed : int
    effort : Effort
    """
    rows = []
    for move, selection in itertools.product(KINDS, SELECTIONS):
        shutil.rmtree(output / FOLDER, ignore_errors=True)
        moves, results = 0, {"decorrelated_paths": 0}
        while results["decorrelated_paths"] < effort.paths and moves < effort.most_moves:
            moves += effort.moves
            resume = (output / FOLDER).exists()
            results = sample_paths(
                output, moves=moves, move=move, selection=selection, chains=effort.chains, seed=seed, resume=resume
            )
        rows.append(results)
    others = output / "openpathsampling.json"
    found = json.loads(others.read_text())["one_way_shooting"] if others.is_file() else None
    return {"seed": seed, "rows": rows, "openpathsampling": found}


def print_tables(content: dict[str, Any]) -> None:
    """A line for each kind of move."""
    columns = ("moves", "selection", "accepted %", "decorrelated", "evaluations", "each", "a move", "wall s")
    print("|", " | ".join(columns), "|\n|" + "---|" * len(columns))
    for row in content["rows"]:
        each, moves = row["evaluations_per_decorrelated_path"], row["moves"] * row["chains"]
        cells = (
            *(row["move"].replace("_", "-"), row["selection"], f"{100 * row['acceptance']:.0f}"),
            *(f"{row['decorrelated_paths']}", f"{row['evaluations']:,}", "–" if each is None else f"{each:,.0f}"),
            *(f"{row['evaluations'] / moves:.0f}", f"{row['wall_seconds']:.0f}"),
        )
        print("|", " | ".join(cells), "|")
    others = content["openpathsampling"]
    if others is not None:
        cells = (
            *("one-way, OpenPathSampling", "uniform", f"{100 * others['acceptance']:.0f}", f"{len(others['chains'])}"),
            *(f"{others['evaluations']:,}", f"{others['evaluations_to_decorrelation']:,.0f}"),
            *(f"{others['evaluations_per_move']:.0f}", f"{others['wall_seconds']:.0f}"),
        )
        print("|", " | ".join(cells), "|")
