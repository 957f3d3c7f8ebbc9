"""The denoiser that a run goes by: of its samples or of its on-policy rounds, and of no other molecule."""

import time

import numpy as np
import pytest

from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.runs.denoiser import read_denoiser, write_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import DENOISER, GEODESICS, REFINED_DENOISER


def mixture(run: Run, variance: float) -> GaussianMixtureDenoiser:
    size = run.coordinates.dimension
    return GaussianMixtureDenoiser([1.0], np.zeros((1, size)), variance * np.eye(size)[None])


def test_the_refined_denoiser_comes_first_once_its_stage_has_finished(run):
    write_denoiser(run, mixture(run, 1.0), run.path(DENOISER))
    run.made(GEODESICS)
    write_denoiser(run, mixture(run, 2.0), run.path(REFINED_DENOISER))
    assert float(read_denoiser(run).variances.mean()) == pytest.approx(1.0)
    run.finish("geodesics", time.perf_counter())
    assert float(read_denoiser(run).variances.mean()) == pytest.approx(2.0)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"system": "other"}, "was made for other, not for alanine_dipeptide"),
        ({"atoms": [0, 1, 3]}, "was made for other atoms than this run's"),
    ],
)
def test_another_molecules_is_refused(run, change, message):
    made_for = {"system": run.molecule.name, "atoms": list(run.coordinates.atoms)}
    mixture(run, 1.0).save(run.path(DENOISER), made_for | change)
    with pytest.raises(GeometryError, match=message):
        read_denoiser(run)
