"""Mixtures of several sizes: the held-out likelihood finds the planted one, and fits are those of any pool."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from spacetime_tps.settings.denoiser import MixtureSettings
from spacetime_tps.statistics.blocks import held_out_blocks
from spacetime_tps.training.mixtures import GAUSSIAN, VON_MISES, MixtureKind, make_mixture
from spacetime_tps.training.trainer import Samples

IN_PROCESS = SimpleNamespace(map=map)


def two_places(kind: MixtureKind, count: int = 1200) -> np.ndarray:
    """Positions or (cos, sin) of an angle about −1 and 1, in equal parts."""
    rng = np.random.default_rng(0)
    places = rng.choice([-1.0, 1.0], count) + 0.15 * rng.normal(size=count)
    if kind is GAUSSIAN:
        return np.stack([places, rng.normal(size=count)], axis=1)
    return np.stack([np.cos(places), np.sin(places)], axis=1)


@pytest.mark.parametrize("kind", [GAUSSIAN, VON_MISES], ids=["gaussian", "von_mises"])
def test_held_out_likelihood_is_that_of_the_planted_components(kind):
    x = two_places(kind)
    held_out = held_out_blocks(np.zeros(len(x), int), 0.2)
    weights = np.full(len(x), 1 / len(x))
    samples = Samples(*(torch.from_numpy(array) for array in (x, weights, held_out)))
    settings = MixtureSettings(components=(1, 2), fits=2)
    made = make_mixture(samples, kind, settings, np.random.SeedSequence(0), IN_PROCESS)
    assert made.results.components == 2 * settings.fits
    likelihoods = made.results.held_out_log_likelihood
    assert likelihoods["2"] > likelihoods["1"] + 0.5  # nats of a sample
    np.testing.assert_array_equal(made.held_out, held_out)
    again = make_mixture(samples, kind, settings, np.random.SeedSequence(0), IN_PROCESS)
    y, log_snr = samples.x[:5], torch.zeros(5, dtype=torch.float64)
    torch.testing.assert_close(made.denoiser.moments(y, log_snr).mean, again.denoiser.moments(y, log_snr).mean)
    assert set(made.compared) == {"mixture", "single_component"}
