"""The calibration job on small runs in positions and in torsions: its files, and that they agree with each other."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from typer.testing import CliRunner

from spacetime_tps.calibration.job import calibrate
from spacetime_tps.cli.app import app

POINTS, WINDOWS, FRAMES = 2, 3, 10
SMALL: dict[str, Any] = {
    "samples": {
        "method": "molecular_dynamics",
        "length": "5 ps",
        "trajectories_per_state": 1,
        "frame_interval": "0.05 ps",
        "discard": "1 ps",
        "model_temperature": "700 K",
    },
    "denoiser": {"components": [1], "fits": 1, "check_points": 0},
    "geodesics": {"points": 16, "knots": 4, "graph_samples": 20, "channels": 1, "graph_levels": 2, "region": None},
    "paths": {"count": 1, "count_region_avoiding": 0, "length": "0.032 ps"},
    "shooting": {"reactive": 0},
    "windows": {"replicas": 4, "equilibration": "1 ps", "frame_interval": "0.04 ps"},
    "calibration": {"log_snr_margin": 0.3},
}
TORSIONS = {
    "coordinates": {"kind": "torsions", "dihedrals": ["phi", "psi"]},
    "paths": SMALL["paths"] | {"baseline_snr": [200]},
}
ASKED = {"points": POINTS, "windows": WINDOWS, "frames": FRAMES, "curve": "unconstrained"}


def invoke(*arguments: str | Path):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", params=["cartesian", "torsions"])
def finished(request, tmp_path_factory) -> Path:
    """A finished run of alanine dipeptide; tests must not change it."""
    folder = tmp_path_factory.mktemp("calibrate")
    config = folder / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL | (TORSIONS if request.param == "torsions" else {})))
    result = invoke("run", "alanine_dipeptide", "--output", folder / "run", "--config", config, "--workers", "2")
    assert result.exit_code == 0, result.output
    return folder / "run"


@pytest.fixture(scope="module")
def results(finished) -> dict[str, Any]:
    return calibrate(finished, **ASKED, workers=1)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files(finished, results):
    folder = finished / "calibration"
    assert json.loads((folder / "calibration.json").read_text()) == results
    for name, rows in (("points", results["points"]), ("chords", results["curve"]["chords"])):
        assert [{key: float(value) for key, value in row.items()} for row in table(folder / f"{name}.csv")] == rows
    assert min(imread(folder / "calibration.png").shape[:2]) > 300


def test_points_span_the_stored_geodesics(finished, results):
    log_snr = np.concatenate([np.load(path)["log_snr"] for path in (finished / "geodesics").glob("*.npz")])
    found = [row["log_snr"] for row in results["points"]]
    np.testing.assert_allclose(found, np.linspace(log_snr.min() - 0.3, log_snr.max() + 0.3, POINTS))


def test_curve_adds_up(results):
    curve = results["curve"]
    assert (len(curve["windows"]), len(curve["chords"])) == (WINDOWS, WINDOWS - 1)
    for source in ("model", "md"):
        divergences = np.array([chord[f"divergence_{source}"] for chord in curve["chords"]])
        assert curve[f"energy_{source}"] == pytest.approx(0.5 * (WINDOWS - 1) * divergences.sum())
        assert curve[f"length_{source}"] == pytest.approx(np.sqrt(divergences).sum())
    assert curve["length_ratio"] == pytest.approx(curve["length_model"] / curve["length_md"])


def test_scores_are_differences_in_errors(results):
    for row in results["points"]:
        model, dynamics, error = (row[f"mean_square_displacement_{key}"] for key in ("model", "md", "md_error"))
        assert row["mean_square_displacement_z"] == pytest.approx((model - dynamics) / error)
        assert row["mean_z"] == pytest.approx(row["mean_distance"] / row["mean_distance_error"])
    for row in results["curve"]["chords"]:
        difference = row["divergence_model"] - row["divergence_md"]
        assert row["divergence_z"] == pytest.approx(difference / row["divergence_md_error"])


def test_evaluations_are_counted(results):
    """3 ps and a frame every 0.05 ps, in steps of 1 fs."""
    each = 4 * (1000 + 40 * FRAMES)
    assert results["evaluations"] == {"points": POINTS * each, "curve": WINDOWS * each}


def test_nothing_depends_on_the_number_of_workers(copied, results):
    found = calibrate(copied, **ASKED, workers=2, overwrite=True)
    assert found == results


def test_another_seed_gives_other_frames(copied, results):
    output = invoke(
        *("calibrate", copied, "--points", "1", "--windows", "2", "--frames", "10", "--curve", "unconstrained"),
        *("--seed", "5", "--overwrite"),
    )
    assert output.exit_code == 0, output.output
    found = json.loads((copied / "calibration" / "calibration.json").read_text())
    assert (found["seed"], results["seed"]) == (5, 0)
    assert found["points"][0]["mean_distance"] != results["points"][0]["mean_distance"]
    assert f"{sum(found['evaluations'].values()):,} energy evaluations" in output.output
