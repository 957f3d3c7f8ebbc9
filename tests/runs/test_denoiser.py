"""The denoiser that a run goes by: of its samples or of its on-policy rounds, and of no other molecule."""

from types import SimpleNamespace

import numpy as np
import pytest

from spacetime_tps.coordinates import CartesianCoordinates
from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.runs.context import REFINED_DENOISER
from spacetime_tps.runs.denoiser import DENOISER, read_denoiser

COORDINATES = CartesianCoordinates.from_structure((0, 2, 3), np.random.default_rng(0).normal(size=(4, 3)))
MOLECULE = SimpleNamespace(name="toy")


def mixture(variance: float) -> GaussianMixtureDenoiser:
    return GaussianMixtureDenoiser([1.0], np.zeros((1, 3)), variance * np.eye(3)[None])


def test_the_refined_denoiser_comes_first(tmp_path):
    made_for = {"system": "toy", "atoms": [0, 2, 3]}
    mixture(1.0).save(tmp_path / DENOISER, made_for)
    assert float(read_denoiser(tmp_path, MOLECULE, COORDINATES).variances.mean()) == pytest.approx(1.0)
    (tmp_path / REFINED_DENOISER).parent.mkdir()
    mixture(2.0).save(tmp_path / REFINED_DENOISER, made_for)
    assert float(read_denoiser(tmp_path, MOLECULE, COORDINATES).variances.mean()) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "made_for, message",
    [
        ({"system": "other", "atoms": [0, 2, 3]}, "was made for other, not for toy"),
        ({"system": "toy", "atoms": [0, 1, 3]}, "was made for other atoms than this run's"),
    ],
)
def test_another_molecules_is_refused(tmp_path, made_for, message):
    mixture(1.0).save(tmp_path / DENOISER, made_for)
    with pytest.raises(GeometryError, match=message):
        read_denoiser(tmp_path, MOLECULE, COORDINATES)
