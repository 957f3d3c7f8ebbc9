"""Friction along a curve of restraints against closed forms, and the schedules made of it."""

import numpy as np
import pytest

from spacetime_tps.dynamics.annealing import AnnealingTask, RestraintSchedule, anneal
from spacetime_tps.dynamics.friction import LEAST, FrictionTask, allot, friction, restraint_forces, timed, uniform
from spacetime_tps.errors import DynamicsError
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

KT = 300 * MOLAR_GAS_CONSTANT
STIFFNESS, MASS, DAMPING, STEP = 1000.0, 10.0, 40.0, 0.01
"""Of wells whose motion is overdamped but for 1 part in 10: relaxation m γ/k is some 0.2 ps with a restraint."""
MEMORY = 2.0


@pytest.fixture
def forces(worker, wells, toy_engine):
    """βζ of two particles that take part in one curve, by three sweeps of 50 ps a window, frames every 0.05 ps."""
    particles, frames = 2, 1000

    def run(end: np.ndarray, log_snr: list[float]) -> tuple[np.ndarray, np.ndarray]:
        worker(toy_engine(wells(particles, STIFFNESS, MASS), range(particles), DAMPING, STEP))
        centres = np.zeros((2, particles, 3))
        centres[1] = end
        schedule = RestraintSchedule(centres, np.array(log_snr))
        start = np.zeros((particles, 3))
        places = np.array([0.4, 0.6])
        tasks = [
            FrictionTask(start, schedule, places, 0.05, 200, 5, frames, 300.0, seed)
            for seed in np.random.SeedSequence(4).spawn(3)
        ]
        assert tasks[0].evaluations == 2 * (200 + 5 * frames)
        values, errors = friction(np.array([restraint_forces(task) for task in tasks]), 0.05, MEMORY)
        return values, errors

    return run


def correlation_integral(stiffness: float, power: int) -> float:
    """∫ (1 − t/MEMORY) ρ(t)^power dt for the position of a Langevin particle in a well, by its exact propagator."""
    dt = 1e-4
    matrix = np.array([[0, 1], [-stiffness / MASS, -DAMPING]])
    values, vectors = np.linalg.eig(matrix)
    time = np.arange(0, MEMORY, dt)
    share = np.linalg.inv(vectors)[:, 0] * vectors[0]
    rho = (share * np.exp(np.outer(time, values))).sum(axis=1).real
    return float(np.trapezoid((1 - time / MEMORY) * rho**power, dx=dt))


def test_a_moving_centre(forces):
    """X = −k y'·(x − y): βζ = (k y')² ∫ρ/(kT k_total), that is k² y'² m γ/(kT k_total²) as without inertia.

    A Bartlett window M leaves a relative standard error of √(4 M/3T) = 13 % with T = 150 ps in all; 40 % is three.
    """
    snr = 400.0
    end = np.random.default_rng(0).normal(0, 0.1, (2, 3))
    values, errors = forces(end, [np.log(snr)] * 2)
    total = STIFFNESS + KT * snr
    exact = (KT * snr) ** 2 * (end**2).sum() / (KT * total) * correlation_integral(total, 1)
    assert exact == pytest.approx((KT * snr) ** 2 * (end**2).sum() * MASS * DAMPING / (KT * total**2), rel=0.15)
    np.testing.assert_allclose(values, exact, rtol=0.4)
    assert ((errors > 0) & (errors < 0.3 * exact)).all()


def test_a_stiffening_restraint(forces):
    """X = ½ k λ' |x|²: Cov X = (½ k λ')² 2 (kT/k_total)² for each component, correlated as ρ²."""
    low, high = np.log(300.0), np.log(500.0)
    values, _ = forces(np.zeros(3), [low, high])
    snr = np.exp(low + (high - low) * np.array([0.4, 0.6]))
    total = STIFFNESS + KT * snr
    exact = [
        6 * (0.5 * KT * s * (high - low)) ** 2 * 2 / k**2 * correlation_integral(k, 2)
        for s, k in zip(snr, total, strict=True)
    ]
    np.testing.assert_allclose(values, exact, rtol=0.4)


def test_the_estimate_is_linear_response_for_a_crossing_at_constant_rate():
    """Of a known correlation exp(−t/τ): ∫ (1 − t/M) exp(−t/τ) dt = τ [1 − (τ/M)(1 − exp(−M/τ))]; the noise is 3 %."""
    rng, decay, memory, dt = np.random.default_rng(1), 1.0, 3.0, 0.1
    x = np.zeros((8, 1, 40000))
    factor = np.exp(-dt / decay)
    x[..., 0] = rng.normal(size=(8, 1))
    noise = np.sqrt(1 - factor**2) * rng.normal(size=x.shape)
    for frame in range(1, x.shape[-1]):
        x[..., frame] = factor * x[..., frame - 1] + noise[..., frame]
    values, errors = friction(x + 7.0, dt, memory)
    exact = decay * (1 - decay / memory * (1 - np.exp(-memory / decay)))
    assert errors[0] < 0.03 * exact
    assert values[0] == pytest.approx(exact, abs=4 * errors[0] + 0.01)
    assert np.isnan(friction(x[:1], dt, memory)[1]).all()


def test_sweeps_that_disagree_count_as_slow():
    """Two constants ±a are correlated for ever: a² memory/2."""
    x = np.ones((2, 1, 50)) * np.array([1.5, -1.5])[:, None, None]
    values, _ = friction(x, 0.1, 2.0)
    assert values[0] == pytest.approx(1.5**2 * 2.0 / 2)


def line(points: int = 101) -> RestraintSchedule:
    centres = np.zeros((points, 1, 3))
    centres[:, 0, 0] = np.linspace(0, 1, points)
    return RestraintSchedule(centres, np.full(points, 5.0))


def test_time_is_allotted_by_the_root_of_the_friction():
    """ζ = (1 + 3s)²: t ∝ s + 3s²/2, and the excess work of the schedule is (∫√ζ)² = 6.25, not ∫ζ = 7."""
    places = np.linspace(0, 1, 101)
    schedule = allot(line(), places, 5.0 * (1 + 3 * places) ** 2)
    np.testing.assert_allclose(schedule.progress, (places + 1.5 * places**2) / 2.5, atol=1e-12)
    middle = 0.5 * (places[1:] + places[:-1])
    excess = ((1 + 3 * middle) ** 2 * 0.01**2 / np.diff(schedule.progress)).sum()
    assert excess == pytest.approx(6.25, rel=1e-3)


def test_friction_that_comes_out_negative_is_small():
    schedule = allot(line(), np.array([0.0, 1.0]), np.array([-1.0, 3.0]))
    steps = np.diff(schedule.progress)
    assert steps[-1] / steps[0] == pytest.approx(np.sqrt(3 / LEAST), rel=0.1)
    with pytest.raises(DynamicsError, match="too few or too short"):
        allot(line(), np.array([0.0, 1.0]), np.array([-3.0, 1.0]))


def test_uniform_is_the_speed_of_the_centre_or_else_of_the_width():
    moving = timed(line(), np.linspace(1, 5, 100))
    np.testing.assert_allclose(uniform(moving).progress, np.linspace(0, 1, 101), atol=1e-12)
    widths = np.array([1.0, 0.9, 0.6, 0.5])
    still = RestraintSchedule(np.zeros((4, 2, 3)), -2 * np.log(widths))
    np.testing.assert_allclose(uniform(still).progress, [0, 0.2, 0.8, 1], atol=1e-12)


def test_the_friction_schedule_dissipates_least_where_all_is_known(worker, wells, toy_engine):
    """y = s² nm in a well: ζ = m γ (k/k_total)² y'², and excess work ∫ζ ds/T = (4/3) m γ (k/k_total)²/T at a constant
    rate, of which the best schedule spends 3/4. Without noise a linear system does its mean work. Steps of 1/13 of the
    relaxation time cost 5 % of it, whatever the schedule."""
    snr, total = 800.0, STIFFNESS + KT * 800.0
    worker(toy_engine(wells(1, STIFFNESS, MASS), [0], DAMPING, STEP))
    share = np.linspace(0, 1, 101)
    centres = np.zeros((101, 1, 3))
    centres[:, 0, 0] = share**2
    schedule = RestraintSchedule(centres, np.full(101, np.log(snr)))
    scale = MASS * DAMPING * (KT * snr / total) ** 2
    steps, excess = 2500, []
    for made, exact in ((schedule, 4 / 3), (allot(schedule, share, scale * 4 * share**2), 1.0)):
        works = []
        for direction in (made, made.reversed()):
            start = direction.centres[0] * KT * snr / total
            seed = np.random.SeedSequence(0)
            works.append(anneal(AnnealingTask("pull", direction, start, steps, steps, 1e-30, STEP, seed)).work[-1])
        excess.append(0.5 * sum(works))
        assert excess[-1] == pytest.approx(scale * exact / (steps * STEP), rel=0.07)
    assert excess[1] / excess[0] == pytest.approx(0.75, rel=0.02)
