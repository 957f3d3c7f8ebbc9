"""Restrained windows of a molecule whose denoising distributions are known, and where their trajectories start."""

from types import SimpleNamespace

import numpy as np
import openmm
import pytest
import torch

from spacetime_tps.calibration.statistics import sampled_curve
from spacetime_tps.calibration.windows import Windows, draw_starts, sample_windows
from spacetime_tps.coordinates import CartesianCoordinates
from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.dynamics.workers import Engine, WorkerPool
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.read import TrainingSet
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT
from spacetime_tps.settings.windows import WindowSettings
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.family import curve_divergences

ATOMS, HELD, STIFFNESS, TEMPERATURE = 7, (0, 1, 3, 4, 6), 3000.0, 700.0
REPLICAS = 8
WELL = STIFFNESS / (MOLAR_GAS_CONSTANT * TEMPERATURE)  # SNR of the wells, 1/nm²
TEMPLATE = 0.2 * np.random.default_rng(0).normal(size=(ATOMS, 3))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Atoms in equal wells ½ k |x − t|² at their places t in the template: centred atoms are Gaussian about these.

    In the latent space and in the three directions of rotation p(x|z) has the variance 1/(SNR + k/kT), exactly.
    """
    system, force = openmm.System(), openmm.CustomExternalForce("0.5*stiffness*((x-x1)^2+(y-y1)^2+(z-z1)^2)")
    force.addGlobalParameter("stiffness", STIFFNESS)
    for name in ("x1", "y1", "z1"):
        force.addPerParticleParameter(name)
    coordinates = CartesianCoordinates.from_structure(HELD, TEMPLATE)
    for place in coordinates.superpose(TEMPLATE[None])[0]:
        force.addParticle(system.addParticle(10.0), place)
    system.addForce(force)
    engine = Engine(
        system_xml=openmm.XmlSerializer.serialize(system),
        restrained_atoms=HELD,
        temperature=300.0,  # dynamics runs at the model's
        friction=20.0,
        time_step=0.02,
        kt=MOLAR_GAS_CONSTANT * 300.0,
        periodic=False,
        platform="Reference",
        states=(),
    )
    samples, replicas = SimpleNamespace(model_temperature=TEMPERATURE), WindowSettings(replicas=REPLICAS)
    settings = SimpleNamespace(samples=samples, windows=replicas)
    molecule, folder = SimpleNamespace(time_step=0.02), tmp_path_factory.mktemp("run")
    with WorkerPool(engine, 1) as pool:
        run = Run(folder, settings, 0)
        run.molecule, run.coordinates = molecule, coordinates
        with run.working(pool):
            yield run


@pytest.fixture(scope="module")
def points(run) -> Points:
    progress = torch.linspace(0, 1, 4, dtype=torch.float64)
    ends = 0.1 * torch.from_numpy(np.random.default_rng(1).normal(size=(2, run.coordinates.dimension)))
    start = torch.from_numpy(run.coordinates.encode(TEMPLATE[None]))
    return Points(start + torch.lerp(*ends[:, None], progress[:, None]), 6.5 - 1.5 * progress)


@pytest.fixture(scope="module")
def training() -> TrainingSet:
    positions = TEMPLATE + np.sqrt(1 / WELL) * np.random.default_rng(2).normal(size=(200, ATOMS, 3))
    return TrainingSet(positions, np.full(200, 1 / 200), np.zeros(200, int))


@pytest.fixture(scope="module")
def windows(run, points, training) -> Windows:
    return sample_windows(run, points, training, 150, np.random.SeedSequence(3), "windows")


def test_frames_and_evaluations(windows, points):
    """3 ps before the first frame, and 0.05 ps, or two steps, for each."""
    assert windows.positions.shape == (len(points), REPLICAS, 150, ATOMS, 3)
    assert windows.evaluations == len(points) * REPLICAS * (150 + 150 * 2)


def test_windows_are_the_denoising_distributions(run, windows, points):
    """Means and squares in all 3n − 3 centred directions; four standard errors over the chains, which are apart."""
    latent, outside = windows.project(run.coordinates)
    snr, start = points.snr.numpy(), run.coordinates.encode(TEMPLATE[None])[0]
    variance = 1 / (snr + WELL)
    mean = variance[:, None] * (snr[:, None] * points.y.numpy() + WELL * start)
    residual = latent.mean(axis=2) - mean[:, None]  # (points, chains, dimension)
    z = residual.mean(axis=1) / (residual.std(axis=1, ddof=1) / np.sqrt(REPLICAS))
    # Student's t of 7 degrees: z² has the mean 7/5 and the variance 10.5
    assert (z**2).mean() == pytest.approx(7 / 5, abs=4 * np.sqrt(10.5 / z.size))
    for squares, directions in (
        (((latent - mean[:, None, None]) ** 2).sum(-1), run.coordinates.dimension),
        (outside, 3),
    ):
        chains = squares.mean(axis=2) / (directions * variance[:, None])
        error = chains.std(ddof=1) / np.sqrt(chains.size)
        assert error < 0.03
        assert abs(chains.mean() - 1) < 4 * error


def test_their_divergences_are_those_of_the_exact_denoiser(run, windows, points):
    """With rotations: the wells hold them too, so they are three more Gaussian coordinates about zero."""
    dimension, start = run.coordinates.dimension, run.coordinates.encode(TEMPLATE[None])[0]
    everything = GaussianMixtureDenoiser([1.0], [np.append(start, np.zeros(3))], [np.eye(dimension + 3) / WELL])
    padded = Points(torch.nn.functional.pad(points.y, (0, 3)), points.log_snr)
    exact = curve_divergences(padded, everything.moments(padded.y, padded.log_snr)).numpy()
    found = sampled_curve(points.y.numpy(), points.snr.numpy(), *windows.project(run.coordinates))
    assert (np.abs(found.divergences - exact) < 5 * found.errors).all()  # of Student's t of about 14 degrees
    assert abs(found.energy - 1.5 * exact.sum()) < 4 * found.energy_error
    assert abs(found.length - np.sqrt(exact).sum()) < 4 * found.length_error
    assert found.length_error < 0.05 * found.length


@pytest.mark.slow
def test_results_do_not_depend_on_the_pool(run, points, training, windows):
    """The same seeds in new workers, two of them."""
    with WorkerPool(run.pool.engine, 2) as pool:
        again = Run(run.folder, run.settings, 0)
        again.molecule, again.coordinates = run.molecule, run.coordinates
        with again.working(pool):
            found = sample_windows(again, points, training, 150, np.random.SeedSequence(3), "windows")
    np.testing.assert_array_equal(found.positions, windows.positions)


def test_starts_follow_the_denoising_distribution():
    """Two groups of samples at distances 0 and 1 from y: odds w₁ exp(−SNR/2)/w₀. Four standard errors."""
    samples = np.repeat([[0.0], [1.0]], 50, axis=0)
    weights = np.repeat([1.0, 3.0], 50)
    weights[0] = weights[-1] = 0.0
    log_snr, count = 0.4, 250
    points = Points(torch.zeros(count, 1, dtype=torch.float64), torch.full((count,), log_snr, dtype=torch.float64))
    starts = draw_starts(samples, weights, points, REPLICAS, np.random.default_rng(4))
    assert starts.shape == (count, REPLICAS)
    assert not np.isin(starts, [0, 99]).any()
    odds = 3 * np.exp(-0.5 * np.exp(log_snr))
    expected = odds / (1 + odds)
    assert abs((starts >= 50).mean() - expected) < 4 * np.sqrt(expected * (1 - expected) / starts.size)
    assert len(np.unique(starts)) > 90


def test_far_from_all_samples_the_nearest_is_taken():
    """Exponents of −10⁶ do not underflow."""
    points = Points(torch.tensor([[100.0]], dtype=torch.float64), torch.tensor([6.0], dtype=torch.float64))
    samples = np.array([[0.0], [1.0], [0.5]])
    assert (draw_starts(samples, np.ones(3), points, REPLICAS, np.random.default_rng(5)) == 1).all()
