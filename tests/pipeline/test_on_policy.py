"""Windows join samples: a tail that the samples miss gets its weight."""

import numpy as np
import pytest
import torch
from scipy.stats import norm

from spacetime_tps.calibration.windows import Windows
from spacetime_tps.pipeline.on_policy import join
from spacetime_tps.runs.read import TrainingSet
from spacetime_tps.spacetime import Points

SNR = 4.0


class FirstAtom:
    """Coordinates of which one is left: x of the first atom."""

    def decode(self, latent: np.ndarray) -> np.ndarray:
        return latent

    def restraint_energies(self, positions: np.ndarray, centres: np.ndarray, log_snr: np.ndarray) -> np.ndarray:
        return 0.5 * np.exp(log_snr)[:, None] * (positions[:, 0, 0] - centres) ** 2


def windows(
    centres: np.ndarray, rng: np.random.Generator, replicas: int = 8, frames: int = 200
) -> tuple[Windows, Points]:
    """Draws of N(0, 1) under restraints: N(y SNR/(1 + SNR), 1/(1 + SNR))."""
    x = (
        rng.normal(size=(len(centres), replicas, frames)) / np.sqrt(1 + SNR)
        + (centres * SNR / (1 + SNR))[:, None, None]
    )
    positions = np.zeros((*x.shape, 1, 3))
    positions[..., 0, 0] = x
    points = Points(torch.from_numpy(centres[:, None]), torch.full((len(centres),), np.log(SNR), dtype=torch.float64))
    return Windows(positions, 0), points


@pytest.mark.parametrize("weighted", [False, True])
def test_tail_of_a_gaussian(weighted):
    """P(x > 3.5) = 2.3e-4: of 1,000 samples 0.2 are there; windows up to y = 4 know it.

    A row of seven overlapping windows, 1,600 draws each, knows it to a few per cent; 15 % are four standard errors.
    Samples of N(0, 1.5²) with their weights in N(0, 1) serve as well.
    """
    rng = np.random.default_rng(0)
    width = 1.5 if weighted else 1.0
    x = rng.normal(size=2000) * width
    weights = norm.pdf(x) / norm.pdf(x, scale=width)
    positions = np.zeros((2000, 1, 3))
    positions[:, 0, 0] = x
    training = TrainingSet(positions, weights / weights.sum(), np.zeros(2000, dtype=int))
    halves = [windows(centres, rng) for centres in (np.arange(0.5, 2.5, 0.5), np.arange(2.5, 4.5, 0.75))]
    joined = join(training, halves, FirstAtom())  # of two rounds
    found = joined.positions[:, 0, 0]
    assert joined.weights[found > 3.5].sum() == pytest.approx(norm.sf(3.5), rel=0.15)
    assert joined.weights @ found == pytest.approx(0, abs=0.1)
    assert joined.weights @ found**2 == pytest.approx(1, abs=0.1)
    assert len(np.unique(joined.source)) == 1 + 8 * 7
    assert len(joined.source) == len(joined.weights) == len(joined.positions)
