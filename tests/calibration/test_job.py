"""What the calibration job refuses, before any dynamics and without a trace in the folder."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from spacetime_tps.cli.app import app


def refused(folder: Path, *arguments: str | Path) -> str:
    """Message of a calibration that must end with exit code 1 and change nothing."""
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(app, ["calibrate", str(folder), *map(str, arguments)])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert sorted(folder.rglob("*")) == before
    return result.output


def test_no_run(tmp_path):
    assert "nowhere holds no run (it has no config.yaml)" in refused(tmp_path / "nowhere")


def test_config_that_no_run_has_written(tmp_path):
    (tmp_path / "config.yaml").write_text("system: {}\n")
    assert "was not written by a run" in refused(tmp_path)


@pytest.mark.parametrize(
    "option, value, least", [("points", 0, 1), ("windows", 1, 2), ("frames", 9, 10), ("workers", 0, 1), ("seed", -1, 0)]
)
def test_numbers(tmp_path, option, value, least):
    assert f"--{option} must be at least {least}, not {value}" in refused(tmp_path, f"--{option}", value)


def test_surface(begun):
    assert "is a run on a model surface, where everything is exact" in refused(begun("c_channel"))


def test_unfinished_run(begun):
    message = refused(begun())
    assert "has not finished its stage 'samples' yet; go on with it" in message
    assert "--resume" in message


def test_unknown_curve(with_geodesic):
    message = refused(with_geodesic, "--curve", "region_avoiding")
    assert "--curve" in message
    assert "has no geodesic 'region_avoiding'; it has low_variance" in message


def test_earlier_calibration(with_geodesic):
    (with_geodesic / "calibration").mkdir()
    assert "take --resume to go on with it, or --overwrite to replace it" in refused(with_geodesic)


def test_settings_without_effect(with_geodesic, tmp_path):
    config = tmp_path / "job.yaml"
    config.write_text("windows:\n  replicas: 3\n  frames: 20\n")
    message = " ".join(refused(with_geodesic, "--config", config).split())
    assert "line 3: windows.frames: has no effect on 'calibrate'" in message
    assert "'calibrate' takes calibration: log_snr_margin; windows: replicas" in message
