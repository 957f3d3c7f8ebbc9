"""The driver of all benchmarks: every section at small effort, its results from JSON, and its tables."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import yaml

SMALL: dict[str, Any] = {  # the whole main job in half a minute
    "samples": {
        "temperatures": ["1000 K", "1150 K", "1300 K"],  # hot, so that short replicas cross the barrier
        "length": "50 ps",
        "exchange_interval": "0.2 ps",
        "frame_interval": "0.2 ps",
        "discard": "4 ps",
        "weights": "mbar",
    },
    "denoiser": {"components": [1], "check_points": 0},  # one Gaussian joins the states however short the sampling
    "geodesics": {
        "end_snr": "10000 / nm**2",
        "snr_bounds": ["1 / nm**2", "40000 / nm**2"],
        "points": 32,
        "knots": 12,
        "graph_samples": 60,
        "channels": 1,
        "graph_levels": 8,
        "variance_bound": "0.01 nm**2",
        "region": {"divergence": 3},
    },
    "paths": {
        "count": 4,
        "count_region_avoiding": 2,
        "length": "0.512 ps",
        "frame_interval": "0.016 ps",
        "baseline_snr": ["5500 / nm**2"],
    },
    "shooting": {"reactive": 2, "max_shots": 64, "batch": 8},
}
TINY = {
    "main_job": {},
    "shooting": {
        "shots": 8,
        "seeds": 1,
        "reactive": 1,
        "counts": (1,),
        "paths": 1,
        "repeats": 1,
        "max_shots": 8,
        "straight_snr": (5500.0,),
        "steered_snr": (50.0,),
    },
    "committor": {"frames": 2, "shots": 4, "band": (0.0, 1.0)},
    "decorrelation": {"paths": 1, "chains": 2, "moves": 2, "most_moves": 2},
    "ensemble_well": {"walkers": 2, "frames": 2000, "chains": 2, "moves": 10},
    "edit_distance": {"per_basin": 3, "anchors": (5.0,), "workers": 1},
    "surfaces": {"samples": 500, "steps": 10, "width": 8, "depth": 2},
    "growth": {"residues": (1,), "batch": 4, "points": 4, "seconds": 0.01},
    "geodesic": {
        "counts": (32, 64),
        "toy_points": 64,
        "dimensions": (2,),
        "points": (32,),
        "graphs": (2000,),
    },
    "c_channel": {"paths": 4},
    "ramachandran": {"paths": 4, "points": 24},
}


@pytest.fixture
def run(script):
    return script("run")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Folder of the runs that sections share; each main job is run by the first that asks for it."""
    return tmp_path_factory.mktemp("runs")


def table_rows(text: str) -> list[list[str]]:
    """Cells of every line of Markdown tables; all lines of a table have as many."""
    tables = [block.splitlines() for block in text.split("\n\n") if block.strip().startswith("|")]
    for table in tables:
        assert len({line.count("|") for line in table}) == 1
    return [[cell.strip() for cell in line.split("|")[1:-1]] for table in tables for line in table]


@pytest.mark.parametrize("name", TINY)
def test_section(run, script, runs, tmp_path, monkeypatch, capsys, name):
    """What is measured is what the tables show, from the file alone."""
    section = dataclasses.replace(run.SECTIONS[name], **TINY[name])
    monkeypatch.setitem(run.SECTIONS, name, section)
    config, file = tmp_path / "small.yaml", tmp_path / "results.json"
    config.write_text(yaml.safe_dump(SMALL))
    asked = ["--json", str(file), "--sections", name, "--seeds", "3", "--output", str(runs), "--config", str(config)]
    run.main(asked)
    printed = capsys.readouterr().out
    assert len(table_rows(printed)) > 2
    content = json.loads(file.read_text())[name]
    assert content["seeds"] == [3] and len(content["results"]) == 1
    assert content["energy_evaluations"] == content["results"][0]["evaluations"]
    assert content["platform"]["package"] == run.spacetime_tps.__version__
    assert set(content["settings"]) >= set(TINY[name])
    run.main([*asked, "--tables"])
    assert capsys.readouterr().out == printed


def test_runs_are_shared(run, script, runs):
    """The sections of one seed have found one run, and nothing else of the main job has been run."""
    folders = [path for path in runs.iterdir() if (path / "config.yaml").is_file()]
    assert [path.name for path in folders] in ([], ["seed_3"])


def test_sections_are_written_one_beside_the_other(run, tmp_path):
    file = tmp_path / "results.json"
    run.write(file, "growth", {"rows": [1]})
    run.write(file, "heavy", {"samples": 2})
    run.write(file, "growth", {"rows": [3]})
    assert json.loads(file.read_text()) == {"growth": {"rows": [3]}, "heavy": {"samples": 2}}


def test_unknown_sections_are_refused(run, capsys):
    with pytest.raises(SystemExit):
        run.main(["--json", "results.json", "--sections", "heavy,light"])
    assert "light: the sections are main_job, shooting" in capsys.readouterr().err


def test_every_section_says_what_it_costs(run, capsys):
    with pytest.raises(SystemExit, match="0"):
        run.main(["--help"])
    told = capsys.readouterr().out
    assert all(f"  {name} " in told and section.cost in told for name, section in run.SECTIONS.items())


def test_exponents_of_a_power_law(script):
    common = script("common")
    sizes = np.array([50, 100, 400])
    assert common.exponent(sizes, 1e-4 * sizes**1.5) == pytest.approx(1.5)
    assert common.exponent([50], [1.0]) is None


def test_numbers_and_tables(script):
    common = script("common")
    assert common.number(12345.67, 1, 2.0) == "12,345.7 ± 2.0"
    assert common.number(None, 2, 1.0) == "–"
    assert common.slashed([1.25, None], 1) == "1.2 / –"
    assert [common.yes_no(value) for value in (True, False, None)] == ["yes", "no", "–"]
    assert common.table(("a", "b"), [[1, "x"]]) == "| a | b |\n| --- | --- |\n| 1 | x |"
