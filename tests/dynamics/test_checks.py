"""Masses, bonds and energies: what fits, and every way in which structures and force field do not."""

import importlib.util
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from spacetime_tps.dynamics.checks import (
    check_bond_lengths,
    check_energies,
    check_masses,
    force_field_bonds,
    join_bonds,
)
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import MoleculeError
from spacetime_tps.settings.system import SystemSettings

_spec = importlib.util.spec_from_file_location("prmtop", Path(__file__).with_name("prmtop.py"))
prmtop = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(prmtop)


@pytest.fixture
def made(molecule):
    """The System and topology of alanine dipeptide, its bonds, and its positions in C7eq."""
    topology = molecule.openmm_topology
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    return system, topology, force_field_bonds(system), molecule.structures["c7eq"].copy()


@pytest.fixture
def row(tmp_path):
    """A molecule of atoms in a row, from a prmtop and PDB files without CONECT records."""

    def build(elements: str = "OCO", edit=lambda folder: None, **sections) -> MolecularSystem:
        settings = prmtop.row_settings(tmp_path, elements, **sections)
        edit(tmp_path)
        return MolecularSystem.from_settings(SystemSettings.model_validate(settings))

    return build


def test_masses_are_those_of_the_elements(made):
    system, topology, bonds, _ = made
    check_masses(system, topology, bonds)
    system.setParticleMass(5, 32.06)
    with pytest.raises(MoleculeError, match=r"atom 6 \(ACE 1 O\) has a mass of 32\.060 amu .* oxygen has 15\.999 amu"):
        check_masses(system, topology, bonds)


def test_repartitioned_masses_are_right_and_lost_masses_are_not(made):
    system, topology, bonds, _ = made
    repartitioned = app.ForceField("amber99sbildn.xml").createSystem(topology, hydrogenMass=3 * unit.amu)
    check_masses(repartitioned, topology, bonds)
    hydrogen = next(atom.index for atom in topology.atoms() if atom.element.symbol == "H")
    system.setParticleMass(hydrogen, 3.0)
    with pytest.raises(MoleculeError, match=r"has a mass of 3\.000 amu"):
        check_masses(system, topology, bonds)


def test_bonds_are_those_of_the_topology(made, molecule):
    _, topology, bonds, _ = made
    assert bonds.keys() == {tuple(sorted((a.index, b.index))) for a, b in topology.bonds()}


def test_sides_of_an_angle_are_no_bonds():
    system = openmm.System()
    for _ in range(6):
        system.addParticle(1.0)
    for one, other, length in ((0, 1, 0.0957), (0, 2, 0.0957), (1, 2, 0.1514)):  # rigid water
        system.addConstraint(one, other, length)
    ring = openmm.HarmonicBondForce()
    for one, other in ((3, 4), (4, 5), (3, 5)):  # cyclopropane
        ring.addBond(one, other, 0.151, 2e5)
    ring.addBond(0, 5, 0.7, 100)  # a restraint
    system.addForce(ring)
    assert set(force_field_bonds(system)) == {(0, 1), (0, 2), (3, 4), (4, 5), (3, 5)}


@pytest.mark.parametrize("one, other", [(0, 3), (-1, 1)])
def test_a_bond_of_a_particle_that_is_not_there_is_refused(one, other):
    system = openmm.System()
    for _ in range(3):
        system.addParticle(1.0)
    bonds = openmm.HarmonicBondForce()
    bonds.addBond(one, other, 0.1, 1e5)
    system.addForce(bonds)
    with pytest.raises(MoleculeError, match=rf"a bond of particles {one} and {other}, but its particles are 0 to 2"):
        force_field_bonds(system)


def test_bonds_that_the_pdb_does_not_name_come_from_the_force_field(row):
    molecule = row("OCOH")
    assert [(a.index, b.index) for a, b in molecule.topology.bonds] == [(0, 1), (1, 2), (2, 3)]


def test_a_bond_that_the_force_field_lacks_is_refused(made):
    system, topology, *_ = made
    system = openmm.XmlSerializer.clone(system)
    bond = next(force for force in system.getForces() if isinstance(force, openmm.HarmonicBondForce))
    one, _, length, stiffness = bond.getBondParameters(0)
    bond.setBondParameters(0, one, 20, length, stiffness)
    with pytest.raises(MoleculeError, match="are bonded in the structures, but not in the force field"):
        join_bonds(system, topology, force_field_bonds(system))


def test_two_like_atoms_that_are_swapped_are_named(made, molecule):
    _, topology, bonds, positions = made
    names = [f"{atom.residue.name} {atom.name}" for atom in topology.atoms()]
    one, other = names.index("ACE C"), names.index("NME C")
    positions[[one, other]] = positions[[other, one]]
    with pytest.raises(MoleculeError, match=r"'x': atom \d+ \(ACE 1 C\) and atom \d+ \(NME 3 C\) are swapped"):
        check_bond_lengths("x", positions, bonds, topology)


def test_hydrogens_of_neighbouring_carbons_that_are_swapped_are_found(made):
    """Their distances are less than twice a bond's length."""
    _, topology, bonds, positions = made
    names = [f"{atom.residue.name} {atom.name}" for atom in topology.atoms()]
    one, other = names.index("ALA HA"), names.index("ALA HB1")
    positions[[one, other]] = positions[[other, one]]
    with pytest.raises(MoleculeError, match=r"ALA 2 HA.*ALA 2 HB1.*swapped|ALA 2 HB1.*ALA 2 HA.*swapped"):
        check_bond_lengths("x", positions, bonds, topology)


def test_an_atom_far_away_is_refused(made):
    _, topology, bonds, positions = made
    positions[6] += 1000
    with pytest.raises(MoleculeError, match=r"atom 7 \(ALA 2 N\).*nm at rest, but are 1\d\d\d\.\d+ nm apart"):
        check_bond_lengths("x", positions, bonds, topology)


def test_a_prmtop_in_another_order_is_refused(row):
    def reorder(folder: Path) -> None:
        (folder / "row.prmtop").write_text(prmtop.prmtop_text("OOC"))

    with pytest.raises(MoleculeError, match=r"atom 2 \(ROW 1 C2\) has a mass of 15\.999 amu .* carbon has 12\.011 amu"):
        row("OCO", reorder)


def test_a_prmtop_without_a_box_is_given_that_of_the_structures(row):
    molecule = row("OCOH", box=25.0, nonbonded_method="PME")
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    assert system.getDefaultPeriodicBoxVectors()[0][0].value_in_unit(unit.nanometer) == pytest.approx(2.5)
    assert molecule.periodic
    with pytest.raises(MoleculeError, match="PME is periodic, but the structures have no box"):
        row("OCOH", nonbonded_method="PME")


@pytest.mark.parametrize("own, refused", [(26.5, False), (40.0, True)])
def test_a_prmtop_with_another_box(row, caplog, own, refused):
    """Solvent shrinks a little under pressure after a prmtop is made; 4.0 nm around 2.5 nm of solvent is a mistake."""

    def give(folder: Path) -> None:
        (folder / "row.prmtop").write_text(prmtop.prmtop_text("OCOH", box=own))

    if refused:
        with pytest.raises(MoleculeError, match=r"row\.prmtop has a box of 4\.000 .* structures have one of 2\.500 "):
            row("OCOH", give, box=25.0, nonbonded_method="PME")
        return
    with caplog.at_level("INFO"):
        molecule = row("OCOH", give, box=25.0, nonbonded_method="PME")
    assert molecule.box[0, 0] == pytest.approx(2.5)
    assert "row.prmtop has a box of 2.650" in caplog.text
    row("OCOH", give, nonbonded_method="NoCutoff")  # no force sees it


def test_energies_are_told(made, caplog):
    system, topology, _, positions = made
    with caplog.at_level("INFO"):
        check_energies(system, {"x": positions}, "Reference", topology)
    assert "structure x: potential energy -90.9 kJ/mol" in caplog.text


def test_absurd_energies_are_refused(made):
    system, topology, _, positions = made
    overlapping = positions.copy()
    overlapping[1] = overlapping[20] + 0.01
    with pytest.raises(MoleculeError, match=r"structure 'x' has a potential energy of [\d,]+ kJ/mol \(most of it in "):
        check_energies(system, {"x": overlapping}, "Reference", topology)
    positions[1] = positions[20]
    with pytest.raises(MoleculeError, match=r"structure 'x' has a potential energy of (nan|inf) kJ/mol"):
        check_energies(system, {"x": positions}, "Reference", topology)


def test_virtual_sites_are_put_in_place():
    force_field = app.ForceField("tip4pew.xml")
    modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    modeller.addSolvent(force_field, model="tip4pew", numAdded=3)
    system = force_field.createSystem(modeller.topology)
    positions = np.array(modeller.positions.value_in_unit(unit.nanometer))
    site = next(i for i in range(4) if system.isVirtualSite(i))
    moved = positions.copy()
    moved[site] += 0.05
    placed = check_energies(system, {"x": moved}, "Reference", modeller.topology)["x"]
    assert np.linalg.norm(placed[site] - placed[0]) == pytest.approx(0.0125, abs=1e-3)
    check_masses(system, modeller.topology, force_field_bonds(system))
