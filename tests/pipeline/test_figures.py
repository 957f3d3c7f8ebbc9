"""Figures are written, are not blank, and show what is periodic as periodic."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

from spacetime_tps.coordinates.states import CollectiveVariable, State, wrap
from spacetime_tps.pipeline.figures import break_at_jumps, curve_profiles, energy_along_paths, free_energy_map

PHI = CollectiveVariable("phi", "dihedral", (0, 1, 2, 3))
PSI = CollectiveVariable("psi", "dihedral", (1, 2, 3, 4))
DISTANCE = CollectiveVariable("d", "distance", (0, 4))


@pytest.fixture
def samples():
    rng = np.random.default_rng(0)
    return {
        "phi": wrap(rng.normal(3.0, 0.5, 2000)),
        "psi": wrap(rng.normal(1.0, 0.5, 2000)),
        "d": rng.normal(0.3, 0.02, 2000),
    }


def assert_shows_something(path):
    image = imread(path)
    assert min(image.shape[:2]) > 300
    assert np.ptp(image[..., :3]) > 0.5


def test_line_breaks_where_a_dihedral_jumps():
    points = np.array([[170.0, 0.0], [-170.0, 10.0], [-160.0, 20.0], [-150.0, -175.0]])
    broken = break_at_jumps((PHI, PSI), points)
    np.testing.assert_array_equal(np.isnan(broken).all(axis=1), [False, True, False, False, True, False])
    np.testing.assert_array_equal(broken[~np.isnan(broken).any(axis=1)], points)


def test_line_does_not_break_in_what_is_not_periodic():
    points = np.array([[0.0, 0.0], [500.0, 90.0], [0.0, 180.0]])
    np.testing.assert_array_equal(break_at_jumps((DISTANCE, PSI), points), points)


def test_free_energy_map_with_everything(tmp_path, samples):
    variables = {"phi": PHI, "psi": PSI}
    line = {"phi": wrap(np.linspace(2.0, 5.0, 20)), "psi": np.linspace(0.0, 1.0, 20)}
    free_energy_map(
        tmp_path / "map.png",
        (PHI, PSI),
        samples,
        300.0,
        weights=np.linspace(0, 1, 2000),
        states=[
            State("A", "a", ({"phi": (2.5, -2.5), "psi": (0.0, 1.0)}, {"psi": (3.0, -3.0)}), variables),
            State("B", "b", ({"phi": (0.0, 1.0)},), variables),
        ],
        curves={"geodesic": line},
        trajectories=[line, line],
        region=(3.0, -3.0, 0.6),
        title="all",
    )
    assert_shows_something(tmp_path / "map.png")


def test_free_energy_map_of_samples_alone(tmp_path, samples):
    free_energy_map(tmp_path / "map.png", (DISTANCE, PHI), samples, 300.0, title="samples")
    assert_shows_something(tmp_path / "map.png")


def test_free_energy_is_minus_kt_log_of_the_ratio(tmp_path, monkeypatch):
    drawn = []
    pcolormesh = Axes.pcolormesh

    def record(self, x, y, values, **kwargs):
        drawn.append(values)
        return pcolormesh(self, x, y, values, **kwargs)

    monkeypatch.setattr(Axes, "pcolormesh", record)
    angles = np.radians([-90.0] * 30 + [90.0] * 10)
    free_energy_map(tmp_path / "map.png", (PHI, PSI), {"phi": angles, "psi": 0 * angles}, 300.0, title="two")
    np.testing.assert_allclose(np.sort(drawn[0].compressed()), [0.0, 8.314462618e-3 * 300 * np.log(3)])


def test_energy_along_paths_of_different_lengths(tmp_path):
    time = [0.01 * np.arange(n) for n in (50, 100, 0)]
    energy = [np.sin(t) for t in time]
    energy_along_paths(tmp_path / "energy.png", time, energy, energy, "paths")
    assert_shows_something(tmp_path / "energy.png")


def test_curve_profiles(tmp_path):
    log_snr = {"geodesic": np.linspace(9, 5, 30), "straight line": np.full(40, 9.0)}
    variance = {name: 30 / np.exp(values) for name, values in log_snr.items()}
    depth = {"geodesic": np.sin(np.linspace(0, np.pi, 30))}
    for known in (depth, {}):
        curve_profiles(tmp_path / "profiles.png", log_snr, variance, known, 0.004, "curves")
        assert_shows_something(tmp_path / "profiles.png")
