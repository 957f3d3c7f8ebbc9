"""What the calibration job refuses, before any dynamics and without a trace in the folder."""

from pathlib import Path

import pytest
from contracts.jobs import RefusalContract
from typer.testing import CliRunner

from spacetime_tps.calibration.job import calibrate
from spacetime_tps.cli.app import app


def refused(folder: Path, *arguments: str | Path) -> str:
    """Message of a calibration that must end with exit code 1 and change nothing."""
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(app, ["calibrate", str(folder), *map(str, arguments)])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert sorted(folder.rglob("*")) == before
    return result.output


class TestRefusals(RefusalContract):
    part = "calibrate"
    least = {"points": 1, "windows": 2, "frames": 10}
    needs = "samples"
    reads = ("config.yaml", "topology.pdb", "inputs/*", "geodesics/*.npz")

    def job(self, folder, **options):
        return calibrate(folder, **options)

    @pytest.fixture
    def ready(self, with_geodesic):
        return with_geodesic


def test_unknown_curve(with_geodesic):
    message = refused(with_geodesic, "--curve", "region_avoiding")
    assert "--curve" in message
    assert "has no geodesic 'region_avoiding'; it has low_variance" in message


def test_settings_without_effect(with_geodesic, tmp_path):
    config = tmp_path / "job.yaml"
    config.write_text("windows:\n  replicas: 3\n  frames: 20\n")
    message = " ".join(refused(with_geodesic, "--config", config).split())
    assert "line 3: windows.frames: has no effect on 'calibrate'" in message
    assert "'calibrate' takes calibration: log_snr_margin; windows: replicas" in message
