"""The shipped OBC2 force field is OpenMM's ``implicit/obc2.xml``, only faster."""

from __future__ import annotations

import runpy
import xml.etree.ElementTree as ET
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openmm
import pytest
from openmm import app, unit

from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import data_folder, find_system, shipped_systems

OPENMM_DATA = Path(app.__file__).parent / "data"
SHIPPED = data_folder("forcefields") / "amber99sbildn_obc2.xml"

# implicit/obc2.xml rounds Coulomb's constant (kJ nm/(mol e²)) to another value than OpenMM's own forces use. It is the
# only difference: 2e-7 of the polar energy, 1.3e-5 kJ/mol of the dipeptide's -66. With one constant none is left.
COULOMB_OBC2, COULOMB_OPENMM = "138.935485", "138.93545764438198"


@pytest.fixture(scope="module")
def native() -> app.ForceField:
    return app.ForceField("amber99sbildn.xml", str(SHIPPED))


@pytest.fixture(scope="module")
def custom() -> app.ForceField:
    return app.ForceField("amber99sbildn.xml", "implicit/obc2.xml")


@pytest.fixture(scope="module")
def script() -> SimpleNamespace:
    return SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "forcefields" / "build_obc2.py")))


@pytest.fixture(scope="module")
def dipeptide() -> MolecularSystem:
    return MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide_obc2")).system)


def solvent_force(system: openmm.System) -> openmm.Force:
    """Return the implicit solvent of a system."""
    [force] = [f for f in system.getForces() if isinstance(f, openmm.GBSAOBCForce | openmm.CustomGBForce)]
    return force


def with_openmms_coulomb_constant(system: openmm.System) -> openmm.System:
    """Return the system with its CustomGBForce computed from the Coulomb constant of OpenMM's own forces."""
    force = solvent_force(system)
    for term in range(force.getNumEnergyTerms()):
        expression, kind = force.getEnergyTermParameters(term)
        force.setEnergyTermParameters(term, expression.replace(COULOMB_OBC2, COULOMB_OPENMM), kind)
    return system


def assert_same_energies(
    native: openmm.System, custom: openmm.System, frames: list[np.ndarray], tolerance: float
) -> None:
    """Energies agree to the tolerance in kJ/mol; forces, in kJ/mol/nm, to ten times the number."""
    platform = openmm.Platform.getPlatform("Reference")
    contexts = [openmm.Context(s, openmm.VerletIntegrator(0.001), platform) for s in (native, custom)]
    for positions in frames:
        energies, forces = [], []
        for context in contexts:
            context.setPositions(positions)
            state = context.getState(energy=True, forces=True)
            energies.append(state.getPotentialEnergy().value_in_unit(unit.kilojoule_per_mole))
            forces.append(state.getForces(asNumpy=True)._value)
        assert abs(energies[0] - energies[1]) < tolerance
        np.testing.assert_allclose(forces[0], forces[1], rtol=0, atol=10 * tolerance)


def every_residue() -> tuple[app.Topology, list[str]]:
    """One residue for each template of amber99sbildn.xml, and the type of each atom.

    Bonds between residues join arbitrary partners: neither templates nor radii depend on whom.
    """
    root = ET.parse(OPENMM_DATA / "amber99sbildn.xml").getroot()
    elements = {item.attrib["name"]: item.get("element") for item in root.iterfind("AtomTypes/Type")}
    topology, types, ends = app.Topology(), [], []
    chain = topology.addChain()
    for template in root.iterfind("Residues/Residue"):
        residue = topology.addResidue(template.attrib["name"], chain)
        atoms = []
        for atom in template.iterfind("Atom"):
            types.append(atom.attrib["type"])
            element = app.Element.getBySymbol(elements[types[-1]])
            atoms.append(topology.addAtom(atom.attrib["name"], element, residue))
        for bond in template.iterfind("Bond"):
            topology.addBond(atoms[int(bond.attrib["from"])], atoms[int(bond.attrib["to"])])
        ends += [atoms[int(bond.attrib["from"])] for bond in template.iterfind("ExternalBond")]
    half = len(ends) // 2
    for one, two in zip(ends[:half], ends[half:], strict=True):
        topology.addBond(one, two)
    return topology, types


def test_the_shipped_file_is_what_the_script_writes(script: SimpleNamespace) -> None:
    assert SHIPPED.read_text() == script.force_field()


def test_one_atom_type_with_two_radii_is_an_error(script: SimpleNamespace) -> None:
    root = ET.fromstring(
        "<ForceField><AtomTypes>"
        "<Type name='h' element='H'/><Type name='n' element='N'/><Type name='c' element='C'/></AtomTypes>"
        "<Residues>"
        "<Residue name='NH'><Atom name='H' type='h'/><Atom name='N' type='n'/><Bond from='0' to='1'/></Residue>"
        "<Residue name='CH'><Atom name='H' type='h'/><Atom name='C' type='c'/><Bond from='0' to='1'/></Residue>"
        "</Residues></ForceField>"
    )
    with pytest.raises(ValueError, match=r"type h needs radius and scale \(0.13, 0.85\) as well as \(0.12, 0.85\)"):
        script.radii_and_scales(root)


def test_every_residue_gets_the_parameters_of_implicit_obc2(native: app.ForceField, custom: app.ForceField) -> None:
    topology, types = every_residue()
    shipped = {atom.get("type") for atom in ET.parse(SHIPPED).iterfind("GBSAOBCForce/Atom")}
    assert shipped == set(types)
    templates = {residue: residue.name for residue in topology.residues()}
    systems = [ff.createSystem(topology, residueTemplates=templates) for ff in (native, custom)]
    ours, theirs = map(solvent_force, systems)
    assert (ours.getSolventDielectric(), ours.getSoluteDielectric()) == (78.5, 1.0)
    for index in range(topology.getNumAtoms()):
        charge, radius, scale = ours.getParticleParameters(index)
        offset_radius = radius.value_in_unit(unit.nanometer) - 0.009
        expected = (charge.value_in_unit(unit.elementary_charge), offset_radius, scale * offset_radius)
        assert theirs.getParticleParameters(index) == pytest.approx(expected, rel=1e-12)


def test_a_solvent_dielectric_that_the_user_gives_is_kept(native: app.ForceField, dipeptide: MolecularSystem) -> None:
    system = native.createSystem(dipeptide.openmm_topology, solventDielectric=4.0)
    assert solvent_force(system).getSolventDielectric() == 4.0


def test_energies_of_the_dipeptide_are_those_of_implicit_obc2(
    dipeptide: MolecularSystem, custom: app.ForceField
) -> None:
    rng = np.random.default_rng(0)
    frames = [dipeptide.structures[name] for name in ("c5", "c7eq", "c7ax")]
    frames += [frames[0] + rng.normal(scale=0.01, size=frames[0].shape) for _ in range(5)]
    ours = openmm.XmlSerializer.deserialize(dipeptide.system_xml)
    theirs = custom.createSystem(dipeptide.openmm_topology, removeCMMotion=False)
    assert_same_energies(ours, theirs, frames, tolerance=2e-5)
    assert_same_energies(ours, with_openmms_coulomb_constant(theirs), frames, tolerance=1e-8)


def test_energies_of_a_protein_are_those_of_implicit_obc2(native: app.ForceField, custom: app.ForceField) -> None:
    """The villin headpiece that comes with OpenMM: 17 kinds of residues, some of them charged."""
    pdb = app.PDBFile(str(OPENMM_DATA / "test.pdb"))
    modeller = app.Modeller(pdb.topology, pdb.positions)
    modeller.delete([residue for residue in pdb.topology.residues() if residue.name in ("HOH", "Cl")])
    assert modeller.topology.getNumAtoms() > 500
    ours, theirs = (forcefield.createSystem(modeller.topology, removeCMMotion=False) for forcefield in (native, custom))
    positions = modeller.positions.value_in_unit(unit.nanometer)
    assert_same_energies(ours, with_openmms_coulomb_constant(theirs), [positions], tolerance=1e-6)


@pytest.mark.parametrize("name", ["alanine_dipeptide", "alanine_dipeptide_obc2"])
def test_shipped_systems_load_from_any_working_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert name in shipped_systems()
    molecule = MolecularSystem.from_settings(load_settings(find_system(name)).system)
    assert molecule.name == name
    solvated = openmm.XmlSerializer.deserialize(molecule.system_xml)
    assert any(isinstance(f, openmm.GBSAOBCForce) for f in solvated.getForces()) == name.endswith("_obc2")
