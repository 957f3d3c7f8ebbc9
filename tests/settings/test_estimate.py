"""Estimates of runs against numbers worked out by hand; what is possible stays possible, what is not is refused."""

import logging
from typing import Any

import pytest

from spacetime_tps.errors import ConfigError
from spacetime_tps.pipeline.run import run
from spacetime_tps.settings.estimate import RunEstimate, check_estimate, estimate_run, estimate_surface_run
from spacetime_tps.settings.files import merge, parse_settings, read_yaml
from spacetime_tps.settings.shipped import find_system

ATOMS, DIMENSION = 22, 30


def settings_of(name: str = "alanine_dipeptide", /, **changes: Any):
    return parse_settings(merge(read_yaml(find_system(name)), changes), "test")


def estimate(**changes: Any) -> RunEstimate:
    return estimate_run(settings_of(**changes), ATOMS, DIMENSION)


def test_parts_of_the_shipped_run():
    samples, denoiser, windows, geodesics, paths, shooting = estimate().parts
    assert samples.steps == pytest.approx(5 * 850_000)
    assert samples.memory == pytest.approx(2 * 5 * 3400 * 22 * 3 * 8)
    assert samples.disk == pytest.approx(6 * 3400 * 22 * 3 * 4)
    assert denoiser.memory == pytest.approx(2 * 8 * 3 * (48 * 30 * 30 + 24 * 3400))
    assert windows.steps == pytest.approx(3 * 8 * (3000 + 40 * 50))
    assert geodesics.steps == pytest.approx(2 * 2 * 16 * 1024)
    assert paths.steps == pytest.approx((6 * 64 + 16) * 1024)
    assert paths.memory == pytest.approx(64 * 256 * 22 * 6 * 8)
    assert shooting.steps == pytest.approx(2 * 512 * 5000)
    assert estimate().steps == pytest.approx(sum(part.steps for part in (samples, windows, geodesics, paths, shooting)))


def test_surface_run():
    geodesics, paths = estimate_surface_run(settings_of("c_channel")).parts
    assert paths.steps == 8 * 500 * 9600
    assert geodesics.steps == 0


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"samples": {"length": "10 us", "frame_interval": "10 ps", "exchange_interval": "1 ps"}},
        {"samples": {"length": "10 us"}},
        {"paths": {"count": 100_000}},
        {"shooting": {"max_shots": 100_000, "reactive": 10_000, "time_limit": "1 ns"}},
        {"samples": {"method": "files", "trajectories": ["a.dcd"]}},
        {"samples": {"method": "molecular_dynamics", "length": "10 us", "frame_interval": "10 ps"}},
        {"denoiser": {"kind": "potential", "network": "message_passing", "width": 128}},
        {"coordinates": "torsions", "geodesics": {"region": None}},
    ],
    ids=str,
)
def test_large_runs_stay_possible(changes):
    check_estimate(estimate(**changes))


@pytest.mark.parametrize(
    "changes, what, remedy",
    [
        (
            {"samples": {"length": "1 ms", "frame_interval": "1 ns"}, "system": {"time_step": "0.1 fs"}},
            r"steps of dynamics.*for samples",
            "take a shorter samples.length",
        ),
        (
            {"samples": {"length": "1 ms"}},
            r"GB of memory.*for samples",
            r"take .* a longer samples\.frame_interval",
        ),
        ({"paths": {"count": 1_000_000, "length": "1 us"}}, "for paths", r"take fewer paths\.count"),
        (
            {"shooting": {"max_shots": 10_000_000, "time_limit": "10 ns"}},
            "steps of dynamics.*for shooting",
            r"take fewer shooting\.max_shots",
        ),
        (
            {
                "geodesics": {"graph_samples": 100_000, "graph_levels": 1000, "trial_paths": 10_000},
                "paths": {"length": "1 us"},
            },
            "for geodesics",
            r"fewer geodesics\.trial_paths",
        ),
    ],
    ids=lambda value: str(value)[:40],
)
def test_refused_with_the_setting_and_what_to_do(changes, what, remedy):
    with pytest.raises(ConfigError, match=rf"the run is too large: .*{what}.*{remedy}"):
        check_estimate(estimate(**changes))


def test_too_large_a_denoiser():
    with pytest.raises(ConfigError, match=r"memory.*for denoiser: take fewer denoiser\.components"):
        check_estimate(estimate_run(settings_of(denoiser={"components": [1000], "fits": 100}), 10_000, 30_000))


def test_more_memory_than_the_machine_has_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING, logger="spacetime_tps"):
        check_estimate(estimate(samples={"length": "100 us"}))
    assert "take a shorter samples.length, a longer samples.frame_interval" in caplog.text


def test_runs_are_refused_before_any_work(tmp_path):
    for system, paths in (("alanine_dipeptide", 10**12), ("c_channel", 10**12)):
        with pytest.raises(ConfigError, match="the run is too large"):
            run(system, tmp_path / "run", paths=paths)
    assert not (tmp_path / "run").exists()


def test_interval_of_more_steps_than_openmm_counts():
    with pytest.raises(ConfigError, match=r"frame_interval \(1e\+07 ps\) is more than 2,147,483,647 time steps"):
        settings_of(samples={"length": "20 us", "frame_interval": "10 us"}, system={"time_step": "0.001 fs"})
