"""Reactive segments of long trajectories, and crossings."""

import numpy as np

from spacetime_tps.path_ensemble.statistics import crossing, reactive_segments


def test_reactive_segments():
    indices = np.array([-1, 0, 0, -1, 0, -1, -1, 1, -1, 1, -1, 0, 1, -1])
    assert reactive_segments(indices) == [(4, 7, False), (9, 11, True), (11, 12, False)]
    assert reactive_segments(np.array([-1, -1])) == []
    assert reactive_segments(np.array([0, -1, 0])) == []


def test_crossing():
    assert crossing(np.array([-2.0, -1.0, 0.5, -1.0, 2.0]), 0.0) == 2
    assert crossing(np.array([-2.0, -1.0]), 0.0) == 1
