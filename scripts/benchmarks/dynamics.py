"""From spacetime paths to path ensembles, committors and free energies: every table of them.

Alanine dipeptide in vacuum at 300 K. The main job is run for each seed, and all starts from its results. Sections,
each of which can be measured alone; what FILE holds of the others is kept:

- shooting: what reactive trajectories cost (``shooting.py``)
- schedules: where annealed paths spend their steps (``schedules.py``)
- committor: frames that the committor model calls one half (``committor.py``)
- decorrelation: what a hundred decorrelated paths cost (``decorrelation.py``)
- free_energy: spacings of windows at equal cost, and long replica exchanges (``free_energy.py``; the first
  time an hour more)
- ensemble: path ensembles against long plain dynamics (``path_ensemble.py``); of the first seed alone

Usage: ``python scripts/benchmarks/dynamics.py --json FILE [--seeds 0,1,2] [--sections shooting,committor]
[--output runs/dynamics]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import committor
import decorrelation
import free_energy
import path_ensemble
import schedules
import shooting
from sections import one_of, write_section

from spacetime_tps import run
from spacetime_tps.progress import configure_logging

SYSTEM = "alanine_dipeptide"
SECTIONS = ("shooting", "schedules", "committor", "decorrelation", "free_energy", "ensemble")


def main_job(output: Path, seed: int) -> Path:
    """The run of a seed; one that is there is gone on with."""
    folder = output / f"seed_{seed}"
    if not (folder / "summary.json").is_file():
        run(SYSTEM, folder, seed=seed, resume=(folder / "config.yaml").is_file())
    return folder


def measure(name: str, output: Path, seeds: list[int]) -> list[dict[str, Any]]:
    """Figures of a section, for each seed."""
    if name == "ensemble":
        return [path_ensemble.section(seeds[0])]
    runs = {seed: main_job(output, seed) for seed in seeds}
    if name == "free_energy":
        reference = {"reference": free_energy.reference(output / "reference")}
        return [reference | free_energy.section(runs[seed], seed) for seed in seeds]
    module = {
        "shooting": shooting,
        "schedules": schedules,
        "committor": committor,
        "decorrelation": decorrelation,
    }[name]
    return [module.section(runs[seed], seed) for seed in seeds]


def show(name: str, contents: list[dict[str, Any]]) -> None:
    """Print a section's tables."""
    if name == "committor":
        committor.print_tables(contents)
        return
    module = {
        "shooting": shooting,
        "schedules": schedules,
        "decorrelation": decorrelation,
        "free_energy": free_energy,
        "ensemble": path_ensemble,
    }[name]
    for content in contents:
        print(f"\nseed {content['seed']}\n")
        module.print_tables(content)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], default=[0, 1, 2])
    parser.add_argument("--sections", type=one_of(SECTIONS), default=list(SECTIONS))
    parser.add_argument("--output", type=Path, default=Path("runs/dynamics"), help="where the main job's runs are kept")
    arguments = parser.parse_args()
    configure_logging()
    for name in arguments.sections:
        print(f"\n## {name}\n")
        contents = measure(name, arguments.output, arguments.seeds)
        write_section(arguments.json, name, contents)
        show(name, contents)


if __name__ == "__main__":
    main()
