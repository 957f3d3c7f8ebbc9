"""Path ensembles of the benchmarks at small effort are those of plain dynamics."""

import dataclasses

import numpy as np
import pytest


def test_ensemble_of_the_double_well(script):
    """Durations and crossings of path ensembles are those of plain dynamics."""
    module = script("path_ensemble")
    section = module.PathEnsemble("ensemble_well", "", walkers=4, frames=4000, chains=4, moves=30)
    result = section.measure(script("common").Bench(None), 3)
    assert result.transitions > 20
    assert result.plain_evaluations == 4 * 4000 * module.double_well().frame_steps
    for row in result.rows:
        assert sum(row.verdicts.values()) == 4 * 30
        assert 0 < row.acceptance < 100
        for test in (row.duration, row.crossing):
            assert 0 <= test.p_value <= 1
            assert min(test.effective_sizes) > 1
        assert row.duration.p_value > 1e-3  # a wrong acceptance shows in the durations first
    assert len(section.tables([result])[1].splitlines()) == 2 + 4


def test_crossings_are_interpolated(script):
    module = script("path_ensemble")
    case = dataclasses.replace(module.double_well(), position=lambda x: 2 * x[:, 0, 0] + 1)
    path = np.repeat(case.start[None], 6, axis=0)
    path[:, 0, 0] = [-1.0, -0.7, -0.3, 0.1, 0.6, 1.0]
    duration, crossing = module.observe(case, path)
    assert crossing == pytest.approx(1.0)
    assert duration == pytest.approx(5 * case.frame_steps * case.engine.time_step)
