"""Build the structures of ``systems/pentane``: g+g+, g-g- and tt of n-pentane, with the parameters of pentane.prmtop.

g-g- is the mirror image of g+g+; the two hydrogens of each CH2 exchange their names in it, or it would be no conformer
of the same molecule. Both have one energy, and both states one free energy, exactly. README.md says where the prmtop is
from.

Usage: ``python systems/pentane/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import openmm
from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import Built, minimised, mirror_image, place, write

HYDROGENS = [("H1", "H2", "H3"), ("H4", "H5"), ("H6", "H7"), ("H8", "H9"), ("H10", "H11", "H12")]  # of C1 to C5
NEAR = [(1, 2), (0, 2), (1, 3), (2, 4), (3, 2)]  # carbons that say where these are, by index


def conformer(system: openmm.System, torsion: float) -> Built:
    """Both torsions of the carbons alike, in degrees."""
    carbons: list[np.ndarray] = []
    for _ in range(5):
        carbons.append(place(carbons[:-4:-1], 0.1535, 112.6, torsion))
    topology = app.Topology()
    residue = topology.addResidue("PEN", topology.addChain("A"))
    atoms = [topology.addAtom(f"C{number}", app.element.carbon, residue) for number in range(1, 6)]
    for one, other in pairwise(atoms):
        topology.addBond(one, other)
    positions = list(carbons)
    for number, (names, near) in enumerate(zip(HYDROGENS, NEAR, strict=True)):
        for name, turn in zip(names, (60.0, 180.0, -60.0) if len(names) == 3 else (120.0, -120.0), strict=True):
            topology.addBond(atoms[number], topology.addAtom(name, app.element.hydrogen, residue))
            positions.append(place([carbons[number], *(carbons[other] for other in near)], 0.1096, 109.5, turn))
    return minimised(topology, system, np.array(positions), {(0, 1, 2, 3): torsion, (1, 2, 3, 4): torsion})


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    prmtop = app.AmberPrmtopFile(str(Path(__file__).resolve().parent / "pentane.prmtop"))
    system = prmtop.createSystem(removeCMMotion=False)
    pp = conformer(system, 60.0)
    tt = conformer(system, 180.0)
    write(output, {"pp": pp, "mm": mirror_image(pp, [("H4", "H5"), ("H6", "H7"), ("H8", "H9")]), "tt": tt})


if __name__ == "__main__":
    main()
