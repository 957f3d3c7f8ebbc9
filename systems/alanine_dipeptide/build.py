"""Build the structures of ``systems/alanine_dipeptide``: C5, C7eq and C7ax of Ace-Ala-Nme.

Each conformer is minimised with amber99sbildn in vacuum (see ``systems/building.py``). Equivalent hydrogens are named
alike in all three. A conformer that does not stay within 20 degrees of its target, or is not an L-amino acid, is an
error.

Usage: ``python systems/alanine_dipeptide/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import peptide, write

TARGETS = {"c5": (-146.0, 158.0), "c7eq": (-78.0, 55.0), "c7ax": (60.0, -40.0)}  # (phi, psi) in degrees


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    force_field = app.ForceField("amber99sbildn.xml")
    write(
        output,
        {name: peptide({"ALA2": {"phi": phi, "psi": psi}}, force_field) for name, (phi, psi) in TARGETS.items()},
    )


if __name__ == "__main__":
    main()
