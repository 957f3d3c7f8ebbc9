"""Build the structures of ``systems/phe_ala``: Ace-Phe-Ala-Nme with alanine in C7eq and in C7ax.

Phenylalanine is C7eq and gauche in both; amber99sbildn in vacuum, bonds to hydrogens rigid as in ``system.yaml``.

Usage: ``python systems/phe_ala/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import peptide, write

PHE = {"phi": -78.0, "psi": 50.0, "chi1": -52.0, "chi2": 114.0}
ALA = {"c7eq": {"phi": -77.0, "psi": 49.0}, "c7ax": {"phi": 60.0, "psi": -41.0}}


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    force_field = app.ForceField("amber99sbildn.xml")
    write(
        output,
        {name: peptide({"PHE2": PHE, "ALA3": angles}, force_field, app.HBonds) for name, angles in ALA.items()},
    )


if __name__ == "__main__":
    main()
