"""Measure what README says: a driver of all benchmarks.

Each section can be measured alone; what the JSON file holds of other sections is kept. Sections that start from the
main job (alanine dipeptide, 300 K, vacuum) share its runs, one for each seed, which are kept below --output.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_type_hints

import openmm
import torch
from c_channel import Channel
from committor import Committor
from common import Bench, Section
from decorrelation import Decorrelation
from denoiser_molecule import Molecule
from denoiser_rounds import Rounds
from denoiser_surfaces import Surfaces
from edit_distance import Distances
from free_energy import FreeEnergy, Reference
from geodesic import Geodesics
from growth import Growth
from main_job import MainJob
from path_ensemble import PathEnsemble
from pydantic import TypeAdapter
from ramachandran import Ramachandran
from schedules import Schedules
from shooting import Shooting

import spacetime_tps
from spacetime_tps.progress import configure_logging, log
from spacetime_tps.settings.files import read_yaml
from spacetime_tps.threads import one_thread

SECTIONS: dict[str, Section] = {
    section.name: section
    for section in (
        MainJob(),
        Shooting(),
        Schedules(),
        Committor(),
        Decorrelation(),
        FreeEnergy(),
        Reference(),
        PathEnsemble("ensemble_well", "5 minutes"),
        PathEnsemble("ensemble_molecule", "25 minutes", frames=100_000, chains=32, moves=150),
        Distances(),
        Molecule("heavy", "2 hours"),
        Molecule("all", "1 hour"),
        Rounds(),
        Surfaces(),
        Growth(),
        Geodesics(),
        Channel(),
        Ramachandran(),
    )
}


def machine() -> dict[str, Any]:
    """What figures depend on beside the seeds."""
    return {
        "package": spacetime_tps.__version__,
        "python": platform.python_version(),
        "openmm": openmm.__version__,
        "torch": torch.__version__,
        "system": platform.platform(),
        "processor": platform.processor() or platform.machine(),
    }


def measure(section: Section, bench: Bench, seeds: Sequence[int]) -> dict[str, Any]:
    """What JSON holds of a section: the results of its seeds, what they took, and where they were measured."""
    begun = time.perf_counter()
    used = list(seeds) if section.every_seed else [seeds[0]]
    results = [section.measure(bench, seed) for seed in used]
    return {
        "platform": machine(),
        "seeds": used,
        "settings": asdict(section),
        "wall_seconds": time.perf_counter() - begun,
        "energy_evaluations": sum(result.evaluations for result in results),
        "results": [asdict(result) for result in results],
    }


def tables(section: Section, content: dict[str, Any]) -> str:
    """The tables of a section in Markdown, from what JSON holds of it."""
    kind = get_type_hints(section.measure)["return"]
    return "\n\n".join(section.tables(TypeAdapter(list[kind]).validate_python(content["results"])))


def read(file: Path) -> dict[str, Any]:
    """All sections that a JSON file holds; none if it is not there."""
    return dict(json.loads(file.read_text())) if file.is_file() else {}


def write(file: Path, name: str, content: dict[str, Any]) -> None:
    """Put a section into a JSON file, and leave the other sections as they are."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(read(file) | {name: content}, indent=2, allow_nan=False) + "\n")
    partial.replace(file)


def names(text: str) -> list[str]:
    """Names of sections, separated by commas."""
    found = text.split(",")
    if unknown := [name for name in found if name not in SECTIONS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: the sections are {', '.join(SECTIONS)}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    costs = "\n".join(f"  {name:14} {section.cost}" for name, section in SECTIONS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"sections, and about how long they take for each seed on two cores:\n{costs}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", type=Path, required=True, help="file of the results; sections are added to it")
    parser.add_argument("--sections", type=names, default=list(SECTIONS), help="names, separated by commas")
    seeds: Callable[[str], list[int]] = lambda text: [int(seed) for seed in text.split(",")]  # noqa: E731
    parser.add_argument("--seeds", type=seeds, default=[0, 1, 2], help="default: 0,1,2")
    parser.add_argument("--output", type=Path, default=Path("runs/benchmarks"), help="folder of all runs and figures")
    parser.add_argument("--reference", type=Path, help="folder with the public data of arXiv 2505.17517")
    parser.add_argument("--config", type=Path, help="YAML settings on top of those of the molecule's runs")
    parser.add_argument("--tables", action="store_true", help="print what the file holds and measure nothing")
    options = parser.parse_args(arguments)
    configure_logging()
    bench = Bench(options.output, options.reference, read_yaml(options.config) if options.config else {})
    for name in options.sections:
        if not options.tables:
            log.info("section %s: %s for each seed", name, SECTIONS[name].cost)
            with one_thread():
                content = measure(SECTIONS[name], bench, options.seeds)
            write(options.json, name, content)
        if content := read(options.json).get(name):
            print(f"\n## {name}\n\n{tables(SECTIONS[name], content)}", flush=True)


if __name__ == "__main__":
    main()
