"""Integrators against closed forms of the harmonic oscillator, their order, reversibility and constraints."""

import numpy as np
import openmm
import pytest
from openmm import app, unit

from spacetime_tps.dynamics.integrators import (
    PHYSICAL,
    RESTRAINT,
    annealing_integrator,
    set_temperature,
    shooting_integrator,
)
from spacetime_tps.dynamics.restraint import make_restraint
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

BOTH = pytest.mark.parametrize("make", [annealing_integrator, shooting_integrator])
FRAMES = 300


def start(system: openmm.System, integrator: openmm.CustomIntegrator, positions: np.ndarray) -> openmm.Context:
    system.addForce(make_restraint((), 2.5, periodic=False).force)  # of nothing: annealing asks for its parameters
    integrator.setRandomNumberSeed(11)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(positions)
    return context


def state(context: openmm.Context) -> tuple[np.ndarray, np.ndarray]:
    now = context.getState(positions=True, velocities=True)
    return now.getPositions(asNumpy=True)._value.copy(), now.getVelocities(asNumpy=True)._value.copy()


def squares(context: openmm.Context, interval: int) -> tuple[np.ndarray, np.ndarray]:
    """Time averages of x² and v² of every degree of freedom."""
    context.getIntegrator().step(10 * interval)
    frames = []
    for _ in range(FRAMES):
        context.getIntegrator().step(interval)
        frames.append(state(context))
    x, v = (np.array(part) for part in zip(*frames, strict=True))
    return (x**2).mean(axis=0).ravel(), (v**2).mean(axis=0).ravel()


def assert_mean(values: np.ndarray, exact: float) -> None:
    """Agreement within four standard errors of the mean of independent values, which must be below 1 % itself."""
    error = values.std(ddof=1) / np.sqrt(len(values))
    assert error < 0.01 * exact
    assert abs(values.mean() - exact) < 4 * error


@BOTH
def test_positions_are_boltzmann_distributed_at_any_time_step(make, wells):
    """Both schemes sample x of a harmonic well exactly; others are off by 1/(1 − (ω dt/2)²), here 4/3."""
    stiffness, mass = 1000.0, 10.0
    integrator = make(300.0, 20.0, 0.1)  # ω dt = 1
    x2, _ = squares(start(wells(200, stiffness, mass), integrator, np.zeros((200, 3))), 2)
    assert_mean(x2, 300 * MOLAR_GAS_CONSTANT / stiffness)


@pytest.mark.parametrize("time_step", [0.01, 0.1])
def test_velocities_of_the_shooting_integrator_are_on_the_step(time_step, wells):
    """In a harmonic well BAOAB gives m<v²> = kT (1 − (ω dt/2)²): kT for small steps, 3/4 kT at ω dt = 1."""
    stiffness, mass = 1000.0, 10.0
    context = start(wells(200, stiffness, mass), shooting_integrator(300.0, 20.0, time_step), np.zeros((200, 3)))
    _, v2 = squares(context, round(0.2 / time_step))
    assert_mean(mass * v2, 300 * MOLAR_GAS_CONSTANT * (1 - stiffness / mass * time_step**2 / 4))


@BOTH
def test_set_temperature(make, wells):
    integrator = make(300.0, 20.0, 0.05)
    set_temperature(integrator, 750.0)
    x2, _ = squares(start(wells(200), integrator, np.zeros((200, 3))), 3)
    assert_mean(x2, 750 * MOLAR_GAS_CONSTANT / 1000)


def test_mean_velocity_decays_with_the_friction():
    """Free particles at no temperature: v(t) = v(0) exp(−γ t), exactly."""
    system = openmm.System()
    system.addParticle(3.0)
    for make in (annealing_integrator, shooting_integrator):
        context = start(system, make(0.0, 5.0, 0.01), np.zeros((1, 3)))
        context.setVelocities([[1.0, 2.0, -3.0]])
        context.getIntegrator().step(40)
        np.testing.assert_allclose(state(context)[1][0], np.exp(-5 * 0.4) * np.array([1, 2, -3]), rtol=1e-12)


def anharmonic() -> openmm.System:
    system = openmm.System()
    force = openmm.CustomExternalForce("50*(x^2-0.25)^2*20 + 40*y^2 + 60*z^2 + 30*x*y*z + 20*y^4")
    force.addParticle(system.addParticle(5.0), [])
    system.addForce(force)
    return system


def test_shooting_is_reversible_without_friction():
    begin = np.array([[0.4, 0.1, -0.2]])
    context = start(anharmonic(), shooting_integrator(300.0, 0.0, 0.005), begin)
    context.setVelocities([[0.5, -1.0, 0.7]])
    context.getIntegrator().step(2000)
    x, v = state(context)
    assert np.abs(x - begin).max() > 0.05
    context.setVelocities(-v)
    context.getIntegrator().step(2000)
    x, v = state(context)
    np.testing.assert_allclose(x, begin, rtol=0, atol=1e-9)
    np.testing.assert_allclose(-v, [[0.5, -1.0, 0.7]], rtol=0, atol=1e-8)


def test_energy_error_of_shooting_is_of_second_order():
    errors, steps = [], np.array([0.02, 0.01, 0.005])
    for time_step in steps:
        context = start(anharmonic(), shooting_integrator(300.0, 0.0, time_step), np.array([[0.4, 0.1, -0.2]]))
        context.setVelocities([[0.5, -1.0, 0.7]])
        energies = []
        for _ in range(round(2 / time_step)):
            energy = context.getState(energy=True)
            energies.append(energy.getPotentialEnergy()._value + energy.getKineticEnergy()._value)
            context.getIntegrator().step(1)
        errors.append(np.std(energies))
    order = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order == pytest.approx(2, abs=0.15)


def test_annealing_records_the_energies_each_step_starts_from(wells):
    system = wells(3)
    held = openmm.CustomExternalForce("70*(x-0.2)^2")
    held.addParticle(1, [])
    held.setForceGroup(RESTRAINT)
    system.addForce(held)
    integrator = annealing_integrator(300.0, 5.0, 0.02)
    context = start(system, integrator, np.random.default_rng(0).normal(0, 0.1, (3, 3)))
    for _ in range(20):
        expected = [
            context.getState(energy=True, groups={group}).getPotentialEnergy()._value for group in (PHYSICAL, RESTRAINT)
        ]
        by_hand = 70 * (state(context)[0][1, 0] - 0.2) ** 2
        integrator.step(1)
        recorded = [integrator.getGlobalVariableByName(name) for name in ("potential", "restraint")]
        np.testing.assert_allclose(recorded, expected, rtol=1e-12)
        assert recorded[1] == pytest.approx(by_hand, rel=1e-12)


def dimers(count: int, length: float) -> tuple[openmm.System, np.ndarray]:
    """Rigid pairs, one end of each in a well."""
    system = openmm.System()
    force = openmm.CustomExternalForce("200*(x^2+y^2+z^2)")
    for _ in range(count):
        one, other = system.addParticle(12.0), system.addParticle(3.0)
        system.addConstraint(one, other, length)
        force.addParticle(one, [])
    system.addForce(force)
    return system, np.tile([[0.0, 0.0, 0.0], [0.0, 0.0, length]], (count, 1))


@BOTH
def test_rigid_dimers_stay_rigid_and_are_thermalised(make):
    """Five degrees of freedom each: kinetic energy 5/2 kT. Four standard errors over independent dimers."""
    count, length = 100, 0.15
    system, positions = dimers(count, length)
    integrator = make(300.0, 20.0, 0.01)
    integrator.setConstraintTolerance(1e-8)
    context = start(system, integrator, positions)
    integrator.step(100)
    kinetic = []
    for _ in range(150):
        integrator.step(10)
        if make is annealing_integrator:  # which takes what the noise has left along the bond away in its next step
            context.applyVelocityConstraints(1e-8)
        x, v = (part.reshape(count, 2, 3) for part in state(context))
        bond, rate = x[:, 1] - x[:, 0], v[:, 1] - v[:, 0]
        np.testing.assert_allclose(np.linalg.norm(bond, axis=1), length, rtol=1e-7)
        np.testing.assert_allclose((bond * rate).sum(axis=1), 0, atol=1e-6)
        kinetic.append(0.5 * (np.array([12.0, 3.0])[:, None] * v**2).sum(axis=(1, 2)))
    assert_mean(np.mean(kinetic, axis=0), 2.5 * 300 * MOLAR_GAS_CONSTANT)


def test_rigid_shooting_is_reversible():
    system, positions = dimers(1, 0.15)
    integrator = shooting_integrator(300.0, 0.0, 0.005)
    integrator.setConstraintTolerance(1e-13)
    context = start(system, integrator, positions)
    context.setVelocities([[1.0, 0.5, 0.0], [-1.0, 2.0, 0.0]])  # across the bond
    integrator.step(400)
    x, v = state(context)
    assert np.abs(x - positions).max() > 0.05
    context.setVelocities(-v)
    integrator.step(400)
    np.testing.assert_allclose(state(context)[0], positions, rtol=0, atol=1e-9)


@BOTH
def test_bonds_of_hydrogen_are_kept_in_alanine_dipeptide(make, molecule):
    force_field = app.ForceField("amber99sbildn.xml")
    system = force_field.createSystem(molecule.openmm_topology, constraints=app.HBonds)
    constraints = [system.getConstraintParameters(i) for i in range(system.getNumConstraints())]
    assert len(constraints) == 12
    integrator = make(300.0, 1.0, 0.002)
    integrator.setConstraintTolerance(1e-7)
    context = start(system, integrator, molecule.structures["c5"])
    context.applyConstraints(1e-9)
    context.setVelocitiesToTemperature(300.0, 5)
    integrator.step(300)
    x, _ = state(context)
    for one, other, length in constraints:
        assert np.linalg.norm(x[one] - x[other]) == pytest.approx(length._value, rel=1e-6)


@pytest.fixture(scope="module")
def four_point_water():
    """Eight rigid waters with a virtual site each, warm, without a box: System, positions and velocities."""
    force_field = app.ForceField("tip4pew.xml")
    modeller = app.Modeller(app.Topology(), [] * unit.nanometer)
    modeller.addSolvent(force_field, model="tip4pew", numAdded=8)
    system = force_field.createSystem(modeller.topology, removeCMMotion=False)
    integrator = openmm.LangevinMiddleIntegrator(250, 10, 0.001)
    integrator.setRandomNumberSeed(1)
    context = openmm.Context(system, integrator, openmm.Platform.getPlatformByName("Reference"))
    context.setPositions(modeller.positions)
    openmm.LocalEnergyMinimizer.minimize(context)
    context.setVelocitiesToTemperature(250, 1)
    integrator.step(1000)
    context.applyConstraints(1e-10)
    context.applyVelocityConstraints(1e-10)
    return openmm.XmlSerializer.serialize(system), *state(context)


def run_water(four_point_water, steps: int, **options) -> tuple[openmm.Context, list[float]]:
    """Dynamics without friction, and the total energy (kJ/mol) after every 20 steps."""
    xml, positions, velocities = four_point_water
    integrator = shooting_integrator(300.0, 0.0, 0.002, **options)
    integrator.setConstraintTolerance(1e-10)
    context = start(openmm.XmlSerializer.deserialize(xml), integrator, positions)
    context.setVelocities(velocities)
    energies = []
    for _ in range(steps // 20):
        integrator.step(20)
        now = context.getState(energy=True)
        energies.append((now.getPotentialEnergy() + now.getKineticEnergy())._value)
    return context, energies


def test_energy_is_kept_with_virtual_sites(four_point_water):
    """With forces at stale sites, of which the plain step has some, it rises by several kJ/mol per water."""
    _, right = run_water(four_point_water, 2000, virtual_sites=True)
    _, stale = run_water(four_point_water, 2000)
    assert abs(np.mean(right[-20:]) - np.mean(right[:20])) < 8 * 0.1
    assert np.mean(stale[-20:]) - np.mean(stale[:20]) > 8 * 1.0


def test_shooting_with_virtual_sites_is_reversible(four_point_water):
    context, _ = run_water(four_point_water, 100, virtual_sites=True)
    _, positions, velocities = four_point_water
    context.setVelocities(-state(context)[1])
    context.getIntegrator().step(100)
    x, v = state(context)
    np.testing.assert_allclose(x, positions, rtol=0, atol=1e-7)
    np.testing.assert_allclose(-v, velocities, rtol=0, atol=1e-5)


def test_steps_with_virtual_sites_are_those_without(wells):
    """Where there are none, both integrators are the same dynamics."""
    begin, velocities = np.array([[0.4, 0.1, -0.2]]), [[0.5, -1.0, 0.7]]
    ends = []
    for sites in (False, True):
        context = start(anharmonic(), shooting_integrator(300.0, 0.0, 0.005, virtual_sites=sites), begin)
        context.setVelocities(velocities)
        for _ in range(3):
            context.getIntegrator().step(7)
        ends.append(np.concatenate(state(context)))
    np.testing.assert_allclose(ends[0], ends[1], rtol=0, atol=1e-12)
