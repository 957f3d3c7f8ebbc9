"""Neural denoisers from the command line: train, take what was trained into a run, on-policy rounds, refusals."""

import json
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from contracts.jobs import JobContract
from safetensors import safe_open
from typer.testing import CliRunner

from spacetime_tps.cli.app import app
from spacetime_tps.denoisers import PotentialDenoiser
from spacetime_tps.errors import OutputError
from spacetime_tps.pipeline import run as pipeline
from spacetime_tps.pipeline.training import train
from spacetime_tps.runs.layout import POTENTIAL as FILE
from spacetime_tps.runs.layout import TRAINING_CHECKPOINT as CHECKPOINT
from spacetime_tps.training.trainer import Trainer

SYSTEM = "alanine_dipeptide"
HEAVY = 10
POTENTIAL = {
    "kind": "potential",
    "components": 2,
    "fits": 1,
    "width": 8,
    "depth": 1,
    "batch": 32,
    "steps": 40,
    "validation_interval": 10,
    "checkpoint_interval": 0,
}
IN_A_RUN = POTENTIAL | {"check_points": 0}
SMALL = {
    "samples": {
        "temperatures": ["600 K", "1000 K", "1300 K"],  # hot, so that short replicas cross the barrier
        "length": "40 ps",
        "exchange_interval": "0.2 ps",
        "frame_interval": "0.2 ps",
        "discard": "4 ps",
        "weights": "mbar",
    },
    "denoiser": {"kind": "mixture", "components": [2], "fits": 1, "check_points": 0},
    "geodesics": {
        "end_snr": "10000 / nm**2",
        "points": 24,
        "knots": 6,
        "graph_samples": 60,
        "channels": 1,
        "graph_levels": 5,
        "variance_bound": "0.02 nm**2",
        "region": None,
    },
    "paths": {"count": 1, "count_region_avoiding": 0, "length": "0.256 ps", "baseline_snr": ["5500 / nm**2"]},
    "shooting": {"reactive": 0},
}


def command(*arguments: str):
    return CliRunner().invoke(app, list(arguments))


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


def tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118


@pytest.fixture(scope="module")
def sampled(tmp_path_factory) -> Path:
    """A run interrupted after its samples."""
    folder = tmp_path_factory.mktemp("potential")
    config = write_yaml(folder / "small.yaml", SMALL)

    def ctrl_c(run):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(pipeline.STAGES, "denoiser", ctrl_c)
        result = command("run", SYSTEM, "--output", str(folder / "run"), "--config", str(config), "--workers", "2")
    assert result.exit_code == 130, result.output
    return folder / "run"


@pytest.fixture(scope="module")
def trained(sampled) -> Path:
    """It with a trained denoiser; tests must not change it."""
    run = Path(shutil.copytree(sampled, sampled.with_name("trained")))
    config = write_yaml(sampled.with_name("potential.yaml"), {"denoiser": POTENTIAL})
    result = command("train", str(run), "--config", str(config), "--workers", "1")
    assert result.exit_code == 0, result.output
    assert "40 steps; the denoiser is in" in " ".join(result.output.split())
    return run


@pytest.fixture
def untrained(sampled, tmp_path) -> Path:
    """A copy of the run that has its samples."""
    return Path(shutil.copytree(sampled, tmp_path / "run"))


class TestContract(JobContract):
    """It works in this process, so that Ctrl-C comes in a step of the training."""

    part = "train"
    needs = "samples"
    reads = ("config.yaml", "topology.pdb", "inputs/*", "samples/training.*")

    test_does_not_resume_another_request = None  # a checkpoint knows its samples and settings alone
    test_resumes_what_has_finished = None  # it has no checkpoint any more

    @pytest.fixture(autouse=True)
    def settings(self, tmp_path, monkeypatch):
        """Options of the job, and its steps counted; one of them may be the last."""
        self.config = write_yaml(tmp_path / "potential.yaml", {"denoiser": POTENTIAL})
        self.steps, self.last, step = 0, None, Trainer._step

        def counted(trainer):
            self.steps += 1
            if self.steps == self.last:
                raise KeyboardInterrupt
            return step(trainer)

        monkeypatch.setattr(Trainer, "_step", counted)

    def job(self, folder, **options):
        return train(folder, config=self.config, **options)

    @pytest.fixture
    def ready(self, untrained):
        return untrained

    def leave(self, folder):
        self.place(folder).write_bytes(b"trained before")

    def soil(self, folder):
        """Denoiser and results of an earlier training beside the checkpoint of a later one."""
        self.leave(folder)
        (folder / "potential.json").write_text("{}")
        assert (folder / CHECKPOINT).is_file()

    @contextmanager
    def interrupted(self, whole, share):
        """There is a checkpoint after ten steps of forty."""
        self.steps, self.last = 0, max(12, round(share * POTENTIAL["steps"]))
        with pytest.raises(KeyboardInterrupt):
            yield
        self.steps, self.last = 0, None

    def test_a_checkpoint_that_is_there(self, ready):
        (ready / CHECKPOINT).write_bytes(b"interrupted before")
        assert f"already holds {CHECKPOINT}; take --resume" in self.refused(ready, OutputError)

    def assert_less_work(self, whole):
        assert 0 < self.steps < POTENTIAL["steps"]


class TestTrain:
    def test_denoiser_holds_its_configuration(self, trained):
        denoiser, description = PotentialDenoiser.load(trained / FILE)
        assert description["system"] == SYSTEM
        assert description["settings"]["steps"] == 40
        assert denoiser.dimension == 3 * HEAVY - 6
        assert not (trained / CHECKPOINT).exists()

    def test_report(self, trained):
        report = json.loads((trained / "potential.json").read_text())
        assert [look["step"] for look in report["training"]["history"]] == [10, 20, 30, 40]
        assert report["denoising_error"][0].keys() == {"log_snr", "potential", "mixture", "single_component"}

    @pytest.mark.parametrize(
        "damage, message",
        [
            (lambda path: path.write_bytes(b""), "is not a readable denoiser"),
            (lambda path: shutil.copy(path.with_name(FILE), path), "it does not hold a training"),
        ],
        ids=["empty", "other"],
    )
    def test_damaged_checkpoint(self, trained, tmp_path, damage, message):
        run = Path(shutil.copytree(trained, tmp_path / "run"))
        damage(run / CHECKPOINT)
        config = write_yaml(tmp_path / "potential.yaml", {"denoiser": POTENTIAL})
        result = command("train", str(run), "--config", str(config), "--resume", "--workers", "1")
        assert result.exit_code == 1
        assert message in " ".join(result.output.split())

    def test_settings_of_a_mixture_are_refused(self, sampled, tmp_path):
        config = write_yaml(tmp_path / "mixture.yaml", {"denoiser": "mixture"})
        result = command("train", str(sampled), "--config", str(config))
        assert result.exit_code == 1
        assert "its denoiser is not a potential" in " ".join(result.output.split())

    def test_pretrained_denoiser_is_not_trained(self, trained, tmp_path):
        content = {"denoiser": POTENTIAL | {"pretrained": str(trained / FILE)}}
        config = write_yaml(tmp_path / "pretrained.yaml", content)
        result = command("train", str(trained), "--config", str(config), "--overwrite")
        assert result.exit_code == 1
        assert "denoiser.pretrained: has no effect on 'train'" in " ".join(result.output.split())
        assert (trained / FILE).is_file()


def files_run(folder: Path, trained: Path, denoiser: dict[str, Any], frames: str | None = None, **geodesics: Any):
    """The main job on samples of another run."""
    samples: dict[str, Any] = {"method": "run", "folder": str(trained), "model_temperature": "1000 K"}
    if frames is not None:
        samples = {
            "method": "files",
            "trajectories": [str(trained / "samples" / frames)],
            "model_temperature": "1000 K",
        }
    content = SMALL | {"samples": samples, "denoiser": denoiser, "geodesics": SMALL["geodesics"] | geodesics}
    content["windows"] = {"count": 4, "frames": 20, "equilibration": "0.5 ps"}
    config = write_yaml(folder / "run.yaml", content)
    return command("run", SYSTEM, "--output", str(folder / "run"), "--config", str(config), "--workers", "2")


class TestRun:
    def test_pretrained_denoiser_and_a_round_on_policy(self, trained, tmp_path):
        """The round trains the network further on windows along the geodesic; these are few and short here."""
        denoiser = IN_A_RUN | {"pretrained": str(trained / FILE)}
        result = files_run(tmp_path, trained, denoiser, rounds=1)
        assert result.exit_code == 0, result.output
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        before, after = tensors(tmp_path / "run" / "denoiser.safetensors"), tensors(trained / FILE)
        assert all(torch.equal(before[name], after[name]) for name in after)
        rounds = summary["rounds"]
        assert rounds[0].keys() >= {"length_model", "length_md", "length_md_error", "found"}
        assert summary["energy_evaluations"]["windows"] > 0
        if len(rounds) == 2:  # the first did not agree
            refined = tensors(tmp_path / "run" / "geodesics" / "denoiser.safetensors")
            assert any(not torch.equal(refined[name], before[name]) for name in before)
        for name in ("unconstrained", "low_variance"):
            if (file := tmp_path / "run" / "geodesics" / f"{name}.npz").is_file():
                with np.load(file) as arrays:
                    assert np.isfinite(arrays["y"]).all()

    def test_in_torsions(self, sampled, tmp_path):
        """On a coarse mixture of von Mises densities; SNR and variances have no unit."""
        shutil.copy(sampled / "samples" / "training.h5", tmp_path / "frames.h5")  # of equal weights
        samples = {"method": "files", "trajectories": [str(tmp_path / "frames.h5")]}
        content = {
            "coordinates": "torsions",
            "samples": samples | {"model_temperature": "1000 K"},
            "denoiser": IN_A_RUN,
            "geodesics": {
                "points": 24,
                "knots": 6,
                "graph_samples": 60,
                "channels": 1,
                "graph_levels": 5,
                "region": None,
            },
            "paths": {"count": 1, "count_region_avoiding": 0, "length": "0.256 ps", "baseline_snr": [200]},
            "shooting": {"reactive": 0},
        }
        config = write_yaml(tmp_path / "run.yaml", content)
        result = command("run", SYSTEM, "--output", str(tmp_path / "run"), "--config", str(config), "--workers", "1")
        assert result.exit_code == 0, result.output
        summary = json.loads((tmp_path / "run" / "summary.json").read_text())
        assert summary["denoiser"]["kind"] == "potential"
        assert summary["geodesics"]["unconstrained"]["feasible"]

    def test_denoiser_of_other_atoms_is_refused_before_work(self, trained, tmp_path):
        content = {
            "denoiser": {"kind": "potential", "pretrained": str(trained / FILE)},
            "coordinates": {"atoms": "all"},
        }
        config = write_yaml(tmp_path / "all.yaml", content)
        result = command("run", SYSTEM, "--output", str(tmp_path / "run"), "--config", str(config))
        assert result.exit_code == 1
        assert "was made for other atoms than this run's" in " ".join(result.output.split())
        assert not (tmp_path / "run" / "samples").exists()

    def test_samples_of_one_state(self, sampled, tmp_path):
        import mdtraj

        training = mdtraj.load(str(sampled / "samples" / "training.h5"))
        phi = mdtraj.compute_phi(training)[1][:, 0]
        training[phi < 0].save_hdf5(str(sampled / "samples" / "left.h5"))
        result = files_run(tmp_path, sampled, IN_A_RUN, frames="left.h5")
        assert result.exit_code == 1
        assert "0 in C7ax: a network learns nothing of a state that no sample is in" in " ".join(result.output.split())

    def test_too_few_samples(self, sampled, tmp_path):
        import mdtraj

        training = mdtraj.load(str(sampled / "samples" / "training.h5"))
        phi = np.degrees(mdtraj.compute_phi(training)[1][:, 0])
        right = training[(phi > 45) & (phi < 85)]
        mdtraj.join([training[phi < -60][::10][:20], right[:20]]).save_hdf5(str(sampled / "samples" / "few.h5"))
        result = files_run(tmp_path, sampled, IN_A_RUN, frames="few.h5")
        assert result.exit_code == 1
        assert "are too few to train a network on 24 coordinates" in " ".join(result.output.split())
