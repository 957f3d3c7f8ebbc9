"""Settings of restrained dynamics and of committors: they are in every run's settings, described, with units."""

import pytest

from spacetime_tps.errors import ConfigError
from spacetime_tps.settings.files import load_settings, merge, parse_settings
from spacetime_tps.settings.run import RunSettings, TorsionRunSettings
from spacetime_tps.settings.shipped import find_system

SECTIONS = ("windows", "calibration", "committor", "free_energy")
PLAIN = load_settings(find_system("alanine_dipeptide")).model_dump(mode="json", exclude_none=True)
TORSIONS = merge(PLAIN, {"coordinates": {"kind": "torsions"}, "samples": {"weights": "mbar"}})
TORSIONS = {key: TORSIONS[key] for key in ("system", "samples", "coordinates", *SECTIONS)}


@pytest.mark.parametrize("content, kind", [(PLAIN, RunSettings), (TORSIONS, TorsionRunSettings)])
def test_all_kinds_of_runs_have_them_and_config_records_them(content, kind):
    changed = {
        "windows": {"replicas": 4, "equilibration": "5000 fs", "frame_interval": "0.1 ps", "frames": 50, "count": 12},
        "calibration": {"log_snr_margin": 1.0},
        "committor": {"band": [0.3, 0.7], "confidence": 0.9},
        "free_energy": {"friction": "20 / ps", "free_frame_interval": "2 ps", "sweeps": 4, "least_overlap": 0.01},
        "paths": {"friction": {"windows": 8, "memory": 0.2, "length": "1 ps"}},
    }
    settings = parse_settings(merge(content, changed), "system.yaml")
    assert type(settings) is kind
    recorded = settings.model_dump(mode="json", exclude_none=True)
    assert recorded["windows"]["equilibration"] == "5.0 ps" and recorded["windows"]["replicas"] == 4
    assert recorded["free_energy"]["friction"] == "20.0 1/ps" and recorded["free_energy"]["ramp"] == 0.8
    assert recorded["paths"]["friction"]["length"] == "1.0 ps" and recorded["paths"]["friction"]["sweeps"] == 2
    assert recorded["committor"] == {"band": [0.3, 0.7], "confidence": 0.9}
    assert parse_settings(recorded, "config.yaml") == settings


@pytest.mark.parametrize("section", SECTIONS)
def test_each_is_described(section):
    fields = RunSettings.model_fields[section].annotation.model_fields
    assert fields and all(len((field.description or "").split()) > 3 for field in fields.values())


@pytest.mark.parametrize(
    "content, message",
    [
        ({"windows": {"equilibration": 3}}, "windows.equilibration: 3 has no unit"),
        ({"windows": {"chains": 8}}, "windows.chains: unknown key"),
        ({"windows": {"replicas": 1}}, "windows.replicas: .* greater than or equal to 2"),
        ({"free_energy": {"friction": "10 ps"}}, "free_energy.friction: '10 ps' cannot be converted to 1/ps"),
        ({"free_energy": {"least_overlap": 0}}, "free_energy.least_overlap: .* greater than or equal to 0"),
        ({"paths": {"friction": {"memory": 2}}}, "paths.friction.memory: .* less than or equal to 1"),
        ({"committor": {"band": [0.6, 0.4]}}, "committor: band must rise, not go from 0.6 to 0.4"),
        ({"committor": {"band": [0.6, 1.4]}}, "committor.band.1: .* less than or equal to 1"),
    ],
)
def test_refused(content, message):
    with pytest.raises(ConfigError, match=message):
        parse_settings(merge(PLAIN, content), "system.yaml")
