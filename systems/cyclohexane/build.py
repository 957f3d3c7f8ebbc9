"""Build the structures of ``systems/cyclohexane``: a chair and the inverted chair in vacuum.

Hydrogens A lie on one face of the ring and hydrogens B on the other, in both chairs: A of carbon 1 is axial in one and
equatorial in the other. So the two are conformers of one molecule and no motion but the ring's inversion joins them; as
mirror images of each other that have exchanged names they have one energy, and both states one free energy, exactly.

Usage: ``python systems/cyclohexane/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from openmm import app

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from building import Built, minimised, mirror_image, write

RADIUS, HEIGHT = 0.1455, 0.0255  # nm; of the ring's carbons about its axis, above and below its plane
CC, CH = 0.1526, 0.109  # nm


def chair() -> Built:
    """The chair whose carbon 1 is up: its hydrogen A is axial."""
    topology = app.Topology()
    residue = topology.addResidue("CHX", topology.addChain("A"))
    carbons = [topology.addAtom(f"C{number}", app.element.carbon, residue) for number in range(1, 7)]
    positions, hydrogens = [], []
    for number, carbon in enumerate(carbons):
        topology.addBond(carbon, carbons[(number + 1) % 6])
        up, angle = (-1) ** number, np.radians(60 * number)
        outward = np.array([np.cos(angle), np.sin(angle), 0.0])
        here = RADIUS * outward + np.array([0.0, 0.0, HEIGHT * up])
        axial = here + np.array([0.0, 0.0, CH * up])
        equatorial = here + CH * (np.sqrt(8) / 3 * outward - np.array([0.0, 0.0, up / 3]))
        positions.append(here)
        hydrogens += [axial, equatorial] if up > 0 else [equatorial, axial]
    for number, carbon in enumerate(carbons, 1):
        for face in "AB":
            topology.addBond(carbon, topology.addAtom(f"H{number}{face}", app.element.hydrogen, residue))
    force_field = app.ForceField("amber99sbildn.xml", str(Path(__file__).resolve().parent / "cyclohexane.xml"))
    system = force_field.createSystem(topology, nonbondedMethod=app.NoCutoff, removeCMMotion=False)
    ring = {(i, (i + 1) % 6, (i + 2) % 6, (i + 3) % 6): -56.0 * (-1) ** i for i in range(6)}
    return minimised(topology, system, np.array(positions + hydrogens), ring)


def main() -> None:
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    built = chair()
    write(output, {"chair": built, "inverted": mirror_image(built, [(f"H{i}A", f"H{i}B") for i in range(1, 7)])})


if __name__ == "__main__":
    main()
