"""Neural denoisers beside the mixture and a plain two-head network: every table of them.

Sections, each of which can be measured alone; what FILE holds of the others is kept:

- surfaces: two model surfaces, where the exact denoiser judges (``denoiser_surfaces.py``); the paper's with --reference
- heavy, all: alanine dipeptide, 10 heavy atoms and all 22 (``denoiser_molecule.py``)
- rounds: on-policy refinement from samples of the two basins alone (``denoiser_rounds.py``)
- growth: cost of a training step and of a geodesic's evaluation, 10 to 302 atoms (``growth.py``)

Usage: ``python scripts/benchmarks/denoisers.py --json FILE [--reference DIR] [--seed N] [--sections heavy,growth]
[--output runs/denoisers] [--config FILE]``
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import denoiser_molecule
import denoiser_rounds
import denoiser_surfaces
import growth
import torch
from sections import one_of, write_section

from spacetime_tps.progress import configure_logging
from spacetime_tps.settings.files import read_yaml

RESIDUES = (1, 3, 7, 14, 29)  # of the helices whose costs are measured
SECTIONS = ("surfaces", "heavy", "all", "rounds", "growth")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--reference", type=Path, help="public data of arXiv 2505.17517")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sections", type=one_of(SECTIONS), default=list(SECTIONS))
    parser.add_argument(
        "--output", type=Path, default=Path("runs/denoisers"), help="where the molecule's runs are kept"
    )
    parser.add_argument("--config", type=Path, help="settings on top of the molecule's; denoiser's are the networks'")
    arguments = parser.parse_args()
    configure_logging()
    override = read_yaml(arguments.config) if arguments.config is not None else {}
    for name in arguments.sections:
        print(f"\n## {name}\n")
        content = measure(name, arguments, override)
        write_section(arguments.json, name, content)
        show(name, content)


def measure(name: str, arguments: argparse.Namespace, override: dict[str, Any]) -> dict[str, Any]:
    """Figures of a section."""
    if name == "surfaces":
        torch.set_num_threads(1)
        return {"seed": arguments.seed, "surfaces": denoiser_surfaces.surfaces(arguments.reference, arguments.seed)}
    if name == "rounds":
        return denoiser_rounds.section(arguments.output, arguments.seed, override)
    if name == "growth":
        return costs(arguments.seed)
    return denoiser_molecule.section(name, arguments.output, arguments.seed, override)


def show(name: str, content: dict[str, Any]) -> None:
    """Print a section's tables; the surfaces' are printed while they are measured."""
    if name == "rounds":
        denoiser_rounds.print_tables(content)
    elif name == "growth":
        growth.print_table(content["rows"], content["exponents"])
    elif name in denoiser_molecule.SECTIONS:
        denoiser_molecule.print_tables(content)


def costs(seed: int) -> dict[str, Any]:
    """Costs by the number of atoms, and their exponents."""
    effort = argparse.Namespace(batch=64, points=64, seconds=4.0, seed=seed)
    torch.set_num_threads(1)
    rows = growth.measure(1, True, effort)
    for residues in RESIDUES:
        rows += growth.measure(residues, False, effort)
    names = growth.NETWORKS
    exponents = {cost: {name: growth.exponent(rows, name, cost) for name in names} for cost in growth.COSTS}
    return {**vars(effort), "rows": rows, "exponents": exponents}


if __name__ == "__main__":
    main()
