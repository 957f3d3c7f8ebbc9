"""Energies of structures, and what a short minimisation does to them."""

import numpy as np
import openmm
import pytest

from spacetime_tps.dynamics.energies import EnergyTask, potential_energies
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.errors import MoleculeError


def test_energies_of_wells(wells, toy_engine, worker):
    """½ k |x|² of two particles, and nothing after the minimiser."""
    worker(toy_engine(wells(2, stiffness=300.0)))
    positions = np.random.default_rng(0).normal(size=(5, 2, 3))
    np.testing.assert_allclose(potential_energies(EnergyTask(positions)), 150 * (positions**2).sum((1, 2)), rtol=1e-12)
    relaxed = potential_energies(EnergyTask(positions, minimiser_iterations=50))
    np.testing.assert_allclose(relaxed, 0, atol=1e-2)


def test_minimisation_of_a_molecule(molecule, heavy_atoms, worker):
    """More iterations never raise the energy; frames before it and the frame of reference do not matter."""
    worker(Engine.for_system(molecule, heavy_atoms))
    start = np.stack([molecule.structures[name] for name in ("c5", "c7ax")])
    rough = start + 0.005 * np.random.default_rng(1).normal(size=start.shape)
    ladder = [potential_energies(EnergyTask(rough, iterations)) for iterations in (0, 5, 20, 100)]
    assert (np.diff(ladder, axis=0) < 0).all()
    np.testing.assert_allclose(potential_energies(EnergyTask(rough[::-1], 5))[::-1], ladder[1], rtol=1e-9)
    moved = rough @ np.array([[0.0, 1, 0], [0, 0, 1], [1, 0, 0]]) + 3.0
    np.testing.assert_allclose(potential_energies(EnergyTask(moved)), ladder[0], atol=1e-6)
    reference = openmm.XmlSerializer.deserialize(molecule.system_xml)
    context = openmm.Context(reference, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(rough[0])
    assert ladder[0][0] == pytest.approx(context.getState(energy=True).getPotentialEnergy()._value, abs=1e-4)


def test_some_atoms_have_no_energy(molecule, heavy_atoms, worker):
    worker(Engine.for_system(molecule, heavy_atoms))
    with pytest.raises(MoleculeError, match=r"all 22 atoms, not an array of \(1, 10, 3\)"):
        potential_energies(EnergyTask(molecule.structures["c5"][None, heavy_atoms]))
