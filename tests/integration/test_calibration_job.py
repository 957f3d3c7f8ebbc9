"""The calibration job on small runs in positions and in torsions: its files, and that they agree with each other."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from contracts.jobs import WorkContract
from matplotlib.image import imread
from typer.testing import CliRunner

from spacetime_tps.calibration.job import calibrate
from spacetime_tps.calibration.results import CalibrationResult
from spacetime_tps.cli.app import app
from spacetime_tps.errors import OutputError

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
def results(finished) -> CalibrationResult:
    return calibrate(finished, **ASKED, workers=1)


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """The run, not calibrated yet."""
    copy = Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns("calibration")))
    (copy / "reports" / "calibrate.json").unlink(missing_ok=True)
    return copy


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("finished", ["cartesian"], indirect=True)
class TestWork(WorkContract):
    part = "calibrate"
    options = ASKED

    def job(self, folder, **options):
        return calibrate(folder, **options)

    @pytest.fixture
    def ready(self, copied):
        return copied


def test_files(finished, results):
    folder, found = finished / "calibration", results.to_json()
    assert json.loads((folder / "calibration.json").read_text()) == found
    for name, rows in (("points", found["points"]), ("chords", found["curve"]["chords"])):
        assert [{key: float(value) for key, value in row.items()} for row in table(folder / f"{name}.csv")] == rows
    assert min(imread(folder / "calibration.png").shape[:2]) > 300


def test_points_span_the_stored_geodesics(finished, results):
    log_snr = np.concatenate([np.load(path)["log_snr"] for path in (finished / "geodesics").glob("*.npz")])
    found = [point.log_snr for point in results.points]
    np.testing.assert_allclose(found, np.linspace(log_snr.min() - 0.3, log_snr.max() + 0.3, POINTS))


def test_curve_adds_up(results):
    curve = results.curve
    assert (len(curve.windows), len(curve.chords)) == (WINDOWS, WINDOWS - 1)
    divergences = np.array([(chord.divergence.model, chord.divergence.md) for chord in curve.chords])
    energies, lengths = 0.5 * (WINDOWS - 1) * divergences.sum(axis=0), np.sqrt(divergences).sum(axis=0)
    assert (curve.energy.model, curve.energy.md) == pytest.approx(tuple(energies))
    assert (curve.length.model, curve.length.md) == pytest.approx(tuple(lengths))


def test_evaluations_are_counted(results):
    """3 ps and a frame every 0.05 ps, in steps of 1 fs."""
    each = 4 * (1000 + 40 * FRAMES)
    assert results.evaluations == {"points": POINTS * each, "curve": WINDOWS * each}


def test_another_seed_gives_other_frames(copied, results):
    output = invoke(
        *("calibrate", copied, "--points", "1", "--windows", "2", "--frames", "10", "--curve", "unconstrained"),
        *("--seed", "5", "--overwrite"),
    )
    assert output.exit_code == 0, output.output
    found = json.loads((copied / "calibration" / "calibration.json").read_text())
    assert (found["seed"], results.seed) == (5, 0)
    assert found["points"][0]["mean_distance"] != results.points[0].moments.mean_distance
    assert f"{sum(found['evaluations'].values()):,} energy evaluations" in output.output


def test_settings_of_its_own(copied, tmp_path):
    """A file of settings is used and recorded; what is resumed has them too, also without the file."""
    config = tmp_path / "job.yaml"
    windows = {"replicas": 2, "equilibration": "0.1 ps", "frame_interval": "0.02 ps"}
    config.write_text(yaml.safe_dump({"calibration": {"log_snr_margin": 0.1}, "windows": windows}))
    found = calibrate(copied, **ASKED, config=config, workers=1, overwrite=True)
    each = 2 * (100 + 20 * FRAMES)
    assert found.evaluations == {"points": POINTS * each, "curve": WINDOWS * each}
    stored = json.loads((copied / "calibration" / "calibration.json").read_text())
    assert stored["replicas"] == stored["settings"]["windows.replicas"] == 2
    assert stored["settings"]["calibration.log_snr_margin"] == 0.1
    log_snr = np.concatenate([np.load(path)["log_snr"] for path in (copied / "geodesics").glob("*.npz")])
    assert found.points[0].log_snr == pytest.approx(log_snr.min() - 0.1)
    assert calibrate(copied, **ASKED, resume=True, workers=1) == found
    config.write_text(yaml.safe_dump({"windows": windows}))
    with pytest.raises(OutputError, match=r"was begun with calibration.log_snr_margin 0.1, not 0.3"):
        calibrate(copied, **ASKED, config=config, resume=True, workers=1)
