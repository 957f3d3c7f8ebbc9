"""Build the structures of ``systems/proline``: trans and cis Ace-Pro-Nme, amber99sbildn in vacuum.

Usage: ``python systems/proline/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import peptide, write

CONFORMERS = {
    "trans": {"omega": 180.0, "phi": -78.0, "psi": 61.0},  # C7eq
    "cis": {"omega": 0.0, "phi": -70.0, "psi": 159.0},
}


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    force_field = app.ForceField("amber99sbildn.xml")
    write(output, {name: peptide({"PRO2": torsions}, force_field) for name, torsions in CONFORMERS.items()})


if __name__ == "__main__":
    main()
