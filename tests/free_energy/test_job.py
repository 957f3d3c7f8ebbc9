"""The free-energy job: what it refuses without a trace in the folder, its files, and that it can be interrupted."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from contracts.jobs import RefusalContract, WorkContract, in_process, pools
from matplotlib.image import imread

from spacetime_tps.dynamics.springs import set_springs
from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.free_energy.job import compute_free_energy
from spacetime_tps.free_energy.series import make_series
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.journal import Journal
from spacetime_tps.runs.read import need_geodesic
from spacetime_tps.settings.windows import FreeEnergySettings


def refused(folder: Path, error: type[Exception], match: str, **arguments) -> None:
    before = sorted(folder.rglob("*"))
    with pytest.raises(error, match=match):
        compute_free_energy(folder, **arguments)
    assert sorted(folder.rglob("*")) == before


def test_no_such_curve(with_geodesic):
    refused(with_geodesic, ConfigError, "has no geodesic 'unconstrained'; it has low_variance", curve="unconstrained")


SHORT = dict.fromkeys(("frame_interval", "weak_frame_interval", "free_frame_interval"), "0.01 ps") | {"sweeps": 6}
"""Windows of a tenth of a picosecond: their figures mean little, and the job does all that it does with them."""


ASKED = {"windows": 12, "frames": 10, "paths": 2}


class TestRefusals(RefusalContract):
    part = "free-energy"
    least = {"windows": 2, "frames": 10, "paths": 2}
    needs = "samples"
    reads = ("config.yaml", "topology.pdb", "inputs/*", "geodesics/*.npz")

    def job(self, folder, **options):
        return compute_free_energy(folder, **options)

    @pytest.fixture
    def ready(self, with_geodesic):
        return with_geodesic


@pytest.mark.slow
@pytest.mark.parametrize("with_geodesic", [{"free_energy": SHORT}], indirect=True)
class TestWork(WorkContract):
    part = "free-energy"
    options = ASKED

    def job(self, folder, **options):
        return compute_free_energy(folder, **options)

    @pytest.fixture
    def ready(self, with_geodesic):
        return with_geodesic


@pytest.fixture
def here():
    """Work in this process."""
    with pools(in_process):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("with_geodesic", [{"free_energy": SHORT}], indirect=True)
def test_files_and_their_damage(with_geodesic, here):
    whole = compute_free_energy(with_geodesic, **ASKED)
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
    assert compute_free_energy(with_geodesic, **ASKED, resume=True) == whole


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
    """Fewer and shorter sweeps in wider windows by a file; what is resumed has them too, also without the file."""
    config = tmp_path / "job.yaml"
    short = SHORT | {"sweeps": 2, "equilibration": 3, "least_overlap": 1e-12, "narrowing": 0.2}
    config.write_text(json.dumps({"free_energy": short, "paths": {"length": "0.1 ps"}}))
    whole = compute_free_energy(with_geodesic, **ASKED, config=config, workers=1)
    assert whole.sweeps == 2
    run = Run.open(with_geodesic)  # wider windows are nearer to the free states, by fewer on the ramps
    stored, given = need_geodesic(run, "low_variance"), FreeEnergySettings()
    wide, natural = (
        make_series(
            set_springs(run.coordinates, stored.schedule, stored.mean, 1000.0, 300.0, narrowing),
            ASKED["windows"],
            given,
        )
        for narrowing in (0.2, 1.0)
    )
    assert len(whole.windows.overlap) == len(wide.log_snr) < len(natural.log_snr)
    assert whole.evaluations["windows"] == 2 * len(whole.windows.overlap) * (3 + 10) * 10
    assert whole.evaluations["annealing"] < 4 * 200
    settings = json.loads((with_geodesic / "free_energy" / "free_energy.json").read_text())["settings"]
    assert (settings["free_energy.sweeps"], settings["paths.length"]) == (2, "0.1 ps")
    assert compute_free_energy(with_geodesic, **ASKED, resume=True, workers=1) == whole
    config.write_text(json.dumps({"free_energy": short}))
    with pytest.raises(OutputError, match=r"was begun with paths.length 0.1 ps, not 1.024 ps"):
        compute_free_energy(with_geodesic, **ASKED, config=config, resume=True)
