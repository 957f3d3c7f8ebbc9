"""Schedules of a run: what each rule costs and reports."""

import numpy as np
import pytest

from spacetime_tps.pipeline.annealed_paths import straight_line
from spacetime_tps.pipeline.schedules import make_schedule, smooth

WINDOWS = 12
SHORT = {"paths": {"friction": {"windows": WINDOWS, "length": "0.05 ps", "equilibration": "0.02 ps"}}}


@pytest.mark.parametrize("run", [SHORT], indirect=True)
def test_friction_costs_windows_and_says_what_it_found(run):
    schedule = straight_line(run, 5500.0)
    made = make_schedule(run, schedule, "friction", np.random.SeedSequence(1), "straight")
    again = make_schedule(run, schedule, "friction", np.random.SeedSequence(1), "straight")
    assert made.evaluations == 2 * WINDOWS * 70
    np.testing.assert_array_equal(made.schedule.centres, schedule.centres)
    np.testing.assert_array_equal(made.schedule.progress, again.schedule.progress)
    assert not np.allclose(made.schedule.progress, schedule.progress, atol=1e-3)
    pieces = np.diff(made.schedule.progress) / np.diff(schedule.progress)
    assert pieces.min() >= 0.5 and pieces.max() > 1.2  # half of the time is as it was
    rows = made.friction
    np.testing.assert_allclose([row.progress for row in rows], (np.arange(WINDOWS) + 0.5) / WINDOWS)
    for row in rows:  # when the schedule is there
        centres, _ = made.schedule.at(row.time)
        np.testing.assert_allclose(centres, schedule.at(row.progress)[0], atol=1e-9)


def test_schedules_without_windows_cost_nothing(run):
    schedule = straight_line(run, np.geomspace(2000, 8000, 128))
    seed = np.random.SeedSequence(1)
    same, moved = (make_schedule(run, schedule, kind, seed, "straight") for kind in ("arc_length", "uniform"))
    assert same.schedule is schedule
    assert same.evaluations == moved.evaluations == 0 and moved.friction is same.friction is None
    assert moved.schedule.progress[64] != pytest.approx(schedule.progress[64], abs=1e-3)


def test_roots_are_averaged_with_their_neighbours():
    np.testing.assert_allclose(smooth([4.0, 4.0, 4.0]), 4.0)
    np.testing.assert_allclose(smooth([0.0, 0.0, 16.0, 0.0, -1.0]), [0, 1, 4, 1, 0])
