"""Schedules at small effort: equal evaluations, and the second law."""

from types import SimpleNamespace

import pytest

SHORT = {"length": "0.03 ps", "equilibration": "0.01 ps"}


@pytest.mark.parametrize("with_geodesic", [{"paths": {"friction": SHORT}}], indirect=True)
def test_schedules_have_equal_evaluations(with_geodesic, script):
    """Nine rows, of which those with friction have fewer paths, for their windows count."""
    section = script("schedules").Schedules(paths=16, lengths=(0.128,), equilibration=0.05)
    result = section.measure(SimpleNamespace(main_job=lambda seed: with_geodesic), 1)
    assert [row.schedule for row in result.rows[:6]] == ["uniform", "arc_length", "friction"] * 2
    each = 0.128 / 0.001 + 1 + 50
    for row in result.rows:
        assert row.evaluations == row.friction_evaluations + 2 * row.paths * each
        assert 0 <= 2 * 16 * each - row.evaluations < 2 * each
        assert row.dissipated == pytest.approx(0.5 * (row.work_there + row.work_back))
        assert row.dissipated > 0  # the second law
    assert result.evaluations == sum(row.evaluations for row in result.rows)
    (table,) = section.tables([result])
    assert len(table.splitlines()) == 2 + len(result.rows)
