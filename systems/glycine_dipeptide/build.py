"""Build the structures of ``systems/glycine_dipeptide``: C7 of Ace-Gly-Nme, and its mirror image.

amber99sbildn in vacuum. The mirror image has (-phi, -psi); glycine's two hydrogens exchange their names in it, or it
would be no conformer of the same molecule. Both have one energy, and both states one free energy, exactly.

Usage: ``python systems/glycine_dipeptide/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path

from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import mirror_image, peptide, write

C7 = {"phi": -83.0, "psi": 70.0}


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    c7 = peptide({"GLY2": C7}, app.ForceField("amber99sbildn.xml"))
    write(output, {"c7": c7, "mirrored": mirror_image(c7, [("HA2", "HA3")])})


if __name__ == "__main__":
    main()
