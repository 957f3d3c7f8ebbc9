"""Whether a System is that of the structures: their masses, their bonds, and energies that can be."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from itertools import combinations

import numpy as np
import openmm
from numpy.typing import NDArray
from openmm import app, unit

from spacetime_tps.arrays import FloatArray
from spacetime_tps.dynamics.structures import atom_text
from spacetime_tps.errors import MoleculeError
from spacetime_tps.progress import log

Bonds = dict[tuple[int, int], float]
"""Length at rest (nm) by the two atoms, the lower first."""

_MASS = 0.3
"""amu; neighbours among the elements of molecules differ by 1 and more, force fields round to 0.02."""
_LONGEST = 0.3
"""nm; harmonic terms that rest at more are restraints, no bonds. I–I has 0.267."""
_SHORT, _STRETCHED = 0.5, 1.5
"""Of the length at rest. Dynamics of alanine dipeptide at 5000 K stays within 0.65 and 1.39; atoms two bonds apart are
1.6 times as far as one, so that 1.5 finds swapped neighbours."""
_ENERGY = 100.0
"""kJ/mol of a degree of freedom. Alanine dipeptide has 17 on average and 28 at most in dynamics at 5000 K; minimised
molecules, proteins and water have −7 to 1."""
_FORCE = 1e6
"""kJ/(mol nm); it moves a hydrogen by 1 nm in a step of 1 fs. Dynamics at 5000 K has 2e4 at most."""


def check_masses(system: openmm.System, topology: app.Topology, bonds: Bonds) -> None:
    """Refuse a System whose particles do not have the masses of the topology's elements.

    Hydrogen masses may be repartitioned: then a heavy atom and its hydrogens have the right sum. Particles without mass
    (virtual sites, and atoms that are held) and atoms without an element are left out.

    Raises
    ------
    MoleculeError
        Naming the first atom that is wrong.
    """
    atoms = list(topology.atoms())
    masses = np.array([system.getParticleMass(i).value_in_unit(unit.dalton) for i in range(len(atoms))])
    usual = np.array([atom.element.mass.value_in_unit(unit.dalton) if atom.element else np.nan for atom in atoms])
    excess = np.where(masses > 0, masses - usual, 0.0)
    excess = np.where(np.isnan(excess), 0.0, excess)
    hydrogens: dict[int, list[int]] = defaultdict(list)
    for pair in bonds:
        for one, other in (pair, pair[::-1]):
            if _is_hydrogen(atoms[one]) and not _is_hydrogen(atoms[other]):
                hydrogens[other].append(one)
    right = np.abs(excess) <= _MASS
    for heavy, light in hydrogens.items():
        group = [heavy, *light]
        if excess[heavy] <= _MASS and all(excess[light] >= -_MASS) and abs(excess[group].sum()) <= _MASS:
            right[group] = True
    if not right.all():
        wrong = int(np.argmin(right))
        raise MoleculeError(
            f"{atom_text(atoms[wrong])} has a mass of {masses[wrong]:.3f} amu in the force field, but its element "
            f"{atoms[wrong].element.name} has {usual[wrong]:.3f} amu; the force field must have the atoms of the "
            "structures in their order"
        )


def force_field_bonds(system: openmm.System) -> Bonds:
    """Bonds of a System: its harmonic bonds and constraints, without those over an angle.

    Raises
    ------
    MoleculeError
        If a bond is of a particle that the System does not have.
    """
    lengths: Bonds = {}
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce):
            for index in range(force.getNumBonds()):
                one, other, length, stiffness = force.getBondParameters(index)
                if stiffness._value > 0:
                    lengths[_pair(one, other)] = length.value_in_unit(unit.nanometer)
    for index in range(system.getNumConstraints()):
        one, other, length = system.getConstraintParameters(index)
        lengths[_pair(one, other)] = length.value_in_unit(unit.nanometer)
    particles = system.getNumParticles()
    for pair in lengths:
        if pair[0] < 0 or pair[1] >= particles:
            raise MoleculeError(
                f"the force field has a bond of particles {pair[0]} and {pair[1]}, but its particles are 0 to "
                f"{particles - 1}; mend or make it anew"
            )
    lengths = {pair: length for pair, length in lengths.items() if 0 < length < _LONGEST}
    neighbours: dict[int, set[int]] = defaultdict(set)
    for one, other in lengths:
        neighbours[one].add(other)
        neighbours[other].add(one)

    def over_an_angle(pair: tuple[int, int]) -> bool:
        sides = (
            max(lengths[_pair(pair[0], middle)], lengths[_pair(pair[1], middle)])
            for middle in neighbours[pair[0]] & neighbours[pair[1]]
        )
        return any(lengths[pair] > 1.3 * side for side in sides)

    return {pair: length for pair, length in lengths.items() if not over_an_angle(pair)}


def join_bonds(system: openmm.System, topology: app.Topology, bonds: Bonds) -> None:
    """Give a topology the bonds of the force field that it lacks; refuse one that has others.

    Raises
    ------
    MoleculeError
        If two atoms are bonded in the topology and not in the force field. (Ions have no bonds there, and a force field
        of other terms alone has none at all.)
    """
    atoms = list(topology.atoms())
    known = {_pair(bond[0].index, bond[1].index) for bond in topology.bonds()}
    terms = _bonded_by_other_terms(system) | bonds.keys()
    bonded = {atom for pair in terms for atom in pair}
    for one, other in sorted(known - terms):
        if one in bonded and other in bonded:
            raise MoleculeError(
                f"{atom_text(atoms[one])} and {atom_text(atoms[other])} are bonded in the structures, but not in the "
                "force field; the force field must have the atoms of the structures in their order"
            )
    missing = sorted(bonds.keys() - known)
    for one, other in missing:
        topology.addBond(atoms[one], atoms[other])
    if missing:
        log.info("%d bonds that the PDB files do not name are those of the force field", len(missing))


def check_bond_lengths(name: str, positions: FloatArray, bonds: Bonds, topology: app.Topology) -> None:
    """Refuse a structure in which a bond of the force field is far from its length.

    Raises
    ------
    MoleculeError
        Naming the two atoms of the bond, or the two atoms that are swapped.
    """
    if not bonds:
        return
    pairs, rest = np.array(list(bonds)), np.array(list(bonds.values()))
    wrong = _wrong(positions, pairs, rest)
    if not wrong.any():
        return
    atoms = list(topology.atoms())
    swapped = _swapped(positions, pairs, rest, wrong, atoms)
    if swapped is not None:
        one, other = (atom_text(atoms[i]) for i in swapped)
        raise MoleculeError(
            f"structure {name!r}: {one} and {other} are swapped: with their positions exchanged all bonds of the force "
            "field have their lengths; the structures and the force field must have their atoms in one order"
        )
    worst = int(np.flatnonzero(wrong)[0])
    one, other = (atom_text(atoms[i]) for i in pairs[worst])
    length = np.linalg.norm(positions[pairs[worst, 0]] - positions[pairs[worst, 1]])
    raise MoleculeError(
        f"structure {name!r}: {one} and {other} are bonded in the force field, with {rest[worst]:.4f} nm at rest, but "
        f"are {length:.4f} nm apart; the atoms are in another order than the force field's, or the structure is broken "
        "(make molecules whole across the periodic box)"
    )


def check_energies(
    system: openmm.System, structures: Mapping[str, FloatArray], platform: str, topology: app.Topology
) -> dict[str, FloatArray]:
    """Tell the energy of each structure, refuse what cannot be, and return the structures with virtual sites in place.

    Parameters
    ----------
    system : openmm.System
    structures : mapping of str to array, shape (atoms, 3)
        nm.
    platform : str
        OpenMM's name of it.
    topology : openmm.app.Topology

    Raises
    ------
    MoleculeError
        If OpenMM cannot simulate the System on the platform, or an energy or a force is not finite or far beyond
        whatever heat gives.
    """
    system = openmm.XmlSerializer.clone(system)
    for index, force in enumerate(system.getForces()):
        force.setForceGroup(min(index, 31))
    properties = {"Threads": "1"} if platform == "CPU" else {}
    try:
        context = openmm.Context(
            system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName(platform), properties
        )
    except Exception as error:
        raise MoleculeError(f"OpenMM cannot simulate this molecule on platform {platform}: {error}") from error
    placed = {}
    for name, positions in structures.items():
        try:
            placed[name] = _placed(context, positions)
            _check_energy(context, name, topology)
        except openmm.OpenMMException as error:
            raise MoleculeError(f"structure {name!r}: its energy cannot be computed: {error}") from error
    return placed


def _placed(context: openmm.Context, positions: FloatArray) -> FloatArray:
    """Positions (atoms, 3) with virtual sites in place; the context is left there."""
    system = context.getSystem()
    context.setPositions(positions)
    sites = [i for i in range(system.getNumParticles()) if system.isVirtualSite(i)]
    placed = np.array(positions)
    if sites:
        context.computeVirtualSites()
        placed[sites] = context.getState(positions=True).getPositions(asNumpy=True)._value[sites]
    return placed


def _check_energy(context: openmm.Context, name: str, topology: app.Topology) -> None:
    """Tell or refuse the energy of the structure that a context is at."""
    system = context.getSystem()
    moving = sum(system.getParticleMass(i)._value > 0 for i in range(system.getNumParticles()))
    freedom = max(3 * moving - system.getNumConstraints(), 1)
    state = context.getState(energy=True, forces=True)
    energy = state.getPotentialEnergy()._value
    forces = np.linalg.norm(state.getForces(asNumpy=True)._value, axis=1)
    largest = int(np.argmax(np.nan_to_num(forces, nan=np.inf)))
    if np.isfinite(energy) and energy <= _ENERGY * freedom and forces[largest] <= _FORCE:
        log.info("structure %s: potential energy %.1f kJ/mol", name, energy)
        return
    atom = atom_text(list(topology.atoms())[largest])
    raise MoleculeError(
        f"structure {name!r} has a potential energy of {energy:,.0f} kJ/mol (most of it in {_largest_term(context)}), "
        f"and the largest force, {forces[largest]:,.0f} kJ/(mol nm), is on {atom}; no heat leads there (up to "
        f"{_ENERGY:g} kJ/mol a degree of freedom and {_FORCE:,.0f} kJ/(mol nm) are taken). Atoms overlap or are in "
        "another order than the force field's: look at this atom, or minimise the structure"
    )


def _largest_term(context: openmm.Context) -> str:
    """Name of the force whose energy is the highest."""
    energies = {
        force.getName(): context.getState(energy=True, groups={force.getForceGroup()}).getPotentialEnergy()._value
        for force in context.getSystem().getForces()
    }
    return max(energies, key=lambda term: np.nan_to_num(energies[term], nan=np.inf), default="no force")


def _pair(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def _is_hydrogen(atom: app.topology.Atom) -> bool:
    return atom.element is not None and atom.element.symbol == "H"


def _bonded_by_other_terms(system: openmm.System) -> set[tuple[int, int]]:
    """Pairs of harmonic and custom bonds and constraints, whatever their lengths."""
    pairs = {_pair(*system.getConstraintParameters(i)[:2]) for i in range(system.getNumConstraints())}
    for force in system.getForces():
        if isinstance(force, openmm.HarmonicBondForce | openmm.CustomBondForce):
            pairs |= {_pair(*force.getBondParameters(i)[:2]) for i in range(force.getNumBonds())}
    return pairs


def _wrong(positions: FloatArray, pairs: NDArray[np.intp], rest: FloatArray) -> NDArray[np.bool_]:
    lengths = np.linalg.norm(positions[pairs[:, 0]] - positions[pairs[:, 1]], axis=1)
    return np.asarray((lengths < _SHORT * rest) | (lengths > _STRETCHED * rest))


def _swapped(
    positions: FloatArray,
    pairs: NDArray[np.intp],
    rest: FloatArray,
    wrong: NDArray[np.bool_],
    atoms: list[app.topology.Atom],
) -> tuple[int, int] | None:
    """Two atoms of one element which, exchanged, leave no bond wrong; None if there are none or many are wrong."""
    involved = np.unique(pairs[wrong])
    if len(involved) > 20:  # a swap breaks the bonds of two atoms
        return None
    for one, other in combinations(involved.tolist(), 2):
        if atoms[one].element != atoms[other].element:
            continue
        exchanged = positions.copy()
        exchanged[[one, other]] = positions[[other, one]]
        if not _wrong(exchanged, pairs, rest).any():
            return one, other
    return None
