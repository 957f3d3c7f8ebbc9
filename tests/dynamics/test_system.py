"""Alanine dipeptide as it is shipped, and every way in which a molecule is refused."""

from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app

from spacetime_tps.dynamics.system import MolecularSystem, choose_platform
from spacetime_tps.errors import MoleculeError
from spacetime_tps.settings.system import SystemSettings


def potential_energy(system: openmm.System, positions: np.ndarray) -> float:
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(positions)
    return context.getState(energy=True).getPotentialEnergy()._value


@pytest.fixture
def changed(system_settings):
    """Settings of alanine dipeptide with some of their sections replaced."""

    def build(**sections) -> SystemSettings:
        return SystemSettings.model_validate(system_settings.model_dump(mode="json") | sections)

    return build


@pytest.fixture
def edited_pdb(system_settings, tmp_path):
    """Path of a copy of C7ax whose lines have passed through a function."""

    def build(edit) -> Path:
        lines = Path(system_settings.structures["c7ax"]).read_text().splitlines(keepends=True)
        path = tmp_path / "edited.pdb"
        path.write_text("".join(edit(lines)))
        return path

    return build


def with_structure(settings: SystemSettings, path: Path) -> dict:
    return {**{name: str(p) for name, p in settings.structures.items()}, "c7ax": str(path)}


@pytest.mark.parametrize("name, phi, psi", [("c5", -146, 158), ("c7eq", -78, 55), ("c7ax", 60, -40)])
def test_minima_of_alanine_dipeptide(name, phi, psi, molecule):
    values = molecule.collective_variables(molecule.trajectory(molecule.structures[name][None]))
    assert np.degrees(values["phi"][0]) == pytest.approx(phi, abs=5)
    assert np.degrees(values["psi"][0]) == pytest.approx(psi, abs=5)


@pytest.mark.parametrize("name", ["c5", "c7eq", "c7ax"])
def test_alanine_is_left_handed(name, molecule):
    """L: with H towards the viewer CO, R, N run clockwise, so (N−CA) × (C−CA) · (CB−CA) is positive."""
    place = {atom.name: atom.index for atom in molecule.topology.atoms if atom.residue.name == "ALA"}
    x = molecule.structures[name]
    n, c, cb = (x[place[other]] - x[place["CA"]] for other in ("N", "C", "CB"))
    assert np.dot(np.cross(n, c), cb) > 0


@pytest.mark.parametrize("name", ["c5", "c7eq", "c7ax"])
def test_energy_is_that_of_openmm(name, molecule, system_settings):
    pdb = app.PDBFile(str(system_settings.structures[name]))
    plain = app.ForceField("amber99sbildn.xml").createSystem(pdb.topology, removeCMMotion=False)
    ours = openmm.XmlSerializer.deserialize(molecule.system_xml)
    expected = potential_energy(plain, pdb.getPositions(asNumpy=True)._value)
    assert potential_energy(ours, molecule.structures[name]) == pytest.approx(expected, abs=1e-9)
    assert {force.getForceGroup() for force in ours.getForces()} == {0}
    assert ours.getNumConstraints() == 0


def test_thermal_energy_and_period(molecule):
    assert molecule.kt == pytest.approx(2.494338785, rel=1e-9)
    assert not molecule.periodic
    assert molecule.platform == "Reference"


def test_constraints_are_as_asked(changed):
    system = openmm.XmlSerializer.deserialize(MolecularSystem.from_settings(changed(constraints="HBonds")).system_xml)
    assert system.getNumConstraints() == 12


def test_a_serialised_system_gives_the_same_energy(changed, molecule, tmp_path):
    (tmp_path / "system.xml").write_text(molecule.system_xml)
    again = MolecularSystem.from_settings(changed(force_field=[str(tmp_path / "system.xml")]))
    energies = [
        potential_energy(openmm.XmlSerializer.deserialize(m.system_xml), m.structures["c7ax"])
        for m in (again, molecule)
    ]
    assert energies[0] == pytest.approx(energies[1], abs=1e-9)


def test_a_system_of_other_size_is_refused(changed, wells, tmp_path):
    (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(wells(5)))
    with pytest.raises(MoleculeError, match=r"system\.xml describes 5 particles, the structures have 22 atoms"):
        MolecularSystem.from_settings(changed(force_field=[str(tmp_path / "system.xml")]))


def test_missing_structure(changed, system_settings, tmp_path):
    path = tmp_path / "nowhere.pdb"
    with pytest.raises(MoleculeError, match=r"structure 'c7ax': there is no file .*nowhere\.pdb"):
        MolecularSystem.from_settings(changed(structures=with_structure(system_settings, path)))


def with_first_column(lines: list[str], text: str) -> list[str]:
    """Lines with another x, of eight characters, in every atom."""
    return [line[:30] + text + line[38:] if line.startswith("ATOM") else line for line in lines]


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda lines: ["not a structure\n"], "is not a readable PDB file"),
        (lambda lines: [], "is not a readable PDB file|has no atoms"),
        (lambda lines: with_first_column(lines, " garbage"), "is not a readable PDB file"),
        (lambda lines: with_first_column(lines, "     nan"), "has coordinates that are not finite"),
    ],
    ids=["text", "empty", "garbage", "nan"],
)
def test_unreadable_structure(edit, message, changed, edited_pdb, system_settings):
    structures = with_structure(system_settings, edited_pdb(edit))
    with pytest.raises(MoleculeError, match=rf"structure 'c7ax': .*edited\.pdb ({message})"):
        MolecularSystem.from_settings(changed(structures=structures))


def test_a_binary_file_is_not_a_structure(changed, system_settings, tmp_path):
    path = tmp_path / "binary.pdb"
    path.write_bytes(bytes(range(256)) * 20)
    with pytest.raises(MoleculeError, match=r"structure 'c7ax': .*binary\.pdb"):
        MolecularSystem.from_settings(changed(structures=with_structure(system_settings, path)))


def without_last_atom(lines: list[str]) -> list[str]:
    last = max(i for i, line in enumerate(lines) if line[:4] in ("ATOM", "HETA"))
    return [line for i, line in enumerate(lines) if i != last and not line.startswith("CONECT")]


def with_two_atoms_swapped(lines: list[str]) -> list[str]:
    one, two = [i for i, line in enumerate(lines) if line[:4] in ("ATOM", "HETA")][1:3]
    lines[one], lines[two] = lines[two], lines[one]
    return lines


def with_other_element(lines: list[str]) -> list[str]:
    first = next(i for i, line in enumerate(lines) if line[:4] in ("ATOM", "HETA") and line[76:78].strip() == "N")
    lines[first] = lines[first][:76] + " P" + lines[first][78:]
    return lines


@pytest.mark.parametrize(
    "edit, message",
    [
        (without_last_atom, "structures 'c5' and 'c7ax' differ in number of atoms: 22 and 21"),
        (with_two_atoms_swapped, "structures 'c5' and 'c7ax' differ at atom 2: .*same order"),
        (with_other_element, r"structures 'c5' and 'c7ax' differ at atom \d+: .*\(N\) and .*\(P\)"),
    ],
)
def test_structures_of_other_atoms(edit, message, changed, edited_pdb, system_settings):
    structures = with_structure(system_settings, edited_pdb(edit))
    with pytest.raises(MoleculeError, match=message):
        MolecularSystem.from_settings(changed(structures=structures))


def test_residue_without_template(changed, edited_pdb, system_settings):
    path = str(edited_pdb(lambda lines: [line.replace(" ALA ", " XYZ ") for line in lines]))
    settings = changed(
        structures=dict.fromkeys(system_settings.structures, path),
        collective_variables={"phi": {"dihedral": [4, 6, 8, 14]}, "psi": {"dihedral": [6, 8, 14, 16]}},
    )
    with pytest.raises(
        MoleculeError, match=r"amber99sbildn\.xml cannot be applied to alanine_dipeptide: No template found"
    ):
        MolecularSystem.from_settings(settings)


def test_unknown_force_field(changed):
    with pytest.raises(MoleculeError, match=r"force field nosuch\.xml cannot be applied to alanine_dipeptide"):
        MolecularSystem.from_settings(changed(force_field=["nosuch.xml"]))


def state(structure: str, **box: tuple[str, str]) -> dict:
    return {"structure": structure, "boxes": [{name: list(interval) for name, interval in box.items()}]}


@pytest.mark.parametrize(
    "states, message",
    [
        (
            {"A": state("c5", phi=("150 deg", "70 deg")), "B": state("c7ax", phi=("50 deg", "80 deg"))},
            "states A and B overlap: box 0 of A and box 0 of B",
        ),
        (
            {"A": state("c5", phi=("0 deg", "20 deg")), "B": state("c7ax", phi=("50 deg", "80 deg"))},
            r"state A does not hold its own structure 'c5' \(phi = -2\.\d+, psi = 2\.\d+",
        ),
        (
            {"A": state("c5", phi=("-160 deg", "-100 deg")), "B": state("c7eq", phi=("50 deg", "80 deg"))},
            "state B does not hold its own structure 'c7eq'",
        ),
    ],
)
def test_states_that_do_not_fit(states, message, changed):
    with pytest.raises(MoleculeError, match=message):
        MolecularSystem.from_settings(changed(states=states))


@pytest.mark.parametrize(
    "atom, message",
    [
        ("name ZZ", "collective variable 'phi': 'name ZZ' selects no atom"),
        ("resname = = ALA", "collective variable 'phi': 'resname = = ALA' is not an mdtraj selection"),
        ("resname ALA", "collective variable 'phi': 'resname ALA' selects 10 atoms, it must select one"),
        (22, "collective variable 'phi': atom 22 is not one of the 22 atoms"),
    ],
)
def test_atoms_of_collective_variables(atom, message, changed):
    variables = {"phi": {"dihedral": [4, 6, 8, atom]}, "psi": {"dihedral": [6, 8, 14, 16]}}
    with pytest.raises(MoleculeError, match=message):
        MolecularSystem.from_settings(changed(collective_variables=variables))


def test_platforms(changed):
    with pytest.raises(MoleculeError, match=r"no platform 'Abacus' here; it has .*Reference.*, or use 'auto'"):
        MolecularSystem.from_settings(changed(platform="Abacus"))
    assert MolecularSystem.from_settings(changed(platform="CPU")).platform == "CPU"
    assert choose_platform("auto", 22) == "Reference"
    assert choose_platform("auto", 5000) != "Reference"
