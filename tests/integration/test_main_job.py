"""The whole main job on a small budget: its files as other programs see them, its figures, and runs that go on."""

import csv
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import matplotlib.image
import MDAnalysis
import mdtraj
import numpy as np
import openmm
import pytest
import safetensors.numpy
import yaml
from MDAnalysis.analysis.rms import rmsd
from typer.testing import CliRunner

from spacetime_tps.cli.app import app
from spacetime_tps.dynamics.system import MolecularSystem
from spacetime_tps.pipeline import run as pipeline
from spacetime_tps.runs.hdf5 import read_hdf5_energies
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import data_folder, find_system
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

SEED = 3
SYSTEM = "alanine_dipeptide"
HEAVY, ATOMS = 10, 22
TEMPERATURES, ROUNDS, EXCHANGE_STEPS = 3, 250, 200
PATHS, AVOIDING, STEPS, FRAME_STEPS, POINTS = 4, 2, 512, 16, 32
BOUND = 0.01
SMALL = {
    "samples": {
        "temperatures": ["300 K", "1000 K", "1300 K"],  # hot, so that short replicas cross the barrier
        "length": "50 ps",
        "exchange_interval": "0.2 ps",
        "frame_interval": "0.2 ps",
        "discard": "4 ps",
        "weights": "mbar",
    },
    "denoiser": {"components": [1], "check_points": 1},  # one Gaussian joins the states however short the sampling
    "geodesics": {
        "end_snr": "10000 / nm**2",
        "snr_bounds": ["1 / nm**2", "40000 / nm**2"],
        "points": POINTS,
        "knots": 12,
        "graph_samples": 60,
        "channels": 1,
        "graph_levels": 8,
        "variance_bound": f"{BOUND} nm**2",
        "region": {"divergence": 3},
    },
    "paths": {
        "count": PATHS,
        "count_region_avoiding": AVOIDING,
        "length": "0.512 ps",
        "frame_interval": "0.016 ps",
        "baseline_snr": ["5500 / nm**2"],
    },
    "shooting": {"reactive": 1, "max_shots": 64, "batch": 8},
}
TINY = {  # seconds for everything after the samples; no constrained geodesic is needed
    "denoiser": {"components": [2], "check_points": 0},
    "geodesics": {"points": 8, "knots": 2, "graph_samples": 20, "channels": 1, "graph_levels": 2, "region": None},
    "paths": {"count": 1, "count_region_avoiding": 0, "length": "0.032 ps", "baseline_snr": ["5500 / nm**2"]},
    "shooting": {"reactive": 0},
}


def command(output: Path, config: Path, *options: str):
    """What `spacetime-tps run` does and prints."""
    return CliRunner().invoke(app, ["run", SYSTEM, "--output", str(output), "--config", str(config), *options])


def write_yaml(path: Path, content: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def config(tmp_path_factory) -> Path:
    return write_yaml(tmp_path_factory.mktemp("config") / "small.yaml", SMALL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, config) -> Path:
    """A finished run; tests must not change it."""
    output = tmp_path_factory.mktemp("main_job") / "run"
    result = command(output, config, "--seed", str(SEED), "--workers", "2")
    assert result.exit_code == 0, result.output
    assert "reactive trajectories from" in result.output
    return output


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run to interrupt, change or replace."""
    return Path(shutil.copytree(finished, tmp_path / "run", ignore=shutil.ignore_patterns(".*")))  # MDAnalysis's


def strict_json(path: Path) -> dict[str, Any]:
    def refuse(token: str) -> None:
        raise ValueError(f"{path}: {token} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


@pytest.fixture(scope="module")
def summary(finished) -> dict[str, Any]:
    return strict_json(finished / "summary.json")


def tensors(path: Path) -> dict[str, np.ndarray]:
    return safetensors.numpy.load_file(path)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def energy_table(folder: Path, path: int) -> dict[str, np.ndarray]:
    """Columns of energies.csv for one path."""
    mine = [row for row in rows(folder / "energies.csv") if int(row["path"]) == path]
    return {key: np.array([float(row[key]) for row in mine]) for key in mine[0]}


def universe(run: Path, trajectory: str) -> MDAnalysis.Universe:
    """A trajectory as MDAnalysis reads it, in the file's nm and ps."""
    return MDAnalysis.Universe(str(run / "topology.pdb"), str(run / trajectory), convert_units=False)


def dihedrals(universe: MDAnalysis.Universe) -> tuple[np.ndarray, np.ndarray]:
    """φ and ψ in degrees of every frame, by MDAnalysis."""
    alanine = universe.select_atoms("resname ALA").residues[0]
    phi, psi = alanine.phi_selection().dihedral, alanine.psi_selection().dihedral
    values = np.array([(phi.value(), psi.value()) for _ in universe.trajectory])
    return values[:, 0], values[:, 1]


def in_a(phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """The box of C5/C7eq in system.yaml, which wraps around in ψ."""
    return (phi <= -50) & ((psi >= 20) | (psi <= -160))


def in_b(phi: np.ndarray, psi: np.ndarray) -> np.ndarray:
    """The box of C7ax in system.yaml."""
    return (phi >= 40) & (phi <= 90) & (psi >= -90) & (psi <= 10)


@pytest.fixture(scope="module")
def openmm_context(finished) -> openmm.Context:
    """The force field applied anew to the run's topology.pdb."""
    pdb = openmm.app.PDBFile(str(finished / "topology.pdb"))
    system = openmm.app.ForceField("amber99sbildn.xml").createSystem(pdb.topology)
    return openmm.Context(system, openmm.VerletIntegrator(0.001), openmm.Platform.getPlatformByName("Reference"))


def energy_and_rounding(context: openmm.Context, positions: np.ndarray) -> tuple[float, float]:
    """Potential energy (kJ/mol), and how far single precision of the positions can change it: Σ|F||x|/2²⁴."""
    context.setPositions(positions.astype(float))
    state = context.getState(energy=True, forces=True)
    forces = state.getForces(asNumpy=True)._value
    return state.getPotentialEnergy()._value, float(np.abs(forces * positions).sum()) * 2.0**-24


class TestFiles:
    def test_settings_read_back(self, finished, config, assert_same_settings):
        system = find_system(SYSTEM)
        assert_same_settings(finished, load_settings(system, config))
        content = yaml.safe_load((finished / "config.yaml").read_text())
        assert content["seed"] == SEED
        assert content["versions"]["openmm"]

    def test_samples_open_in_mdtraj(self, finished):
        names = {path.name for path in (finished / "samples").glob("replica_*.h5")}
        assert names == {"replica_00_300K.h5", "replica_01_1000K.h5", "replica_02_1300K.h5"}
        for name in names:
            trajectory = mdtraj.load(str(finished / "samples" / name))
            assert trajectory.xyz.shape == (ROUNDS, ATOMS, 3)
            np.testing.assert_allclose(trajectory.time, 0.2 * np.arange(1, ROUNDS + 1), rtol=1e-6)
            assert [atom.name for atom in trajectory.topology.atoms][4] == "C"

    def test_sample_energies_are_those_of_their_positions(self, finished, openmm_context):
        for path in sorted((finished / "samples").glob("replica_*.h5")):
            trajectory, stored = mdtraj.load(str(path)), read_hdf5_energies(path)
            for frame in range(0, ROUNDS, 15):
                energy, rounding = energy_and_rounding(openmm_context, trajectory.xyz[frame])
                assert abs(energy - stored[frame]) <= rounding + abs(energy) * 2.0**-23
                assert rounding < 0.05

    def test_training_weights_make_the_model_temperature(self, finished):
        """MBAR at 1000 K gives the mean energy of the 1000 K replica, within its error."""
        training = mdtraj.load(str(finished / "samples" / "training.h5"))
        with np.load(finished / "samples" / "training.npz") as arrays:
            weights, source = arrays["weights"], arrays["source"]
        kept = ROUNDS - 20
        assert training.n_frames == len(weights) == TEMPERATURES * kept
        assert weights.sum() == pytest.approx(1)
        energies = [read_hdf5_energies(path)[20:] for path in sorted((finished / "samples").glob("replica_*.h5"))]
        reweighted = (weights * np.concatenate(energies)).sum()
        independent = kept / 5  # frames of 0.2 ps are correlated over about 1 ps
        assert abs(reweighted - energies[1].mean()) < 4 * energies[1].std() / np.sqrt(independent)
        assert weights[source == 0].sum() < 0.05  # 300 K frames are rare at 1000 K

    def test_denoiser(self, finished):
        arrays = tensors(finished / "denoiser.safetensors").values()
        assert all(np.isfinite(array).all() for array in arrays)
        assert max(array.size for array in arrays) >= (3 * HEAVY - 6) ** 2  # covariances without rigid motions

    @pytest.mark.parametrize("name", ["unconstrained", "low_variance", "region_avoiding"])
    def test_geodesics(self, finished, summary, name):
        with np.load(finished / "geodesics" / f"{name}.npz") as arrays:
            y, mean, log_snr, variance, depth = (arrays[key] for key in ("y", "mean", "log_snr", "variance", "depth"))
            atoms = arrays["atoms"]
        assert y.shape == mean.shape == (POINTS, HEAVY, 3)
        assert log_snr.shape == variance.shape == (POINTS,)
        assert [log_snr[0], log_snr[-1]] == pytest.approx([np.log(1e4)] * 2)
        assert (log_snr >= np.log(1.0) - 1e-9).all() and (log_snr <= np.log(4e4) + 1e-9).all()
        for end, structure in ((0, "c5"), (-1, "c7ax")):
            pdb = mdtraj.load(str(data_folder("systems") / SYSTEM / f"{structure}.pdb"))
            assert rmsd(y[end], pdb.xyz[0, atoms], superposition=True) < 1e-5
        figures = summary["geodesics"][name]
        assert {"energy", "length", "speed_ratio", "negative_chord_fraction", "feasible", "converged"} <= figures.keys()
        assert figures["max_depth"] == pytest.approx(depth.max())
        assert figures["max_depth_kj_per_mol"] == pytest.approx(
            MOLAR_GAS_CONSTANT * summary["samples"]["model_temperature"] * depth.max()
        )
        assert figures["max_variance"] >= variance.max() * (1 - 1e-9)
        assert figures["max_variance"] < 1.1 * variance.max()
        assert figures["energy"] == pytest.approx(figures["speed_ratio"] * figures["length"] ** 2 / 2)
        assert figures["speed_ratio"] == pytest.approx(1, abs=0.02)

    def test_low_variance_geodesic_keeps_its_bound(self, summary):
        figures = summary["geodesics"]["low_variance"]
        assert figures["feasible"] and figures["converged"]
        assert figures["max_variance"] <= 1.01 * BOUND < summary["geodesics"]["unconstrained"]["max_variance"]
        assert figures["length"] > summary["geodesics"]["unconstrained"]["length"]

    def test_figures(self, finished):
        expected = {
            "ramachandran_paths.png",
            "ramachandran_region_avoiding.png",
            "ramachandran_reactive.png",
            "geodesic_profiles.png",
            "energy_along_paths.png",
            "energy_along_paths_region_avoiding.png",
        }
        assert {path.name for path in (finished / "figures").iterdir()} == expected
        for name in expected:
            image = matplotlib.image.imread(finished / "figures" / name)
            assert min(image.shape[:2]) > 300
            assert image[..., :3].std() > 0.02  # something is drawn

    def test_nothing_half_written_is_left(self, finished):
        assert not [path for path in finished.rglob("*") if "partial" in path.name]


class TestPaths:
    @pytest.mark.parametrize("folder, count", [("paths", PATHS), ("paths_region_avoiding", AVOIDING)])
    def test_trajectories_open_in_mdanalysis(self, finished, folder, count):
        names = sorted(path.name for path in (finished / folder).glob("*.trr"))
        assert names == [f"path_{index:04d}.trr" for index in range(count)]
        for name in names:
            read = universe(finished, f"{folder}/{name}")
            assert len(read.trajectory) == STEPS // FRAME_STEPS + 1
            assert [ts.time for ts in read.trajectory] == pytest.approx(np.linspace(0, 0.512, 33), abs=1e-6)
            speeds = np.array([ts.velocities.copy() for ts in read.trajectory])
            kinetic = 0.5 * (read.atoms.masses * (speeds**2).sum(axis=2)).sum(axis=1)
            kelvin = kinetic / (1.5 * ATOMS * MOLAR_GAS_CONSTANT)
            assert 100 < kelvin.mean() < 900  # 300 K, and the work of a fast restraint

    @pytest.mark.parametrize(
        "folder, geodesic", [("paths", "low_variance"), ("paths_region_avoiding", "region_avoiding")]
    )
    def test_energies_are_those_of_the_positions(self, finished, openmm_context, folder, geodesic):
        with np.load(finished / "geodesics" / f"{geodesic}.npz") as arrays:
            y, points_log_snr, atoms = arrays["y"], arrays["log_snr"], arrays["atoms"]
        kt = MOLAR_GAS_CONSTANT * 300
        for index, file in enumerate(sorted((finished / folder).glob("*.trr"))):
            table = energy_table(finished / folder, index)
            place = table["time_ps"] / 0.512 * (POINTS - 1)
            log_snr = np.interp(place, np.arange(POINTS), points_log_snr)
            np.testing.assert_allclose(table["log_snr"], log_snr, atol=1e-5)
            for frame, ts in enumerate(universe(finished, f"{folder}/{file.name}").trajectory):
                energy, rounding = energy_and_rounding(openmm_context, ts.positions)
                assert abs(energy - table["potential_energy_kj_per_mol"][frame]) <= rounding + 1e-6
                assert rounding < 0.05
                left = min(int(place[frame]), POINTS - 2)
                centre = y[left] + (place[frame] - left) * (y[left + 1] - y[left])
                off = ts.positions[atoms].astype(float) - centre
                held = 0.5 * kt * np.exp(log_snr[frame]) * (off**2).sum()
                assert held == pytest.approx(table["restraint_energy_kj_per_mol"][frame], rel=1e-4, abs=1e-3)
            assert (table["highest_potential_energy_kj_per_mol"] >= table["potential_energy_kj_per_mol"]).all()

    def test_figures_of_the_paths_as_mdanalysis_sees_them(self, finished, summary):
        target = mdtraj.load(str(data_folder("systems") / SYSTEM / "c7ax.pdb"))
        goal = MDAnalysis.Universe(str(data_folder("systems") / SYSTEM / "c7ax.pdb"))
        goal_phi, goal_psi = dihedrals(goal)
        distances, hits, highest = [], [], []
        for index in range(PATHS):
            path = universe(finished, f"paths/path_{index:04d}.trr")
            phi, psi = dihedrals(path)
            assert in_a(phi[0], psi[0])
            off = np.array([phi[-1] - goal_phi[0], psi[-1] - goal_psi[0]])
            hits.append((np.abs((off + 180) % 360 - 180) <= np.degrees(0.75)).all())
            path.trajectory[-1]
            heavy = path.select_atoms("not element H").indices
            distances.append(10 * rmsd(path.atoms.positions[heavy], target.xyz[0, heavy], superposition=True))
            highest.append(energy_table(finished / "paths", index)["highest_potential_energy_kj_per_mol"].max())
        figures = summary["paths"]
        assert figures["count"] == PATHS
        assert figures["steps_per_path"] == STEPS
        assert (figures["spring_temperature"], figures["narrowing"]) == ("system", 1.0)
        assert figures["failed"] == 0
        assert figures["target_hit_percentage"] == 100 * np.mean(hits)
        assert figures["rmsd_angstrom"]["mean"] == pytest.approx(np.mean(distances), abs=1e-3)
        assert figures["rmsd_angstrom"]["sd"] == pytest.approx(np.std(distances, ddof=1), abs=1e-3)
        found = np.array(highest)[np.array(hits)]
        assert figures["ets_kj_per_mol"]["mean"] == (pytest.approx(found.mean(), abs=1e-5) if len(found) else None)

    def test_baselines(self, summary):
        names = {"straight_snr_5500", "straight_with_geodesic_snr", "string_snr_10000", "unconstrained_geodesic"}
        assert set(summary["baselines"]) == names
        for figures in summary["baselines"].values():
            assert figures["count"] == PATHS
            assert figures["steps_per_path"] == STEPS
            assert 0 <= figures["target_hit_percentage"] <= 100
            assert figures["rmsd_angstrom"]["mean"] > 0


class TestReactive:
    def test_trajectories_go_from_a_to_b(self, finished, summary):
        files = sorted((finished / "reactive").glob("*.trr"))
        assert len(files) == summary["reactive"]["reactive"] >= 1
        durations = []
        for file in files:
            read = universe(finished, f"reactive/{file.name}")
            phi, psi = dihedrals(read)
            a, b = in_a(phi, psi), in_b(phi, psi)
            assert a[0] and b[-1]
            assert not (a[1:-1] | b[1:-1]).any()
            times = np.array([ts.time for ts in read.trajectory])
            np.testing.assert_allclose(np.diff(times), 0.01, rtol=1e-3)
            assert all(np.isfinite(ts.velocities).all() and ts.velocities.any() for ts in read.trajectory)
            durations.append(times[-1])
        assert summary["reactive"]["mean_duration_ps"] == pytest.approx(np.mean(durations), rel=1e-5)

    def test_velocities_belong_to_the_positions(self, finished):
        """Finite differences of the positions over frames of 10 fs follow the mean of the two frames' velocities."""
        read = universe(finished, "reactive/reactive_0000.trr")
        x, v = (np.array([getattr(ts, what).copy() for ts in read.trajectory]) for what in ("positions", "velocities"))
        heavy = read.select_atoms("not element H").indices
        moved = (x[1:, heavy] - x[:-1, heavy]) / 0.01
        mean = 0.5 * (v[1:, heavy] + v[:-1, heavy])
        assert np.corrcoef(moved.ravel(), mean.ravel())[0, 1] > 0.5

    def test_shots(self, finished, summary):
        table, figures = rows(finished / "reactive" / "shots.csv"), summary["reactive"]
        assert [int(row["shot"]) for row in table] == list(range(figures["shots"]))
        assert sum(int(row["evaluations"]) for row in table) == summary["energy_evaluations"]["shooting"]
        named = [row for row in table if row["reactive_trajectory"]]
        assert [row["reactive_trajectory"] for row in named] == [f"reactive_{i:04d}.trr" for i in range(len(named))]
        assert [row for row in table if {row["forward"], row["backward"]} == {"A", "B"}] == named
        known = {f"paths/path_{i:04d}.trr" for i in range(PATHS)}
        known |= {f"reactive/{row['reactive_trajectory']}" for row in named}
        assert {row["source"] for row in table} <= known
        spent = summary["energy_evaluations"]["annealing"] + summary["energy_evaluations"]["shooting"]
        assert figures["evaluations_per_reactive"] == pytest.approx(spent / len(named))

    def test_shots_start_from_frames_between_the_states(self, finished):
        for row in rows(finished / "reactive" / "shots.csv"):
            phi, psi = dihedrals(universe(finished, row["source"]))
            frame = int(row["frame"])
            assert not in_a(phi[frame], psi[frame]) and not in_b(phi[frame], psi[frame])


def test_evaluations_follow_from_the_settings(summary):
    evaluations = summary["energy_evaluations"]
    assert evaluations["sampling"] == TEMPERATURES * ROUNDS * (EXCHANGE_STEPS + 1)
    assert evaluations["annealing"] == PATHS * (STEPS + 1)
    assert evaluations["region_avoiding"] == AVOIDING * (STEPS + 1)
    assert evaluations["baselines"] == 4 * PATHS * (STEPS + 1)
    assert evaluations["total"] == sum(count for name, count in evaluations.items() if name != "total")


def test_wall_seconds_of_every_stage(summary):
    seconds = summary["wall_seconds"]
    assert set(seconds) == {"samples", "denoiser", "geodesics", "paths", "reactive", "results", "total"}
    assert min(seconds.values()) > 0
    assert seconds["total"] == pytest.approx(sum(seconds.values()) - seconds["total"])


class TestResume:
    STAGES = ("samples", "denoiser", "geodesics", "paths", "reactive", "results")

    def interrupt(self, run: Path, stage: str) -> None:
        """Leave a finished run as an interruption inside a stage would."""
        for name in self.STAGES[self.STAGES.index(stage) :]:
            (run / "reports" / f"{name}.json").unlink()
        (run / "summary.json").unlink()
        shutil.rmtree(run / "figures")
        shutil.rmtree(run / "reactive")
        for path in [*(run / "paths").glob("path_000[123].trr"), run / "paths" / "energies.csv"]:
            path.unlink()
        whole = (run / "paths" / "path_0000.trr").read_bytes()
        (run / "paths" / "path_0000.trr").write_bytes(whole[: len(whole) // 2])
        (run / "paths" / "path_0009.trr").write_bytes(b"left behind")
        (run / "paths" / "partial-path_0001.trr").write_bytes(whole[:100])

    def compare(self, resumed: Path, finished: Path) -> None:
        def files(run: Path) -> set[Path]:
            found = (path.relative_to(run) for path in run.rglob("*") if path.is_file())
            return {path for path in found if not path.name.startswith(".")}  # MDAnalysis's

        assert files(resumed) == files(finished)
        for path in files(finished):
            if path.suffix in (".npz", ".trr", ".csv", ".pdb", ".h5", ".yaml"):
                assert (resumed / path).read_bytes() == (finished / path).read_bytes(), path
        again, before = (tensors(run / "denoiser.safetensors") for run in (resumed, finished))
        assert again.keys() == before.keys()
        for name, tensor in before.items():
            np.testing.assert_array_equal(again[name], tensor)
        ours, theirs = (strict_json(run / "summary.json") for run in (resumed, finished))
        assert ours.pop("wall_seconds").keys() == theirs.pop("wall_seconds").keys()
        assert ours == theirs

    def test_resumed_run_equals_uninterrupted_one(self, copied, finished, config):
        """Where files were cut and left behind; with another number of workers too."""
        self.interrupt(copied, "paths")
        result = command(copied, config, "--resume", "--workers", "1")
        assert result.exit_code == 0, result.output
        self.compare(copied, finished)

    @pytest.mark.parametrize(
        "options, key", [(["--paths", "5"], "paths.count"), (["--seed", str(SEED + 1)], "seed")], ids=["paths", "seed"]
    )
    def test_other_settings_are_refused(self, finished, config, options, key):
        before = (finished / "summary.json").read_bytes()
        result = command(finished, config, "--resume", *options)
        assert result.exit_code == 1
        assert f"these settings are not those of the run: {key};" in result.output
        assert (finished / "summary.json").read_bytes() == before

    def test_other_config_is_refused(self, finished, tmp_path):
        other = SMALL | {"geodesics": SMALL["geodesics"] | {"points": 33}}
        result = command(finished, write_yaml(tmp_path / "other.yaml", other), "--resume")
        assert result.exit_code == 1
        assert "not those of the run: geodesics.points;" in result.output

    def test_interrupt_keeps_finished_stages(self, copied, finished, config, monkeypatch):
        for name in ("reactive", "results"):
            (copied / "reports" / f"{name}.json").unlink()
        kept = {path.name: path.read_bytes() for path in (copied / "reports").iterdir()}

        def ctrl_c(run):
            assert list(run.pool.map(abs, [-1, -2, -3])) == [1, 2, 3]  # workers are up
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setitem(pipeline.STAGES, "reactive", ctrl_c)
            result = command(copied, config, "--resume", "--workers", "2")
        assert result.exit_code == 130
        assert "interrupted; finished stages are kept, go on with --resume" in result.output
        ended = time.monotonic() + 60
        while multiprocessing.active_children() and time.monotonic() < ended:  # join() would race the executor's thread
            time.sleep(0.05)
        assert multiprocessing.active_children() == []
        assert {path.name: path.read_bytes() for path in (copied / "reports").iterdir()} == kept
        assert not (copied / "reactive").exists()
        assert command(copied, config, "--resume", "--workers", "2").exit_code == 0
        self.compare(copied, finished)

    @pytest.mark.skipif(os.name != "posix", reason="signals a process group")
    def test_ctrl_c_in_a_terminal(self, config, tmp_path):
        """The signal goes to the workers as well, as from a terminal; all processes end."""
        arguments = ["run", SYSTEM, "--output", "run", "--config", str(config), "--workers", "2"]
        process = subprocess.Popen(
            [sys.executable, "-m", "spacetime_tps", *arguments],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            lines = iter(process.stdout.readline, "")
            assert any("samples …" in line for line in lines)
            os.killpg(process.pid, signal.SIGINT)
            rest = process.stdout.read()  # ends when the last process that holds the pipe has ended
            assert process.wait(60) == 130
            assert "go on with --resume" in " ".join(rest.split())
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        assert (tmp_path / "run" / "config.yaml").is_file()
        assert not (tmp_path / "run" / "reports" / "samples.json").exists()


class TestOutputDirectory:
    @pytest.mark.parametrize("options", [[], ["--overwrite"], ["--resume"]], ids=["plain", "overwrite", "resume"])
    def test_foreign_directory_is_left_alone(self, config, tmp_path, options):
        foreign = tmp_path / "thesis"
        (foreign / "paths").mkdir(parents=True)
        (foreign / "paths" / "chapter.txt").write_text("years of work")
        result = command(foreign, config, *options)
        assert result.exit_code == 1
        assert "holds no run" in result.output
        assert [path.relative_to(foreign) for path in foreign.rglob("*")] == [Path("paths"), Path("paths/chapter.txt")]
        assert (foreign / "paths" / "chapter.txt").read_text() == "years of work"

    def test_output_is_a_file(self, config, tmp_path):
        (tmp_path / "file").write_text("not a directory")
        result = command(tmp_path / "file", config)
        assert result.exit_code == 1
        assert "is not a directory" in result.output

    def test_path_that_trajectory_files_cannot_have(self, config, tmp_path):
        result = command(tmp_path / "Läufe", config)
        assert result.exit_code == 1
        assert "path that is not ASCII" in result.output
        assert not (tmp_path / "Läufe").exists()


class TestOtherSamples:
    def test_molecular_dynamics_replaces_a_run(self, copied, tmp_path, openmm_context):
        samples = {
            "method": "molecular_dynamics",
            "length": "4 ps",
            "trajectories_per_state": 2,
            "frame_interval": "0.02 ps",
            "discard": "0.4 ps",
            "model_temperature": "400 K",
        }
        (copied / "notes.txt").write_text("mine")
        config = write_yaml(tmp_path / "md.yaml", TINY | {"samples": samples})
        result = command(copied, config, "--overwrite", "--seed", "11", "--workers", "1")
        assert result.exit_code == 0, result.output
        assert yaml.safe_load((copied / "config.yaml").read_text())["seed"] == 11
        assert (copied / "notes.txt").read_text() == "mine"
        assert not (copied / "paths_region_avoiding").exists()
        names = sorted(path.name for path in (copied / "samples").glob("*_*.h5"))
        assert names == [f"trajectory_{index:02d}_400K.h5" for index in range(4)]
        assert strict_json(copied / "summary.json")["energy_evaluations"]["sampling"] == 4 * 200 * 21
        for index, name in enumerate(names):
            trajectory = mdtraj.load(str(copied / "samples" / name))
            stored = read_hdf5_energies(copied / "samples" / name)
            assert trajectory.n_frames == 200
            phi = np.degrees(mdtraj.compute_phi(trajectory)[1][0, 0])
            assert (phi > 0) == (index >= 2)  # the first two start in A, the others in B
            for frame in range(0, 200, 20):
                energy, rounding = energy_and_rounding(openmm_context, trajectory.xyz[frame])
                assert abs(energy - stored[frame]) <= rounding + abs(energy) * 2.0**-23
        training = mdtraj.load(str(copied / "samples" / "training.h5"))
        assert training.n_frames == 4 * 180

    def user_files(self, finished: Path, folder: Path) -> tuple[np.ndarray, np.ndarray]:
        """A DCD of 1000 K and an XTC of 300 K with weights, as another program would leave them; their positions."""
        hot, cold = (mdtraj.load(str(finished / "samples" / f"replica_{name}.h5")) for name in ("01_1000K", "00_300K"))
        hot[40:240].save_dcd(str(folder / "hot.dcd"))
        cold[40:140].save_xtc(str(folder / "cold.xtc"))
        np.save(folder / "hot.npy", np.linspace(1, 2, 200))
        np.savetxt(folder / "cold.txt", np.repeat([0, 0.5], 50))
        return hot.xyz[40:240], cold.xyz[40:140]

    def files_config(self, folder: Path, **changes: Any) -> Path:
        samples = {
            "method": "files",
            "trajectories": ["hot.dcd", "cold.xtc"],
            "weights": ["hot.npy", "cold.txt"],
            "stride": 2,
            "model_temperature": "1000 K",
        }
        return write_yaml(folder / "files.yaml", TINY | {"samples": samples | changes})

    def test_user_trajectories(self, finished, tmp_path):
        hot, cold = self.user_files(finished, tmp_path)
        output = tmp_path / "run"
        result = command(output, self.files_config(tmp_path), "--workers", "1")
        assert result.exit_code == 0, result.output
        training = mdtraj.load(str(output / "samples" / "training.h5"))
        named = MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system).named_alike
        np.testing.assert_allclose(training.xyz[:100], named(hot[::2]), atol=1e-6)  # Å and back
        np.testing.assert_allclose(training.xyz[100:], named(cold[::2]), atol=0.00051)  # XTC keeps 1 pm
        with np.load(output / "samples" / "training.npz") as arrays:
            weights = np.concatenate([np.linspace(1, 2, 200)[::2], np.repeat([0, 0.5], 25)])
            np.testing.assert_allclose(arrays["weights"], weights / weights.sum())
            np.testing.assert_array_equal(arrays["source"], [0] * 100 + [1] * 50)
        summary = strict_json(output / "summary.json")
        assert summary["energy_evaluations"]["sampling"] == 0
        assert summary["samples"]["effective_training_frames"] == pytest.approx(weights.sum() ** 2 / (weights**2).sum())
        assert list(summary["denoiser"]["held_out_log_likelihood"]) == ["2"]

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"weights": ["hot.npy", "hot.npy"]}, "hot.npy has 200 weights for 100 frames"),
            ({"weights": ["hot.npy"]}, "1 weight files for 2 trajectories"),
            ({"trajectories": ["hot.dcd", "cold.trr"]}, "there is no trajectory"),
        ],
        ids=["wrong_length", "one_missing", "no_file"],
    )
    def test_mistakes_are_found_before_any_work(self, finished, tmp_path, changes, message):
        self.user_files(finished, tmp_path)
        result = command(tmp_path / "run", self.files_config(tmp_path, **changes))
        assert result.exit_code == 1
        assert message in result.output
        assert not (tmp_path / "run").exists()

    def test_samples_of_another_run(self, finished, tmp_path):
        """They are the other run's, with weights and temperature; another seed makes all else anew."""
        config, output = write_yaml(tmp_path / "tiny.yaml", TINY), tmp_path / "run"
        result = command(output, config, "--samples-of", str(finished), "--seed", "3", "--workers", "1")
        assert result.exit_code in (0, 3), result.output
        one, other = (np.load(run / "samples" / "training.npz") for run in (finished, output))
        np.testing.assert_array_equal(one["weights"], other["weights"])
        frames = [mdtraj.load(str(run / "samples" / "training.h5")).xyz for run in (finished, output)]
        np.testing.assert_array_equal(*frames)
        theirs, ours = (strict_json(run / "summary.json") for run in (finished, output))
        assert ours["energy_evaluations"]["sampling"] == theirs["energy_evaluations"]["sampling"] > 0
        assert ours["samples"]["model_temperature"] == theirs["samples"]["model_temperature"] == 1000
        assert yaml.safe_load((output / "config.yaml").read_text())["samples"]["folder"] == str(finished)

    def test_samples_of_no_run_or_of_another_force_field(self, finished, tmp_path):
        config = write_yaml(tmp_path / "tiny.yaml", TINY)
        result = command(tmp_path / "run", config, "--samples-of", str(tmp_path / "nowhere"))
        assert result.exit_code == 1 and "holds no run" in result.output
        other = write_yaml(tmp_path / "other.yaml", TINY | {"system": {"constraints": "HBonds"}})
        result = command(tmp_path / "run", other, "--samples-of", str(finished))
        assert result.exit_code == 1 and "in another force field" in result.output
        assert not (tmp_path / "run").exists()

    def test_the_training_set_of_a_run_is_no_users_trajectory(self, finished, tmp_path):
        own = str(finished / "samples" / "training.h5")
        result = command(tmp_path / "run", self.files_config(tmp_path, trajectories=[own], weights=None))
        assert result.exit_code == 1
        assert f"--samples-of {finished}" in " ".join(result.output.split())
        assert not (tmp_path / "run").exists()
