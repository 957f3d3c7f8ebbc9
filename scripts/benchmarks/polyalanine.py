"""Build Ace-(Ala)_n-Nme as an α-helix: a molecule of any length, for measuring how costs grow with size.

Heavy atoms are placed as those of the shipped peptides are, by ``systems/building.py``, OpenMM adds the hydrogens, and
amber99sbildn in vacuum minimises the energy. A molecule with a D-residue, a cis peptide bond, or atoms that clash is an
error. Short chains do not stay helical in vacuum.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "systems"))
from building import heavy_atoms

PHI, PSI = -57.0, -47.0  # of an α-helix, in degrees
CLASH = 0.15  # nm: no two atoms four or more bonds apart are nearer


def polyalanine(residues: int) -> tuple[app.Topology, openmm.System, np.ndarray]:
    """Topology, system (amber99sbildn in vacuum, no constraints) and minimised positions (nm), checked.

    Raises
    ------
    RuntimeError
        If it is not what it should be.
    """
    forcefield = app.ForceField("amber99sbildn.xml")
    topology, heavy = heavy_atoms({f"ALA{number}": {"phi": PHI, "psi": PSI} for number in range(2, residues + 2)})
    random.seed(0)  # Modeller draws the first guess of the hydrogens from the global generator
    modeller = app.Modeller(topology, heavy * unit.nanometer)
    modeller.addHydrogens(forcefield, platform=openmm.Platform.getPlatform("Reference"))
    system = forcefield.createSystem(modeller.topology, nonbondedMethod=app.NoCutoff, constraints=None)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(modeller.positions)
    openmm.LocalEnergyMinimizer.minimize(context, 1.0)
    positions = context.getState(positions=True).getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    check(mdtraj.Topology.from_openmm(modeller.topology), positions)
    return modeller.topology, system, positions


def check(topology: mdtraj.Topology, positions: np.ndarray) -> None:
    """Raise ``RuntimeError`` unless all residues are L, all peptide bonds trans, and no atoms clash."""
    frame = mdtraj.Trajectory(positions, topology)
    for residue in topology.residues:
        if residue.name == "ALA":
            n, ca, c, cb = (positions[residue.atom(name).index] for name in ("N", "CA", "C", "CB"))
            if np.dot(np.cross(n - ca, c - ca), cb - ca) <= 0:
                raise RuntimeError(f"{residue} is not an L-amino acid")
    omega = np.degrees(mdtraj.compute_omega(frame)[1])
    if (np.abs(omega) < 150).any():
        raise RuntimeError(f"a peptide bond is not trans: ω = {omega.round(0)}")
    bonded = np.eye(len(positions), dtype=int)
    for a, b in topology.bonds:
        bonded[a.index, b.index] = bonded[b.index, a.index] = 1
    distances = np.linalg.norm(positions[:, None] - positions[None], axis=-1)
    nearest = distances[np.linalg.matrix_power(bonded, 3) == 0].min(initial=np.inf)
    if nearest < CLASH:
        raise RuntimeError(f"two atoms that are not bonded are {nearest:.3f} nm apart")
