"""Path sampling: the ensemble that theory or plain dynamics demands, and only with the right acceptance."""

import dataclasses

import numpy as np
import openmm
import pytest
from scipy.stats import kstest

from spacetime_tps.coordinates.states import CollectiveVariable, State, state_indices
from spacetime_tps.path_ensemble import moves as path_sampling
from spacetime_tps.path_ensemble.moves import Move, Path, lost_move, try_move
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.statistics.correlation import effective_size

FAR, WIDTH = 50.0, 1.0


@pytest.fixture
def corridor(toy_engine):
    """A free particle, and one without mass 50 nm away from which A ends at 49.5 nm and B begins at 50.5 nm."""
    system = openmm.System()
    for mass in (10.0, 0.0):
        system.addParticle(mass)
    distance = {"r": CollectiveVariable("r", "distance", (0, 1))}
    boxes = ((0.0, FAR - WIDTH / 2), (FAR + WIDTH / 2, 2 * FAR))
    states = tuple(State(name, "x", ({"r": box},), distance) for name, box in zip("AB", boxes, strict=True))
    return dataclasses.replace(toy_engine(system, friction=0.0, time_step=0.2), states=states)


def free_path() -> Path:
    """Across the corridor at 0.5 nm/ps."""
    x = np.arange(-0.51, 0.55, 0.1)
    positions = np.zeros((len(x), 2, 3))
    positions[:, 0, 0], positions[:, 1, 0] = x, -FAR
    velocities = np.zeros_like(positions)
    velocities[:, 0, 0] = 0.5
    return Path.first(positions, velocities, None)


def speeds(worker, engine, moves: int) -> np.ndarray:
    """Speed along the corridor of the path after each move, in a chain of two-way moves.

    Paths of more than 100 frames, of which the flux has one in 200, are left out.
    """
    worker(engine)
    path, found = free_path(), []
    for number in range(1, moves + 1):
        seed = np.random.SeedSequence(0, spawn_key=(number,))
        result = try_move(Move(path, "two_way", None, number, 300.0, 1, 100, seed))
        path = path if result.path is None else result.path
        found.append(path.velocities[0, 0, 0])
    return np.array(found)


def flux_p_value(values: np.ndarray) -> float:
    """KS test of speeds against the Rayleigh distribution v exp(−m v² / 2kT), at their effective size.

    Every so many-th is taken, that they are independent: those of particles that cross a plane.
    """
    every = int(np.ceil(len(values) / effective_size([values])))
    width = np.sqrt(MOLAR_GAS_CONSTANT * 300 / 10)
    return float(kstest(values[::every], lambda v: 1 - np.exp(-0.5 * (v / width) ** 2)).pvalue)


@pytest.mark.slow
def test_free_flight_has_the_speeds_of_the_flux(worker, corridor):
    """Free flights through a corridor are as frequent as v exp(−m v² / 2kT): fast ones start more often.

    Trials have exp(−m v² / 2kT); the factor v comes from the acceptance by lengths alone. p > 0.01 by chance in 99 of
    100 seeds.
    """
    assert flux_p_value(speeds(worker, corridor, 400)) > 0.01


@pytest.mark.slow
def test_without_the_acceptance_the_speeds_are_wrong(worker, corridor, monkeypatch):
    monkeypatch.setattr(path_sampling, "_allowance", lambda weight, rng: np.inf)
    assert flux_p_value(speeds(worker, corridor, 250)) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind, biased, moves", [("one_way", False, 150), ("two_way", True, 60)])
def test_double_well_agrees_with_plain_dynamics(worker, script, kind, biased, moves):
    """Durations and crossing points in two dimensions; p > 0.01 by chance in 98 of 100 seeds."""
    ensemble = script("path_ensemble")
    case = dataclasses.replace(ensemble.double_well(barrier=1.0), frame_steps=25, max_frames=200)
    pool = worker(case.engine)
    direct = ensemble.plain_dynamics(pool, case, 2, 4000, np.random.SeedSequence(1))
    every = [path for walker in direct.paths for path in walker]
    assert len(every) > 100
    model = ensemble.committor_of(case, direct) if biased else None
    sampled = ensemble.sample(pool, case, every[:4], kind, model, moves, np.random.SeedSequence(2))
    duration, crossing = ensemble.judge(case, direct, sampled, discard=10)
    assert duration.p_value > 0.01
    assert crossing.p_value > 0.01
    assert sampled.verdicts.get("too_long", 0) == 0
    assert duration.effective_sizes[0] > 12  # or the test would say little


@pytest.fixture
def double_well(worker, script):
    ensemble = script("path_ensemble")
    case = dataclasses.replace(ensemble.double_well(barrier=1.0), frame_steps=25, max_frames=200)
    pool = worker(case.engine)
    direct = ensemble.plain_dynamics(pool, case, 1, 1500, np.random.SeedSequence(3))
    return case, ensemble.committor_of(case, direct), max(direct.paths[0], key=lambda path: len(path[0]))


def accepted_and_others(case, model, first, kind, moves=20, **changes):
    path = Path.first(*first, model)
    for number in range(1, moves + 1):
        seed = np.random.SeedSequence(4, spawn_key=(number,))
        move = dataclasses.replace(
            Move(path, kind, model, number, 300.0, case.frame_steps, case.max_frames, seed), **changes
        )
        yield path, move, try_move(move)


@pytest.mark.parametrize("kind", ["one_way", "two_way"])
def test_accepted_paths(double_well, kind):
    """They go from A to B, hold the shooting point, and of the old path what a move of their kind leaves."""
    case, model, first = double_well
    verdicts = set()
    for old, move, result in accepted_and_others(case, model, first, kind):
        verdicts.add(result.verdict)
        assert (result.path is not None) == (result.verdict == "accepted")
        if result.path is None:
            continue
        new = result.path
        indices = state_indices(case.engine.states, new.positions)
        assert (indices[0], indices[-1]) == (0, 1)
        assert (indices[1:-1] == -1).all()
        np.testing.assert_allclose(new.weights[1:-1], path_sampling.selection_weights(model, new.positions[1:-1]))
        np.testing.assert_array_equal(new.weights[[0, -1]], 0)
        kept = new.born < move.number
        if kind == "two_way":
            assert kept.sum() == 1
            np.testing.assert_array_equal(new.positions[kept][0], old.positions[result.frame])
            assert result.evaluations == (len(new) - 1) * case.frame_steps + 2
        else:
            part = slice(0, result.frame + 1) if result.direction == "forward" else slice(result.frame, None)
            np.testing.assert_array_equal(new.positions[kept], old.positions[part])
            np.testing.assert_array_equal(new.velocities[kept], old.velocities[part])
            assert result.evaluations == (~kept).sum() * case.frame_steps + 1
    assert {"accepted", "rejected", "not_reactive"} <= verdicts


def test_early_rejection_decides_as_the_whole_trial_does(double_well, monkeypatch):
    """The same trials with unlimited room: those accepted are those whose Σw is below the limit that was drawn."""
    case, _, first = double_well
    path = Path.first(*first, None)
    verdicts, drawn = [], []
    limit = path_sampling._allowance

    def remembered(weight, rng):
        drawn.append(limit(weight, rng))
        return np.inf

    for number in range(25):
        stopping, endless = (
            Move(path, "two_way", None, 1, 300.0, case.frame_steps, 500, np.random.SeedSequence(5, spawn_key=(number,)))
            for _ in range(2)
        )
        stopped = try_move(stopping)
        with monkeypatch.context() as patch:
            patch.setattr(path_sampling, "_allowance", remembered)
            whole = try_move(endless)
        assert stopped.evaluations <= whole.evaluations
        should = whole.path is not None and whole.path.weights.sum() <= drawn[-1]
        assert (stopped.path is not None) == should
        verdicts.append((stopped.verdict, whole.verdict))
    assert ("rejected", "accepted") in verdicts
    assert ("accepted", "accepted") in verdicts


def test_paths_that_are_too_long_are_counted(double_well):
    case, _, first = double_well
    shortest = len(first[0])
    verdicts = [r.verdict for _, _, r in accepted_and_others(case, None, first, "two_way", max_frames=8)]
    assert shortest > 8
    assert "too_long" in verdicts


def test_same_seed_same_move(double_well):
    case, model, first = double_well
    results = [[r for _, _, r in accepted_and_others(case, model, first, "one_way", 15)] for _ in range(2)]
    for one, other in zip(*results, strict=True):
        assert (one.verdict, one.frame, one.evaluations) == (other.verdict, other.frame, other.evaluations)
        if one.path is not None:
            np.testing.assert_array_equal(one.path.positions, other.path.positions)


def test_a_trial_that_breaks_down_is_told_with_its_seed(double_well):
    case, _, first = double_well
    broken = (first[0], np.full_like(first[1], np.nan))
    (*_, result), *_ = accepted_and_others(case, None, broken, "one_way", 1)
    assert result.verdict == "failed"
    assert "SeedSequence(4, spawn_key=(1,))" in result.failure
    move = Move(Path.first(*first, None), "one_way", None, 1, 300.0, 1, 10, np.random.SeedSequence(6))
    assert "SeedSequence(6, spawn_key=())" in lost_move(move).failure


def test_reversal():
    path = free_path()
    twice = path.reversed().reversed()
    np.testing.assert_array_equal(twice.velocities, path.velocities)
    np.testing.assert_array_equal(path.reversed().velocities, -path.velocities[::-1])
