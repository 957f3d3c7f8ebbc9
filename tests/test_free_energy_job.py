"""The free-energy job: what it refuses without a trace in the folder, its files, and that it can be interrupted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.image import imread
from typer.testing import CliRunner

from spacetime_tps.cli import app
from spacetime_tps.config_files import load_settings
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.free_energy_job import free_energies
from spacetime_tps.resources import find_system
from spacetime_tps.stages.context import make_coordinates


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
    refused(with_geodesics, OutputError, "is there already; take --resume", curve="unconstrained")


def test_nothing_to_resume(with_geodesics):
    refused(with_geodesics, OutputError, "holds nothing to resume", curve="unconstrained", resume=True)


@pytest.fixture
def short(monkeypatch):
    """Windows of a tenth of a picosecond: their figures mean little, and the job does all that it does with them."""
    for name in ("_FRAME_INTERVAL", "_FREE_FRAME_INTERVAL"):
        monkeypatch.setattr(f"spacetime_tps.stages.free_energies.{name}", 0.01)


ASKED = {"windows": 12, "frames": 10, "paths": 2}


@pytest.fixture
def run(with_geodesics) -> Path:
    """Folder of a run whose geodesic is the straight line between the structures."""
    molecule = MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)
    settings = load_settings(find_system("alanine_dipeptide"))
    coordinates = make_coordinates(settings, molecule)
    a, b = (coordinates.superpose(molecule.structures[name][None])[0] for name in ("c5", "c7ax"))
    share = np.linspace(0, 1, 65)[:, None, None]
    y = ((1 - share) * a + share * b)[:, list(coordinates.atoms)]
    np.savez(
        with_geodesics / "geodesics" / "low_variance.npz", y=y, mean=y, log_snr=np.full(65, 6.5), variance=np.ones(65)
    )
    return with_geodesics


def test_files_and_interruption(run, short):
    """Ctrl-C after three chains, then --resume, ends like a job that was not interrupted, by one process or by two."""
    whole = free_energies(run, **ASKED, workers=2)
    folder = run / "free_energy"
    assert json.loads((folder / "free_energy.json").read_text()) == whole
    with (folder / "profile.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(whole["windows"]["profile"]) == 12
    overlap = np.loadtxt(folder / "overlap.csv", delimiter=",")
    np.testing.assert_allclose(overlap.sum(axis=1), 1, atol=1e-4)
    assert min(imread(folder / "free_energy.png").shape[:2]) > 300
    assert all(np.isfinite(whole[name][key]) for name in ("windows", "annealing") for key in ("value", "error"))
    assert whole["replica_exchange"] is None
    ensembles = len(overlap)
    assert whole["evaluations"]["windows"] == 8 * ensembles * (20 + 10) * 10
    chains = [np.load(folder / f"chain_{index}.npy") for index in range(8)]
    assert {chain.shape for chain in chains} == {(ensembles, 10, 22, 3)}

    for file in [*folder.glob("chain_[3-7].npy"), folder / "free_energy.json"]:
        file.unlink()
    result = CliRunner().invoke(app, ["free-energy", str(run), "--windows", "12", "--frames", "10", "--paths", "2"])
    assert result.exit_code == 1 and "--resume" in result.output
    assert free_energies(run, **ASKED, resume=True, workers=1) == whole
    with pytest.raises(OutputError, match="was begun with frames 10, not 20"):
        free_energies(run, **(ASKED | {"frames": 20}), resume=True)
