"""Series of ensembles from state to state: where windows are, and how long and how damped their dynamics is."""

import numpy as np
import pytest

from spacetime_tps.dynamics.annealing import RestraintSchedule
from spacetime_tps.stages.free_energies import frame_intervals, frictions, make_series


@pytest.fixture
def series():
    """Of two atoms that move 0.3 nm each, softer in the middle."""
    centres = np.zeros((3, 2, 3))
    centres[:, :, 0] = np.array([0.0, 0.1, 0.3])[:, None]
    return make_series(RestraintSchedule(centres, np.log([20000.0, 2000.0, 20000.0])), 9)


def test_ramps_reach_from_the_ends_of_the_curve_to_the_free_states(series):
    assert np.isneginf(series.log_snr[[0, -1]]).all()
    assert np.isfinite(series.log_snr[1:-1]).all()
    first, last = series.curve.start, series.curve.stop - 1
    np.testing.assert_allclose(series.log_snr[[first, first + 4, last]], np.log([20000, 2000, 20000]))
    assert (np.diff(series.log_snr[1 : first + 1]) > 0).all() and (np.diff(series.log_snr[last:-1]) < 0).all()
    assert np.diff(series.log_snr[1 : first + 1]).max() <= 0.8 + 1e-12
    for side, end in ((slice(None, first), 0.0), (slice(last, None), 0.3)):
        np.testing.assert_allclose(series.centres[side, :, 0], end)
    # at the weakest restraint to one end the structure of the other costs 25 kT
    assert 0.5 * np.exp(series.log_snr[1]) * 2 * 0.3**2 == pytest.approx(25)


def test_frames_are_further_apart_the_weaker_the_restraint(series):
    intervals = frame_intervals(series)
    assert intervals[0] == intervals[-1] == intervals.max()
    np.testing.assert_array_equal(intervals[series.curve], intervals.min())
    ramp = intervals[: series.curve.start + 1]
    assert (np.diff(ramp) <= 0).all() and len(np.unique(ramp)) > 2


def test_friction_goes_as_the_frequency_of_the_restraint(series):
    values = frictions(series, 1.5)
    assert values[0] == values[-1] == 1.5
    held = values[1:-1] / np.exp(0.5 * series.log_snr[1:-1])
    np.testing.assert_allclose(held, held[0])
    assert np.median(values[series.curve]) == pytest.approx(10)
