"""What the benchmark of denoisers does with numbers, files and runs."""

import numpy as np
import pytest
import torch
import yaml

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.denoisers.noise_space import FreeRotations, PlainNoiseSpace, RigidNoiseSpace
from spacetime_tps.errors import GeometryError
from spacetime_tps.runs.folder import Run
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.training.trainer import principal_directions


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_pieces_are_runs_of_time_within_each_trajectory(script):
    figures = script("denoiser_figures")
    source = np.repeat([3, 7], [40, 17])
    numbers = figures.pieces(source)
    assert np.array_equal(np.unique(numbers), np.arange(2 * figures.PIECES))
    assert (np.diff(numbers) >= 0).all()
    for number in np.unique(numbers):
        assert len(np.unique(source[numbers == number])) == 1


def test_the_error_of_a_ratio_is_its_spread_over_repetitions(script):
    """Over 400 experiments the spread of the ratio is known to 1/√800 = 3.5 %, each jackknife error on average better;
    15 % is four times that. Values of one group share a deviation, so frames taken as independent would give an error
    2.2 times too small."""
    figures = script("denoiser_figures")
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(40), 10)
    ratios, errors = [], []
    for _ in range(400):
        reference = rng.exponential(size=400)
        values = 0.8 * reference + 0.2 * (rng.normal(size=40)[groups] + rng.normal(size=400))
        ratio, error = figures.ratio_of_means(values, reference, rng.uniform(0.5, 1.5, size=400), groups)
        ratios.append(ratio)
        errors.append(error)
    assert np.mean(ratios) == pytest.approx(0.8, abs=4 * np.std(ratios) / 20)
    assert np.mean(errors) == pytest.approx(np.std(ratios), rel=0.15)


def test_the_ratio_of_a_denoiser_to_itself_is_exactly_one(script):
    values = np.random.default_rng(0).exponential(size=32)
    ratio, error = script("denoiser_figures").ratio_of_means(values, values, np.ones(32), np.arange(32) // 4)
    assert ratio == 1 and error == pytest.approx(0, abs=1e-12)


def test_denoising_errors_of_the_right_gaussian_are_its_posterior_variance(script):
    """3000 samples know E|x − x̂|² to √(2/3000)/√3 ≈ 1.5 %; 6 % is four times that."""
    figures = script("denoiser_figures")
    variances = torch.tensor([1e-4, 1e-3, 1e-2], dtype=torch.float64)
    x = normal(3000, 3) * variances.sqrt()
    exact = GaussianMixtureDenoiser([1.0], np.zeros((1, 3)), [np.diag(variances.numpy())])
    errors = figures.denoising_errors(PlainNoiseSpace(3), exact, x, seed=2, repeats=1)
    assert errors.shape == (len(figures.LEVELS), 3000)
    for level, error in zip(figures.LEVELS, errors.mean(axis=1), strict=True):
        spread = np.exp(-level) / 100  # of Å² in nm²
        assert error == pytest.approx(float((variances * spread / (variances + spread)).sum()), rel=0.06)
    again = figures.denoising_errors(PlainNoiseSpace(3), exact, x, seed=2, repeats=1)
    assert np.array_equal(errors, again)  # the same noise for every denoiser


def test_untrained_heads_say_what_the_gaussian_says(script):
    """With rigid rotations: the Gaussian of superposed positions with free rotations."""
    heads = script("two_heads")
    x, weights = normal(500, 6) * torch.linspace(0.1, 1, 6), torch.linspace(1, 2, 500, dtype=torch.float64)
    directions = principal_directions(x, weights)
    network = heads.TwoHeads(directions, 3, (-3.0, 6.0), 8, 2, torch.Generator().manual_seed(0)).double()
    gaussian = FreeRotations(GaussianMixtureDenoiser.wiener(x.numpy(), weights.numpy()))
    y, log_snr = 2 * normal(7, 6, seed=1), torch.linspace(-3, 6, 7, dtype=torch.float64)
    mine, theirs = (denoiser.moments(y, log_snr) for denoiser in (network, gaussian))
    torch.testing.assert_close(mine.mean, theirs.mean)
    torch.testing.assert_close(mine.variance, theirs.variance)
    with pytest.raises(GeometryError, match="gradient of nothing"):
        network.log_normalizer(y, log_snr)


def test_heads_learn_the_moments_of_two_points(script):
    """x = ±1 has x̂ = tanh(SNR y) and variance 1 − x̂²; a Gaussian's error at SNR 2 is four times what is allowed."""
    heads = script("two_heads")
    x = torch.ones(256, 1, dtype=torch.float64)
    x[::2] = -1
    settings = PotentialSettings(
        kind="potential", network="perceptron", width=32, depth=2, steps=300, batch=256, average=0.9, learning_rate=0.01
    )
    torch.set_num_threads(1)
    weights = torch.full((256,), 1 / 256, dtype=torch.float64)
    trained = heads.train_two_heads(x, weights, PlainNoiseSpace(1), (-2.0, 3.0), settings, seed=0)
    y = torch.linspace(-1.5, 1.5, 41, dtype=torch.float64)[:, None]
    log_snr = torch.full((41,), np.log(2.0), dtype=torch.float64)
    moments = trained.moments(y, log_snr)
    exact = torch.tanh(2 * y[:, 0])
    gaussian = y[:, 0] * 1 / (1 + 0.5)
    assert (moments.mean[:, 0] - exact).abs().mean() < 0.25 * (gaussian - exact).abs().mean()
    off = (moments.variance - (1 - exact**2)).abs().mean()
    assert off < 0.25 * (1 / 3 - (1 - exact**2)).abs().mean()


def test_noise_of_a_turning_molecule_is_known_to_the_variance(script):
    """A rigid molecule behind weak noise has a posterior variance of 3/SNR, its rotations': what an untrained network
    says of it but for the 10⁻⁶ of floors."""
    heads = script("two_heads")
    template = normal(4, 3)
    template = template - template.mean(0)
    turns = torch.stack([torch.linalg.cross(e.expand_as(template), template).flatten() for e in torch.eye(3).double()])
    shifts = torch.eye(3).double().repeat(1, 4)
    basis = torch.linalg.svd(torch.cat([turns, shifts]))[2][6:].T
    noise_space = RigidNoiseSpace(basis, template)
    x = (template.flatten() @ basis).expand(200, -1)
    directions = (x[0], torch.eye(noise_space.dimension).double(), torch.full((noise_space.dimension,), 1e-12).double())
    free = noise_space.degrees - noise_space.dimension
    network = (
        heads.TwoHeads(directions, free, (0.0, 9.0), 4, 1, torch.Generator().manual_seed(0))
        .double()
        .requires_grad_(False)
    )
    log_snr = torch.full((200,), 9.0, dtype=torch.float64)
    y, target, square = noise_space.noisy(x, log_snr, torch.Generator().manual_seed(3))
    moments = network.moments(y, log_snr)
    outside = (square - ((target - y) ** 2).sum(1)).mean()
    # 200 draws of a χ² of 3 degrees know its mean to √(2/600) = 5.8 %
    assert float(outside) == pytest.approx(float(moments.variance[0]), rel=0.25)
    torch.testing.assert_close(moments.variance, 3 * torch.exp(-log_snr), rtol=1e-6, atol=0)


def test_a_run_begins_with_the_samples_of_another(script, begin_run, assert_same_settings, tmp_path):
    molecule = script("denoiser_molecule")
    source = begin_run(tmp_path / "mixture", **molecule.CHOICES["all"])
    (source.made("samples") / "training.npz").write_bytes(b"samples")
    source.finish("samples", 0.0, {"sampling": 12}, after=["beginning"])
    target, config = tmp_path / "network", tmp_path / "network.yaml"
    config.write_text(yaml.safe_dump(molecule.CHOICES["all"] | {"denoiser": molecule.DENOISERS["perceptron"]}))
    for _ in range(2):  # the second time nothing is left to do
        molecule.share_samples(source.folder, target, config)
    run = Run.open(target, "samples")
    assert run.is_finished("samples") and run.base_seed == 7
    assert run.path("samples/training.npz").read_bytes() == b"samples"
    assert run.report("samples").evaluations == {"sampling": 12}
    assert_same_settings(target, load_settings(find_system(molecule.SYSTEM), config))  # so that the run can go on
    assert run.settings.denoiser.network == "perceptron" and run.settings.coordinates.atoms == "all"


def test_samples_that_runs_share_are_counted_once(script):
    molecule = script("denoiser_molecule")
    lengths = molecule.Lengths(1.0, 1.0, 0.1, 1.0, 0.1, evaluations=5)
    first = molecule.Row("mixture", 1.0, {}, {}, evaluations=110, sampling=100, lengths=lengths)
    second = molecule.Row("perceptron", 1.0, {}, {}, evaluations=120, sampling=100)
    heads = molecule.Row("two heads", 1.0, {}, {}, evaluations=3)
    assert molecule.evaluations_of([first, second, heads]) == 100 + 10 + 5 + 20 + 3
