"""The shipped molecules: their files come from build.py, their states hold, and mirror states are equal exactly."""

from __future__ import annotations

import runpy
import sys

import mdtraj
import numpy as np
import openmm
import pytest

from spacetime_tps.coordinates.states import state_indices
from spacetime_tps.dynamics.sampling import run_replica_exchange
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine, InProcessPool
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.samples import ReplicaExchangeSettings
from spacetime_tps.settings.shipped import data_folder, find_system

BUILT = ["ala3", "alanine_dipeptide", "cyclohexane", "glycine_dipeptide", "pentane", "phe_ala", "proline"]
MOLECULES = [*BUILT, "alanine_dipeptide_obc2", "pentane_torsions"]
MIRRORED = {  # hydrogens of a CH2 exchange their names in a mirror, or it would be another molecule
    "cyclohexane": [(f"H{number}A", f"H{number}B") for number in range(1, 7)],
    "glycine_dipeptide": [("HA2", "HA3")],
    "pentane": [("H4", "H5"), ("H6", "H7"), ("H8", "H9")],
}
_loaded: dict[str, MolecularSystem] = {}


@pytest.fixture
def molecule(name: str) -> MolecularSystem:
    if name not in _loaded:
        _loaded[name] = MolecularSystem.from_settings(load_settings(find_system(name)).system)
    return _loaded[name]


def context_of(molecule: MolecularSystem, temperature: float) -> openmm.Context:
    """Langevin dynamics of a molecule with a seed of its own."""
    integrator = openmm.LangevinMiddleIntegrator(temperature, molecule.friction, molecule.time_step)
    integrator.setRandomNumberSeed(3)
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    return openmm.Context(system, integrator, openmm.Platform.getPlatform(molecule.platform))


def energy(context: openmm.Context, positions: np.ndarray) -> float:
    context.setPositions(positions)
    value: float = context.getState(energy=True).getPotentialEnergy()._value
    return value


def dynamics(molecule: MolecularSystem, structure: str, temperature: float, length: float) -> np.ndarray:
    """Frames (n, atoms, 3) of dynamics from a structure, every 0.02 ps."""
    context = context_of(molecule, temperature)
    context.setPositions(molecule.structures[structure])
    context.setVelocitiesToTemperature(temperature, 4)
    frames = []
    for _ in range(round(length / 0.02)):
        context.getIntegrator().step(round(0.02 / molecule.time_step))
        frames.append(context.getState(positions=True).getPositions(asNumpy=True)._value)
    return np.array(frames)


def exchanged(molecule: MolecularSystem, pairs: list[tuple[str, str]]) -> list[int]:
    """Order of the atoms in which pairs have each other's names."""
    index = {atom.name: atom.index for atom in molecule.topology.atoms}
    order = list(range(molecule.topology.n_atoms))
    for one, other in pairs:
        order[index[one]], order[index[other]] = index[other], index[one]
    return order


@pytest.mark.parametrize("name", BUILT)
def test_files_are_what_the_script_writes(name, tmp_path, monkeypatch, molecule):
    """But for names of equivalent atoms: structures to 0.002 nm, as far as minimisers go, energies to 0.02 kJ/mol."""
    monkeypatch.setattr(sys, "argv", ["build.py", str(tmp_path)])
    monkeypatch.setattr(sys, "path", list(sys.path))
    folder = data_folder("systems") / name
    runpy.run_path(str(folder / "build.py"), run_name="__main__")
    shipped = {path.name for path in folder.glob("*.pdb")}
    assert {path.name for path in tmp_path.iterdir()} == shipped == {f"{key}.pdb" for key in molecule.structures}
    context = context_of(molecule, 300)
    for file in shipped:
        old, new = (mdtraj.load(str(place / file)) for place in (folder, tmp_path))
        assert [str(atom) for atom in old.topology.atoms] == [str(atom) for atom in new.topology.atoms]
        old.xyz, new.xyz = (molecule.named_alike(trajectory.xyz) for trajectory in (old, new))
        assert mdtraj.rmsd(new, old)[0] < 0.002
        old_energy, new_energy = (energy(context, trajectory.xyz[0]) for trajectory in (old, new))
        assert new_energy == pytest.approx(old_energy, abs=0.02)


@pytest.mark.parametrize("name", MOLECULES)
def test_structures_are_in_their_states(name, molecule):
    structures = np.array([molecule.structures[state.structure] for state in molecule.states])
    assert state_indices(molecule.states, structures).tolist() == [0, 1]


@pytest.mark.parametrize("name", BUILT)
def test_structures_are_minimised(name, molecule):
    context = context_of(molecule, 300)
    for positions in molecule.structures.values():
        before = energy(context, positions)
        assert np.isfinite(before)
        openmm.LocalEnergyMinimizer.minimize(context, 0.1)
        assert before - context.getState(energy=True).getPotentialEnergy()._value < 0.1


@pytest.mark.parametrize("name", MOLECULES)
def test_equivalent_atoms_of_the_files_are_named_alike(name, caplog):
    """Nothing is renamed, and so nothing is warned of, when a system is loaded."""
    MolecularSystem.from_settings(load_settings(find_system(name)).system)
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == []


@pytest.mark.parametrize("name", MOLECULES)
def test_librations_do_not_leave_the_states(name, molecule):
    for index, state in enumerate(molecule.states):
        inside = state_indices(molecule.states, dynamics(molecule, state.structure, 300, 1.0)) == index
        assert inside.mean() > 0.9


@pytest.mark.parametrize("name", MIRRORED)
class TestMirrorStates:
    """One state is the other's mirror image, so ΔF is 0 exactly."""

    def test_structures_have_one_energy(self, name, molecule):
        context = context_of(molecule, 300)
        a, b = (energy(context, molecule.structures[state.structure]) for state in molecule.states)
        assert a == pytest.approx(b, abs=1e-3)

    def test_every_frame_has_its_mirror_image(self, name, molecule):
        """Its energy is the same, it is in the other state, and it is a frame of the same molecule."""
        a, b = (
            dynamics(molecule, state.structure, temperature, 2.0)
            for state, temperature in zip(molecule.states, (300, 1000), strict=True)
        )
        frames = np.concatenate([a, b])
        images = frames[:, exchanged(molecule, MIRRORED[name])] * [-1, 1, 1]
        here, there = (state_indices(molecule.states, positions) for positions in (frames, images))
        assert {0, 1} <= set(here.tolist())
        np.testing.assert_array_equal(there, np.choose(here + 1, [-1, 1, 0]))
        context = context_of(molecule, 300)
        for frame, image in zip(frames[::20], images[::20], strict=True):
            assert energy(context, image) == pytest.approx(energy(context, frame), abs=1e-6)
        np.testing.assert_array_equal(state_indices(molecule.states, molecule.named_alike(images)), there)

    def test_hydrogens_of_a_ch2_keep_their_names(self, name, molecule):
        """To exchange them is no motion of the molecule; it would make a frame of neither state."""
        frames = dynamics(molecule, molecule.states[0].structure, 1000, 4.0)
        order = exchanged(molecule, MIRRORED[name])
        ours = [atom for atom, other in enumerate(order) if atom != other]
        alike = molecule.named_alike(frames)
        np.testing.assert_array_equal(alike[:, ours], frames[:, ours])
        np.testing.assert_array_equal(molecule.named_alike(frames[:, order])[:, ours], frames[:, ours])


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in MOLECULES if not name.startswith("alanine")])
def test_ladders_exchange(name, molecule):
    """A fifth to half of the exchanges is accepted, within what 20 ps say."""
    settings = load_settings(find_system(name)).samples
    assert isinstance(settings, ReplicaExchangeSettings)
    short = settings.model_copy(update={"length": 20.0, "discard": 1.0})
    heavy = [atom.index for atom in molecule.topology.atoms if atom.element.symbol != "H"]
    with InProcessPool(Engine.for_system(molecule, heavy)) as pool:
        acceptance = run_replica_exchange(molecule, short, pool, np.random.SeedSequence(2)).acceptance
    assert 0.15 < np.mean(acceptance) < 0.55
    assert min(acceptance) > 0.05
