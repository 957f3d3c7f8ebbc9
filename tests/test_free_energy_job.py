"""What the free-energy job refuses, before any dynamics and without a trace in the folder."""

import json
from pathlib import Path

import numpy as np
import pytest
import yaml

from spacetime_tps.config_files import load_settings
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.free_energy_job import free_energies
from spacetime_tps.resources import find_system


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


def refused(folder: Path, error: type[Exception], match: str, **arguments) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(error, match=match):
        free_energies(folder, **arguments)
    assert sorted(folder.rglob("*")) == before


def test_no_run(tmp_path):
    refused(tmp_path / "nowhere", OutputError, "nowhere holds no run")


@pytest.mark.parametrize(
    "name, value, least", [("windows", 0, 2), ("frames", 9, 10), ("paths", 1, 2), ("workers", 0, 1), ("seed", -1, 0)]
)
def test_numbers(tmp_path, name, value, least):
    refused(tmp_path, ConfigError, f"--{name} must be at least {least}, not {value}", **{name: value})


def test_surface(tmp_path):
    refused(begun(tmp_path, "c_channel"), OutputError, "is a run on a model surface")


def test_no_geodesics_yet(tmp_path):
    refused(begun(tmp_path, "alanine_dipeptide"), OutputError, "has not finished its stage 'geodesics' yet")


def test_no_such_curve(with_geodesics):
    refused(with_geodesics, ConfigError, "has no geodesic 'low_variance'; it has unconstrained")


def test_free_energies_that_are_there(with_geodesics):
    (with_geodesics / "free_energy").mkdir()
    refused(with_geodesics, OutputError, "is there already; take --overwrite", curve="unconstrained")
