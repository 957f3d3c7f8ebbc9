"""What the ``build.py`` of the molecules share: atoms from internal coordinates, minimised structures, PDB files.

Heavy atoms of a capped peptide are placed from ideal bond lengths, angles and torsions, OpenMM adds the hydrogens, and
the structure is minimised twice: with torsions held, then free.
"""

from __future__ import annotations

import io
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import mdtraj
import numpy as np
import openmm
from openmm import app, unit

from spacetime_tps.dynamics.equivalent_atoms import check_same_handedness, renamed

Quartet = tuple[int, int, int, int]

# atom, (bonded to, angle with, torsion with), length in nm, angle and torsion in degrees
SIDE_CHAINS: dict[str, list[tuple[str, tuple[str, str, str], float, float, float | str]]] = {
    "GLY": [],
    "ALA": [("CB", ("CA", "C", "N"), 0.1526, 111.1, 122.7)],
    "PHE": [
        ("CB", ("CA", "C", "N"), 0.1526, 111.1, 122.7),
        ("CG", ("CB", "CA", "N"), 0.1510, 114.0, "chi1"),
        ("CD1", ("CG", "CB", "CA"), 0.1400, 120.0, "chi2"),
        ("CE1", ("CD1", "CG", "CB"), 0.1400, 120.0, 180.0),
        ("CZ", ("CE1", "CD1", "CG"), 0.1400, 120.0, 0.0),
        ("CE2", ("CZ", "CE1", "CD1"), 0.1400, 120.0, 0.0),
        ("CD2", ("CE2", "CZ", "CE1"), 0.1400, 120.0, 0.0),
    ],
    "PRO": [
        ("CB", ("CA", "C", "N"), 0.1526, 111.1, 122.7),
        ("CG", ("CB", "CA", "N"), 0.1526, 104.0, 30.0),
        ("CD", ("N", "CA", "CB"), 0.1449, 112.0, -10.0),
    ],
}


@dataclass(frozen=True)
class Built:
    """A minimised structure.

    Attributes
    ----------
    topology : openmm.app.Topology
    positions : array, shape (atoms, 3)
        nm; the mean of all atoms is the origin.
    torsions : array, shape (torsions,)
        Those that were held, in degrees, as they are now.
    energy : float
        kJ/mol.
    """

    topology: app.Topology
    positions: np.ndarray
    torsions: np.ndarray
    energy: float


def place(neighbours: Sequence[np.ndarray], length: float, angle: float, torsion: float) -> np.ndarray:
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


def peptide(
    residues: Mapping[str, Mapping[str, float]],
    force_field: app.ForceField,
    constraints: object = None,
    leave: float = 20.0,
) -> Built:
    """A minimised peptide of L-amino acids with the caps Ace and Nme, which have the numbers before and after.

    Parameters
    ----------
    residues : mapping of str to mapping of str to float
        By residue, such as ``"ALA2"`` (ACE is 1): its phi and psi in degrees, and omega of the bond before it, chi1 and
        chi2 where they are to be held; they begin at 180, -60 and 90 where they are not.
    force_field : openmm.app.ForceField
    constraints : object
        As ``createSystem`` takes them.
    leave : float
        Degrees by which torsions may leave what was asked for, once they are free.

    Raises
    ------
    RuntimeError
        If they leave it by more, or an amino acid is not L.
    """
    topology, heavy = heavy_atoms(residues)
    random.seed(0)  # Modeller draws the first guess of the hydrogens from the global generator
    modeller = app.Modeller(topology, heavy * unit.nanometer)
    modeller.addHydrogens(force_field, platform=openmm.Platform.getPlatform("Reference"))
    system = force_field.createSystem(
        modeller.topology, nonbondedMethod=app.NoCutoff, constraints=constraints, removeCMMotion=False
    )
    atoms = [{atom.name: atom.index for atom in residue.atoms()} for residue in modeller.topology.residues()]
    held: dict[Quartet, float] = {}
    for number, angles in enumerate(residues.values(), 1):
        before, here, after = atoms[number - 1 : number + 2]
        start = before.get("CA", before.get("CH3"))
        quartets = {
            "omega": (start, before["C"], here["N"], here["CA"]),
            "phi": (before["C"], here["N"], here["CA"], here["C"]),
            "psi": (here["N"], here["CA"], here["C"], after["N"]),
            "chi1": (here["N"], here["CA"], here.get("CB"), here.get("CG")),
            "chi2": (here["CA"], here.get("CB"), here.get("CG"), here.get("CD1")),
        }
        held |= {quartets[name]: angle for name, angle in angles.items()}
    built = minimised(
        modeller.topology, system, np.array(modeller.positions.value_in_unit(unit.nanometer)), held, leave
    )
    for number, name in enumerate(residues, 1):
        if "CB" in atoms[number]:
            n, ca, c, cb = (built.positions[atoms[number][atom]] for atom in ("N", "CA", "C", "CB"))
            if np.dot(np.cross(n - ca, c - ca), cb - ca) <= 0:
                raise RuntimeError(f"{name} is not an L-amino acid")
    return built


def minimised(
    topology: app.Topology,
    system: openmm.System,
    positions: np.ndarray,
    held: Mapping[Quartet, float],
    leave: float = 20.0,
) -> Built:
    """A structure that was minimised with torsions (atoms to degrees) held, then free.

    Raises
    ------
    RuntimeError
        If a torsion is more than ``leave`` degrees from where it was held.
    """
    quartets, targets = np.array(list(held)), np.array(list(held.values()))
    bias = openmm.CustomTorsionForce("k*(1-cos(theta-target))")
    bias.addGlobalParameter("k", 1000.0)
    bias.addPerTorsionParameter("target")
    for quartet, target in zip(quartets, targets, strict=True):
        bias.addTorsion(*quartet.tolist(), [np.radians(target)])
    system = openmm.XmlSerializer.clone(system)
    system.addForce(bias)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions * unit.nanometer)
    for k in (1000.0, 0.0):
        context.setParameter("k", k)
        openmm.LocalEnergyMinimizer.minimize(context, 1e-3)
    state = context.getState(positions=True, energy=True)
    positions = state.getPositions(asNumpy=True).value_in_unit(unit.nanometer)
    positions = positions - positions.mean(axis=0)
    frame = mdtraj.Trajectory(positions, mdtraj.Topology.from_openmm(topology))
    torsions = np.degrees(mdtraj.compute_dihedrals(frame, quartets))[0].astype(float)
    if np.abs((torsions - targets + 180) % 360 - 180).max() > leave:
        raise RuntimeError(f"torsions held at {targets} minimised to {torsions.round(1)}")
    energy = state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole)
    return Built(topology, positions, torsions, energy)


def write(folder: Path, structures: Mapping[str, Built]) -> None:
    """Write PDB files by name; the equivalent atoms of all are named as in the first.

    Raises
    ------
    MoleculeError
        If one is the mirror image of the first at a centre.
    """
    folder.mkdir(parents=True, exist_ok=True)
    first = next(iter(structures))
    reference = structures[first].positions
    for name, built in structures.items():
        topology = mdtraj.Topology.from_openmm(built.topology)
        (positions,) = renamed(topology, reference, built.positions[None])
        check_same_handedness(topology, first, reference, name, positions)
        text = io.StringIO()
        app.PDBFile.writeFile(built.topology, positions * unit.nanometer, text, keepIds=True)
        lines = text.getvalue().splitlines(keepends=True)
        (folder / f"{name}.pdb").write_text("".join(line for line in lines if not line.startswith("REMARK")))  # a date
        print(f"{name:8s} torsions {built.torsions.round(1).tolist()} deg, energy {built.energy:.3f} kJ/mol")


def mirror_image(built: Built, swapped: Sequence[tuple[str, str]]) -> Built:
    """The mirror image, in which pairs of atoms have exchanged their names so that it is the same molecule.

    A mirror turns the handedness of every centre; exchanging the two hydrogens of a CH2 turns it back.
    """
    index = {atom.name: atom.index for atom in built.topology.atoms()}
    order = np.arange(len(built.positions))
    for one, other in swapped:
        order[[index[one], index[other]]] = index[other], index[one]
    return replace(built, positions=built.positions[order] * [1.0, 1.0, -1.0], torsions=-built.torsions)


def heavy_atoms(residues: Mapping[str, Mapping[str, float]]) -> tuple[app.Topology, np.ndarray]:
    """Topology and ideal positions (atoms, 3) in nm of the heavy atoms; ``residues`` are those of :func:`peptide`."""
    placed: dict[str, np.ndarray] = {}

    def add(atom: str, relatives: Sequence[str], length: float, angle: float, torsion: float) -> None:
        placed[atom] = place([placed[relative] for relative in relatives], length, angle, torsion)

    add("ACE1:CH3", (), 0, 0, 0)
    add("ACE1:C", ["ACE1:CH3"], 0.1522, 0, 0)
    add("ACE1:O", ["ACE1:C", "ACE1:CH3"], 0.1229, 120.4, 0)
    before, backbone, psi = "ACE1", ("C", "CH3", "O"), 180.0
    for residue, given in residues.items():
        angles = {"omega": 180.0, "chi1": -60.0, "chi2": 90.0} | dict(given)
        n, ca, c = (f"{residue}:{name}" for name in ("N", "CA", "C"))
        add(n, [f"{before}:{name}" for name in backbone], 0.1335, 116.6, psi)
        if before != "ACE1":
            add(f"{before}:O", [f"{before}:C", f"{before}:CA", n], 0.1229, 120.4, 180)
        add(ca, [n, f"{before}:C", f"{before}:{backbone[1]}"], 0.1449, 121.9, angles["omega"])
        add(c, [ca, n, f"{before}:C"], 0.1522, 110.1, angles["phi"])
        for name, relatives, length, angle, torsion in SIDE_CHAINS[residue[:3]]:
            value = angles[torsion] if isinstance(torsion, str) else torsion
            add(f"{residue}:{name}", [f"{residue}:{other}" for other in relatives], length, angle, value)
        before, backbone, psi = residue, ("C", "CA", "N"), angles["psi"]
    cap = f"NME{len(residues) + 2}"
    add(f"{cap}:N", [f"{before}:{name}" for name in backbone], 0.1335, 116.6, psi)
    add(f"{before}:O", [f"{before}:C", f"{before}:CA", f"{cap}:N"], 0.1229, 120.4, 180)
    add(f"{cap}:C", [f"{cap}:N", f"{before}:C", f"{before}:CA"], 0.1449, 121.9, 180)

    topology = app.Topology()
    chain = topology.addChain("A")
    positions = []
    for residue in ("ACE1", *residues, cap):
        here = topology.addResidue(residue[:3], chain)
        names = [atom.split(":")[1] for atom in placed if atom.startswith(f"{residue}:")]
        last = ["C", "O"] if residue[:3] not in ("ACE", "NME") else []
        for name in [*(name for name in names if name not in last), *last]:
            topology.addAtom(name, app.Element.getBySymbol(name[0]), here)
            positions.append(placed[f"{residue}:{name}"])
    topology.createStandardBonds()
    return topology, np.array(positions)
