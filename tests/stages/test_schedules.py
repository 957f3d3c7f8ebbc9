"""Schedules of a run: what each rule costs and reports, and series of windows for free energies."""

from types import SimpleNamespace

import numpy as np
import pytest

from spacetime_tps.config_files import load_settings
from spacetime_tps.dynamics import workers
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.dynamics.workers import Engine
from spacetime_tps.resources import find_system
from spacetime_tps.stages.context import RunContext, make_coordinates
from spacetime_tps.stages.free_energies import frame_intervals, make_series, stiffened
from spacetime_tps.stages.paths import straight_line
from spacetime_tps.stages.schedules import WINDOWS, make_schedule, smooth


@pytest.fixture
def run(tmp_path, monkeypatch) -> RunContext:
    monkeypatch.setattr(workers, "_engine", None)
    monkeypatch.setattr(workers, "_contexts", {})
    monkeypatch.setattr("spacetime_tps.stages.schedules._LENGTH", 0.05)
    monkeypatch.setattr("spacetime_tps.stages.schedules._EQUILIBRATION", 0.02)
    settings = load_settings(find_system("alanine_dipeptide"))
    molecule = MolecularSystem.from_settings(settings.system)
    coordinates = make_coordinates(settings, molecule)
    monkeypatch.setattr(workers, "_engine", Engine.for_system(molecule, coordinates.atoms))
    pool = SimpleNamespace(map=lambda function, tasks, chunk=1: map(function, tasks))
    return RunContext(settings, molecule, coordinates, tmp_path, pool, np.random.SeedSequence(0))


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
    rows = made.report["friction"]
    np.testing.assert_allclose([row["progress"] for row in rows], (np.arange(WINDOWS) + 0.5) / WINDOWS)
    for row in rows:  # when the schedule is there
        centres, _ = made.schedule.at(row["time"])
        np.testing.assert_allclose(centres, schedule.at(row["progress"])[0], atol=1e-9)


def test_schedules_without_windows_cost_nothing(run):
    schedule = straight_line(run, np.geomspace(2000, 8000, 128))
    seed = np.random.SeedSequence(1)
    same, moved = (make_schedule(run, schedule, kind, seed, "straight") for kind in ("arc_length", "uniform"))
    assert same.schedule is schedule
    assert same.evaluations == moved.evaluations == 0 and moved.report == {}
    assert moved.schedule.progress[64] != pytest.approx(schedule.progress[64], abs=1e-3)


def test_roots_are_averaged_with_their_neighbours():
    np.testing.assert_allclose(smooth([4.0, 4.0, 4.0]), 4.0)
    np.testing.assert_allclose(smooth([0.0, 0.0, 16.0, 0.0, -1.0]), [0, 1, 4, 1, 0])


def test_a_series_leads_from_free_to_free(run):
    curve = straight_line(run, 5500.0)
    series = make_series(curve, 7)
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
    """In inverse proportion to the spring constant, and no more than ten times as far as on the curve."""
    series = make_series(straight_line(run, 5500.0), 7)
    intervals = frame_intervals(series)
    np.testing.assert_allclose(intervals[series.curve], 0.05)
    np.testing.assert_allclose(intervals[[0, -1]], 0.5)
    for ramp in (intervals[: series.curve.start + 1], intervals[series.curve.stop - 1 :][::-1]):
        assert (np.diff(ramp) <= 0).all()
    held = intervals < 0.499
    np.testing.assert_allclose(intervals[held] * np.exp(series.log_snr[held]), 0.05 * 5500.0)
    assert held.sum() > len(series.progress) + 2


def test_windows_alone(run):
    series = make_series(straight_line(run, 5500.0), 7)
    alone = series.windows
    np.testing.assert_array_equal(alone.centres, series.centres[series.curve])
    assert np.isfinite(alone.log_snr).all()
    assert series.names[0] == "state A" and series.names[-1] == "state B" and alone.names[0].startswith("window 0")


def test_spring_constants_of_the_models_temperature(run):
    curve = straight_line(run, 5500.0)
    ratio = np.exp(stiffened(run, curve).log_snr - curve.log_snr)
    np.testing.assert_allclose(ratio, run.settings.samples.model_temperature / run.molecule.temperature)
