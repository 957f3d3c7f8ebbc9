"""The main job promises what every job does, in a folder of its own: all of its stages, each with a few tasks."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from contracts.jobs import JobContract

from spacetime_tps import run
from spacetime_tps.errors import OutputError
from spacetime_tps.runs.layout import LOCK, SUMMARY

SETTINGS: dict[str, Any] = {
    "samples": {
        "temperatures": ["600 K", "1000 K", "1300 K"],
        "length": "10 ps",
        "exchange_interval": "0.2 ps",
        "frame_interval": "0.2 ps",
        "discard": "2 ps",
        "weights": "mbar",
    },
    "denoiser": {"components": [1], "fits": 2, "check_points": 1},
    "geodesics": {
        "end_snr": "10000 / nm**2",
        "points": 16,
        "knots": 4,
        "graph_samples": 20,
        "channels": 1,
        "graph_levels": 2,
        "region": None,
    },
    "paths": {
        "count": 4,
        "count_region_avoiding": 0,
        "length": "0.256 ps",
        "frame_interval": "0.004 ps",
        "baseline_snr": ["5500 / nm**2"],
    },
    "windows": {"replicas": 2, "frames": 10, "equilibration": "0.1 ps", "frame_interval": "0.02 ps"},
    "shooting": {"reactive": 2, "max_shots": 8, "batch": 4, "time_limit": "0.5 ps"},
}


class TestContract(JobContract):
    least = {"paths": 1}

    test_a_run_on_a_surface = test_a_run_that_has_not_come_so_far = None  # it needs no run

    @pytest.fixture(autouse=True)
    def config(self, tmp_path):
        self.settings = tmp_path / "settings.yaml"
        self.settings.write_text(yaml.safe_dump(SETTINGS))

    def job(self, folder, **options):
        return run("alanine_dipeptide", folder, config=self.settings, **options)

    @pytest.fixture
    def ready(self, tmp_path) -> Path:
        (tmp_path / "run").mkdir()
        return tmp_path / "run"

    def place(self, folder):
        return folder

    def leave(self, folder):
        (folder / "config.yaml").write_text("system: {}\n")

    def soil(self, folder):
        """Of longer work, of other jobs, and of what was interrupted."""
        stale = ("paths/path_0099.trr", "samples/replica_99_300K.h5", "unfinished/reactive/0000_shoot_000000")
        for name in (*stale, "calibration/points.csv", "export/xtc/export.json", "training.safetensors"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text("stale")

    def interrupted(self, whole, share):
        """Of 176 tasks 150 are of the samples, then 6 of the denoiser, 16 of the paths and 4 of the shots."""
        return super().interrupted(whole, {0.4: 0.6, 0.6: 0.9, 0.95: 0.985}.get(share, share))

    def test_a_folder_without_a_run(self, tmp_path, ready):
        for folder in (tmp_path / "nowhere", ready):
            message = self.refused(folder, OutputError, resume=True)
            assert f"{folder} holds no run to resume" in message
        assert not (tmp_path / "nowhere").exists()

    def test_damaged_files_are_named(self, ready, whole):
        """One bit of a file of each kind in each folder of a finished run, which is resumed."""
        shutil.copytree(whole[0], ready, dirs_exist_ok=True)
        kinds = {(file.parent, file.suffix): file for file in ready.rglob("*.*") if file.is_file()}
        for file in kinds.values():
            if file.name in (LOCK, SUMMARY):
                continue
            kept = file.read_bytes()
            middle = len(kept) // 2
            file.write_bytes(kept[:middle] + bytes([kept[middle] ^ 1]) + kept[middle + 1 :])
            assert file.name in self.refused(ready, resume=True), file
            file.write_bytes(kept)
