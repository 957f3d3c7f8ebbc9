"""The figure of a calibration shows what was sampled, with its errors, and what the model says."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from spacetime_tps.calibration.figure import calibration_figure


def results(unit: str) -> dict:
    """Of a model that is a tenth too narrow, on a curve whose fourth J noise has made negative."""
    displacement, distance = "mean_square_displacement", "mean_distance"
    points = [
        {"log_snr": log_snr, distance: 0.02, f"{distance}_error": 0.005, "variance_md": 0.04}
        | {f"{displacement}_model": 0.09, f"{displacement}_md": 0.1, f"{displacement}_md_error": 0.004}
        for log_snr in (4.0, 5.0, 6.0)
    ]
    chords = [
        {"divergence_model": 1.21, "divergence_md": divergence, "divergence_md_error": 0.1}
        for divergence in (1.0, 1.44, 4.0, -0.05)
    ]
    curve = {"name": "low_variance", "chords": chords, "length_model": 4.4, "length_md": 4.2, "length_md_error": 0.1}
    return {"system": "molecule", "temperature": 1000.0, "unit": unit, "points": points, "curve": curve}


@pytest.mark.parametrize("unit", ["nm", ""])
def test_figure(tmp_path, unit, monkeypatch):
    bars, lines = [], []
    errorbar, plot = Axes.errorbar, Axes.plot
    monkeypatch.setattr(Axes, "errorbar", lambda self, *a, **k: bars.append(a) or errorbar(self, *a, **k))
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: lines.append(a) or plot(self, *a, **k))
    calibration_figure(tmp_path / "figure.png", results(unit))
    means, displacements, steps = bars
    np.testing.assert_allclose(means[1:], np.outer([0.1, 0.025], np.ones(3)))  # in widths of 0.2
    np.testing.assert_allclose(displacements[1:], np.outer([0.9, 0.036], np.ones(3)))
    np.testing.assert_allclose(steps[:2], [[0.5, 1.5, 2.5, 3.5], [1.0, 1.44, 4.0, -0.05]])
    dynamics, model = (line[0] for line in lines[-2:])
    np.testing.assert_allclose(dynamics, [0, 1, 2.2, 4.2, 4.2])
    np.testing.assert_allclose(model, 1.1 * np.arange(5))
    image = imread(tmp_path / "figure.png")
    assert min(image.shape[:2]) > 300
    assert np.ptp(image[..., :3]) > 0.5
