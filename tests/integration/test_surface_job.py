"""The whole job on the C-shaped channel with few walkers: its files, its figures, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from spacetime_tps.cli.app import app
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system

ROOT = Path(__file__).resolve().parents[2]
SYSTEM, SEED, COUNT, STEPS, POINTS = "c_channel", 4, 24, 2000, 48
SMALL = {
    "surface": {"coordinates": {"x": {"nodes": 65}, "y": {"nodes": 65}}},
    "geodesics": {"points": POINTS, "knots": 12},
    "paths": {"count": COUNT, "steps": STEPS, "time_step": 0.005, "frame_steps": 50, "baseline_log_snr": [4]},
}
CURVES = {
    "low_variance_geodesic",
    "unconstrained_geodesic",
    "straight_with_low_variance_log_snr",
    "straight_with_unconstrained_log_snr",
    "straight_log_snr_4",
    "string_log_snr_4",
}


def command(output: Path, *options: str):
    """What `spacetime-tps run c_channel` does and prints."""
    return CliRunner().invoke(app, ["run", SYSTEM, "--output", str(output), *options])


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("config") / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL))
    return str(path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config) -> Path:
    """A finished run; tests must not change it."""
    output = tmp_path_factory.mktemp("surface_job") / "run"
    result = command(output, "--config", config, "--seed", str(SEED))
    assert result.exit_code == 0, result.output
    assert "through the channel" in result.output
    assert "energy evaluations" in result.output
    return output


@pytest.fixture(scope="module")
def summary(finished) -> dict:
    return json.loads((finished / "summary.json").read_text())


def test_folder_with_brackets_and_output_in_ascii(config, tmp_path):
    """To a file that is not UTF-8 the command prints whole lines without escape codes, and paths as they are."""
    name = "out[/bold]:dog:"
    result = subprocess.run(
        [sys.executable, "-m", "spacetime_tps", "run", SYSTEM, "--output", name, "--config", config],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / name / "summary.json").is_file()
    told = result.stderr.decode("ascii") + result.stdout.decode("ascii")
    assert f"results in {name}" in told
    assert "\x1b" not in told
    assert all(line.strip() for line in told.splitlines())


def test_walkers_find_the_channel_only_with_the_bound(summary):
    """In full runs all of those with the bound pass it, and 99 % arrive; in this hasty one a few may lag."""
    assert summary["paths"]["through_channel_percentage"] > 90
    assert summary["paths"]["reached_b_percentage"] > 90
    for name in ("unconstrained_geodesic", "straight_log_snr_4"):
        assert summary["baselines"][name]["through_channel_percentage"] < 10
    assert (
        summary["paths"]["max_energy"]["mean"] < 15 < summary["baselines"]["straight_log_snr_4"]["max_energy"]["mean"]
    )


def test_geodesics(finished, summary):
    bound = load_settings(find_system(SYSTEM)).geodesics.variance_bound
    for name in ("unconstrained", "low_variance"):
        report = summary["geodesics"][name]
        assert report["feasible"] and report["converged"]
        assert report["negative_chord_fraction"] == 0
        assert report["speed_ratio"] == pytest.approx(1, abs=0.01)
        with np.load(finished / "geodesics" / f"{name}.npz") as arrays:
            assert arrays["y"].shape == arrays["mean"].shape == arrays["positions"].shape == (POINTS, 2)
            assert arrays["variance"].max() == pytest.approx(report["max_variance"])
            assert arrays["depth"].max() == pytest.approx(report["max_depth"])
            assert arrays["log_snr"][[0, -1]] == pytest.approx([4, 4])
    assert summary["geodesics"]["low_variance"]["max_variance"] <= 1.01 * bound
    assert summary["geodesics"]["unconstrained"]["max_variance"] > bound


def test_paths(finished, summary):
    assert {path.stem for path in (finished / "paths").iterdir()} == CURVES
    assert set(summary["baselines"]) == CURVES - {"low_variance_geodesic"}
    figures = {"low_variance_geodesic": summary["paths"]} | summary["baselines"]
    for name in CURVES:
        with np.load(finished / "paths" / f"{name}.npz") as arrays:
            assert arrays["positions"].shape == (STEPS // 50 + 1, COUNT, 2)
            assert (arrays["highest_energy"] >= arrays["energies"].max(0)).all()
            assert figures[name]["max_energy"]["mean"] == pytest.approx(arrays["highest_energy"].mean())
        assert figures[name]["max_energy_on_segments"]["mean"] >= figures[name]["max_energy"]["mean"]
        assert (figures[name]["count"], figures[name]["steps_per_path"]) == (COUNT, STEPS)


def test_evaluations_follow_from_the_settings(summary):
    evaluations = summary["energy_evaluations"]
    assert evaluations["annealing"] == len(CURVES) * COUNT * (STEPS + 1)
    assert evaluations["total"] == evaluations["annealing"] + evaluations["measuring"]


def test_settings_read_back(finished, config, assert_same_settings):
    assert_same_settings(finished, load_settings(find_system(SYSTEM), Path(config)))
    assert yaml.safe_load((finished / "config.yaml").read_text())["seed"] == SEED


def test_figures(finished):
    names = {"paths_low_variance.png", "paths_unconstrained.png", "profiles.png"}
    assert {path.name for path in (finished / "figures").iterdir()} == names
    for name in names:
        image = matplotlib.image.imread(finished / "figures" / name)
        assert min(image.shape[:2]) > 300
        assert image[..., :3].std() > 0.02  # something is drawn


def test_a_run_is_not_overwritten_unasked(finished, config):
    result = command(finished, "--config", config)
    assert result.exit_code == 1
    assert "already holds a run" in result.output


def test_foreign_folders_are_left_alone(tmp_path, config):
    (tmp_path / "precious.txt").write_text("mine")
    result = command(tmp_path, "--config", config, "--overwrite")
    assert result.exit_code == 1
    assert "is not empty and holds no run of ours" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["precious.txt"]


def test_resume_is_refused(finished, tmp_path, config):
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    for folder, message in ((finished, "cannot go on"), (tmp_path / "run", "holds no run to resume")):
        result = command(folder, "--config", config, "--resume")
        assert result.exit_code == 1
        assert message in result.output
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before
    assert not (tmp_path / "run").exists()


def test_bound_that_the_ends_break_and_overwriting(tmp_path):
    """The low-variance geodesic fails and the summary says why; the rest is done. Then all is done again."""
    tight = tmp_path / "tight.yaml"
    paths = {"count": 2, "steps": 20, "frame_steps": 10}
    tight.write_text(yaml.safe_dump(SMALL | {"geodesics": {"points": 32, "variance_bound": 0.01}, "paths": paths}))
    result = command(tmp_path / "run", "--config", str(tight))
    assert result.exit_code == 0, result.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert not summary["geodesics"]["low_variance"]["feasible"]
    assert "breaks a constraint itself" in summary["geodesics"]["low_variance"]["message"]
    assert summary["paths"] == {}
    assert summary["baselines"]["unconstrained_geodesic"]["count"] == 2
    again = command(tmp_path / "run", "--config", str(tight), "--overwrite", "--paths", "3", "--seed", "1")
    assert again.exit_code == 0, again.output
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["baselines"]["unconstrained_geodesic"]["count"] == 3
    assert not (tmp_path / "run" / "reports" / "samples.json").exists()
