"""Springs along a curve: exact in a harmonic molecule, one maximum where the model has one, and dihedrals likewise."""

import dataclasses
from itertools import pairwise

import numpy as np
import pytest

from spacetime_tps.coordinates import CartesianCoordinates, TorsionCoordinates
from spacetime_tps.dynamics.annealing import AnnealingTask, RestraintSchedule, anneal
from spacetime_tps.dynamics.springs import set_springs
from spacetime_tps.errors import GeometryError
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

KT = 300 * MOLAR_GAS_CONSTANT
ONE_DIHEDRAL = TorsionCoordinates(("first",), ((0, 1, 2, 3),))


def atoms(count: int) -> CartesianCoordinates:
    return CartesianCoordinates(tuple(range(count)), np.zeros((count, 3)))


@pytest.mark.parametrize("temperature", [300.0, 900.0, 1500.0])
@pytest.mark.parametrize("narrowing", [0.5, 1.0, 2.0, 4.0])
def test_windows_of_a_harmonic_molecule_have_the_models_mean(temperature, narrowing):
    """Precision (T_m/T)(P + s SNR) and mean x̂, where the molecule has P at T_m and is neither diagonal nor centred."""
    rng = np.random.default_rng(4)
    model, log_snr = 900.0, np.array([2.0, 3.5, 3.0])
    square = rng.normal(size=(6, 6))
    molecule, rest = 4 * (square @ square.T + np.eye(6)), rng.normal(size=6)
    y = rng.normal(size=(3, 2, 3))
    mean = np.array(
        [
            np.linalg.solve(molecule + snr * np.eye(6), molecule @ rest + snr * centre.ravel())
            for snr, centre in zip(np.exp(log_snr), y, strict=True)
        ]
    )
    curve = RestraintSchedule(y, log_snr, np.array([0, 0.3, 1]))
    driven = set_springs(atoms(2), curve, mean.reshape(3, 2, 3), model, temperature, narrowing)
    np.testing.assert_array_equal(driven.progress, curve.progress)
    ratio = model / temperature
    for index in range(3):
        precision = ratio * molecule + np.exp(driven.log_snr[index]) * np.eye(6)
        pull = ratio * molecule @ rest + np.exp(driven.log_snr[index]) * driven.centres[index].ravel()
        np.testing.assert_allclose(np.linalg.solve(precision, pull), mean[index], rtol=1e-11)
        expected = ratio * (molecule + narrowing * np.exp(log_snr[index]) * np.eye(6))
        np.testing.assert_allclose(precision, expected, rtol=1e-11)


def test_dynamics_at_its_own_temperature_keeps_the_mean_and_is_narrower(worker, wells, toy_engine):
    """Model at 900 K, dynamics at 300 K, s = 3. Four standard errors over the independent degrees of freedom."""
    particles, stiffness, snr, narrowing = 100, 1000.0, 80.0, 3.0
    worker(toy_engine(wells(particles, stiffness), range(particles)))
    y = np.random.default_rng(5).normal(0, 0.3, (2, particles, 3))
    y[1] = y[0]
    mean = y * snr / (snr + stiffness / (3 * KT))
    curve = RestraintSchedule(y, np.full(2, np.log(snr)))
    driven = set_springs(atoms(particles), curve, mean, 900.0, 300.0, narrowing)
    variance = 1 / (3 * (stiffness / (3 * KT) + narrowing * snr))
    task = AnnealingTask("path 0", driven, mean[0], 1000, 4, 300.0, 0.03, np.random.SeedSequence(2))
    residual = anneal(task).positions[10:] - mean[0]
    # along the mean, so that a mean that is off in proportion to it is seen
    sides = residual * np.sign(mean[0])
    for averages, exact in ((sides.mean(axis=0), 0.0), ((residual**2).mean(axis=0), variance)):
        error = averages.std(ddof=1) / np.sqrt(averages.size)
        assert error < 0.02 * (exact or np.sqrt(variance))
        assert abs(averages.mean() - exact) < 4 * error


def moments(energy: np.ndarray, x: np.ndarray) -> tuple[float, float]:
    """Mean and variance of exp(−energy) on a grid."""
    weights = np.exp(energy.min() - energy)
    mean = float(np.average(x, weights=weights))
    return mean, float(np.average((x - mean) ** 2, weights=weights))


def maxima(energy: np.ndarray) -> int:
    """Number of maxima of exp(−energy) on a grid."""
    return sum(before < 0 < after for before, after in pairwise(np.sign(np.diff(energy))))


def double_well(y: float, narrowing: float) -> tuple[RestraintSchedule, RestraintSchedule, float]:
    """Restraints near the barrier of :func:`barrier`, of the model at 1000 K, with springs for 300 K; and the mean."""
    snr, x = 14.0, np.linspace(-3, 3, 60_001)
    model = moments(barrier(x) / 1000 + 0.5 * snr * (x - y) ** 2, x)[0]
    centres, means = np.zeros((2, 2, 1, 3))
    centres[..., 0], means[..., 0] = y, model
    curve = RestraintSchedule(centres, np.full(2, np.log(snr)))
    return curve, set_springs(atoms(1), curve, means, 1000.0, 300.0, narrowing), model


def barrier(x: np.ndarray) -> np.ndarray:
    """A double well of 2 k_B · 1000 K between −1 and 1, over k_B."""
    return 2000 * (x**2 - 1) ** 2


def window(schedule: RestraintSchedule, temperature: float, x: np.ndarray) -> np.ndarray:
    """Reduced energy of the double well and the restraint at a schedule's start."""
    return barrier(x) / temperature + 0.5 * np.exp(schedule.log_snr[0]) * (x - schedule.centres[0, 0, 0]) ** 2


@pytest.mark.parametrize("narrowing", [1.0, 2.0, 4.0])
@pytest.mark.parametrize("y", [0.0, 0.02, 0.1])
def test_windows_have_one_maximum_where_those_of_the_model_have_one(y, narrowing):
    x = np.linspace(-3, 3, 60_001)
    curve, driven, _ = double_well(y, narrowing)
    assert maxima(window(curve, 1000.0, x)) == 1
    assert maxima(window(curve, 300.0, x)) == 2  # the spring kT·SNR of the dynamics' own temperature
    assert maxima(window(driven, 300.0, x)) == 1


def test_narrowed_windows_stay_at_the_mean_where_stiffer_ones_do_not():
    """Next to a barrier: stiffer windows about the same y move towards it, which is nearer to the barrier's top."""
    x = np.linspace(-3, 3, 60_001)
    shifts, variances = [], []
    for narrowing in (1.0, 4.0, 16.0, 64.0):
        curve, driven, mean = double_well(0.1, narrowing)
        found, variance = moments(window(driven, 300.0, x), x)
        shifts.append(abs(found - mean))
        variances.append(variance)
        stiffer = dataclasses.replace(driven, centres=curve.centres)
        if narrowing > 1:
            assert abs(moments(window(stiffer, 300.0, x), x)[0] - mean) > 5 * shifts[-1]
    assert all(after < before / 2 for before, after in pairwise(shifts))
    # (T_m/T)(U''/k_B T_m + s SNR), which is least stiff where the barrier bends most
    bend = 2000 * (12 * double_well(0.1, 1.0)[2] ** 2 - 4) / 1000
    assert variances[-1] == pytest.approx(0.3 / (bend + 64 * 14), rel=5e-3)


def test_the_natural_spring_keeps_the_centres():
    """Nothing is narrowed: the spring is T_m/T times as stiff; and nothing at all where the temperatures are equal."""
    rng = np.random.default_rng(0)
    for coordinates, shape in ((atoms(2), (4, 2, 3)), (ONE_DIHEDRAL, (4, 1, 2))):
        curve = RestraintSchedule(rng.normal(size=shape), rng.normal(size=4))
        means = rng.normal(size=shape)
        natural = set_springs(coordinates, curve, means, 900.0, 300.0)
        np.testing.assert_array_equal(natural.centres, curve.centres)
        np.testing.assert_allclose(np.exp(natural.log_snr - curve.log_snr), 3.0)
        colder = set_springs(coordinates, curve, means, 200.0, 300.0)
        np.testing.assert_allclose(np.exp(colder.log_snr - curve.log_snr), 2 / 3)
        same = set_springs(coordinates, curve, means, 300.0, 300.0)
        np.testing.assert_array_equal(same.centres, curve.centres)
        np.testing.assert_array_equal(same.log_snr, curve.log_snr)


def dihedral_windows(depth: float, ratio: float, narrowing: float) -> tuple[float, float, float, float]:
    """Mean angle of the model, and mean angle, variance and expected variance of its window in dynamics.

    One dihedral in depth · cos 3θ and a restraint of concentration 6 depth towards 0.6 rad.
    """
    theta = np.linspace(-np.pi, np.pi, 200_000, endpoint=False)
    y, log_snr = 0.8 * np.array([np.cos(0.6), np.sin(0.6)]), np.log(6 * depth / 0.8)
    angles = np.stack([np.cos(theta), np.sin(theta)])

    def average(power: float, centre: np.ndarray, snr: float) -> np.ndarray:
        energy = power * depth * np.cos(3 * theta) - snr * centre @ angles
        return angles @ np.exp(energy.min() - energy) / np.exp(energy.min() - energy).sum()

    mean = average(1.0, y, np.exp(log_snr))
    curve = RestraintSchedule(np.tile(y, (2, 1, 1)), np.full(2, log_snr))
    driven = set_springs(ONE_DIHEDRAL, curve, np.tile(mean, (2, 1, 1)), ratio * 300, 300.0, narrowing)
    found = average(ratio, driven.centres[0, 0], np.exp(driven.log_snr[0]))
    middle = np.arctan2(*mean[::-1])
    held = 6 * depth * np.cos(0.6 - middle)
    expected = 1 / (ratio * (-9 * depth * np.cos(3 * middle) + narrowing * held))
    # the circular variance is half of that of the angle where this is small
    return middle, np.arctan2(*found[::-1]), 2 * (1 - np.linalg.norm(found)), expected


@pytest.mark.parametrize("narrowing, ratio", [(1.0, 10 / 3), (2.0, 1.0), (2.0, 10 / 3), (4.0, 10 / 3), (0.7, 2.0)])
def test_windows_of_a_dihedral_have_the_models_mean_angle(narrowing, ratio):
    """To first order in the variance, which is that of (T_m/T)(U''/kT_m + s u'') at the mean."""
    shifts = []
    for depth in (30.0, 60.0, 120.0):
        middle, found, variance, expected = dihedral_windows(depth, ratio, narrowing)
        assert abs(middle - 0.6) > 0.2  # y is elsewhere
        shifts.append(abs(found - middle))
        assert variance == pytest.approx(expected, rel=0.01)
    assert shifts[-1] < 0.01
    for before, after in pairwise(shifts):
        assert after == pytest.approx(before / 2, rel=0.2)


def test_a_free_dihedral_is_narrowed_as_often_as_asked():
    """Without a molecule the mean points to y, which stays; the concentration is s times as large."""
    y = np.array([[[0.3, -0.4]], [[-0.5, 0.1]]])
    narrowed = set_springs(ONE_DIHEDRAL, RestraintSchedule(y, np.zeros(2)), 0.2 * y, 300.0, 300.0, 5.0)
    np.testing.assert_allclose(narrowed.centres, y, rtol=1e-14)
    np.testing.assert_allclose(narrowed.log_snr, np.log(5.0))


def test_a_dihedral_that_its_restraint_does_not_hold_is_left_as_it_is():
    """The mean points away from y, or nowhere: SNR y stays; and the pull is the same on both sides of 90°."""
    y = np.array([[[1.0, 0.0]], [[1.0, 0.0]]])
    angles = np.radians([120.0, 0.0])
    means = 0.9 * np.stack([np.cos(angles), np.sin(angles)], axis=-1)[:, None]
    means[1] = 0.0
    narrowed = set_springs(ONE_DIHEDRAL, RestraintSchedule(y, np.zeros(2)), means, 300.0, 300.0, 4.0)
    np.testing.assert_allclose(4 * narrowed.centres, y, rtol=1e-14)
    for angle in np.radians([89.999, 90.001]):
        means[:] = np.cos(angle), np.sin(angle)
        near = set_springs(ONE_DIHEDRAL, RestraintSchedule(y, np.zeros(2)), means, 300.0, 300.0, 4.0)
        np.testing.assert_allclose(4 * near.centres, y, atol=1e-4)


def test_works_along_a_narrowed_schedule_obey_jarzynski_and_crooks(worker, wells, toy_engine):
    """A well at 600 K whose curve stiffens, driven at 300 K. Four standard errors of each average.

    Steps are short: velocities of a leapfrog are half a step behind, and in a few large moves the works of a restraint
    that stiffens are then off by a tenth of kT.
    """
    stiffness, count, time_step = 500.0, 250, 0.005
    worker(toy_engine(wells(1, stiffness), [0], time_step=time_step))
    y, log_snr = np.zeros((3, 1, 3)), np.log([60.0, 70.0, 80.0])
    y[:, 0, 0] = 0.0, 0.06, 0.15
    mean = y * (1 / (1 + stiffness / (2 * KT) / np.exp(log_snr)))[:, None, None]
    driven = set_springs(atoms(1), RestraintSchedule(y, log_snr), mean, 600.0, 300.0, 3.0)
    well, springs, place = stiffness / KT, np.exp(driven.log_snr), driven.centres[:, 0, 0]
    np.testing.assert_allclose(springs, [360.0, 420.0, 480.0])
    free = 1.5 * np.log(well + springs) + 0.5 * well * springs / (well + springs) * place**2
    exact = free[-1] - free[0]
    works = []
    for direction, moving in enumerate((driven, driven.reversed())):
        tasks = [
            AnnealingTask(
                *("path", moving, np.zeros((1, 3)), 96, 96, 300.0, time_step),
                np.random.SeedSequence((direction, index)),
                equilibration_steps=400,
            )
            for index in range(count)
        ]
        works.append(np.array([anneal(one).work[-1] for one in tasks]) / KT)
    there, back = works
    assert min(there.mean() - exact, back.mean() + exact) > 0.4  # far from reversible
    for work, difference in ((there, exact), (back, -exact)):
        weights = np.exp(difference - work)
        assert weights.mean() == pytest.approx(1, abs=4 * weights.std() / np.sqrt(count))
        assert weights.std() / np.sqrt(count) < 0.1
    fermi = [1 / (1 + np.exp(work)) for work in (there - exact, back + exact)]
    error = np.hypot(*(values.std() / np.sqrt(count) for values in fermi))
    assert abs(fermi[0].mean() - fermi[1].mean()) < 4 * error


@pytest.mark.parametrize(
    "temperatures, narrowing", [((0.0, 300.0), 1.0), ((900.0, 0.0), 1.0), ((900.0, 300.0), -2.0), ((-9.0, 3.0), -1.0)]
)
def test_temperatures_and_narrowing_are_above_zero(temperatures, narrowing):
    curve = RestraintSchedule(np.zeros((2, 1, 3)), np.zeros(2))
    with pytest.raises(GeometryError, match="must be above zero"):
        set_springs(atoms(1), curve, curve.centres, *temperatures, narrowing)


def test_means_of_another_curve_are_refused():
    curve = RestraintSchedule(np.zeros((2, 1, 3)), np.zeros(2))
    with pytest.raises(GeometryError, match=r"means have the shape \(3, 1, 3\), .* centres \(2, 1, 3\)"):
        set_springs(atoms(1), curve, np.zeros((3, 1, 3)), 900.0, 300.0)
