"""Model surfaces as systems: the shipped ones, their energies and exact denoisers, and what settings are refused."""

import numpy as np
import pytest
import torch
import yaml

from spacetime_tps.errors import ConfigError, GeometryError
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.shipped import find_system
from spacetime_tps.settings.surface import DiscSettings, SurfaceRunSettings
from spacetime_tps.surfaces.job import endpoints
from spacetime_tps.surfaces.surface import Surface, read_table

NODES = -np.pi + 2 * np.pi * np.arange(24) / 24


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def c_channel_energy(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The definition in polar coordinates: a ring, a wall at θ = π, wells at ±2.3, a hill, a bump at θ = 0."""
    r, theta = np.hypot(x, y), np.abs(np.arctan2(y, x))
    return (
        40 * (r - 1) ** 2
        + 25 * np.exp(-(((np.pi - theta) / 0.35) ** 2))
        - 4 * np.exp(-(((theta - 2.3) / 0.35) ** 2))
        + 30 * np.exp(-((r / 0.45) ** 2))
        + np.exp(-((theta / 0.5) ** 2))
    )


def content(**surface) -> dict:
    """A small surface; ``surface`` goes on top of its section."""
    return {
        "surface": {
            "name": "small",
            "coordinates": {"a": {"domain": [-3, 3]}, "b": {"periodic": True, "nodes": 60}},
            "energy": "2*a^2 - 3*cos(b)",
            "kt": 2,
            "states": {"A": {"centre": [-1, 0], "radius": 0.5}, "B": {"centre": [1, 0], "radius": 0.5}},
        }
        | surface,
        "geodesics": {"variance_bound": 0.5},
        "paths": {"steps": 10, "time_step": 0.01, "frame_steps": 5},
    }


def write(folder, settings: dict):
    (folder / "system.yaml").write_text(yaml.safe_dump(settings))
    return folder / "system.yaml"


def load(folder, **surface) -> Surface:
    return Surface.from_settings(load_settings(write(folder, content(**surface))).surface)


@pytest.fixture(scope="module")
def c_channel() -> Surface:
    settings = load_settings(find_system("c_channel"))
    assert isinstance(settings, SurfaceRunSettings)
    return Surface.from_settings(settings.surface)


class TestCChannel:
    def test_energy(self, c_channel, rng):
        points = rng.uniform(-1.7, 1.7, size=(7, 30, 2))
        np.testing.assert_allclose(c_channel.energy(points), c_channel_energy(*np.moveaxis(points, -1, 0)), rtol=1e-10)

    def test_states_and_channel(self, c_channel):
        states = c_channel.settings.states
        for name, sign in (("A", 1), ("B", -1)):
            np.testing.assert_allclose(states[name].centre, [np.cos(2.3), sign * np.sin(2.3)], rtol=1e-12)
        arc = np.linspace(-2.3, 2.3, 200)
        ring = np.stack([np.cos(arc), np.sin(arc)], axis=-1)
        inside = {name: c_channel.inside(disc, ring) for name, disc in states.items()}
        assert inside["B"][0] and inside["A"][-1]
        assert not (inside["A"] & inside["B"]).any()
        channel = c_channel.inside(c_channel.settings.channel, ring)
        assert np.abs(arc[channel]).max() == pytest.approx(2 * np.arcsin(0.25), abs=0.03)

    def test_denoiser_is_exact(self, c_channel):
        """Posterior mean and variance at a point, by quadrature on a grid three times as fine."""
        y, snr = np.array([0.4, 0.3]), 6.0
        axis = np.linspace(-1.8, 1.8, 289)
        x = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1)
        log_weight = -c_channel_energy(x[..., 0], x[..., 1]) - 0.5 * snr * ((x - y) ** 2).sum(-1)
        weight = np.exp(log_weight - log_weight.max())
        weight /= weight.sum()
        mean = (weight[..., None] * x).sum((0, 1))
        variance = (weight * ((x - mean) ** 2).sum(-1)).sum()
        moments = c_channel.denoiser().moments(torch.from_numpy(y[None]), torch.tensor([np.log(snr)]))
        np.testing.assert_allclose(moments.mean[0], mean, atol=1e-6)
        assert float(moments.variance[0]) == pytest.approx(variance, rel=1e-5)


def test_ramachandran_has_its_states_in_basins():
    """Both centres lie within 2 kJ/mol of the lowest energy around them, and a barrier separates them."""
    surface = Surface.from_settings(load_settings(find_system("ramachandran")).surface)
    energy = surface.energy_on_grid()
    grid = np.stack(np.meshgrid(*surface.axes(), indexing="ij"), axis=-1)
    for state in surface.settings.states.values():
        assert surface.energy(np.array(state.centre)) < energy[surface.inside(state, grid)].min() + 2
    assert surface.denoiser().dimension == 4
    assert energy[np.abs(surface.axes()[0]).argmin()].min() > 20  # φ = 0 must be crossed, or φ = ±π
    assert np.isfinite(energy).all()


class TestSurface:
    def test_axes_and_latent_coordinates(self, tmp_path, rng):
        surface = load(tmp_path)
        a, b = surface.axes()
        assert (a[0], a[-1], len(a)) == (-3, 3, 96)
        assert b[0] == -np.pi and len(b) == 60 and b[-1] == pytest.approx(np.pi - 2 * np.pi / 60)
        assert surface.periodic == (False, True)
        x = rng.uniform(-3, 3, size=(10, 2))
        latent = surface.denoiser().embed(x).numpy()
        assert latent.shape == (10, 3)
        np.testing.assert_allclose(surface.positions(latent), x, rtol=1e-12)

    def test_denoiser_has_the_boltzmann_density(self, tmp_path):
        """2a² at kT = 2 is a Gaussian of variance 1/2 (h = 0.06, ends at 4σ); at kT = 1 of 1/4."""
        surface = load(tmp_path)
        for kt, variance in ((None, 0.5), (1.0, 0.25)):
            samples = surface.denoiser(kt).sample(20000, np.random.default_rng(0))[:, 0]
            assert float(samples.var()) == pytest.approx(variance, rel=4 * np.sqrt(2 / 20000) + 0.005)

    def test_discs_go_round_angles_the_short_way(self, tmp_path):
        surface = load(tmp_path)
        disc = DiscSettings(centre=(0.0, 3.0), radius=0.5)
        points = np.array([[0.0, -3.0], [0.0, 3.0 - 4 * np.pi], [0.0, 2.4], [0.6, 3.0]])
        assert surface.inside(disc, points).tolist() == [True, True, False, False]

    def test_endpoints(self, tmp_path):
        surface = load(tmp_path)
        a, b = endpoints(surface, surface.denoiser(), 3.0)
        assert a.y.tolist() == [[-1, 1, 0]] and b.y.tolist() == [[1, 1, 0]]
        assert float(a.log_snr) == float(b.log_snr) == 3

    def test_energy_that_is_not_a_number_is_no_density(self, tmp_path):
        with pytest.raises(GeometryError, match="log-density is nan at index"):
            load(tmp_path, energy="sqrt(a) + b").denoiser()


class TestTable:
    @pytest.fixture
    def save(self, tmp_path):
        def save(**arrays):
            table = {"a": NODES, "b": NODES, "energy": np.cos(NODES)[:, None] + np.zeros(24)} | arrays
            np.savez(tmp_path / "grid.npz", **{key: value for key, value in table.items() if value is not None})
            return tmp_path / "grid.npz"

        return save

    def test_grid_beside_the_yaml(self, tmp_path, save):
        save()
        angles = {"a": {"periodic": True}, "b": {"periodic": True}}
        surface = load(tmp_path, grid="grid.npz", energy=None, coordinates=angles)
        points = np.array([[0.3, 1.0], [-2.0, 9.0], [3.1, 0.0]])
        np.testing.assert_allclose(surface.energy(points), np.cos(points[:, 0]), atol=2e-4)

    @pytest.mark.parametrize(
        "arrays, message",
        [
            ({"energy": None}, "cannot be read as energies on a grid"),
            ({"b": np.linspace(-np.pi, np.pi, 24)}, "b in .* is not a uniform grid"),
            ({"a": np.degrees(NODES)}, "a in .* is not a uniform grid of at least 4 nodes"),
            ({"a": NODES + 0.01 * np.arange(24) ** 2}, "a in .* is not a uniform grid"),
            ({"a": NODES[:2] * 0}, "is not a uniform grid"),
            ({"energy": np.zeros((24, 23))}, r"has shape \(24, 23\), its axes have 24 and 24"),
            ({"energy": np.where(np.eye(24) * NODES > 2, np.nan, 0)}, r"energy in .* is nan at \(20, 20\)"),
        ],
        ids=["missing", "repeated_end", "degrees", "uneven", "short", "shape", "nan"],
    )
    def test_refusals(self, save, arrays, message):
        with pytest.raises(ConfigError, match=message):
            read_table(save(**arrays), ("a", "b"))

    def test_no_file(self, tmp_path):
        with pytest.raises(ConfigError, match=r"surface\.grid: .*nowhere\.npz cannot be read"):
            read_table(tmp_path / "nowhere.npz", ("a", "b"))


@pytest.mark.parametrize(
    "surface, message",
    [
        ({"colour": "red"}, "surface.colour: unknown key"),
        ({"radus": 1}, "surface.radus: unknown key; did you mean 'radius'?"),
        ({"kt": 0}, "surface.kt"),
        ({"energy": None}, "an energy or a grid, one of the two"),
        ({"grid": "grid.npz"}, "an energy or a grid, one of the two"),
        ({"grid": "grid.npz", "energy": None}, "a grid is of two periodic coordinates"),
        ({"coordinates": {"a": {"domain": [-3, 3]}}}, "surface.coordinates"),
        ({"coordinates": {"a": {"domain": [3, -3]}, "b": {"periodic": True}}}, "domain must rise, not go from 3 to -3"),
        ({"coordinates": {"a": {}, "b": {"periodic": True}}}, "has a domain or is periodic"),
        ({"coordinates": {"x1": {"domain": [-3, 3]}, "b": {"periodic": True}}}, "cannot be called 'x1'"),
        (
            {"states": {"A": {"centre": [-1, 0], "radius": 1}, "B": {"centre": [3.5, 0], "radius": 1}}},
            "states.B: a = 3.5 is outside the domain, -3 to 3",
        ),
        ({"channel": {"centre": [0, 4], "radius": 1}}, "channel: b = 4 is outside the domain"),
    ],
)
def test_settings_are_refused(tmp_path, surface, message):
    with pytest.raises(ConfigError) as error:
        load_settings(write(tmp_path, content(**surface)))
    assert message in str(error.value)


@pytest.mark.parametrize(
    "geodesics, message",
    [
        ({"end_log_snr": 6}, "end_log_snr must lie within log_snr_bounds"),
        ({"points": 10}, r"points \(10\) must be more than knots \(14\) \+ 1"),
        ({"variance_bound": -1}, "geodesics.variance_bound"),
    ],
)
def test_geodesic_settings_are_refused(tmp_path, geodesics, message):
    settings = content()
    settings["geodesics"] |= geodesics
    with pytest.raises(ConfigError, match=message):
        load_settings(write(tmp_path, settings))


def test_bad_expression_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="Unknown variable 'c'"):
        load(tmp_path, energy="a + c")
