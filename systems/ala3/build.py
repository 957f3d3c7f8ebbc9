"""Build the structures of ``systems/ala3``: Ace-(Ala)3-Nme, extended and as a turn of helix.

amber99sbildn with the OBC2 of ``forcefields/``, bonds to hydrogens rigid as in ``system.yaml``. One turn of helix has
one hydrogen bond: its last residue leaves the ideal angles by up to 60 degrees.

Usage: ``python systems/ala3/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import peptide, write

SOLVENT = Path(__file__).resolve().parents[2] / "forcefields" / "amber99sbildn_obc2.xml"
CONFORMERS = {"beta": {"phi": -145.0, "psi": 160.0}, "helix": {"phi": -60.0, "psi": -40.0}}


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    force_field = app.ForceField("amber99sbildn.xml", str(SOLVENT))
    structures = {}
    for name, angles in CONFORMERS.items():
        residues = {f"ALA{number}": angles for number in (2, 3, 4)}
        structures[name] = peptide(residues, force_field, app.HBonds, leave=60.0)
    write(output, structures)


if __name__ == "__main__":
    main()
