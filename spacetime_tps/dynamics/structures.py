"""PDB files of a molecule's structures: read, compared with each other, and told where they left a choice."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openmm
from openmm import app, unit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.errors import MoleculeError
from spacetime_tps.progress import log

_SAME_BOX = 1e-3
"""nm; PDB files round lengths to 1e-4 nm."""
_FARTHEST = 1e4
"""nm; the columns of a PDB file hold 1,000 nm."""
_LISTED = 8


@dataclass(frozen=True)
class Structure:
    """One structure.

    Attributes
    ----------
    path : Path
    topology : openmm.app.Topology
        With the box of the CRYST1 record, if there is one.
    positions : array, shape (atoms, 3)
        nm.
    """

    path: Path
    topology: app.Topology
    positions: FloatArray

    @property
    def box(self) -> FloatArray | None:
        """Box vectors (3, 3) in nm, in rows; None if the file has no CRYST1 record."""
        return periodic_box(self.topology)


def read_structures(files: Mapping[str, Path]) -> dict[str, Structure]:
    """Structures of the same atoms, by name.

    Raises
    ------
    MoleculeError
        If a file is missing or no PDB, has an atom twice, positions that are not finite or other atoms than the first.
    """
    structures = {name: read_pdb(name, Path(path)) for name, path in files.items()}
    first = next(iter(structures))
    for name, structure in structures.items():
        _check_same_atoms(first, structures[first].topology, name, structure.topology)
    return structures


def read_pdb(name: str, path: Path) -> Structure:
    """One structure from a PDB file; what the file leaves open is told in the log.

    Raises
    ------
    MoleculeError
        If the file is missing or no PDB, or has an atom twice, no atoms, or positions that are not finite.
    """
    if not path.is_file():
        raise MoleculeError(f"structure {name!r}: there is no file {path}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of atoms that come twice: these are refused below
            pdb = app.PDBFile(str(path))
        lines = path.read_text().splitlines()
    except Exception as error:
        raise MoleculeError(f"structure {name!r}: {path} is not a readable PDB file ({error})") from error
    if pdb.topology.getNumAtoms() == 0:
        raise MoleculeError(f"structure {name!r}: {path} has no atoms")
    positions = np.array(pdb.positions.value_in_unit(unit.nanometer))
    if positions.shape != (pdb.topology.getNumAtoms(), 3):
        raise MoleculeError(f"structure {name!r}: {path} has {len(positions)} positions for its atoms; mend the file")
    if not np.isfinite(positions).all():
        raise MoleculeError(f"structure {name!r}: {path} has coordinates that are not finite")
    if np.abs(positions).max() > _FARTHEST:
        raise MoleculeError(f"structure {name!r}: {path} has atoms more than {_FARTHEST:,.0f} nm from the origin")
    structure = Structure(path, pdb.topology, positions)
    if structure.box is not None and not (np.isfinite(structure.box).all() and np.linalg.det(structure.box) > 0):
        raise MoleculeError(f"structure {name!r}: the CRYST1 record of {path} is not a box; mend or remove it")
    _tell_choices(name, path, lines)
    return structure


def common_box(structures: Mapping[str, Structure]) -> FloatArray | None:
    """Box vectors (3, 3) of all structures, nm; None if none has a box.

    Raises
    ------
    MoleculeError
        If they differ.
    """
    boxes = {name: structure.box for name, structure in structures.items()}
    first = next(iter(boxes))
    for name, box in boxes.items():
        reference = boxes[first]
        same = box is reference or (box is not None and reference is not None and same_box(box, reference))
        if not same:
            raise MoleculeError(
                f"structures {first!r} and {name!r} have different boxes: {box_text(reference)} and {box_text(box)}; "
                "the box does not change in these dynamics, so all structures need the same CRYST1 record"
            )
    return boxes[first]


def set_box(system: openmm.System, box: FloatArray | None, source: str) -> None:
    """Give a periodic System the box of the structures, or say that it keeps its own.

    Parameters
    ----------
    system : openmm.System
    box : array, shape (3, 3), or None
        Of the structures, nm.
    source : str
        Where the System came from.

    Raises
    ------
    MoleculeError
        If the System was made for another box.
    """
    vectors = system.getDefaultPeriodicBoxVectors()
    own = np.array([vector.value_in_unit(unit.nanometer) for vector in vectors])
    if box is None:
        log.info("the structures have no box; that of %s is used: %s", source, box_text(own))
    elif not same_box(box, own):
        raise MoleculeError(
            f"{source} has a box of {box_text(own)}, the structures have one of {box_text(box)}; give both the same"
        )
    else:
        system.setDefaultPeriodicBoxVectors(*(openmm.Vec3(*vector) for vector in box))


def periodic_box(topology: app.Topology) -> FloatArray | None:
    """Box vectors (3, 3) of a topology in nm, in rows; None if it has none."""
    vectors = topology.getPeriodicBoxVectors()
    return None if vectors is None else np.array(vectors.value_in_unit(unit.nanometer))


def same_box(one: FloatArray, other: FloatArray) -> bool:
    """Whether two boxes (3, 3) in nm agree as well as PDB files hold them."""
    return bool(np.abs(one - other).max() <= _SAME_BOX)


def box_text(box: FloatArray | None) -> str:
    """A box (3, 3) for messages."""
    if box is None:
        return "no box"
    if np.allclose(box, np.diag(np.diag(box)), atol=1e-6):
        return " × ".join(f"{length:.3f}" for length in np.diag(box)) + " nm"
    return "; ".join(f"({', '.join(f'{x:.3f}' for x in vector)})" for vector in box) + " nm"


def atom_text(atom: app.topology.Atom) -> str:
    """An atom for messages."""
    return f"atom {atom.index + 1} ({atom.residue.name} {atom.residue.id} {atom.name})"


def listed(items: Sequence[str]) -> str:
    """Items with commas, not more than a line of them."""
    rest = len(items) - _LISTED
    return ", ".join(items[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")


def _check_same_atoms(name_a: str, a: app.Topology, name_b: str, b: app.Topology) -> None:
    if a.getNumAtoms() != b.getNumAtoms():
        raise MoleculeError(
            f"structures {name_a!r} and {name_b!r} differ in number of atoms: {a.getNumAtoms()} and {b.getNumAtoms()}"
        )
    for one, two in zip(a.atoms(), b.atoms(), strict=True):
        described = [
            f"{atom.residue.name} {atom.name} ({atom.element.symbol if atom.element else 'no element'})"
            for atom in (one, two)
        ]
        if described[0] != described[1]:
            raise MoleculeError(
                f"structures {name_a!r} and {name_b!r} differ at atom {one.index + 1}: {described[0]} and "
                f"{described[1]}; all structures need the same atoms in the same order"
            )


def _tell_choices(name: str, path: Path, lines: Sequence[str]) -> None:
    """Warn of models, alternate locations and missing elements; refuse atoms that come twice."""
    models = sum(line.startswith("MODEL ") for line in lines)
    if models > 1:
        log.warning("structure %s: %s has %d models; the first is taken", name, path, models)
    residue, residue_name, names = "", "", set[str]()
    alternates, no_element = [], []
    for number, line in enumerate(lines, 1):
        if line.startswith("ENDMDL"):
            break
        if line.startswith("TER"):
            residue = ""
        if not line.startswith(("ATOM  ", "HETATM")):
            continue
        atom = f"{line[17:20].strip()} {line[22:26].strip()} {line[12:16].strip()}"
        place, kind = line[21:27], line[17:20]
        if place != residue or (kind != residue_name and line[16:17] == " "):
            residue, residue_name, names = place, kind, set()
        if line[12:16] in names:
            if line[16:17] == " ":
                raise MoleculeError(f"structure {name!r}: {path}, line {number}: {atom} comes twice in its residue")
            alternates.append(atom)
        elif not line[76:78].strip():
            no_element.append(atom)
        names.add(line[12:16])
    if alternates:
        atoms = listed(list(dict.fromkeys(alternates)))
        log.warning("structure %s: %s has alternate locations of %s; the first is taken", name, path, atoms)
    if no_element:
        log.warning(
            "structure %s: %s names no element of %s; it is taken from their names", name, path, listed(no_element)
        )
