"""Energies and forces of surfaces in OpenMM, and walkers on them: closed forms, bookkeeping, breakdowns."""

import numpy as np
import pytest

from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.dynamics.surface import SurfacePotential, anneal_walkers, restraint_pull
from spacetime_tps.errors import ConfigError, DynamicsError

NODES = -np.pi + 2 * np.pi * np.arange(72) / 72
LINES, ANGLES = (False, False), (True, True)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture(scope="module")
def well() -> SurfacePotential:
    return SurfacePotential("0.5*k*((a - 0.3)^2 + (b + 0.2)^2); k = 5", ("a", "b"))


def still(y, log_snr: float) -> RestraintSchedule:
    """A restraint that does not move."""
    return RestraintSchedule(np.tile(y, (2, 1)), np.full(2, log_snr))


def walk(potential, schedule, start, seed=0, **options):
    defaults = {"kt": 1.0, "periodic": LINES, "steps": 50, "time_step": 0.01, "frame_steps": 7}
    return anneal_walkers(potential, schedule, start, np.random.default_rng(seed), **(defaults | options))


def numerical_forces(potential: SurfacePotential, points: np.ndarray, step: float = 1e-5) -> np.ndarray:
    columns = []
    for axis in range(2):
        shift = step * np.eye(2)[axis]
        up, down = (potential.evaluate(points + sign * shift)[0] for sign in (1, -1))
        columns.append((down - up) / (2 * step))
    return np.stack(columns, axis=-1)


class TestPotential:
    def test_each_point_has_its_own_energy(self, rng):
        potential = SurfacePotential("u + v^2; u = exp(-s)*sin(b); v = s + 1; s = a^2 + b^2;", ("a", "b"))
        points = rng.normal(size=(40, 2))
        energies, forces = potential.evaluate(points)
        square = (points**2).sum(1)
        np.testing.assert_allclose(energies, np.exp(-square) * np.sin(points[:, 1]) + (square + 1) ** 2, rtol=1e-12)
        np.testing.assert_allclose(forces, numerical_forces(potential, points), atol=1e-6)

    def test_any_number_of_points(self, well, rng):
        points = rng.normal(size=(5, 2))
        whole = well.evaluate(points)[0]
        np.testing.assert_array_equal(
            np.concatenate([well.evaluate(points[:2])[0], well.evaluate(points[2:])[0]]), whole
        )

    def test_table_is_a_periodic_spline(self, rng):
        """sin(a) + 2 cos(2b) on 72 nodes: error of a cubic spline h⁴/384 max|u⁗| = 5·10⁻⁶, of its slope h³/24 |u⁗|."""
        table = np.sin(NODES)[:, None] + 2 * np.cos(2 * NODES)
        potential = SurfacePotential("table(a, b)", ("a", "b"), table)
        at_nodes = np.stack(np.meshgrid(NODES, NODES, indexing="ij"), axis=-1).reshape(-1, 2)
        np.testing.assert_allclose(potential.evaluate(at_nodes)[0], table.ravel(), atol=1e-12)
        a, b = points = rng.uniform(-10, 10, size=(2, 500))  # other turns too
        energies, forces = potential.evaluate(points.T)
        np.testing.assert_allclose(energies, np.sin(a) + 2 * np.cos(2 * b), atol=6e-6)
        np.testing.assert_allclose(forces, np.stack([-np.cos(a), 4 * np.sin(2 * b)], axis=-1), atol=1e-3)

    @pytest.mark.parametrize(
        "energy, reason",
        [("(a + b", "unbalanced"), ("a + c", "'c'"), ("table(a, b)", "table"), ("a; b +", "Parse error"), (" ", "")],
    )
    def test_refuses_what_openmm_cannot_read(self, energy, reason):
        with pytest.raises(ConfigError, match=rf"the energy .* of a and b that OpenMM understands.*{reason}"):
            SurfacePotential(energy, ("a", "b"))


class TestRestraint:
    @pytest.mark.parametrize("periodic", [LINES, ANGLES, (True, False), (False, True)])
    def test_pull_is_the_gradient(self, periodic, rng):
        x, step = rng.normal(size=(6, 2)), 1e-6
        centre = rng.normal(size=2 + sum(periodic))

        def energy(x: np.ndarray) -> np.ndarray:
            columns = zip(x.T, periodic, strict=True)
            latent = [part for column, p in columns for part in ((np.cos(column), np.sin(column)) if p else (column,))]
            return 0.5 * ((np.stack(latent, axis=-1) - centre) ** 2).sum(-1)

        numerical = [(energy(x - step * axis) - energy(x + step * axis)) / (2 * step) for axis in np.eye(2)]
        np.testing.assert_allclose(restraint_pull(x, centre, periodic), np.stack(numerical, axis=-1), atol=1e-8)


class TestWalkers:
    def test_a_restrained_well_is_sampled_exactly(self, well):
        """kT = 0.5, k = 5, SNR = 6: p(x|z) is a Gaussian of precision k/kT + SNR = 16 around the weighted centre.

        Steps of τ = 0.1 take 0.8 of the spring constant 8: Euler-Maruyama would be off by a factor of 1.67. Correlation
        times are below two steps, so 4,000 walkers at 10 frames 10 steps apart are independent; limits are 4 standard
        errors.
        """
        kt, snr, y, count = 0.5, 6.0, np.array([1.0, 0.5]), 4000
        paths = walk(well, still(y, np.log(snr)), np.zeros((count, 2)), kt=kt, steps=110, time_step=0.1, frame_steps=10)
        samples = paths.positions[2:].reshape(-1, 2)
        mean = (10 * np.array([0.3, -0.2]) + snr * y) / 16
        assert np.abs(samples.mean(0) - mean).max() < 4 * np.sqrt(1 / 16 / len(samples))
        assert np.abs(samples.var(0) * 16 - 1).max() < 4 * np.sqrt(2 / len(samples))

    def test_a_flat_circle_is_sampled_as_von_mises(self):
        """⟨cos(θ − m)⟩ = I₁(κ)/I₀(κ), κ = SNR|y| = 4: 0.86352 (Abramowitz & Stegun 9.8).

        4,000 walkers at 5 frames half a relaxation time and more apart: at least 8,000 independent samples of standard
        deviation 0.165; the limit is 4 standard errors. The error of steps of τκ = 0.2 is below 0.001.
        """
        flat = SurfacePotential("0*a + 0*b", ("a", "b"))
        m, kappa, snr = 3.0, 4.0, 8.0
        y = kappa / snr * np.array([np.cos(m), np.sin(m), 0.0, 0.0])
        start = np.tile([m, 0.0], (4000, 1))
        paths = walk(flat, still(y, np.log(snr)), start, periodic=ANGLES, steps=100, time_step=0.05, frame_steps=10)
        theta = paths.positions[6:, :, 0]
        assert np.cos(theta - m).mean() == pytest.approx(0.86352, abs=4 * 0.165 / np.sqrt(8000) + 0.001)
        free = paths.positions[..., 1]  # its centre is y = 0: no restraint, diffusion with D = kT
        assert free[-1].var() == pytest.approx(2 * 100 * 0.05, rel=4 * np.sqrt(2 / 4000))

    def test_walkers_follow_a_moving_restraint(self, well):
        """Without noise, a step is a recurrence that can be written by hand."""
        centres, log_snr = np.array([[0.0, 0.0], [1.0, -1.0], [0.5, 2.0]]), np.array([1.0, 3.0, 2.0])
        cold, steps, x = 1e-12, 20, np.array([0.4, 0.1])
        paths = walk(
            well, RestraintSchedule(centres, log_snr - np.log(cold)), x[None], kt=cold, steps=steps, frame_steps=1
        )
        for step in range(1, steps + 1):
            place = 2 * step / steps
            y = [np.interp(place, range(3), centres[:, axis]) for axis in range(2)]
            stiffness = np.exp(np.interp(place, range(3), log_snr))
            x = x + 0.01 * (-5 * (x - [0.3, -0.2]) + stiffness * (y - x))
            np.testing.assert_allclose(paths.positions[step, 0], x, atol=1e-5)

    def test_frames_energies_and_evaluations(self, well):
        paths = walk(well, still(np.zeros(2), 1.0), np.ones((3, 2)), segment_points=2)
        assert paths.steps.tolist() == [0, 7, 14, 21, 28, 35, 42, 49, 50]
        assert paths.positions.shape == (9, 3, 2)
        np.testing.assert_array_equal(paths.positions[0], np.ones((3, 2)))
        np.testing.assert_allclose(paths.energies[4], well.evaluate(paths.positions[4])[0], rtol=1e-12)
        assert paths.evaluations == 3 * 51
        assert paths.measuring_evaluations == 3 * 50 * 2

    def test_highest_energies(self, well):
        every = walk(well, still(np.zeros(2), 1.0), np.ones((20, 2)), frame_steps=1)
        np.testing.assert_array_equal(every.highest_energy, every.energies.max(0))
        assert (every.highest_energy_on_segments >= every.highest_energy).all()

    def test_segments_see_the_barrier_that_a_step_jumps_over(self):
        """One step without noise from −1 to 1 over exp(−a²/0.01), which is 0 at both and 1 in the middle."""
        barrier = SurfacePotential("exp(-a^2/0.01)", ("a", "b"))
        schedule, start = still(np.array([1.0, 0.0]), np.log(1e12)), np.array([[-1.0, 0.0]])
        paths = walk(barrier, schedule, start, kt=1e-12, steps=1, time_step=1.0, segment_points=3)
        np.testing.assert_allclose(paths.positions[-1], [[1.0, 0.0]], atol=1e-5)
        assert paths.highest_energy[0] == pytest.approx(0, abs=1e-12)
        assert paths.highest_energy_on_segments[0] == pytest.approx(1, abs=1e-6)

    def test_the_seed_decides(self, well):
        start = np.zeros((4, 2))
        first, again, other = (walk(well, still(np.zeros(2), 1.0), start, seed) for seed in (1, 1, 2))
        np.testing.assert_array_equal(first.positions, again.positions)
        assert not np.allclose(first.positions[1:], other.positions[1:])

    def test_measuring_does_not_change_the_walk(self, well):
        start = np.zeros((4, 2))
        with_points, without = (walk(well, still(np.zeros(2), 1.0), start, segment_points=n) for n in (3, 0))
        np.testing.assert_allclose(with_points.positions, without.positions, rtol=1e-12)
        np.testing.assert_array_equal(without.highest_energy, without.highest_energy_on_segments)

    def test_breakdown_names_walker_and_step(self):
        """−a⁴ lets walkers fall to infinity; one is started on the slope, the others at rest on the top."""
        cliff = SurfacePotential("-a^4", ("a", "b"))
        start = np.array([[0.0, 0.0], [0.0, 0.0], [3.0, 0.0], [0.0, 0.0]])
        with pytest.raises(DynamicsError, match=r"walker 2 broke down at step \d+ of 50 \(1 of 4 did\).*smaller time"):
            walk(cliff, still(np.zeros(2), -20.0), start, kt=1e-9)
