"""Free energies at small effort: spacings of one curve agree, and the reference is kept."""

from types import SimpleNamespace

import numpy as np
import pytest

from spacetime_tps.free_energy.results import AnnealingEstimate, FreeEnergyResult, WindowEstimate


def test_free_energies_of_spacings(with_geodesic, script, monkeypatch):
    """Of a straight line at one SNR all three are one curve, and say the same ΔF between the ends."""
    module = script("free_energy")
    windows = WindowEstimate(7.0, 1.0, 1.0, 100, (10, 10), (), np.eye(2))
    annealing = AnnealingEstimate(7.0, 1.0, 7.0, 1.0, (2, 2), (8.0, -6.0), 1.0, 0.1)
    evaluations = {"windows": 1000, "annealing": 10}
    job = FreeEnergyResult(
        "molecule", ("A", "B"), 300.0, "low_variance", 1, 6, 10, evaluations, windows, annealing, None, {}
    )
    monkeypatch.setattr(module, "compute_free_energy", lambda *_, **__: job)
    monkeypatch.setattr(module, "straight_line", lambda run, snr: module.need_geodesic(run, "low_variance").schedule)
    section = module.FreeEnergy(windows=12, frames=16, paths=2, repeats=2, straight_snr=(2000.0,))
    result = section.measure(SimpleNamespace(main_job=lambda seed: with_geodesic), 1)
    rows = result.spacings
    assert [(row.name, row.repeat) for row in rows[::2]] == [
        ("geodesic, Fisher-Rao", 0),
        ("geodesic, uniform", 0),
        ("straight line, SNR 2000", 0),
    ]
    assert {row.evaluations for row in rows} == {8 * 12 * (30 + 16) * 30}
    assert result.evaluations == 1010 + sum(row.evaluations + row.annealing_evaluations for row in rows)
    assert all(row.least_overlap > 1e-3 and np.isfinite(row.annealing) for row in rows)
    for other in rows[2:]:  # within four of the errors that they claim
        assert abs(other.value - rows[0].value) < 4 * np.hypot(other.error, rows[0].error)
    methods, spacings = section.tables([result])
    assert "| annealing, BAR | 1 | 7.00 ± 1.00 | 1,010 |" in methods.splitlines()
    assert len(spacings.splitlines()) == 2 + 3


def test_failures_are_told(script):
    module = script("free_energy")
    failed = [module.Spacing("straight line", repeat, failure="windows do not overlap") for repeat in range(2)]
    _, spacings = module.FreeEnergy().tables([module.FreeEnergyResult(0, 0, [], failed)])
    assert "all failed: windows do not overlap" in spacings


def test_reference_is_kept(tmp_path, script):
    """The mean of two replica exchanges that start in A, B and A; the second time they are not run again."""
    section = script("free_energy").Reference(temperatures=("300 K", "320 K", "1000 K"), length="24 ps")
    bench = script("common").Bench(tmp_path)
    first = section.measure(bench, 0)
    assert first.evaluations == 2 * 3 * 96 * 251
    mean, *repeats = first.rows
    assert repeats[0].value != repeats[1].value
    assert mean.value == pytest.approx(np.mean([repeat.value for repeat in repeats]))
    assert mean.error == pytest.approx(0.5 * np.hypot(*(repeat.error for repeat in repeats)))
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("samples/*")}
    assert section.measure(bench, 0) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("samples/*")} == files
