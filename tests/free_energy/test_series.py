"""Series of ensembles from state to state: where windows are, and how long and how damped their dynamics is."""

import numpy as np
import pytest

from spacetime_tps.free_energy.series import frame_intervals, frictions, make_series
from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.settings.windows import FreeEnergySettings

SETTINGS = FreeEnergySettings()


def test_a_series_leads_from_free_to_free(run):
    curve = straight_line(run, 5500.0)
    series = make_series(curve, 7, SETTINGS)
    assert np.isneginf(series.log_snr[[0, -1]]).all() and np.isfinite(series.log_snr[1:-1]).all()
    assert len(series.names) == len(series.log_snr) == len(series.centres)
    on_curve = series.centres[series.curve]
    np.testing.assert_allclose(on_curve, [curve.at(at)[0] for at in np.linspace(0, 1, 7)])
    np.testing.assert_array_equal(series.centres[: series.curve.start], on_curve[:1].repeat(series.curve.start, axis=0))
    ramp = series.log_snr[1 : series.curve.start + 1]
    assert ((np.diff(ramp) > 0) & (np.diff(ramp) <= 0.8)).all()
    np.testing.assert_allclose(series.log_snr[series.curve.stop - 1 : -1], ramp[::-1])
    # at the weakest restraint the other end is 25 kT higher: with 10 kT windows of one state have jumped into the other
    square = ((curve.centres[0] - curve.centres[-1]) ** 2).sum()
    assert 0.5 * np.exp(ramp[0]) * square == pytest.approx(25.0)


def test_frames_are_further_apart_where_restraints_are_weak(run):
    """In inverse proportion to the spring constant up to a limit, and furthest in the free states."""
    series = make_series(straight_line(run, 5500.0), 7, SETTINGS)
    intervals = frame_intervals(series, SETTINGS)
    np.testing.assert_allclose(intervals[series.curve], 0.03)
    np.testing.assert_allclose(intervals[[0, -1]], 1.0)
    held = (intervals > 0.031) & (intervals < 0.099)
    assert held.any()
    np.testing.assert_allclose(intervals[held] * np.exp(series.log_snr[held]), 0.03 * 5500.0)
    np.testing.assert_allclose(intervals[[1, -2]], 0.1)  # at the weakest


def test_friction_goes_as_the_frequency_of_the_restraint(run):
    schedule = straight_line(run, np.exp(np.linspace(8.0, 9.0, run.settings.geodesics.points)))
    series = make_series(schedule, 7, SETTINGS)
    values = frictions(series, 10.0, 1.5)
    assert values[0] == values[-1] == 1.5
    np.testing.assert_allclose(values[1:-1], 10 * np.exp(0.5 * (series.log_snr[1:-1] - 8.5)))


def test_windows_alone(run):
    series = make_series(straight_line(run, 5500.0), 7, SETTINGS)
    alone = series.windows
    np.testing.assert_array_equal(alone.centres, series.centres[series.curve])
    assert np.isfinite(alone.log_snr).all()
    assert series.names[0] == "state A" and series.names[-1] == "state B" and alone.names[0].startswith("window 0")
