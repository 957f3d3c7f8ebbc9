"""What the calibration job refuses, before any dynamics and without a trace in the folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from spacetime_tps.cli import app
from spacetime_tps.config_files import load_settings
from spacetime_tps.resources import find_system


def refused(folder: Path, *arguments: str | Path) -> str:
    """Message of a calibration that must end with exit code 1 and change nothing."""
    before = sorted(folder.rglob("*"))
    result = CliRunner().invoke(app, ["calibrate", str(folder), *map(str, arguments)])
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert sorted(folder.rglob("*")) == before
    return result.output


def begun(folder: Path, system: str) -> Path:
    """Folder of a run of a shipped system that has not done anything yet."""
    content = load_settings(find_system(system)).model_dump(mode="json", exclude_none=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(content | {"seed": 0, "versions": {}}))
    return folder


@pytest.fixture
def with_geodesics(tmp_path) -> Path:
    """Folder of a run that has its geodesics, or so it says."""
    for name in ("stages", "geodesics"):
        (tmp_path / name).mkdir()
    (tmp_path / "stages" / "geodesics.json").write_text(json.dumps({"results": {}}))
    np.savez(tmp_path / "geodesics" / "unconstrained.npz")
    return begun(tmp_path, "alanine_dipeptide")


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


def test_surface(tmp_path):
    assert "is a run on a model surface, where everything is exact" in refused(begun(tmp_path, "c_channel"))


def test_unfinished_run(tmp_path):
    message = refused(begun(tmp_path, "alanine_dipeptide"))
    assert "has not finished its stage 'geodesics' yet; go on with it" in message
    assert "--resume" in message


def test_unknown_curve(with_geodesics):
    message = refused(with_geodesics)  # whose low-variance geodesic could not be solved
    assert "--curve" in message
    assert "has no geodesic 'low_variance'; it has unconstrained" in message


def test_earlier_calibration(with_geodesics):
    (with_geodesics / "calibration").mkdir()
    assert "take --overwrite to replace it" in refused(with_geodesics, "--curve", "unconstrained")
