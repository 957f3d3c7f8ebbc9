"""Force fields: which files, with what code, forces, settings and box."""

import shutil
from pathlib import Path

import numpy as np
import openmm
import pytest
from openmm import app, unit

from spacetime_tps.dynamics.force_field import create_system, input_files
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import ConfigError, MoleculeError
from spacetime_tps.settings.files import parse_settings
from spacetime_tps.settings.system import SystemSettings

PLAIN = "<ForceField/>"


@pytest.fixture
def changed(system_settings):
    def build(**sections) -> SystemSettings:
        return SystemSettings.model_validate(system_settings.model_dump(mode="json", exclude_none=True) | sections)

    return build


@pytest.fixture
def with_files(changed, tmp_path, molecule):
    """Makes the System with files of our own beside amber99sbildn: names and contents."""

    def make(files: dict[str, str], first: str = "own.xml", **options) -> openmm.System:
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(content)
        settings = changed(force_field=["amber99sbildn.xml", str(tmp_path / first)])
        return create_system(settings, molecule.openmm_topology, **options)

    return make


def script(trace: Path, tag: str = "Script") -> str:
    return f"<ForceField><{tag}>open({str(trace)!r}, 'w').close()</{tag}></ForceField>"


def test_a_script_runs_only_if_it_is_trusted(with_files, tmp_path):
    trace = tmp_path / "trace"
    with pytest.raises(MoleculeError, match=r"own\.xml holds code .*<Script>.*--trust-scripts"):
        with_files({"own.xml": script(trace)})
    assert not trace.exists()
    with_files({"own.xml": script(trace)}, trust_scripts=True)
    assert trace.exists()


def test_includes_are_followed(with_files, tmp_path):
    trace = tmp_path / "trace"
    files = {
        "own.xml": '<ForceField><Include file="sub/one.xml"/></ForceField>',
        "sub/one.xml": '<ForceField><Include file="two.xml"/></ForceField>',
        "sub/two.xml": script(trace, "InitializationScript"),
    }
    with pytest.raises(MoleculeError, match=r"two\.xml holds code"):
        with_files(files)
    assert not trace.exists()


def test_an_included_file_may_be_openmms(changed, molecule, tmp_path):
    own = tmp_path / "own.xml"
    own.write_text('<ForceField><Include file="amber99sbildn.xml"/></ForceField>')
    settings = changed(force_field=[str(own), "implicit/obc2.xml"])  # which has a script
    system = create_system(settings, molecule.openmm_topology)
    assert "CustomGBForce" in [type(force).__name__ for force in system.getForces()]
    assert list(input_files(settings)) == [
        *(f"structures.{name}" for name in settings.structures),
        "force_field.own.xml",
    ]


@pytest.mark.parametrize(
    "files, message",
    [
        ({"own.xml": '<ForceField><Include file="own.xml"/></ForceField>'}, r"loop: .*own\.xml includes .*own\.xml"),
        (
            {
                "own.xml": '<ForceField><Include file="b.xml"/></ForceField>',
                "b.xml": '<ForceField><Include file="own.xml"/></ForceField>',
            },
            "include each other in a loop",
        ),
        ({"own.xml": '<ForceField><Include file="gone.xml"/></ForceField>'}, r"own\.xml includes gone\.xml, but it is"),
        ({"own.xml": "<Other/>"}, r"own\.xml is neither a force field nor a System: .*<Other>"),
        ({"own.xml": "<System/>"}, r"own\.xml is a serialised System, .*remove the other files"),
    ],
)
def test_files_that_do_not_fit(files, message, with_files):
    with pytest.raises(MoleculeError, match=message):
        with_files(files)


def test_a_file_in_the_working_directory_is_not_taken(changed, molecule, tmp_path, monkeypatch):
    """OpenMM would look there first."""
    trace = tmp_path / "trace"
    (tmp_path / "amber99sbildn.xml").write_text(script(trace))
    monkeypatch.chdir(tmp_path)
    create_system(changed(), molecule.openmm_topology)
    assert not trace.exists()


def test_input_files_are_the_users(changed, tmp_path):
    for name, content in {
        "own.xml": '<ForceField><Include file="part.xml"/></ForceField>',
        "part.xml": PLAIN,
    }.items():
        (tmp_path / name).write_text(content)
    (tmp_path / "sub").mkdir()
    shutil.copy(tmp_path / "part.xml", tmp_path / "sub" / "part.xml")
    settings = changed(force_field=["amber99sbildn.xml", str(tmp_path / "own.xml"), str(tmp_path / "sub" / "part.xml")])
    files = input_files(settings)
    assert files["structures.c5"] == settings.structures["c5"]
    assert {key: path.relative_to(tmp_path) for key, path in files.items() if key.startswith("force_field")} == {
        "force_field.own.xml": Path("own.xml"),
        "force_field.part.xml": Path("sub/part.xml"),
        "force_field.own.xml/part.xml": Path("part.xml"),
    }


@pytest.fixture
def system_file(molecule, tmp_path):
    """A serialised System of alanine dipeptide that has passed through a function."""

    def write(change=lambda system: None) -> str:
        system = openmm.XmlSerializer.deserialize(molecule.system_xml)
        change(system)
        (tmp_path / "system.xml").write_text(openmm.XmlSerializer.serialize(system))
        return str(tmp_path / "system.xml")

    return write


@pytest.mark.parametrize(
    "force, reason",
    [
        (openmm.AndersenThermostat(300, 1), "changes velocities between steps"),
        (openmm.MonteCarloBarostat(1, 300), "changes the box between steps"),
        (openmm.MonteCarloAnisotropicBarostat([1, 1, 1], 300), "changes the box"),
        (openmm.DrudeForce(), "an integrator of their own"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_systems_that_need_other_dynamics_are_refused(force, reason, changed, system_file):
    path = system_file(lambda system: system.addForce(openmm.XmlSerializer.clone(force)))
    with pytest.raises(MoleculeError, match=rf"system\.xml: the System has a {type(force).__name__}; .*{reason}"):
        MolecularSystem.from_settings(changed(force_field=[path]))


def test_a_force_from_a_plugin_is_refused_before_it_is_made(changed, molecule, tmp_path):
    path = tmp_path / "system.xml"
    path.write_text(molecule.system_xml.replace("</Forces>", '<Force type="TorchForce" file="x.pt"/></Forces>'))
    with pytest.raises(MoleculeError, match="TorchForce; it is not known to be a potential"):
        create_system(changed(force_field=[str(path)]), molecule.openmm_topology)


def test_the_remover_of_motion_is_taken_out(changed, system_file, caplog):
    path = system_file(lambda system: system.addForce(openmm.CMMotionRemover()))
    with caplog.at_level("INFO"):
        molecule = MolecularSystem.from_settings(changed(force_field=[path]))
    assert "CMMotionRemover" not in molecule.system_xml
    assert "CMMotionRemover is taken out" in caplog.text


@pytest.mark.parametrize(
    "setting, value",
    [
        ("constraints", "HBonds"),
        ("nonbonded_method", "CutoffNonPeriodic"),
        ("hydrogen_mass", "3 amu"),
    ],
)
def test_settings_without_effect_on_a_system_are_refused(setting, value, changed, system_file):
    with pytest.raises(MoleculeError, match=rf"system\.{setting}: no effect, for .*system\.xml"):
        MolecularSystem.from_settings(changed(force_field=[system_file()], **{setting: value}))


def test_a_cutoff_without_effect_is_refused(changed):
    with pytest.raises(ValueError, match=r"nonbonded_cutoff \(0\.8 nm\) has no effect with nonbonded_method NoCutoff"):
        changed(nonbonded_cutoff="0.8 nm")
    assert changed(nonbonded_cutoff="0.8 nm", nonbonded_method="CutoffNonPeriodic").nonbonded_cutoff == 0.8


def test_hydrogen_mass(changed, molecule):
    system = openmm.XmlSerializer.deserialize(MolecularSystem.from_settings(changed(hydrogen_mass="3 amu")).system_xml)
    plain = openmm.XmlSerializer.deserialize(molecule.system_xml)
    masses = [[s.getParticleMass(i)._value for i in range(s.getNumParticles())] for s in (system, plain)]
    hydrogens = [atom.index for atom in molecule.topology.atoms if atom.element.symbol == "H"]
    assert np.array(masses[0])[hydrogens] == pytest.approx(3.0)
    assert sum(masses[0]) == pytest.approx(sum(masses[1]))


def test_hydrogen_mass_needs_a_unit(system_settings):
    content = {"system": system_settings.model_dump(mode="json", exclude_none=True) | {"hydrogen_mass": 3}}
    with pytest.raises(ConfigError, match=r"hydrogen_mass: 3 has no unit; write a text such as '3 amu'"):
        parse_settings(content, "x.yaml")


def with_box(pdb: Path, folder: Path, *lengths: float, angles=(90, 90, 90)) -> str:
    path = folder / f"{pdb.stem}_{'_'.join(map(str, lengths))}.pdb"
    record = (
        "CRYST1" + "".join(f"{x:9.3f}" for x in lengths) + "".join(f"{x:7.2f}" for x in angles) + " P 1           1\n"
    )
    lines = [line for line in pdb.read_text().splitlines(keepends=True) if not line.startswith("CRYST1")]
    path.write_text(record + "".join(lines))
    return str(path)


@pytest.fixture
def boxed(system_settings, tmp_path):
    def make(*lengths: float, **options) -> dict[str, str]:
        return {
            name: with_box(Path(p), tmp_path, *lengths, **options) for name, p in system_settings.structures.items()
        }

    return make


PERIODIC = {"nonbonded_method": "PME", "nonbonded_cutoff": "0.9 nm"}


def default_box(system: openmm.System) -> np.ndarray:
    return np.array([v.value_in_unit(unit.nanometer) for v in system.getDefaultPeriodicBoxVectors()])


def test_the_box_of_the_structures_is_the_systems(changed, boxed):
    molecule = MolecularSystem.from_settings(changed(structures=boxed(30, 30, 30, angles=(70, 80, 75)), **PERIODIC))
    box = default_box(openmm.XmlSerializer.deserialize(molecule.system_xml))
    assert box[2, 0] != 0 and np.linalg.norm(box, axis=1) == pytest.approx([3, 3, 3])


def test_a_periodic_method_needs_a_box(changed):
    with pytest.raises(MoleculeError, match="nonbonded_method PME is periodic, but the structures have no box"):
        MolecularSystem.from_settings(changed(**PERIODIC))


def test_structures_of_other_boxes_are_refused(changed, boxed):
    structures = boxed(30, 30, 30)
    structures["c7ax"] = boxed(30, 30, 30.02)["c7ax"]
    with pytest.raises(MoleculeError, match=r"'c5' and 'c7ax' have different boxes: 3\.000 × 3\.000 × 3\.000 nm and 3"):
        MolecularSystem.from_settings(changed(structures=structures, **PERIODIC))
    MolecularSystem.from_settings(changed(structures=structures))  # no force sees the box


def test_a_system_of_another_box_is_refused(changed, boxed, tmp_path):
    structures = boxed(30, 30, 30)
    (tmp_path / "system.xml").write_text(
        MolecularSystem.from_settings(changed(structures=structures, **PERIODIC)).system_xml
    )
    system = {"force_field": [str(tmp_path / "system.xml")]}
    MolecularSystem.from_settings(changed(structures=structures, **system))
    with pytest.raises(MoleculeError, match=r"system\.xml has a box of 3\.000 × .*the structures have one of 4\.000 ×"):
        MolecularSystem.from_settings(changed(structures=boxed(40, 40, 40), **system))
    alone = MolecularSystem.from_settings(changed(**system))
    assert default_box(openmm.XmlSerializer.deserialize(alone.system_xml))[0, 0] == 3


def test_a_box_too_small_for_the_cutoff_is_refused(changed, boxed):
    with pytest.raises(MoleculeError, match=r"OpenMM cannot simulate .* on platform Reference: .*cutoff"):
        MolecularSystem.from_settings(changed(structures=boxed(15, 15, 15), **PERIODIC))


def test_what_comes_with_openmm_may_run(molecule, changed):
    """Its own implicit solvents are scripts."""
    system = create_system(changed(force_field=["amber99sbildn.xml", "implicit/gbn2.xml"]), molecule.openmm_topology)
    plain = app.ForceField("amber99sbildn.xml", "implicit/gbn2.xml").createSystem(molecule.openmm_topology)
    assert system.getNumForces() == plain.getNumForces() - 1  # the remover of motion
