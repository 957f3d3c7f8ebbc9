"""The restraint is the tilt exp(−SNR/2 |x − y|²): its energy, its force, and the Gaussian posteriors of a well."""

import numpy as np
import openmm
import pytest

from spacetime_tps.dynamics.equilibrium import RestrainedTask, sample_restrained
from spacetime_tps.dynamics.restraint import HarmonicRestraint
from spacetime_tps.errors import DynamicsError
from spacetime_tps.units import MOLAR_GAS_CONSTANT

KT = 300 * MOLAR_GAS_CONSTANT


def log_tilt(x: np.ndarray, y: np.ndarray, snr: float) -> float:
    return float(-0.5 * snr * ((x - y) ** 2).sum())


def restrained_context(atoms: list[int], particles: int, box: float | None = None):
    system = openmm.System()
    for _ in range(particles):
        system.addParticle(1.0)
    if box:
        system.setDefaultPeriodicBoxVectors([box, 0, 0], [0, box, 0], [0, 0, box])
    restraint = HarmonicRestraint(atoms, KT, periodic=box is not None)
    system.addForce(restraint.force)
    platform = openmm.Platform.getPlatformByName("Reference")
    return openmm.Context(system, openmm.VerletIntegrator(0.001), platform), restraint


def energy_and_forces(context: openmm.Context) -> tuple[float, np.ndarray]:
    state = context.getState(energy=True, forces=True)
    return state.getPotentialEnergy()._value, state.getForces(asNumpy=True)._value


def test_energy_and_force_are_those_of_the_tilt():
    rng = np.random.default_rng(0)
    x, y, snr, atoms = rng.normal(size=(4, 3)), rng.normal(size=(2, 3)), 37.0, [3, 1]
    context, restraint = restrained_context(atoms, 4)
    context.setPositions(x)
    restraint.update(context, y, snr)
    energy, forces = energy_and_forces(context)
    assert energy == pytest.approx(-KT * log_tilt(x[atoms], y, snr), rel=1e-12)
    for atom in range(4):
        for axis in range(3):
            step = np.zeros((4, 3))
            step[atom, axis] = 1e-4
            gradient = (log_tilt((x + step)[atoms], y, snr) - log_tilt((x - step)[atoms], y, snr)) / 2e-4
            assert forces[atom, axis] == pytest.approx(KT * gradient, rel=1e-7, abs=1e-9)


def test_it_is_off_until_it_is_moved_and_can_be_moved_again():
    context, restraint = restrained_context([0], 1)
    context.setPositions([[0.3, 0.0, 0.0]])
    assert energy_and_forces(context)[0] == 0
    for centre, snr, squared_distance in (((0.0, 0, 0), 10.0, 0.09), ((0.3, 0.4, 0), 20.0, 0.16)):
        restraint.update(context, np.array([centre]), snr)
        assert energy_and_forces(context)[0] == pytest.approx(0.5 * KT * snr * squared_distance, rel=1e-12)


def test_centres_must_be_as_many_as_atoms():
    context, restraint = restrained_context([0, 1], 2)
    with pytest.raises(ValueError, match="shorter"):
        restraint.update(context, np.zeros((1, 3)), 1.0)


@pytest.mark.parametrize("box, squared_distance", [(2.0, 0.2**2), (None, 1.8**2)])
def test_periodic_distance(box, squared_distance):
    context, restraint = restrained_context([0], 1, box)
    assert restraint.force.usesPeriodicBoundaryConditions() == (box is not None)
    context.setPositions([[1.9, 0.0, 0.0]])
    restraint.update(context, np.array([[0.1, 0.0, 0.0]]), 5.0)
    assert energy_and_forces(context)[0] == pytest.approx(0.5 * KT * 5.0 * squared_distance, rel=1e-12)


@pytest.mark.parametrize("temperature", [300.0, 700.0])
def test_restrained_dynamics_samples_the_gaussian_posterior(temperature, worker, wells, toy_engine):
    """Well ½ k x² under the restraint to y: x is N(y SNR s², s²) with s² = 1/(SNR + k/kT), at any temperature.

    Each particle has its own y; those that are not restrained keep kT/k. Tolerances are four standard errors, from
    the spread over the independent degrees of freedom.
    """
    particles, stiffness, snr = 200, 1000.0, 300.0
    held = np.arange(0, particles, 2)
    worker.start(toy_engine(wells(particles, stiffness), held))
    y = np.random.default_rng(1).normal(0, 0.3, (len(held), 3))
    task = RestrainedTask(
        positions=np.zeros((particles, 3)),
        centres=y,
        log_snr=np.log(snr),
        temperature=temperature,
        equilibration_steps=50,
        frame_steps=4,
        frames=300,
        seed=np.random.SeedSequence(2),
    )
    x = sample_restrained(task)
    assert x.shape == (300, particles, 3)
    assert task.evaluations == 50 + 4 * 300
    free_variance = MOLAR_GAS_CONSTANT * temperature / stiffness
    variance = 1 / (snr + 1 / free_variance)
    exact_mean = y * snr * variance
    residual = x[:, held].mean(axis=0) - exact_mean
    assert abs(residual.mean()) < 4 * residual.std(ddof=1) / np.sqrt(residual.size)
    slope = (residual * y).sum() / (y**2).sum()  # a wrong SNR would show as a shift proportional to y
    assert abs(slope) < 4 * residual.std(ddof=1) / np.sqrt((y**2).sum())
    for frames, mean, exact in (
        (x[:, held], exact_mean, variance),
        (x[:, 1::2], 0.0, free_variance),
    ):
        squares = ((frames - mean) ** 2).mean(axis=0)
        error = squares.std(ddof=1) / np.sqrt(squares.size)
        assert error < 0.01 * exact
        assert abs(squares.mean() - exact) < 4 * error


def test_a_breakdown_is_an_error(worker, wells, toy_engine):
    """ω dt > 2: the dynamics diverges until positions are not finite."""
    worker.start(toy_engine(wells(1), [0]))
    task = RestrainedTask(np.zeros((1, 3)), np.ones((1, 3)), 25.0, 300.0, 10, 1000, 2, np.random.SeedSequence(0))
    with pytest.raises(DynamicsError, match=r"restrained sampling at log SNR 25\.000 failed"):
        sample_restrained(task)
