"""Two-way shooting: whole trajectories from A to B, time-reversal exact, and outcomes of every kind."""

import dataclasses

import numpy as np
import openmm
import pytest

from spacetime_tps.coordinates.states import CollectiveVariable, State, state_indices
from spacetime_tps.dynamics.shooting import Shot, ShotResult, shoot
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

FRAME_STEPS = 5


@pytest.fixture
def shooting_point(annealed_path, molecule):
    """The frame between the states whose phi is nearest to zero."""
    phi = molecule.variables["phi"](molecule.trajectory(annealed_path.positions))
    frame = int(np.argmin(np.abs(phi)))
    assert state_indices(molecule.states, annealed_path.positions[frame][None])[0] == -1
    return annealed_path.positions[frame]


def make_shot(positions: np.ndarray, seed: int, **changes) -> Shot:
    shot = Shot(positions, 300.0, 0.001, FRAME_STEPS, 600, np.random.SeedSequence(seed))
    return dataclasses.replace(shot, **changes)


@pytest.fixture
def reactive(molecule, shooting_point, worker) -> list[ShotResult]:
    """Shots without friction that join the states: at least one of each direction."""
    worker(dataclasses.replace(Engine.for_system(molecule, ()), friction=0.0))
    found: list[ShotResult] = []
    for seed in range(60):
        result = shoot(make_shot(shooting_point, seed))
        if result.reactive:
            found.append(result)
        if {r.forward for r in found} == {"A", "B"}:
            return found
    raise AssertionError("no reactive shot of each direction among 60")


def test_reactive_trajectories(reactive, molecule, shooting_point):
    for result in reactive:
        trajectory = result.trajectory
        states = state_indices(molecule.states, trajectory.positions)
        assert states[0] == 0
        assert states[-1] == 1
        assert (states[1:-1] == -1).all()
        assert len(states) == result.forward_frames + result.backward_frames + 1
        np.testing.assert_allclose(trajectory.time, 0.005 * np.arange(len(states)), rtol=1e-12)
        np.testing.assert_array_equal(trajectory.positions[trajectory.shooting_frame], shooting_point)
        towards_a = result.backward_frames if result.forward == "B" else result.forward_frames
        assert trajectory.shooting_frame == towards_a
        assert result.failure is None
        assert result.evaluations == FRAME_STEPS * (result.forward_frames + result.backward_frames) + 2


def test_reactive_trajectories_are_one_solution_of_newtons_equations(reactive, molecule):
    """Velocity Verlet from the first frame, forward only, gives every frame: past and future join seamlessly."""
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    masses = np.array([system.getParticleMass(i)._value for i in range(system.getNumParticles())])[:, None]
    platform = openmm.Platform.getPlatformByName("Reference")
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)

    def acceleration(x: np.ndarray) -> np.ndarray:
        context.setPositions(x)
        return context.getState(forces=True).getForces(asNumpy=True)._value / masses

    dt = 0.001
    for result in reactive:
        x, v = result.trajectory.positions[0], result.trajectory.velocities[0]
        a = acceleration(x)
        for frame in range(len(result.trajectory.time)):
            np.testing.assert_allclose(x, result.trajectory.positions[frame], rtol=0, atol=1e-4)
            np.testing.assert_allclose(v, result.trajectory.velocities[frame], rtol=0, atol=1e-2)
            for _ in range(FRAME_STEPS):
                x = x + dt * v + 0.5 * dt**2 * a
                new = acceleration(x)
                v, a = v + 0.5 * dt * (a + new), new


def free_pair(wells, toy_engine) -> Engine:
    """Two particles without forces or friction; A is nearer than 1 nm and B farther, but for a narrow gap."""
    distance = {"r": CollectiveVariable("r", "distance", (0, 1))}
    boxes = {"A": {"r": (0.0, 1 - 1e-6)}, "B": {"r": (1 + 1e-6, 9.0)}}
    states = tuple(State(name, "x", (box,), distance) for name, box in boxes.items())
    engine = toy_engine(wells(2, stiffness=0.0, mass=10.0), friction=0.0, time_step=0.001)
    return dataclasses.replace(engine, states=states)


def test_free_flight_is_a_straight_line_at_the_right_temperature(worker, wells, toy_engine):
    """Every shot at 1 nm joins the states, as x = x(shot) + v t on both sides, with m<v²> = kT.

    Tolerance: four standard errors of a mean square of normal numbers.
    """
    worker(free_pair(wells, toy_engine))
    start = np.array([[0.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
    drawn, directions = [], []
    for seed in range(150):
        shot = Shot(start, 450.0, 0.001, 1, 5000, np.random.SeedSequence(seed))
        result = shoot(shot)
        assert result.reactive
        trajectory = result.trajectory
        velocity = trajectory.velocities[trajectory.shooting_frame]
        since = trajectory.time - trajectory.time[trajectory.shooting_frame]
        np.testing.assert_allclose(trajectory.positions, start + since[:, None, None] * velocity, rtol=0, atol=1e-10)
        np.testing.assert_allclose(trajectory.velocities, np.broadcast_to(velocity, trajectory.velocities.shape))
        assert velocity[1, 0] > velocity[0, 0]  # apart, from A to B
        drawn.append(velocity)
        directions.append(result.forward)
    assert abs(directions.count("B") - 75) < 25  # a fair coin, four standard deviations
    squares = 10.0 * np.array(drawn).ravel() ** 2
    exact = MOLAR_GAS_CONSTANT * 450
    assert abs(squares.mean() - exact) < 4 * np.sqrt(2 / squares.size) * exact


def test_both_sides_may_end_in_the_same_state(worker, wells, toy_engine):
    worker(free_pair(wells, toy_engine))
    start = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0]])
    result = shoot(Shot(start, 300.0, 0.001, 1, 100, np.random.SeedSequence(0)))
    assert (result.forward, result.backward) == ("A", "A")
    assert (result.forward_frames, result.backward_frames) == (1, 1)
    assert not result.reactive
    assert result.trajectory is None
    assert result.failure is None


def test_the_time_limit_ends_both_sides(shooting_point, molecule, worker):
    worker(Engine.for_system(molecule, ()))
    result = shoot(make_shot(shooting_point, 0, max_frames=2, frame_steps=1))
    assert (result.forward, result.backward) == ("none", "none")
    assert (result.forward_frames, result.backward_frames) == (2, 2)
    assert not result.reactive
    assert result.trajectory is None
    assert result.failure is None
    assert result.evaluations == 4 + 2


def test_a_side_that_breaks_down_has_failed(shooting_point, molecule, heavy_atoms, worker):
    worker(Engine.for_system(molecule, ()))
    bad = shooting_point.copy()
    bad[heavy_atoms[-1]] = bad[heavy_atoms[0]]
    result = shoot(make_shot(bad, 0))
    assert "failed" in (result.forward, result.backward)
    assert result.failure.startswith("frame 0: ")
    assert not result.reactive
    assert result.trajectory is None
    good = shoot(make_shot(shooting_point, 0))
    assert good.failure is None


def test_same_seed_same_shot_whatever_ran_before(shooting_point, molecule, worker):
    """With the thermostat on."""
    worker(Engine.for_system(molecule, ()))
    results = {}
    for seed in range(60):
        results[seed] = shoot(make_shot(shooting_point, seed, max_frames=400))
        if results[seed].trajectory is not None:
            break
    for seed, result in results.items():
        again = shoot(make_shot(shooting_point, seed, max_frames=400))
        assert (again.forward, again.backward, again.evaluations) == (
            result.forward,
            result.backward,
            result.evaluations,
        )
    np.testing.assert_array_equal(again.trajectory.positions, result.trajectory.positions)
    np.testing.assert_array_equal(again.trajectory.velocities, result.trajectory.velocities)
