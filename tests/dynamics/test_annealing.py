"""Annealed paths: schedule, energies and times of every frame, exact response of a well, and breakdowns."""

import dataclasses

import numpy as np
import openmm
import pytest

from spacetime_tps.dynamics.annealing import AnnealingTask, RestraintSchedule, anneal
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.errors import GeometryError
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

KT = 300 * MOLAR_GAS_CONSTANT
COLD = 1e-30
"""A temperature (K) at which nothing moves by itself: the dynamics is deterministic."""


def task(schedule, positions, steps=100, frame_steps=10, temperature=300.0, time_step=0.05, seed=0) -> AnnealingTask:
    sequence = np.random.SeedSequence(seed)
    return AnnealingTask("path 7", schedule, positions, steps, frame_steps, temperature, time_step, sequence)


def test_schedule_is_linear_between_its_points():
    centres = np.array([0.0, 1.0, 4.0])[:, None, None] * np.ones((1, 2, 3))
    schedule = RestraintSchedule(centres, np.array([3.0, 5.0, 1.0]))
    for progress, centre, log_snr in (
        (0.0, 0.0, 3.0),
        (0.25, 0.5, 4.0),
        (0.5, 1.0, 5.0),
        (0.75, 2.5, 3.0),
        (0.875, 3.25, 2.0),
        (1.0, 4.0, 1.0),
    ):
        at, snr = schedule.at(progress)
        np.testing.assert_allclose(at, np.full((2, 3), centre), rtol=1e-12)
        assert snr == pytest.approx(log_snr, rel=1e-12)


@pytest.mark.parametrize("steps, frame_steps, frames", [(20, 5, [0, 5, 10, 15, 20]), (23, 10, [0, 10, 20, 23])])
def test_frames_are_stored_at_regular_times_with_first_and_last(steps, frame_steps, frames, worker, wells, toy_engine):
    worker(toy_engine(wells(2), [0, 1]))
    schedule = RestraintSchedule(np.zeros((3, 2, 3)), np.array([1.0, 2.0, 5.0]))
    start = np.full((2, 3), 0.1)
    path = anneal(task(schedule, start, steps, frame_steps))
    assert path.failure is None
    assert path.evaluations == steps + 1
    np.testing.assert_allclose(path.time, 0.05 * np.array(frames), rtol=1e-12)
    np.testing.assert_allclose(path.log_snr, [schedule.at(frame / steps)[1] for frame in frames], rtol=1e-12)
    assert path.positions.shape == path.velocities.shape == (len(frames), 2, 3)
    np.testing.assert_array_equal(path.positions[0], start)


def test_a_well_follows_its_restraint_exactly(worker, wells, toy_engine):
    """Without noise, leapfrog-middle in a moving harmonic restraint is a recurrence that can be written by hand."""
    stiffness, mass, friction, dt, steps = 800.0, 6.0, 7.0, 0.03, 60
    worker(toy_engine(wells(1, stiffness, mass), [0], friction, dt))
    centres = np.array([[0.0, 0.1, 0.0], [0.5, -0.2, 0.1], [0.2, 0.3, 0.4], [0.6, 0.1, -0.3]])
    log_snr = np.array([2.0, 5.0, 3.0, 6.0])
    start = np.array([[0.1, 0.0, -0.1]])
    path = anneal(task(RestraintSchedule(centres[:, None], log_snr), start, steps, 1, COLD, dt))
    x, v = start[0].copy(), np.zeros(3)
    for step in range(steps + 1):
        point = 3 * step / steps
        centre = [np.interp(point, range(4), centres[:, axis]) for axis in range(3)]
        restraint = KT * np.exp(np.interp(point, range(4), log_snr))
        np.testing.assert_allclose(path.positions[step, 0], x, rtol=0, atol=1e-9)
        assert path.potential_energy[step] == pytest.approx(0.5 * stiffness * (x**2).sum(), abs=1e-6)
        assert path.restraint_energy[step] == pytest.approx(0.5 * restraint * ((x - centre) ** 2).sum(), abs=1e-6)
        v = v - dt * (stiffness * x + restraint * (x - centre)) / mass
        x = x + 0.5 * dt * v
        v = np.exp(-friction * dt) * v
        x = x + 0.5 * dt * v


def test_a_restraint_that_stands_still_samples_the_posterior(worker, wells, toy_engine):
    """x is N(y SNR s², s²), s² = 1/(SNR + k/kT). Four standard errors over the independent degrees of freedom."""
    particles, stiffness, snr = 100, 1000.0, 250.0
    worker(toy_engine(wells(particles, stiffness), range(particles)))
    y = np.random.default_rng(5).normal(0, 0.3, (particles, 3))
    variance = 1 / (snr + stiffness / KT)
    schedule = RestraintSchedule(np.array([y, y]), np.full(2, np.log(snr)))
    path = anneal(task(schedule, y * snr * variance, 1000, 4))
    residual = path.positions[10:] - y * snr * variance
    for averages, exact in ((residual.mean(axis=0), 0.0), ((residual**2).mean(axis=0), variance)):
        error = averages.std(ddof=1) / np.sqrt(averages.size)
        assert error < 0.02 * (exact or np.sqrt(variance))
        assert abs(averages.mean() - exact) < 4 * error


def test_energies_are_those_of_the_stored_positions(annealed_path, molecule, interpolation, heavy_atoms):
    """A context without restraint, and the restraint by hand, give them again in float64."""
    path, (schedule, start) = annealed_path, interpolation
    assert path.failure is None
    np.testing.assert_allclose(path.positions[0], start, atol=1e-12)
    platform = openmm.Platform.getPlatformByName("Reference")
    system = openmm.XmlSerializer.deserialize(molecule.system_xml)
    context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
    for frame in range(len(path.time)):
        context.setPositions(path.positions[frame])
        energy = context.getState(energy=True).getPotentialEnergy()._value
        assert path.potential_energy[frame] == pytest.approx(energy, abs=1e-6)
        centres, log_snr = schedule.at(path.time[frame] / path.time[-1])
        distance = ((path.positions[frame, heavy_atoms] - centres) ** 2).sum()
        assert path.restraint_energy[frame] == pytest.approx(0.5 * KT * np.exp(log_snr) * distance, abs=1e-6)


def test_highest_energy_is_over_every_step(molecule, heavy_atoms, interpolation, worker):
    worker(Engine.for_system(molecule, heavy_atoms))
    schedule, start = interpolation
    every = anneal(task(schedule, start, 50, 1, time_step=0.001))
    some = anneal(task(schedule, start, 50, 8, time_step=0.001))
    np.testing.assert_array_equal(some.positions, every.positions[[*range(0, 50, 8), 50]])
    np.testing.assert_array_equal(every.highest_potential_energy, every.potential_energy)
    before = 0
    for frame, step in enumerate([*range(0, 50, 8), 50]):
        window = every.potential_energy[before : step + 1]
        assert some.highest_potential_energy[frame] == window.max()
        before = step + 1


def test_the_restraint_moves_the_molecule_to_the_other_state(annealed_path, molecule):
    phi = molecule.variables["phi"](molecule.trajectory(annealed_path.positions[[0, -1]]))
    np.testing.assert_allclose(np.degrees(phi), [-78, 60], atol=25)


def test_a_rotated_problem_has_a_rotated_solution(molecule, heavy_atoms, interpolation, worker):
    worker(Engine.for_system(molecule, heavy_atoms))
    schedule, start = interpolation
    rotation = np.linalg.qr(np.random.default_rng(2).normal(size=(3, 3)))[0]
    rotation *= np.sign(np.linalg.det(rotation))
    turned = RestraintSchedule(schedule.centres @ rotation, schedule.log_snr)
    arguments = {"steps": 200, "frame_steps": 20, "temperature": COLD, "time_step": 0.001}
    one, two = anneal(task(schedule, start, **arguments)), anneal(task(turned, start @ rotation, **arguments))
    assert np.abs(one.positions[-1] - one.positions[0]).max() > 0.01
    np.testing.assert_allclose(two.positions, one.positions @ rotation, rtol=0, atol=1e-8)
    np.testing.assert_allclose(two.potential_energy, one.potential_energy, rtol=0, atol=1e-5)
    np.testing.assert_allclose(two.restraint_energy, one.restraint_energy, rtol=0, atol=1e-5)


def test_same_seed_same_path(molecule, heavy_atoms, interpolation, worker):
    worker(Engine.for_system(molecule, heavy_atoms))
    schedule, start = interpolation
    paths = [anneal(task(schedule, start, 30, 5, time_step=0.001, seed=seed)) for seed in (1, 2, 1)]
    for name in ("positions", "velocities", "potential_energy"):
        np.testing.assert_array_equal(getattr(paths[0], name), getattr(paths[2], name))
    assert np.abs(paths[1].positions[-1] - paths[0].positions[-1]).max() > 1e-3


def test_the_schedule_can_be_too_stiff_for_the_time_step(molecule, heavy_atoms, interpolation, worker):
    worker(Engine.for_system(molecule, heavy_atoms))
    schedule, start = interpolation
    stiffening = dataclasses.replace(schedule, log_snr=np.linspace(np.log(6000), 60.0, 16))
    path = anneal(task(stiffening, start, 200, 1, time_step=0.001))
    assert path.failure is not None
    step = path.evaluations - 1
    log_snr = stiffening.at(step / 200)[1]
    for part in (
        f"annealing, path 7, step {step} of 200: ",
        f"log SNR {log_snr:.3f}",
        f"spring constant {KT * np.exp(log_snr):.4g} kJ/mol/nm^2",
        "system.time_step",
    ):
        assert part in path.failure
    assert 2 <= len(path.time) == step < 200
    for name in ("positions", "potential_energy", "restraint_energy", "highest_potential_energy"):
        assert np.isfinite(getattr(path, name)).all()
    whole = anneal(task(stiffening, start, 200, 1, time_step=0.001))
    np.testing.assert_array_equal(whole.positions, path.positions)  # the next path in this worker is not affected


def test_a_start_with_two_atoms_in_one_place(molecule, heavy_atoms, interpolation, worker):
    worker(Engine.for_system(molecule, heavy_atoms))
    schedule, start = interpolation
    bad = start.copy()
    bad[heavy_atoms[-1]] = bad[heavy_atoms[0]]
    path = anneal(task(schedule, bad, 20, 1, time_step=0.001))
    assert path.failure is not None
    assert "annealing, path 7, step 0 of 20: " in path.failure
    assert path.positions.shape == (0, 22, 3)
    assert len(path.time) == len(path.highest_potential_energy) == 0
    assert path.evaluations == 1
    good = anneal(task(schedule, start, 20, 1, time_step=0.001))
    assert good.failure is None


def test_points_are_reached_at_their_own_times():
    centres = np.array([0.0, 1.0, 4.0])[:, None, None] * np.ones((1, 2, 3))
    schedule = RestraintSchedule(centres, np.array([3.0, 5.0, 1.0]), np.array([0.0, 0.8, 1.0]))
    for progress, centre, log_snr in (
        (0.0, 0.0, 3.0),
        (0.4, 0.5, 4.0),
        (0.8, 1.0, 5.0),
        (0.9, 2.5, 3.0),
        (1.0, 4.0, 1.0),
    ):
        at, snr = schedule.at(progress)
        np.testing.assert_allclose(at, np.full((2, 3), centre), rtol=1e-12)
        assert snr == pytest.approx(log_snr, rel=1e-12)
        back, snr_back = schedule.reversed().at(1 - progress)
        np.testing.assert_allclose(back, at, atol=1e-12)
        assert snr_back == pytest.approx(log_snr, rel=1e-12)


@pytest.mark.parametrize(
    "progress", [[0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 1.0], [0.1, 0.2, 0.3, 1.0], [0.0, 0.2, 0.5, 0.9]]
)
def test_times_that_do_not_rise_from_start_to_end(progress):
    with pytest.raises(GeometryError, match="must rise from 0 to 1, with a value for each of its 4 points"):
        RestraintSchedule(np.zeros((4, 1, 3)), np.zeros(4), np.array(progress))


def test_work_is_the_restraint_energy_gained_by_its_moves(worker, wells, toy_engine):
    """Sum over moves at rest, by hand from the positions of every step; also where frames are further apart."""
    worker(toy_engine(wells(2), [0, 1]))
    rng = np.random.default_rng(0)
    schedule = RestraintSchedule(
        rng.normal(0, 0.2, (4, 2, 3)), np.array([4.0, 6.0, 5.0, 3.0]), np.array([0, 0.1, 0.7, 1])
    )
    every, some = (anneal(task(schedule, np.zeros((2, 3)), 40, stride)) for stride in (1, 16))
    work = [0.0]
    for step in range(1, 41):
        energies = []
        for at in (step - 1, step):
            centres, log_snr = schedule.at(at / 40)
            energies.append(0.5 * KT * np.exp(log_snr) * ((every.positions[step] - centres) ** 2).sum())
        work.append(work[-1] + energies[1] - energies[0])
    np.testing.assert_allclose(every.work, work, atol=1e-9)
    np.testing.assert_array_equal(some.work, every.work[[0, 16, 32, 40]])


def pulled(worker, wells, toy_engine, count, steps):
    """Works in kT of a particle in ½κx² whose restraint goes from 0 to y and back; and ΔF/kT, κk/(κ + k) y²/2kT."""
    stiffness, log_snr, y = 500.0, np.log(300.0), 0.12
    worker(toy_engine(wells(1, stiffness), [0]))
    centres = np.zeros((2, 1, 3))
    centres[1, 0, 0] = y
    schedule = RestraintSchedule(centres, np.full(2, log_snr))
    works = []
    for direction, moving in enumerate((schedule, schedule.reversed())):
        tasks = [
            dataclasses.replace(
                task(moving, np.zeros((1, 3)), steps, steps, seed=(direction, index)), equilibration_steps=60
            )
            for index in range(count)
        ]
        works.append(np.array([anneal(one).work[-1] for one in tasks]) / KT)
    restraint = KT * np.exp(log_snr)
    return works[0], works[1], 0.5 * stiffness * restraint / (stiffness + restraint) * y**2 / KT


def test_work_obeys_jarzynski_and_crooks(worker, wells, toy_engine):
    """Work of a linear response is Gaussian: ΔF = ⟨W⟩ − σ²/2 either way. Four standard errors of each average."""
    there, back, exact = pulled(worker, wells, toy_engine, 250, 6)
    assert there.mean() - exact > 0.3  # far from reversible, so that the equalities say something
    for work, difference in ((there, exact), (back, -exact)):
        weights = np.exp(-work)
        assert weights.mean() == pytest.approx(np.exp(-difference), abs=4 * weights.std() / np.sqrt(len(work)))
        deviation = work.mean() - 0.5 * work.var() - difference
        error = np.sqrt(work.var() / len(work) + 0.5 * work.var() ** 2 / len(work))
        assert abs(deviation) < 4 * error
    # Crooks: P(W)/P_back(−W) = exp(W − ΔF), in the form of Bennett: both sides accept as often at the right ΔF
    fermi = [1 / (1 + np.exp(work)) for work in (there - exact, back + exact)]
    error = np.hypot(*(values.std() / np.sqrt(len(values)) for values in fermi))
    assert abs(fermi[0].mean() - fermi[1].mean()) < 4 * error


@pytest.mark.slow
def test_works_of_sudden_switches_there_and_back_sum_to_the_divergence(worker, wells, toy_engine):
    """J = (η_a − η_b)·(μ_a − μ_b) of two restrained ensembles, here SNR² y²/(SNR + κ/kT). Four standard errors."""
    there, back, _ = pulled(worker, wells, toy_engine, 250, 1)
    exact = 300.0**2 * 0.12**2 / (300.0 + 500.0 / KT)
    error = np.hypot(there.std(), back.std()) / np.sqrt(len(there))
    assert error < 0.1 * exact
    # the one step before the move lets nothing relax: x is from equilibrium at the start
    assert there.mean() + back.mean() == pytest.approx(exact, abs=4 * error)


def test_equilibration_is_counted_and_comes_before_the_first_frame(worker, wells, toy_engine):
    worker(toy_engine(wells(1), [0]))
    schedule = RestraintSchedule(np.full((2, 1, 3), 0.3), np.full(2, np.log(500.0)))
    path = anneal(dataclasses.replace(task(schedule, np.zeros((1, 3)), 10, 5, COLD), equilibration_steps=400))
    assert path.evaluations == 411
    balance = 0.3 * 500 * KT / (500 * KT + 1000)
    np.testing.assert_allclose(path.positions, np.full((3, 1, 3), balance), atol=1e-6)
    np.testing.assert_allclose(path.time, [0, 0.25, 0.5])
