"""The command line: what it lists, what it refuses and with which words, and a path that breaks down."""

import csv
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from spacetime_tps import __version__, progress
from spacetime_tps.cli.app import app
from spacetime_tps.denoisers import GaussianMixtureDenoiser
from spacetime_tps.pipeline.annealed_paths import make_paths, straight_line
from spacetime_tps.runs.denoiser import write_denoiser
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.layout import DENOISER
from spacetime_tps.runs.trajectories import read_trr
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system, shipped_systems

SYSTEM = "alanine_dipeptide"


def invoke(*arguments: str | Path):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def test_version():
    result = invoke("--version")
    assert result.exit_code == 0
    assert result.output.strip() == __version__


def test_systems():
    result = invoke("systems")
    assert result.exit_code == 0
    assert result.output.split() == shipped_systems()
    assert SYSTEM in result.output.split()


@pytest.mark.parametrize(
    "command", ["run", "calibrate", "train", "path-ensemble", "free-energy", "committor", "export"]
)
def test_every_command_that_reads_a_force_field_may_be_told_to_trust_it(command):
    assert "--trust-scripts" in invoke(command, "--help").output


class TestRefusals:
    def refused(self, tmp_path: Path, *arguments: str | Path, system: str = SYSTEM) -> str:
        """Output of a run that must end with exit code 1 before it leaves anything behind."""
        result = invoke("run", system, "--output", tmp_path / "run", *arguments)
        assert result.exit_code == 1, result.output
        assert "Traceback" not in result.output
        assert not (tmp_path / "run").exists()
        return result.output

    def test_unknown_system(self, tmp_path):
        message = self.refused(tmp_path, system="alanine")
        assert "ConfigError" in message
        assert "unknown system 'alanine'" in message
        assert all(name in message for name in shipped_systems())

    @pytest.mark.parametrize(
        "content, message",
        [
            ({"paths": {"cuont": 3}}, "paths.cuont: unknown key; did you mean 'count'?"),
            ({"paths": {"length": "1 nm"}}, "paths.length: '1 nm' cannot be converted to ps"),
            ({"paths": {"length": 1.0}}, "paths.length: 1.0 has no unit"),
            ({"system": {"platform": "Abacus"}}, "OpenMM has no platform 'Abacus' here; it has Reference"),
            ({"system": {"force_field": ["nowhere.xml"]}}, "force field nowhere.xml cannot be applied"),
            ({"coordinates": {"atoms": "name XX"}}, "coordinates.atoms"),
            ({"paths": {"frame_interval": "1.5 fs"}}, "paths.frame_interval (0.0015 ps) is not a whole number of time"),
            ({"samples": {"frame_interval": "0.3 ps"}}, "samples.frame_interval (0.3 ps) is not a whole number of"),
        ],
        ids=["key", "unit", "no_unit", "platform", "force_field", "selection", "steps", "exchanges"],
    )
    def test_settings(self, tmp_path, content, message):
        assert message in self.refused(tmp_path, "--config", write_yaml(tmp_path / "my.yaml", content))

    def test_missing_config(self, tmp_path):
        assert "nowhere.yaml: cannot be read" in self.refused(tmp_path, "--config", tmp_path / "nowhere.yaml")

    @pytest.mark.parametrize("count", [0, -3])
    def test_paths(self, tmp_path, count):
        assert f"--paths must be at least 1, not {count}" in self.refused(tmp_path, "--paths", str(count))

    @pytest.mark.parametrize("count", [0, -1])
    def test_workers(self, tmp_path, count):
        assert f"--workers must be at least 1, not {count}" in self.refused(tmp_path, "--workers", str(count))

    def test_seed(self, tmp_path):
        assert "--seed must be at least 0, not -1" in self.refused(tmp_path, "--seed", "-1")

    def test_wrong_seed_does_not_cost_the_old_run(self, tmp_path):
        (tmp_path / "run" / "reports").mkdir(parents=True)
        for name in ("config.yaml", "reports/samples.json"):
            (tmp_path / "run" / name).write_text("{}")
        result = invoke("run", SYSTEM, "--output", tmp_path / "run", "--overwrite", "--seed", "-1")
        assert result.exit_code == 1
        assert "--seed must be at least 0, not -1" in result.output
        assert (tmp_path / "run" / "config.yaml").is_file()
        assert (tmp_path / "run" / "reports" / "samples.json").is_file()

    def test_output_is_asked_for(self):
        result = invoke("run", SYSTEM)
        assert result.exit_code == 2
        assert "--output" in result.output


COUNT, POINTS = 2, 16


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["committor", "RUN"], "holds no run"),
        (["committor", "RUN", "--shots", "0"], "--shots must be at least 1, not 0"),
        (["committor", "RUN", "--band", "0.6", "0.4"], "--band must rise within 0 and 1, not 0.6 0.4"),
        (["path-ensemble", "RUN"], "holds no run"),
        (["path-ensemble", "RUN", "--moves", "0"], "--moves must be at least 1, not 0"),
        (["path-ensemble", "RUN", "--move", "sideways"], "--move must be one_way or two_way, not 'sideways'"),
        (["free-energy", "RUN"], "holds no run"),
        (["free-energy", "RUN", "--windows", "1"], "--windows must be at least 2, not 1"),
        (["export", "RUN", "--to", "xtc"], "holds no run"),
        (
            ["export", "RUN", "--to", "abacus"],
            "--to must be openpathsampling, plumed, gromacs, xtc, dcd or pdb, not 'abacus'",
        ),
        (["calibrate", "RUN"], "holds no run"),
        (["train", "RUN"], "holds no run"),
    ],
)
def test_what_follows_a_run_refuses(tmp_path, arguments, message):
    """Before anything is written."""
    result = invoke(*(tmp_path / "run" if argument == "RUN" else argument for argument in arguments))
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module", params=["nan", "stiff"])
def broken(request, tmp_path_factory):
    """Folder, report and messages of the paths stage with a low-variance geodesic that goes wrong half way.

    Either its points are not numbers, or its restraint is so stiff that the time step cannot follow.
    """
    folder = tmp_path_factory.mktemp("broken")
    config = {
        "geodesics": {"points": POINTS, "region": None},
        "paths": {
            "count": COUNT,
            "count_region_avoiding": COUNT,
            "length": "0.064 ps",
            "frame_interval": "0.004 ps",
            "baseline_snr": ["5500 / nm**2"],
        },
    }
    settings = load_settings(find_system(SYSTEM), write_yaml(folder / "config.yaml", config))
    messages: list[str] = []
    run = Run(folder, settings, 1)
    with run.workers(1), pytest.MonkeyPatch.context() as patch:
        good = straight_line(run, 5500.0)
        late = np.arange(POINTS) >= POINTS // 2
        log_snr, centres = good.log_snr.copy(), good.centres.copy()
        if request.param == "nan":
            centres[late] = np.nan
        else:
            log_snr[late] = np.log(1e15)
        for name, y, values in (("low_variance", centres, log_snr), ("region_avoiding", good.centres, good.log_snr)):
            arrays = {"y": y, "mean": good.centres, "log_snr": values, "variance": np.zeros(POINTS)}
            np.savez(run.made("geodesics") / f"{name}.npz", **arrays)
        dimension = run.coordinates.dimension
        mixture = GaussianMixtureDenoiser([1.0], np.zeros((1, dimension)), 0.01 * np.eye(dimension)[None])
        write_denoiser(run, mixture, run.path(DENOISER))
        run.finish("geodesics", time.perf_counter())
        patch.setattr(progress.log, "error", lambda text, *_: messages.append(str(text)))
        report = make_paths(run)
    return folder, report, messages


class TestBrokenPaths:
    """Paths that break down are logged and kept up to there; the others go on."""

    def test_log_says_which_path_and_where(self, broken):
        _, _, messages = broken
        mine = [message for message in messages if "low-variance paths" in message]
        assert [f"path {index}, step" in message for index, message in enumerate(mine)] == [True] * COUNT
        assert all("spring constant" in message and "Take a smaller system.time_step" in message for message in mine)

    def test_figures_count_the_failures(self, broken):
        _, report, _ = broken
        assert report.results.paths.failed == COUNT
        assert report.results.paths.target_hit_percentage == 0
        assert report.results.paths.ets_kj_per_mol.mean is None
        json.dumps(report.results.to_json(), allow_nan=False)

    def test_frames_up_to_the_failure_are_kept(self, broken):
        folder, _, _ = broken
        with (folder / "paths" / "energies.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        for index in range(COUNT):
            with np.load(folder / "paths" / f"failed_{index:04d}.npz") as arrays:
                positions = arrays["positions"]
            assert 7 <= len(positions) < 17  # of 0 … 16; the second half goes wrong
            assert np.isfinite(positions).all()
            np.testing.assert_array_equal(
                read_trr(folder / "paths" / f"path_{index:04d}.trr")[0], positions.astype(np.float32)
            )
            assert sum(row["path"] == str(index) for row in rows) == len(positions)

    def test_other_paths_go_on(self, broken):
        folder, report, _ = broken
        assert report.results.paths_region_avoiding.failed == 0
        assert report.results.baselines["straight_snr_5500"].failed == 0
        assert not list((folder / "paths_region_avoiding").glob("failed*"))
        for path in (folder / "paths_region_avoiding").glob("path_*.trr"):
            assert len(read_trr(path)[0]) == 17


@pytest.mark.parametrize("command", ["train", "calibrate", "path-ensemble", "free-energy", "committor"])
def test_jobs_refuse_settings_that_have_no_effect_on_them(command, tmp_path, begin_run):
    """Before they look at what the run has made: this one has made nothing."""
    assert "--config" in invoke(command, "--help").output
    run = begin_run(tmp_path / "run").folder
    result = invoke(command, run, "--config", write_yaml(tmp_path / "job.yaml", {"paths": {"count": 3}}))
    assert result.exit_code == 1
    assert f"line 2: paths.count: has no effect on '{command}'" in " ".join(result.output.split())
