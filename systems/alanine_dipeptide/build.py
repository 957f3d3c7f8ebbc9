"""Build the structures of ``systems/alanine_dipeptide``: C5, C7eq and C7ax of Ace-Ala-Nme.

The heavy atoms are placed from ideal bond lengths, angles and torsions, OpenMM adds the hydrogens, and each
conformer is minimised twice with amber99sbildn in vacuum: with its (phi, psi) restrained, then free. Equivalent
hydrogens are named alike in all three.
A conformer that does not stay within 20 degrees of its target, or is not an L-amino acid, is an error.

Usage: ``python systems/alanine_dipeptide/build.py [OUTPUT_DIR]``
"""

from __future__ import annotations

import sys
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

from spacetime_tps.dynamics.equivalent_atoms import renamed

TARGETS = {"c5": (-146.0, 158.0), "c7eq": (-78.0, 55.0), "c7ax": (60.0, -40.0)}  # (phi, psi) in degrees

# atom, residue, element, (bonded to, angle with, torsion with), length in nm, angle and torsion in degrees
ATOMS = [
    ("CH3", "ACE", "C", (), 0, 0, 0),
    ("C", "ACE", "C", ("ACE:CH3",), 0.1522, 0, 0),
    ("O", "ACE", "O", ("ACE:C", "ACE:CH3"), 0.1229, 120.4, 0),
    ("N", "ALA", "N", ("ACE:C", "ACE:CH3", "ACE:O"), 0.1335, 116.6, 180.0),
    ("CA", "ALA", "C", ("ALA:N", "ACE:C", "ACE:CH3"), 0.1449, 121.9, 180.0),
    ("C", "ALA", "C", ("ALA:CA", "ALA:N", "ACE:C"), 0.1522, 110.1, "phi"),
    ("CB", "ALA", "C", ("ALA:CA", "ALA:C", "ALA:N"), 0.1526, 111.1, 122.7),
    ("N", "NME", "N", ("ALA:C", "ALA:CA", "ALA:N"), 0.1335, 116.6, "psi"),
    ("O", "ALA", "O", ("ALA:C", "ALA:CA", "NME:N"), 0.1229, 120.4, 180.0),
    ("C", "NME", "C", ("NME:N", "ALA:C", "ALA:CA"), 0.1449, 121.9, 180.0),
]
ORDER = {"ACE": ["CH3", "C", "O"], "ALA": ["N", "CA", "CB", "C", "O"], "NME": ["N", "C"]}


def place(neighbours: list[np.ndarray], length: float, angle: float, torsion: float) -> np.ndarray:
    """Position of an atom from its internal coordinates relative to up to three placed atoms (nm, degrees)."""
    if not neighbours:
        return np.zeros(3)
    if len(neighbours) == 1:
        return neighbours[0] + np.array([length, 0.0, 0.0])
    theta, tau = np.radians(angle), np.radians(torsion)
    b, c = neighbours[0], neighbours[1]
    d = neighbours[2] if len(neighbours) == 3 else c + np.array([0.0, 0.1, 0.0])
    bc = (b - c) / np.linalg.norm(b - c)
    normal = np.cross(c - d, bc)
    normal /= np.linalg.norm(normal)
    in_plane = np.cross(normal, bc)
    return b + length * (-np.cos(theta) * bc + np.sin(theta) * (np.cos(tau) * in_plane + np.sin(tau) * normal))


def heavy_atoms(phi: float, psi: float) -> tuple[app.Topology, np.ndarray]:
    """Topology and ideal positions (nm) of the ten heavy atoms."""
    placed: dict[str, np.ndarray] = {}
    elements: dict[str, str] = {}
    for name, residue, element, relatives, length, angle, torsion in ATOMS:
        value = {"phi": phi, "psi": psi}.get(torsion, torsion)  # type: ignore[arg-type]
        placed[f"{residue}:{name}"] = place([placed[r] for r in relatives], length, angle, float(value))
        elements[f"{residue}:{name}"] = element
    topology = app.Topology()
    chain = topology.addChain("A")
    positions = []
    for residue_name, names in ORDER.items():
        residue = topology.addResidue(residue_name, chain)
        for name in names:
            key = f"{residue_name}:{name}"
            topology.addAtom(name, app.Element.getBySymbol(elements[key]), residue)
            positions.append(placed[key])
    topology.createStandardBonds()
    return topology, np.array(positions)


def conformer(name: str, forcefield: app.ForceField) -> tuple[app.Topology, np.ndarray, np.ndarray, float]:
    """Topology, positions (nm), (phi, psi) in degrees and energy (kJ/mol) of one minimised conformer."""
    phi, psi = TARGETS[name]
    topology, heavy = heavy_atoms(phi, psi)
    np.random.seed(0)  # Modeller draws the first guess of the hydrogens from numpy's global generator
    modeller = app.Modeller(topology, heavy * unit.nanometer)
    modeller.addHydrogens(forcefield)
    system = forcefield.createSystem(
        modeller.topology, nonbondedMethod=app.NoCutoff, constraints=None, removeCMMotion=False
    )
    top = mdtraj.Topology.from_openmm(modeller.topology)
    dihedrals = np.array(
        [
            [top.select(f"resname {residue} and name {atom}")[0] for residue, atom in quartet]
            for quartet in (
                [("ACE", "C"), ("ALA", "N"), ("ALA", "CA"), ("ALA", "C")],
                [("ALA", "N"), ("ALA", "CA"), ("ALA", "C"), ("NME", "N")],
            )
        ]
    )
    bias = openmm.CustomTorsionForce("k*(1-cos(theta-target))")
    bias.addGlobalParameter("k", 1000.0)
    bias.addPerTorsionParameter("target")
    for quartet, angle in zip(dihedrals, (phi, psi), strict=True):
        bias.addTorsion(*quartet.tolist(), [np.radians(angle)])
    system.addForce(bias)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(modeller.positions)
    for k in (1000.0, 0.0):
        context.setParameter("k", k)
        openmm.LocalEnergyMinimizer.minimize(context, 1e-3)
    state = context.getState(positions=True, energy=True)
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    positions = positions - positions.mean(axis=0)
    angles = np.degrees(mdtraj.compute_dihedrals(mdtraj.Trajectory(positions, top), dihedrals))[0]
    drift = (angles - np.array([phi, psi]) + 180) % 360 - 180
    if np.abs(drift).max() > 20:
        raise RuntimeError(f"{name} minimised to (phi, psi) = {angles.round(1)}, its target is {phi}, {psi}")
    n, ca, c, cb = (positions[top.select(f"resname ALA and name {atom}")[0]] for atom in ("N", "CA", "C", "CB"))
    if np.dot(np.cross(n - ca, c - ca), cb - ca) <= 0:
        raise RuntimeError(f"{name} is not an L-amino acid")
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return modeller.topology, positions, angles, energy


def main() -> None:
    default = Path(__file__).resolve().parent
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else default
    output.mkdir(parents=True, exist_ok=True)
    forcefield = app.ForceField("amber99sbildn.xml")
    reference = None
    for name in TARGETS:
        topology, positions, angles, energy = conformer(name, forcefield)
        reference = positions if reference is None else reference
        (positions,) = renamed(mdtraj.Topology.from_openmm(topology), reference, positions[None])
        with (output / f"{name}.pdb").open("w") as file:
            app.PDBFile.writeFile(topology, positions * unit.nanometer, file, keepIds=True)
        print(f"{name:5s} phi {angles[0]:7.1f}  psi {angles[1]:7.1f} deg  energy {energy:8.2f} kJ/mol")


if __name__ == "__main__":
    main()
