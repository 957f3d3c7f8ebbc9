"""The picture of committors, with and without a test."""

import numpy as np
import pytest
from matplotlib.image import imread

from spacetime_tps.committor.figure import committor_figure
from spacetime_tps.committor.statistics import histogram_test


@pytest.mark.parametrize("tested", [True, False])
def test_figure(tmp_path, tested):
    reached_b, shots = np.array([10, 12, 3]), np.full(3, 20)
    test = histogram_test(reached_b, shots, np.random.default_rng(0)) if tested else None
    committor_figure(tmp_path / "committor.png", reached_b, shots, test, "title")
    assert min(imread(tmp_path / "committor.png").shape[:2]) > 300
