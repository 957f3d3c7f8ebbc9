"""The figure of a calibration shows what was sampled, with its errors, and what the model says."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from spacetime_tps.calibration.figure import calibration_figure
from spacetime_tps.calibration.results import (
    CalibrationResult,
    ChordComparison,
    Compared,
    CurveComparison,
    CurveWindow,
    MomentComparison,
    PointComparison,
)


def calibration(unit: str) -> CalibrationResult:
    """A model that is a tenth too narrow, on a curve whose fourth J noise has made negative."""
    moments = MomentComparison(0.02, 0.005, 0.03, 0.04, Compared(0.09, 0.1, 0.004))
    divergences = (1.0, 1.44, 4.0, -0.05)
    curve = CurveComparison(
        name="low_variance",
        windows=(CurveWindow(5.0, 0.0, False),) * 5,
        chords=tuple(ChordComparison(5.0, 5.0, Compared(1.21, divergence, 0.1)) for divergence in divergences),
        energy=Compared(9.7, 12.8, 0.4),
        length=Compared(4.4, 4.2, 0.1),
        length_md_of_halves=(4.1, 4.3),
    )
    points = tuple(PointComparison(log_snr, moments, 0.0) for log_snr in (4.0, 5.0, 6.0))
    evaluations = {"points": 1, "curve": 1}
    return CalibrationResult("molecule", "mixture", unit, 1000.0, 0, 4, 10, evaluations, points, curve, {})


@pytest.mark.parametrize("unit", ["nm", ""])
def test_figure(tmp_path, unit, monkeypatch):
    bars, lines = [], []
    errorbar, plot = Axes.errorbar, Axes.plot
    monkeypatch.setattr(Axes, "errorbar", lambda self, *a, **k: bars.append(a) or errorbar(self, *a, **k))
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: lines.append(a) or plot(self, *a, **k))
    calibration_figure(tmp_path / "figure.png", calibration(unit))
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
