"""The figure scripts: what they print and draw, and the parts of the digits that have closed forms."""

import math
import sys

import numpy as np
import pytest
import torch

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.spacetime import Points
from spacetime_tps.spacetime.family import moments_at


@pytest.fixture
def table(monkeypatch, capsys, tmp_path, script):
    """Run a script; the figures of the table it prints, as text."""

    def run(name: str) -> list[list[str]]:
        picture = tmp_path / "figures" / "picture.png"
        monkeypatch.setattr(sys, "argv", [name, "--output", str(picture)])
        script(name).main()
        assert picture.read_bytes().startswith(b"\x89PNG")
        rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
        return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]

    return run


def test_toy_geodesic_is_the_one_of_the_paper(table):
    ((length, _, speed_ratio, apex, converged),) = table("toy_geodesic")
    assert float(length) == pytest.approx(6.408, abs=1e-3)
    assert float(apex) == pytest.approx(0.618, abs=1e-3)
    assert float(speed_ratio) == pytest.approx(1, abs=1e-4)
    assert converged == "yes"


def test_no_probability_flow_is_shorter_than_the_geodesic_between_its_ends(table):
    rows = table("probability_flow")
    assert len(rows) >= 2
    for _, _, flow, geodesic, *_, converged in rows:
        assert converged == "yes"
        assert float(geodesic) <= float(flow) < 1.05 * float(geodesic)


@pytest.fixture
def digits(script):
    pytest.importorskip("skimage")
    return script("digits")


def gaussian(dimension: int, variance: float) -> GaussianMixtureDenoiser:
    return GaussianMixtureDenoiser([1.0], np.zeros((1, dimension)), variance * np.eye(dimension)[None])


@pytest.mark.parametrize("sigma", [0.3, 1.0, 4.0])
def test_noisy_samples_of_a_gaussian_are_on_the_noise_shell(digits, sigma):
    """|y|² = D(c + σ²) is where x ~ N(0, c) is carried by noise; there SNR E|x − y|² = D exactly, farther out more."""
    dimension, variance = 5, 0.7
    y = torch.full((3, dimension), math.sqrt(variance + sigma**2), dtype=torch.float64)
    y *= torch.tensor([0.5, 1.0, 2.0], dtype=torch.float64)[:, None]
    points = Points(y, torch.full((3,), -2 * math.log(sigma), dtype=torch.float64))
    denoiser = gaussian(dimension, variance)
    inside, on, outside = digits.NoiseShell(dimension).violation(denoiser, points, moments_at(denoiser, points))
    assert float(on) == pytest.approx(0, abs=1e-12)
    assert inside < 0 < outside


def test_measured_length_of_a_line_at_constant_noise(digits):
    """For q = N(0, c) the distributions at one λ differ by their means only: the length is |Δx̂| over their width."""
    variance, sigma = 0.7, 0.5
    y = torch.linspace(-1, 2, 7, dtype=torch.float64)[:, None] * torch.tensor([0.6, 0.8], dtype=torch.float64)
    curve = Points(y, torch.full((7,), -2 * math.log(sigma), dtype=torch.float64))
    length, negative = digits.measure(gaussian(2, variance), curve)
    gain = variance / (variance + sigma**2)
    assert length == pytest.approx(3 * gain / math.sqrt(gain * sigma**2), rel=1e-12)
    assert negative == 0


def test_negative_chords_are_counted(digits):
    """A denoiser that moves its mean against y has J < 0 on every chord at one λ."""

    class Backwards:
        dimension, log_snr_range = 2, (-math.inf, math.inf)

        def moments(self, y, log_snr):
            return digits.Moments(-y, torch.ones_like(log_snr))

    curve = Points(torch.randn(4, 2, generator=torch.Generator().manual_seed(0)).double(), torch.zeros(4).double())
    assert digits.measure(Backwards(), curve) == (0.0, 1.0)


def test_network_keeps_images_without_noise_and_is_twice_differentiable(digits):
    torch.manual_seed(0)
    network = digits.DigitNetwork(0.75).double()
    x = torch.randn(3, digits.PIXELS, dtype=torch.float64, requires_grad=True)
    assert torch.allclose(network(x, torch.full((3,), 1e-6).double()), x, atol=1e-5)
    (first,) = torch.autograd.grad(network(x, torch.ones(3).double())[:, 0].sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x)
    assert float(second.abs().max()) > 0


def test_pairs_are_distinct_and_of_the_kind_asked_for(digits):
    labels = np.arange(30) % 3
    for same in (True, False):
        pairs = digits.random_pairs(labels, np.random.default_rng(0), 40, same=same)
        assert len(set(pairs)) == 40
        assert all(i < j and (labels[i] == labels[j]) == same for i, j in pairs)
