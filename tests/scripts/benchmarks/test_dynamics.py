"""Sections of the benchmark of dynamics at small effort: their figures are consistent, and their tables are tables."""

import dataclasses

import numpy as np
import pytest


def table_rows(text: str) -> list[list[str]]:
    """Cells of every line of a Markdown table; all lines of a table have as many."""
    tables = [block.splitlines() for block in text.split("\n\n") if block.strip().startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    return [[cell.strip() for cell in line.split("|")[1:-1]] for table in tables for line in table]


def test_schedules_have_equal_evaluations(with_geodesic, script, monkeypatch, capsys):
    """Nine rows, of which those with friction have fewer paths, for their windows count."""
    monkeypatch.setattr("spacetime_tps.pipeline.schedules._LENGTH", 0.03)
    monkeypatch.setattr("spacetime_tps.pipeline.schedules._EQUILIBRATION", 0.01)
    module = script("schedules")
    effort = module.Effort(paths=16, lengths=(0.128,), equilibration=0.05)
    content = module.section(with_geodesic, 1, effort)
    rows = content["rows"]
    assert [row["schedule"] for row in rows[:6]] == ["uniform", "arc_length", "friction"] * 2
    each = 0.128 / 0.001 + 1 + 50
    for row in rows:
        assert row["evaluations"] == row["friction_evaluations"] + 2 * row["paths"] * each
        assert 0 <= 2 * 16 * each - row["evaluations"] < 2 * each
        assert row["dissipated"] == pytest.approx(0.5 * (row["work_there"]["mean"] + row["work_back"]["mean"]))
        assert row["dissipated"] > 0  # the second law
    module.print_tables(content)
    assert len(table_rows(capsys.readouterr().out)) == 2 + len(rows)


def test_free_energies_of_spacings(with_geodesic, script, monkeypatch, capsys):
    """Of a straight line at one SNR all three are one curve, and say the same ΔF between the ends."""
    monkeypatch.setattr("spacetime_tps.free_energy.windows._FRAME_INTERVAL", 0.03)
    module = script("free_energy")
    estimate = {"value": 7.0, "error": 1.0}
    job = {"windows": estimate, "annealing": estimate, "replica_exchange": None}
    monkeypatch.setattr(
        module, "free_energies", lambda *_, **__: job | {"evaluations": {"windows": 1000, "annealing": 10}}
    )
    monkeypatch.setattr(
        module, "straight_line", lambda run, snr: module.load_geodesic(run.output, "low_variance").schedule
    )
    effort = module.Effort(windows=12, frames=16, paths=2, repeats=2, straight_snr=(2000.0,))
    content = module.section(with_geodesic, 1, effort) | {"reference": estimate | {"evaluations": {"sampling": 10**8}}}
    rows = content["rows"]
    assert [(row["spacing"], row["repeat"]) for row in rows[::2]] == [
        ("geodesic, Fisher-Rao", 0),
        ("geodesic, uniform", 0),
        ("straight line, SNR 2000", 0),
    ]
    assert {row["evaluations"] for row in rows} == {8 * 12 * (30 + 16) * 30}
    assert all(row["least_overlap"] > 1e-3 and np.isfinite(row["annealing"]["value"]) for row in rows)
    for other in rows[2:]:  # within four of the errors that they claim
        assert abs(other["value"] - rows[0]["value"]) < 4 * np.hypot(other["error"], rows[0]["error"])
    module.print_tables(content)
    cells = table_rows(capsys.readouterr().out)
    assert ["replica exchange of the run", "", ""] in cells
    assert ["annealing, BAR", "7.00 ± 1.00", "1,010"] in cells


def test_reference_is_kept(tmp_path, script, monkeypatch):
    """The mean of two replica exchanges that start in A, B and A; the second time they are not run again."""
    module = script("free_energy")
    monkeypatch.setattr(module, "LADDER", ("300 K", "320 K", "1000 K"))
    first = module.reference(tmp_path / "reference", length="24 ps")
    assert first["evaluations"]["sampling"] == 2 * 3 * 96 * 251
    values, errors = ([repeat[name] for repeat in first["repeats"]] for name in ("value", "error"))
    assert values[0] != values[1]
    assert first["value"] == pytest.approx(np.mean(values))
    assert first["error"] == pytest.approx(0.5 * np.hypot(*errors))
    files = {path: path.stat().st_mtime_ns for path in (tmp_path / "reference").rglob("*")}
    assert module.reference(tmp_path / "reference", length="24 ps") == first
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "reference").rglob("*")} == files


def test_ensemble_of_the_double_well(script, capsys):
    """At small effort: durations and crossings of path ensembles are those of plain dynamics."""
    module = script("path_ensemble")
    effort = module.Effort(walkers=4, frames=4000, chains=4, moves=30)
    case = module.double_well()
    system = module.measure(case, np.random.SeedSequence(3), effort)
    assert system["plain"]["transitions"] > 20
    assert system["plain"]["evaluations"] == 4 * 4000 * case.frame_steps
    for row in system["rows"]:
        assert sum(row["verdicts"].values()) == 4 * 30
        assert 0 < row["acceptance"] < 1
        for name in ("duration", "crossing"):
            assert 0 <= row[name]["p_value"] <= 1
            assert min(row[name]["effective_sizes"]) > 1
        assert row["duration"]["p_value"] > 1e-3  # a wrong acceptance shows in the durations first
    module.print_tables({"systems": [system]})
    assert len(table_rows(capsys.readouterr().out)) == 2 + 4


def test_crossings_are_interpolated(script):
    module = script("path_ensemble")
    case = dataclasses.replace(module.double_well(), position=lambda x: 2 * x[:, 0, 0] + 1)
    path = np.repeat(case.start[None], 6, axis=0)
    path[:, 0, 0] = [-1.0, -0.7, -0.3, 0.1, 0.6, 1.0]
    duration, crossing = module.observe(case, path)
    assert crossing == pytest.approx(1.0)
    assert duration == pytest.approx(5 * case.frame_steps * case.engine.time_step)
