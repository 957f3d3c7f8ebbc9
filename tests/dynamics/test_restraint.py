"""The restraint is the tilt exp(−SNR/2 |x − y|²): its energy, its force, and the Gaussian posteriors of a well."""

import numpy as np
import openmm
import pytest
from scipy.special import i0e, i1e

from spacetime_tps.coordinates import TorsionCoordinates
from spacetime_tps.dynamics.integrators import RESTRAINT, SHARE
from spacetime_tps.dynamics.restrained import RestrainedTask, sample_restrained
from spacetime_tps.dynamics.restraint import HarmonicRestraint, make_restraint
from spacetime_tps.errors import DynamicsError
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

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


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(
    "restrained, periodic", [((3, 1), False), ((3, 1), True), (((0, 1, 2, 3), (4, 2, 1, 0)), False)]
)
def test_on_the_way_between_two_sets_of_centres(restrained, periodic, share):
    """Energy and forces are those at the centres in between."""
    rng = np.random.default_rng(2)
    system = openmm.System()
    for _ in range(5):
        system.addParticle(1.0)
    system.setDefaultPeriodicBoxVectors([2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0])
    restraint = make_restraint(restrained, KT, periodic)
    system.addForce(restraint.force)
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    context.setPositions(rng.normal(size=(5, 3)))
    first, last = rng.normal(size=(2, 2, 3 if np.ndim(restrained) == 1 else 2))
    restraint.update(context, first, 37.0, towards=last)
    context.setParameter(SHARE, share)
    energy, forces = energy_and_forces(context)
    restraint.update(context, (1 - share) * first + share * last, 37.0)
    expected, expected_forces = energy_and_forces(context)
    assert energy == pytest.approx(expected, rel=1e-12)
    np.testing.assert_allclose(forces, expected_forces, rtol=1e-10, atol=1e-9)


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
    worker(toy_engine(wells(particles, stiffness), held))
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


@pytest.mark.parametrize("own, friction", [(1.0, None), (1.0, 8.0)])
def test_the_friction_is_as_asked(own, friction, worker, wells, toy_engine):
    """Squares of a Langevin oscillator's positions are correlated as C² with C = e^{−γt/2}(cos Ωt + γ/(2Ω) sin Ωt).

    After a quarter of a picosecond that is 0.79 at 1/ps and 0.13 at 8/ps. Within four standard errors, from the spread
    over the independent degrees of freedom.
    """
    particles, stiffness, snr, mass, step, steps = 200, 1000.0, 300.0, 10.0, 0.005, 48
    worker(toy_engine(wells(particles, stiffness, mass), np.arange(particles), friction=own, time_step=step))
    task = RestrainedTask(
        positions=np.zeros((particles, 3)),
        centres=np.zeros((particles, 3)),
        log_snr=np.log(snr),
        temperature=300.0,
        equilibration_steps=1000,
        frame_steps=steps,
        frames=200,
        seed=np.random.SeedSequence(3),
        friction=friction,
    )
    excess = sample_restrained(task) ** 2 * (snr + stiffness / KT) - 1
    products = 0.5 * (excess[1:] * excess[:-1]).mean(axis=0)
    gamma = own if friction is None else friction
    omega = np.sqrt((stiffness + KT * snr) / mass - 0.25 * gamma**2)
    time = step * steps
    c = np.exp(-0.5 * gamma * time) * (np.cos(omega * time) + 0.5 * gamma / omega * np.sin(omega * time))
    error = products.std(ddof=1) / np.sqrt(products.size)
    assert error < 0.03
    assert abs(products.mean() - c**2) < 4 * error


def test_a_breakdown_is_an_error(worker, wells, toy_engine):
    """ω dt > 2: the dynamics diverges until positions are not finite."""
    worker(toy_engine(wells(1), [0]))
    task = RestrainedTask(np.zeros((1, 3)), np.ones((1, 3)), 25.0, 300.0, 10, 1000, 2, np.random.SeedSequence(0))
    with pytest.raises(DynamicsError, match=r"restrained sampling at log SNR 25\.000 failed"):
        sample_restrained(task)


class TestVonMises:
    """The same for dihedrals: the tilt exp(SNR y·(cos θ, sin θ)), up to the constant −SNR (1 + |y|²)/2 for each."""

    DIHEDRALS = ((0, 1, 2, 3), (4, 2, 1, 0))

    @staticmethod
    def context(dihedrals, particles: int):
        system = openmm.System()
        for _ in range(particles):
            system.addParticle(1.0)
        restraint = make_restraint(dihedrals, KT, periodic=False)
        system.addForce(restraint.force)
        platform = openmm.Platform.getPlatformByName("Reference")
        return openmm.Context(system, openmm.VerletIntegrator(0.001), platform), restraint

    def latent(self, x: np.ndarray) -> np.ndarray:
        return TorsionCoordinates(("a", "b"), self.DIHEDRALS).encode(x[None])[0]

    def test_energy_and_force_are_those_of_the_tilt(self):
        rng = np.random.default_rng(0)
        x, y, snr = rng.normal(size=(5, 3)), rng.normal(size=(2, 2)), 37.0
        context, restraint = self.context(self.DIHEDRALS, 5)
        context.setPositions(x)
        assert energy_and_forces(context)[0] == 0  # off until it is moved
        restraint.update(context, y, snr)
        energy, forces = energy_and_forces(context)
        constant = -0.5 * snr * (2 + (y**2).sum())
        tilt = log_tilt(self.latent(x), y.ravel(), snr) - constant
        assert energy == pytest.approx(-KT * tilt, rel=1e-10)
        for atom in range(5):
            for axis in range(3):
                step = np.zeros((5, 3))
                step[atom, axis] = 1e-5
                ends = [log_tilt(self.latent(x + sign * step), y.ravel(), snr) for sign in (1, -1)]
                assert forces[atom, axis] == pytest.approx(KT * (ends[0] - ends[1]) / 2e-5, rel=1e-6, abs=1e-5)

    def test_centres_must_be_as_many_as_dihedrals(self):
        context, restraint = self.context(self.DIHEDRALS, 5)
        with pytest.raises(ValueError, match="shorter"):
            restraint.update(context, np.zeros((1, 2)), 1.0)

    @pytest.mark.parametrize("periodic", [True, False])
    def test_periodic_distances(self, periodic):
        restraint = make_restraint(self.DIHEDRALS, KT, periodic)
        assert restraint.force.usesPeriodicBoundaryConditions() == periodic
        assert restraint.force.getForceGroup() == RESTRAINT

    def test_restrained_dynamics_samples_the_von_mises_posterior(self, worker, toy_engine):
        """Chains of four particles with bonds and angles, half of them with a torsion −a cos(θ − θ₀).

        Their dihedrals are von Mises with η = SNR y, or SNR y + (a/kT)(cos θ₀, sin θ₀), whatever the rest does, and
        have the mean I₁(|η|)/I₀(|η|) η/|η|. Within four standard errors over the chains, which are independent, and
        these errors must be below 0.03.
        """
        chains, snr, barrier, angle = 60, 4.0, 5.0, 2.0
        system = openmm.System()
        bonds, bends, torsions = openmm.HarmonicBondForce(), openmm.HarmonicAngleForce(), openmm.PeriodicTorsionForce()
        dihedrals = []
        for chain in range(chains):
            a, b, c, d = (system.addParticle(10.0) for _ in range(4))
            for pair in ((a, b), (b, c), (c, d)):
                bonds.addBond(*pair, 0.15, 2000.0)
            for triple in ((a, b, c), (b, c, d)):
                bends.addAngle(*triple, 2.0, 100.0)
            if chain % 2:
                torsions.addTorsion(a, b, c, d, 1, angle + np.pi, barrier)
            dihedrals.append((a, b, c, d))
        for force in (bonds, bends, torsions):
            system.addForce(force)
        worker(toy_engine(system, dihedrals, friction=5.0, time_step=0.01))
        y = np.array([0.3, -0.6])
        start = [[0.0, 0.14, 0.0], [0.0, 0.0, 0.0], [0.15, 0.0, 0.0], [0.2, 0.1, 0.1]]
        task = RestrainedTask(
            positions=(np.array(start) + np.arange(chains)[:, None, None]).reshape(-1, 3),
            centres=np.tile(y, (chains, 1)),
            log_snr=np.log(snr),
            temperature=300.0,
            equilibration_steps=300,
            frame_steps=30,
            frames=100,
            seed=np.random.SeedSequence(1),
        )
        coordinates = TorsionCoordinates(tuple(map(str, range(chains))), tuple(dihedrals))
        x = coordinates.decode(coordinates.encode(sample_restrained(task)))
        for own, first in ((np.zeros(2), 0), (barrier / KT * np.array([np.cos(angle), np.sin(angle)]), 1)):
            natural = snr * y + own
            length = np.linalg.norm(natural)
            exact = i1e(length) / i0e(length) * natural / length
            means = x[:, first::2].mean(axis=0)
            error = means.std(axis=0, ddof=1) / np.sqrt(len(means))
            assert (error < 0.03).all()
            assert (np.abs(means.mean(axis=0) - exact) < 4 * error).all()
