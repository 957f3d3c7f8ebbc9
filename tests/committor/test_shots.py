"""One-sided shots: committors that are known, outcomes of every kind, and seeds that decide everything."""

import dataclasses

import numpy as np
import openmm
import pytest
from scipy.stats import norm

from spacetime_tps.committor.shots import commit, lost_commitment
from spacetime_tps.coordinates.states import CollectiveVariable, State, state_indices
from spacetime_tps.dynamics.shooting import Shot
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

KT = 300 * MOLAR_GAS_CONSTANT
ANCHOR = -50.0  # of mass 0, so far off that its distance is x + 50


def on_a_line(toy_engine, potential: str, edge: float, friction: float, **parameters: float) -> Engine:
    """A particle that moves along x in a potential; A is x < -edge, B is x > edge."""
    system = openmm.System()
    force = openmm.CustomExternalForce(f"{potential} + 500*(y^2+z^2)")
    for name, value in parameters.items():
        force.addGlobalParameter(name, value)
    system.addParticle(0.0)
    force.addParticle(system.addParticle(10.0), [])
    system.addForce(force)
    distance = {"r": CollectiveVariable("r", "distance", (0, 1))}
    boxes = {"A": {"r": (0.0, -ANCHOR - edge)}, "B": {"r": (edge - ANCHOR, 1e3)}}
    states = tuple(State(name, "x", (box,), distance) for name, box in boxes.items())
    return dataclasses.replace(toy_engine(system, friction=friction), states=states)


def task_at(x: float, seed: int, frame_steps: int = 4, max_frames: int = 5000) -> Shot:
    positions = np.array([[ANCHOR, 0.0, 0.0], [x, 0.0, 0.0]])
    return Shot(positions, 300.0, 0.05, frame_steps, max_frames, np.random.SeedSequence(seed))


def fraction_in_b(x: float, shots: int, frame_steps: int) -> float:
    outcomes = [commit(task_at(x, seed, frame_steps)).outcome for seed in range(shots)]
    assert set(outcomes) <= {"A", "B"}
    return outcomes.count("B") / shots


@pytest.mark.parametrize("friction, x", [(1.0, -0.25), (8.0, 0.1)])
def test_parabolic_barrier(worker, toy_engine, friction, x):
    """U = -½ kT (x/w)²: p_B = Φ(x/w), for Langevin dynamics from Maxwell-Boltzmann velocities at any friction.

    The unstable mode u = x + v/(λ + γ) with λ(λ + γ) = ω² grows as du = λ u dt + noise, so that p_B(x, v) is a normal
    integral over u, and its mean over v is one over x alone. Tolerance: three and a half standard errors.
    """
    width, shots = 0.2, 150
    worker(on_a_line(toy_engine, "-0.5*stiffness*x^2", 4 * width, friction, stiffness=KT / width**2))
    exact = norm.cdf(x / width)
    assert abs(fraction_in_b(x, shots, 20) - exact) < 3.5 * np.sqrt(exact * (1 - exact) / shots)


def test_flat_potential(worker, toy_engine):
    """p_B = (x − a)/(b − a), the ends moved outwards by what a particle travels between looks and before it turns.

    That is 0.583 √(2DΔt) of the looks (Siegmund) and 1.46 √(kT/m)/γ of inertia (Milne) where each is alone; their sum
    is an upper bound, and the exact value lies between. Tolerance: three standard errors beyond.
    """
    edge, friction, x, shots = 0.4, 10.0, -0.2, 120
    worker(on_a_line(toy_engine, "0", edge, friction))
    speed = np.sqrt(KT / 10.0)
    farther = 0.583 * np.sqrt(2 * speed**2 / friction * 8 * 0.05) + 1.46 * speed / friction
    low, high = (0.5 + 0.5 * x / (edge + extra) for extra in (0.0, farther))
    error = np.sqrt(low * (1 - low) / shots)
    assert low - 3 * error < fraction_in_b(x, shots, 8) < high + 3 * error


def test_costs_what_it_took(worker, toy_engine):
    worker(on_a_line(toy_engine, "0", 0.2, 20.0))
    result = commit(task_at(0.0, 3))
    steps = round(result.time / 0.05)
    assert result.evaluations == steps + 1
    assert steps % 4 == 0 and steps > 0
    assert result.failure is None


def test_time_limit(worker, toy_engine):
    worker(on_a_line(toy_engine, "0", 5.0, 20.0))
    result = commit(task_at(0.0, 0, frame_steps=2, max_frames=3))
    assert (result.outcome, result.evaluations, result.failure) == ("none", 7, None)
    assert result.time == pytest.approx(0.3)


def test_break_down_is_told(molecule, worker):
    worker(Engine.for_system(molecule, ()))
    start = molecule.structures["c7eq"].copy()
    assert state_indices(molecule.states, start[None])[0] == 0  # where it starts does not matter here
    start[8] = start[4]
    result = commit(Shot(start, 300.0, 0.001, 5, 10, np.random.SeedSequence(0)))
    assert result.outcome == "failed"
    assert result.evaluations == 6
    assert result.failure.startswith("frame 0: ")
    assert result.failure.endswith("(SeedSequence(0, spawn_key=()))")


def test_lost_worker_names_the_seed():
    lost = lost_commitment(task_at(0.0, 7))
    assert (lost.outcome, lost.evaluations) == ("failed", 0)
    assert lost.failure == "the worker process died (SeedSequence(7, spawn_key=()))"


def test_same_seed_same_outcome_whatever_ran_before(worker, toy_engine):
    worker(on_a_line(toy_engine, "0", 0.3, 5.0))
    first = [commit(task_at(0.0, seed)) for seed in range(8)]
    again = [commit(task_at(0.0, seed)) for seed in reversed(range(8))][::-1]
    assert first == again
    assert len({result.time for result in first}) > 1
