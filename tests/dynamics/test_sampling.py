"""Replica exchange against the closed forms of harmonic oscillators, reproducibility, and what is refused."""

import numpy as np
import pytest
from scipy.stats import gamma

from spacetime_tps.dynamics import sampling
from spacetime_tps.dynamics.sampling import (
    Segment,
    SegmentEnd,
    run_molecular_dynamics,
    run_replica_exchange,
    run_segment,
    whole_steps,
)
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.errors import DynamicsError
from spacetime_tps.settings.samples import MolecularDynamicsSettings, ReplicaExchangeSettings
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

STIFFNESS, PARTICLES, TIME_STEP = 1000.0, 4, 0.02
DIMENSION = 3 * PARTICLES


def expected_acceptance(cold: float, hot: float) -> float:
    """E[min(1, exp((β_c − β_h)(U_c − U_h)))] over U ~ Gamma(D/2, kT), by the midpoint rule in both quantiles."""
    kt = MOLAR_GAS_CONSTANT * np.array([cold, hot])
    quantiles = (np.arange(2000) + 0.5) / 2000
    u_cold, u_hot = (gamma.ppf(quantiles, DIMENSION / 2, scale=scale) for scale in kt)
    gain = (1 / kt[0] - 1 / kt[1]) * (u_cold[:, None] - u_hot)
    return float(np.exp(np.minimum(gain, 0)).mean())


def assert_mean(values, exact: float, precision: float) -> None:
    """Agreement within four standard errors of independent values, the error being below ``precision`` of it."""
    error = np.std(values, ddof=1) / np.sqrt(len(values))
    assert error < precision * exact
    assert abs(np.mean(values) - exact) < 4 * error


@pytest.fixture
def ladder():
    return ReplicaExchangeSettings(
        method="replica_exchange",
        temperatures=("300 K", "420 K", "600 K"),
        length="32 ps",
        exchange_interval="0.2 ps",
        frame_interval="0.2 ps",
        discard="0 ps",
        model_temperature="600 K",
    )


@pytest.mark.slow
def test_replica_exchange_keeps_every_temperature(ladder, worker, wells, toy_engine, toy_molecule):
    """Potential energies are Gamma(D/2, kT) distributed and the exchanges as frequent as that says.

    Friction is low and exchanges are frequent, so wrong velocities or a wrong criterion would be carried along.
    Standard errors are those of eight independent runs; the first 4 ps of each are left out.
    """
    pool = worker(toy_engine(wells(PARTICLES, STIFFNESS), friction=3.0, time_step=TIME_STEP))
    rng = np.random.default_rng(0)
    radius = np.sqrt(DIMENSION * MOLAR_GAS_CONSTANT * 420 / STIFFNESS)
    runs = []
    for seed in np.random.SeedSequence(1).spawn(8):
        start = rng.normal(size=(PARTICLES, 3))
        molecule = toy_molecule(radius * start / np.linalg.norm(start), TIME_STEP)
        runs.append(run_replica_exchange(molecule, ladder, pool, seed))
    for replica, temperature in enumerate(ladder.temperatures):
        ensembles = [run.ensembles[replica] for run in runs]
        for ensemble in ensembles:
            assert ensemble.temperature == temperature
            np.testing.assert_allclose(ensemble.time, 0.2 * np.arange(1, 161))
            by_hand = 0.5 * STIFFNESS * (ensemble.positions**2).sum(axis=(1, 2))
            np.testing.assert_allclose(ensemble.potential_energy, by_hand, rtol=1e-9)
        reduced = np.array([e.potential_energy[20:] for e in ensembles]) / (MOLAR_GAS_CONSTANT * temperature)
        assert_mean(reduced.mean(axis=1), DIMENSION / 2, 0.03)
        assert_mean(((reduced - DIMENSION / 2) ** 2).mean(axis=1), DIMENSION / 2, 0.1)
    for low in range(2):
        exact = expected_acceptance(*ladder.temperatures[low : low + 2])
        assert_mean([run.acceptance[low] for run in runs], exact, 0.05)
    assert runs[0].evaluations == 160 * 3 * (10 + 1)


class IdealSampler:
    """Stands in for the workers: every segment ends in an independent draw from its temperature, and is recorded."""

    workers = 1

    def __init__(self) -> None:
        self.rng = np.random.default_rng(0)
        self.rounds: list[tuple[list[Segment], list[SegmentEnd]]] = []

    def map(self, function, tasks, chunk=1):
        assert function is run_segment
        ends = []
        for task in tasks:
            energy = self.rng.gamma(DIMENSION / 2, MOLAR_GAS_CONSTANT * task.temperature)
            ends.append(SegmentEnd(self.rng.normal(size=(1, 3)), self.rng.normal(size=(1, 3)), float(energy)))
        self.rounds.append((list(tasks), list(ends)))
        return iter(ends)


@pytest.mark.slow
def test_exchanges_of_an_ideal_sampler(ladder, toy_molecule):
    """8,000 attempts of each pair: acceptance within four binomial standard errors, less than 0.03.

    What goes into each round is what came out of the one before, in its place or exchanged with a neighbour; then
    velocities are rescaled by √(T_new/T_old), and kinetic energies in units of kT stay as they are.
    """
    rounds = 16000
    sampler = IdealSampler()
    long = ladder.model_copy(update={"length": 0.2 * rounds})
    molecule = toy_molecule(np.zeros((1, 3)), TIME_STEP)
    result = run_replica_exchange(molecule, long, sampler, np.random.SeedSequence(3))
    for low in range(2):
        exact = expected_acceptance(*ladder.temperatures[low : low + 2])
        assert 0.1 < exact < 0.9
        assert abs(result.acceptance[low] - exact) < 4 * np.sqrt(exact * (1 - exact) / (rounds / 2)) < 0.03
    assert all(segment.velocities is None for segment in sampler.rounds[0][0])
    exchanges = np.zeros(2)
    for number in range(200):
        ends, segments = sampler.rounds[number][1], sampler.rounds[number + 1][0]
        for replica, segment in enumerate(segments):
            assert segment.temperature == ladder.temperatures[replica]
            (source,) = (i for i, end in enumerate(ends) if np.array_equal(end.positions, segment.positions))
            scale = np.sqrt(ladder.temperatures[replica] / ladder.temperatures[source])
            np.testing.assert_allclose(segment.velocities, scale * ends[source].velocities, rtol=1e-12)
            if source > replica:
                assert (source, replica) == (replica + 1, replica)
                assert replica % 2 == number % 2  # even and odd pairs take turns
                exchanges[replica] += 1
    assert (exchanges > 5).all()


def test_acceptance_of_equal_temperatures_is_certain():
    assert expected_acceptance(300, 300 * (1 + 1e-9)) == pytest.approx(1, abs=1e-6)


def test_plain_dynamics_is_boltzmann_distributed_and_starts_in_each_state(worker, wells, toy_engine, toy_molecule):
    """<U> = D/2 kT within four standard errors over the independent particles."""
    particles = 100
    pool = worker(toy_engine(wells(particles, STIFFNESS), friction=20.0, time_step=0.05))
    settings = MolecularDynamicsSettings(
        method="molecular_dynamics",
        length="20 ps",
        trajectories_per_state=2,
        frame_interval="0.2 ps",
        discard="0 ps",
        model_temperature="450 K",
    )
    start = np.full((particles, 3), 0.05)
    molecule = toy_molecule(start)
    ensembles, evaluations = run_molecular_dynamics(molecule, settings, pool, np.random.SeedSequence(4))
    assert len(ensembles) == 4
    assert evaluations == 100 * 4 * (4 + 1)
    assert not np.array_equal(ensembles[0].positions, ensembles[1].positions)
    squares = np.concatenate([(e.positions[10:] ** 2).mean(axis=0).ravel() for e in ensembles])
    assert_mean(squares, MOLAR_GAS_CONSTANT * 450 / STIFFNESS, 0.01)


def test_segments_continue_their_velocities(worker, wells, toy_engine):
    """Without friction two segments in a row are one of their joint length."""
    worker(toy_engine(wells(2), friction=0.0))
    seeds = np.random.SeedSequence(0).spawn(3)
    start, velocities = np.full((2, 3), 0.1), np.arange(6.0).reshape(2, 3)
    whole = run_segment(Segment(start, velocities, 300.0, 30, seeds[0]))
    half = run_segment(Segment(start, velocities, 300.0, 15, seeds[1]))
    rest = run_segment(Segment(half.positions, half.velocities, 300.0, 15, seeds[2]))
    np.testing.assert_allclose(rest.positions, whole.positions, rtol=0, atol=1e-12)
    np.testing.assert_allclose(rest.velocities, whole.velocities, rtol=0, atol=1e-11)


def test_fresh_velocities_are_maxwell_boltzmann(worker, wells, toy_engine):
    """No steps: m<v²> = kT at the segment's temperature, within four standard errors."""
    worker(toy_engine(wells(3000, mass=7.0)))
    end = run_segment(Segment(np.zeros((3000, 3)), None, 500.0, 0, np.random.SeedSequence(8)))
    assert_mean(7.0 * (end.velocities**2).ravel(), MOLAR_GAS_CONSTANT * 500, 0.02)


@pytest.mark.slow
def test_results_do_not_depend_on_the_number_of_workers(molecule, worker):
    """One process, two processes and this one give the same bits; another seed does not."""
    settings = ReplicaExchangeSettings(
        method="replica_exchange",
        temperatures=("300 K", "500 K", "900 K"),
        length="0.06 ps",
        exchange_interval="0.01 ps",
        frame_interval="0.02 ps",
        discard="0 ps",
        model_temperature="900 K",
    )
    engine = Engine.for_system(molecule, ())
    pool = worker(engine)

    def run(pool, seed: int = 5):
        return run_replica_exchange(molecule, settings, pool, np.random.SeedSequence(seed))

    here, again, other = run(pool), run(pool), run(pool, 6)
    with WorkerPool(engine, 1) as one, WorkerPool(engine, 2) as two:
        results = [again, run(one), run(two)]
    for result in results:
        assert result.acceptance == here.acceptance
        for mine, theirs in zip(here.ensembles, result.ensembles, strict=True):
            np.testing.assert_array_equal(mine.positions, theirs.positions)
            np.testing.assert_array_equal(mine.potential_energy, theirs.potential_energy)
    assert np.abs(other.ensembles[0].positions - here.ensembles[0].positions).max() > 1e-3


@pytest.mark.parametrize("duration, time_step, steps", [(0.5, 0.001, 500), (0.3, 0.1, 3), (1e-3, 1e-3, 1)])
def test_whole_steps(duration, time_step, steps):
    assert whole_steps(duration, time_step, "x") == steps


@pytest.mark.parametrize("duration", [0.0015, 0.0004, 0.10001])
def test_durations_of_no_whole_number_of_steps(duration):
    with pytest.raises(ValueError, match=rf"some\.interval \({duration:g} ps\) is not a whole number of time steps"):
        whole_steps(duration, 0.001, "some.interval")


def test_intervals_are_checked_before_any_step(ladder, toy_molecule):
    odd = ladder.model_copy(update={"exchange_interval": 0.21})
    molecule = toy_molecule(np.zeros((1, 3)), TIME_STEP)
    with pytest.raises(ValueError, match=r"samples\.exchange_interval \(0\.21 ps\)"):
        run_replica_exchange(molecule, odd, IdealSampler(), np.random.SeedSequence(0))
    odd = ladder.model_copy(update={"frame_interval": 0.3})
    with pytest.raises(
        ValueError, match=r"samples\.frame_interval \(0\.3 ps\) is not a whole number of exchange intervals"
    ):
        run_replica_exchange(molecule, odd, IdealSampler(), np.random.SeedSequence(0))


@pytest.mark.parametrize("steps", [0, 10])
def test_positions_that_are_not_finite(steps, molecule, worker):
    worker(Engine.for_system(molecule, ()))
    start = molecule.structures["c5"].copy()
    start[3, 1] = np.nan
    with pytest.raises(DynamicsError, match="sampling at 300 K"):
        run_segment(Segment(start, None, 300.0, steps, np.random.SeedSequence(0)))


def test_a_task_needs_a_worker():
    with pytest.raises(RuntimeError, match="no engine in this process; run the task through a WorkerPool"):
        run_segment(Segment(np.zeros((1, 3)), None, 300.0, 1, np.random.SeedSequence(0)))


def test_seeds_of_rounds_are_those_of_spawning():
    seed = np.random.SeedSequence(5, spawn_key=(2,))
    made = [sampling._round_seed(seed, number).generate_state(4) for number in range(3)]
    np.testing.assert_array_equal(made, [child.generate_state(4) for child in seed.spawn(3)])
