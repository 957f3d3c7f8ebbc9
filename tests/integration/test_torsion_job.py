"""The main job with ``coordinates: torsions``: its settings, its files, and paths that go from A to B."""

import json
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import openmm
import pytest
import yaml
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

from spacetime_tps.cli.app import app
from spacetime_tps.denoisers import VonMisesMixtureDenoiser
from spacetime_tps.errors import ConfigError
from spacetime_tps.runs.trajectories import read_trr
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.run import TorsionSettings
from spacetime_tps.settings.shipped import data_folder, find_system
from spacetime_tps.settings.units import MOLAR_GAS_CONSTANT

SYSTEM = "alanine_dipeptide"
PHI, PSI = (4, 6, 8, 14), (6, 8, 14, 16)
POINTS, PATHS, BOUND = 48, 2, 0.03
SMALL = {
    "coordinates": "torsions",
    "samples": {"method": "files", "trajectories": ["turned.h5"], "model_temperature": "1000 K"},
    "denoiser": {"components": [2], "fits": 1, "shrinkage": 2, "check_points": 1},
    "geodesics": {
        "end_snr": 300,
        "variance_bound": BOUND,
        "points": POINTS,
        "knots": 8,
        "graph_samples": 150,
        "graph_levels": 5,
        "channels": 1,
    },
    "paths": {
        "count": PATHS,
        "count_region_avoiding": 1,
        "length": "1.024 ps",
        "frame_interval": "0.016 ps",
        "baseline_snr": [300],
    },
    "shooting": {"reactive": 1, "max_shots": 4, "batch": 4, "time_limit": "0.5 ps"},
}


def turned(structure: mdtraj.Trajectory, phi: float, psi: float) -> np.ndarray:
    """Positions with φ and ψ turned by angles: what comes after N–CA, then what comes after CA–C."""
    xyz = structure.xyz[0].astype(float)
    for (_, one, two, _), angle in ((PHI, phi), (PSI, psi)):
        axis = (xyz[two] - xyz[one]) / np.linalg.norm(xyz[two] - xyz[one])
        beyond = np.arange(len(xyz)) > two
        if two == PHI[2]:
            beyond[one + 1] = False  # the amide's hydrogen stays; alanine's other atoms come after CA
        xyz[beyond] = Rotation.from_rotvec(angle * axis).apply(xyz[beyond] - xyz[two]) + xyz[two]
    return xyz


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Settings, and a trajectory of rigid turns: all ψ, but of φ only the way from A to B through 0."""
    folder = tmp_path_factory.mktemp("torsions")
    structure = mdtraj.load(str(data_folder("systems") / SYSTEM / "c7eq.pdb"))
    rng = np.random.default_rng(0)
    phi = float(mdtraj.compute_dihedrals(structure, np.array([PHI]))[0, 0])
    targets = rng.uniform(np.radians([-170, -180]), np.radians([90, 180]), (600, 2))
    frames = [turned(structure, target[0] - phi, target[1]) for target in targets]
    mdtraj.Trajectory(np.array(frames), structure.topology).save_hdf5(str(folder / "turned.h5"))
    (folder / "small.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def command(output: Path, config: Path, *options: str):
    return CliRunner().invoke(app, ["run", SYSTEM, "--output", str(output), "--config", str(config), *options])


@pytest.fixture(scope="module")
def finished(folder) -> Path:
    result = command(folder / "run", folder / "small.yaml", "--seed", "3", "--workers", "1")
    found = json.loads((folder / "run" / "summary.json").read_text())["reactive"]["reactive"]
    assert result.exit_code == (0 if found else 3), result.output
    assert ("What to change first" in result.output) == (not found)
    return folder / "run"


@pytest.fixture(scope="module")
def summary(finished) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((finished / "summary.json").read_text())
    return content


class TestRun:
    def test_settings_read_back(self, finished, folder, assert_same_settings):
        system = find_system(SYSTEM)
        assert_same_settings(finished, load_settings(system, folder / "small.yaml"))
        content = yaml.safe_load((finished / "config.yaml").read_text())
        assert content["coordinates"] == {"kind": "torsions", "dihedrals": ["phi", "psi"]}
        assert content["geodesics"]["end_snr"] == 300

    def test_denoiser_is_a_von_mises_mixture_of_the_samples(self, finished):
        denoiser, description = VonMisesMixtureDenoiser.load(finished / "denoiser.safetensors")
        assert description["atoms"] == [list(PHI), list(PSI)]
        assert (denoiser.concentrations[:, 1] < 2).all()  # ψ is uniform

    def test_model_is_checked_by_restrained_dynamics(self, summary):
        """At this SNR the restraint decides, not the model: MD gives its 2/SNR of variance, within a third."""
        (row,) = summary["denoiser"]["restrained_dynamics"]
        assert row["variance_md"] == pytest.approx(2 * np.exp(-row["log_snr"]), rel=1 / 3)
        assert summary["denoiser"]["unit"] == ""

    @pytest.mark.parametrize("name", ["unconstrained", "low_variance", "region_avoiding"])
    def test_geodesics(self, finished, name):
        with np.load(finished / "geodesics" / f"{name}.npz") as arrays:
            y, mean, log_snr, variance = (arrays[key] for key in ("y", "mean", "log_snr", "variance"))
            assert arrays["atoms"].tolist() == [list(PHI), list(PSI)]
            assert arrays["names"].tolist() == ["phi ALA2", "psi ALA2"]
        assert y.shape == mean.shape == (POINTS, 2, 2)
        np.testing.assert_allclose((y**2).sum(axis=(1, 2)), 2, rtol=1e-9)
        np.testing.assert_allclose((mean**2).sum(axis=(1, 2)) + variance, 2, rtol=1e-9)
        assert [log_snr[0], log_snr[-1]] == pytest.approx([np.log(300)] * 2)
        for end, structure in ((0, "c5"), (-1, "c7ax")):
            pdb = mdtraj.load(str(data_folder("systems") / SYSTEM / f"{structure}.pdb"))
            angles = mdtraj.compute_dihedrals(pdb, np.array([PHI, PSI]))[0]
            np.testing.assert_allclose(y[end], np.stack([np.cos(angles), np.sin(angles)], axis=1), atol=1e-5)
        if name != "unconstrained":
            assert variance.max() <= 1.01 * BOUND

    def test_paths_go_from_a_to_b_with_the_true_energies(self, finished, summary):
        assert summary["paths"]["target_hit_percentage"] == 100
        assert summary["paths"]["failed"] == 0
        assert summary["geodesics"]["low_variance"]["feasible"]
        pdb = openmm.app.PDBFile(str(finished / "topology.pdb"))
        system = openmm.app.ForceField("amber99sbildn.xml").createSystem(pdb.topology)
        platform = openmm.Platform.getPlatformByName("Reference")
        context = openmm.Context(system, openmm.VerletIntegrator(0.001), platform)
        with np.load(finished / "geodesics" / "low_variance.npz") as arrays:
            centres, log_snrs = arrays["y"], arrays["log_snr"]
        table = np.loadtxt(finished / "paths" / "energies.csv", delimiter=",", skiprows=1)
        xyz, _, _ = read_trr(finished / "paths" / "path_0000.trr")
        angles = mdtraj.compute_dihedrals(mdtraj.Trajectory(xyz, None), np.array([PHI, PSI]), periodic=False)
        for frame in range(0, len(xyz), 16):
            time, log_snr, potential, restraint = table[table[:, 0] == 0][frame, 2:6]
            context.setPositions(xyz[frame].astype(float))
            energy = context.getState(energy=True).getPotentialEnergy()._value
            assert potential == pytest.approx(energy, abs=0.05)  # positions are stored in single precision
            place = time / 1.024 * (POINTS - 1)
            left = min(int(place), POINTS - 2)
            y = centres[left] + (place - left) * (centres[left + 1] - centres[left])
            assert log_snr == pytest.approx(np.interp(place, np.arange(POINTS), log_snrs), abs=1e-5)
            pull = (y[:, 0] * np.cos(angles[frame]) + y[:, 1] * np.sin(angles[frame])).sum()
            assert restraint == pytest.approx(-300 * MOLAR_GAS_CONSTANT * np.exp(log_snr) * pull, rel=1e-4)

    def test_figures_and_baselines(self, finished, summary):
        assert set(summary["baselines"]) == {
            "straight_snr_300",
            "straight_with_geodesic_snr",
            "string_snr_300",
            "unconstrained_geodesic",
        }
        assert (finished / "figures" / "ramachandran_paths.png").is_file()
        assert (finished / "figures" / "geodesic_profiles.png").is_file()


class TestSettings:
    def load(self, tmp_path: Path, **content: Any):
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(content))
        return load_settings(find_system(SYSTEM), path)

    def test_defaults_are_plain_numbers_of_their_own(self, tmp_path):
        torsions, cartesian = self.load(tmp_path, coordinates="torsions"), load_settings(find_system(SYSTEM))
        assert torsions.coordinates == TorsionSettings(dihedrals=("phi", "psi"))
        assert torsions.geodesics.variance_bound != cartesian.geodesics.variance_bound
        assert torsions.geodesics.region.plane == cartesian.geodesics.region.plane  # what the system says stays
        assert torsions.geodesics.region.divergence != cartesian.geodesics.region.divergence
        dumped = torsions.model_dump(mode="json")
        assert dumped["geodesics"]["end_snr"] == torsions.geodesics.end_snr
        assert cartesian.model_dump(mode="json")["geodesics"]["end_snr"].endswith("1/nm**2")

    def test_mapping_with_names_and_atoms(self, tmp_path):
        settings = self.load(tmp_path, coordinates={"kind": "torsions", "dihedrals": ["omega", [4, 6, 8, 14]]})
        assert settings.coordinates.dihedrals == ("omega", (4, 6, 8, 14))

    def test_cartesian_can_be_said_too(self, tmp_path):
        usual = load_settings(find_system(SYSTEM))
        assert self.load(tmp_path, coordinates={"kind": "cartesian"}) == usual
        assert self.load(tmp_path, coordinates={"atoms": "name CA"}).coordinates.template == "c7eq"

    @pytest.mark.parametrize(
        "content, message",
        [
            ({"coordinates": "toruses"}, "coordinates: Input tag 'toruses'.*'cartesian', 'torsions'"),
            ({"coordinates": {"kind": "torsions", "atoms": "all"}}, r"coordinates\.atoms: unknown key"),
            ({"coordinates": {"kind": "torsions", "dihedrals": []}}, r"coordinates\.dihedrals: .* at least 1 item"),
            (
                {"coordinates": "torsions", "geodesics": {"end_snr": "5500 / nm**2"}},
                r"geodesics\.end_snr: Input should be a valid number",
            ),
            (
                {"coordinates": "torsions", "geodesics": {"variance_bound": 0}},
                r"geodesics\.variance_bound: Input should be greater than",
            ),
            ({"geodesics": {"end_snr": 5500}}, r"geodesics\.end_snr: 5500 has no unit"),
        ],
        ids=["kind", "key", "empty", "unit", "zero", "no_unit"],
    )
    def test_refusals_name_the_key(self, tmp_path, content, message):
        with pytest.raises(ConfigError, match=f"(?m){message}"):
            self.load(tmp_path, **content)

    @pytest.mark.parametrize(
        "dihedrals, message",
        [
            (["chi1"], "coordinates.dihedrals: there is no 'chi1' in this molecule"),
            (["psi"], "collective variable 'phi' is none of the dihedrals that the score model sees (psi ALA2)"),
        ],
    )
    def test_dihedrals_that_do_not_do_are_found_before_any_work(self, folder, tmp_path, dihedrals, message):
        config = folder / "refused.yaml"
        config.write_text(yaml.safe_dump(SMALL | {"coordinates": {"kind": "torsions", "dihedrals": dihedrals}}))
        result = command(tmp_path / "run", config)
        assert result.exit_code == 1
        assert message in " ".join(result.output.split())
        assert not (tmp_path / "run").exists()
