"""The free-energy job: what it refuses without a trace in the folder, its files, and that it can be interrupted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread
from typer.testing import CliRunner

from spacetime_tps.cli.app import app
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.free_energy.job import compute_free_energy
from spacetime_tps.runs.journal import Journal


def refused(folder: Path, error: type[Exception], match: str, **arguments) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(error, match=match):
        compute_free_energy(folder, **arguments)
    assert sorted(folder.rglob("*")) == before


def test_no_run(tmp_path):
    refused(tmp_path / "nowhere", OutputError, "nowhere holds no run")


@pytest.mark.parametrize(
    "name, value, least", [("windows", 0, 2), ("frames", 9, 10), ("paths", 1, 2), ("workers", 0, 1), ("seed", -1, 0)]
)
def test_numbers(tmp_path, name, value, least):
    refused(tmp_path, ConfigError, f"--{name} must be at least {least}, not {value}", **{name: value})


def test_surface(begun):
    refused(begun("c_channel"), OutputError, "is a run on a model surface")


def test_no_geodesics_yet(begun):
    refused(begun(), OutputError, "has not finished its stage 'samples' yet")


def test_no_such_curve(with_geodesic):
    refused(with_geodesic, ConfigError, "has no geodesic 'unconstrained'; it has low_variance", curve="unconstrained")


def test_free_energies_that_are_there(with_geodesic):
    (with_geodesic / "free_energy").mkdir()
    refused(with_geodesic, OutputError, "is there already; take --resume")


def test_nothing_to_resume(with_geodesic):
    refused(with_geodesic, OutputError, "holds nothing to resume", resume=True)


SHORT = dict.fromkeys(("frame_interval", "weak_frame_interval", "free_frame_interval"), "0.01 ps") | {"sweeps": 6}
"""Windows of a tenth of a picosecond: their figures mean little, and the job does all that it does with them."""


ASKED = {"windows": 12, "frames": 10, "paths": 2}


@pytest.mark.slow
@pytest.mark.parametrize("with_geodesic", [{"free_energy": SHORT}], indirect=True)
def test_files_and_interruption(with_geodesic):
    """Ctrl-C after three sweeps, then --resume, ends like a job that was not interrupted, by one process or by two."""
    whole = compute_free_energy(with_geodesic, **ASKED, workers=2)
    folder = with_geodesic / "free_energy"
    assert json.loads((folder / "free_energy.json").read_text()) == whole.to_json()
    with (folder / "profile.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(whole.windows.profile) == 12
    overlap = np.loadtxt(folder / "overlap.csv", delimiter=",")
    np.testing.assert_allclose(overlap.sum(axis=1), 1, atol=1e-4)
    assert min(imread(folder / "free_energy.png").shape[:2]) > 300
    np.testing.assert_allclose(overlap, whole.windows.overlap, atol=1e-6)
    assert list(whole.estimates) == ["windows", "annealing"] and whole.replica_exchange is None
    assert all(np.isfinite((estimate.value, estimate.error)).all() for estimate in whole.estimates.values())
    ensembles = len(overlap)
    assert whole.evaluations["windows"] == 6 * ensembles * (30 + 10) * 10
    sweeps = [np.load(folder / f"sweep_{index}.npy") for index in range(6)]
    assert {sweep.shape for sweep in sweeps} == {(ensembles, 10, 22, 3)}

    for file in [*folder.glob("sweep_[3-5].npy"), folder / "free_energy.json"]:
        file.unlink()
    result = CliRunner().invoke(
        app, ["free-energy", str(with_geodesic), "--windows", "12", "--frames", "10", "--paths", "2"]
    )
    assert result.exit_code == 1 and "--resume" in result.output
    kept = (folder / "sweep_1.npy").read_bytes()
    for content in (kept[:1000], b"", bytes(len(kept)), (folder / "sweep_0.npy").read_bytes()):
        (folder / "sweep_1.npy").write_bytes(content)
        with pytest.raises(OutputError, match=r"sweep_1.npy is not as it was written: remove it"):
            compute_free_energy(with_geodesic, **ASKED, resume=True)
    (folder / "sweep_1.npy").write_bytes(kept)
    journal = (folder / "sweeps.jsonl").read_bytes()
    (folder / "sweeps.jsonl").unlink()
    with Journal(folder / "sweeps.jsonl").appending() as appender:
        appender.add({"frame": 1, "shot": 2})  # of another job
    with pytest.raises(OutputError, match=r"sweeps\.jsonl: line 1 is not what this version writes"):
        compute_free_energy(with_geodesic, **ASKED, resume=True)
    (folder / "sweeps.jsonl").write_bytes(journal)
    assert compute_free_energy(with_geodesic, **ASKED, resume=True, workers=1) == whole
    with pytest.raises(OutputError, match="was begun with frames 10, not 20"):
        compute_free_energy(with_geodesic, **(ASKED | {"frames": 20}), resume=True)


def test_settings_without_effect(with_geodesic, tmp_path):
    config = tmp_path / "job.yaml"
    for text, match in (
        ("windows: {replicas: 3}", "line 1: windows.replicas: has no effect on 'free-energy'"),
        ("free_energy: {sweeps: 1}", "line 1: free_energy.sweeps: Input should be greater than or equal to 2"),
    ):
        config.write_text(text)
        refused(with_geodesic, ConfigError, match, config=config)


@pytest.mark.slow
def test_settings_of_its_own(with_geodesic, tmp_path):
    """Fewer and shorter sweeps by a file; what is resumed has them too, also without the file."""
    config = tmp_path / "job.yaml"
    short = SHORT | {"sweeps": 2, "equilibration": 3, "least_overlap": 1e-12}
    config.write_text(json.dumps({"free_energy": short, "paths": {"length": "0.1 ps"}}))
    whole = compute_free_energy(with_geodesic, **ASKED, config=config, workers=1)
    assert whole.sweeps == 2
    assert whole.evaluations["windows"] == 2 * len(whole.windows.overlap) * (3 + 10) * 10
    assert whole.evaluations["annealing"] < 4 * 200
    settings = json.loads((with_geodesic / "free_energy" / "free_energy.json").read_text())["settings"]
    assert (settings["free_energy.sweeps"], settings["paths.length"]) == (2, "0.1 ps")
    assert compute_free_energy(with_geodesic, **ASKED, resume=True, workers=1) == whole
    config.write_text(json.dumps({"free_energy": short}))
    with pytest.raises(OutputError, match=r"was begun with paths.length 0.1 ps, not 1.024 ps"):
        compute_free_energy(with_geodesic, **ASKED, config=config, resume=True)
