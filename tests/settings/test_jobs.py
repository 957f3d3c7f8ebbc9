"""Settings that a job takes from a file of its own: those with an effect on it, and no others."""

import pytest
import yaml

from spacetime_tps.errors import ConfigError
from spacetime_tps.settings.files import load_settings
from spacetime_tps.settings.jobs import POSSIBLE, job_settings, nested, put_on_top, read_job_settings
from spacetime_tps.settings.shipped import find_system

RUN = load_settings(find_system("alanine_dipeptide"))
OTHERS = {
    "committor": {"committor": {"band": [0.3, 0.7]}, "shooting": {"time_limit": "7 ps", "frame_interval": "20 fs"}},
    "path-ensemble": {"shooting": {"time_limit": "7 ps"}},
    "free-energy": {"free_energy": {"sweeps": 4, "friction": "20 / ps"}, "paths": {"length": "2 ps"}},
    "calibrate": {"calibration": {"log_snr_margin": 1.0}, "windows": {"replicas": 4, "equilibration": "1 ps"}},
}


@pytest.fixture
def file(tmp_path):
    return tmp_path / "job.yaml"


@pytest.mark.parametrize("job", OTHERS)
def test_settings_of_the_file_are_on_top_of_those_of_the_run(job, file):
    file.write_text(yaml.safe_dump(OTHERS[job]))
    found, before = job_settings(read_job_settings(RUN, job, file), job), job_settings(RUN, job)
    given = {f"{section}.{key}" for section, values in OTHERS[job].items() for key in values}
    assert given <= set(found) == set(POSSIBLE[job])
    assert {name for name in found if found[name] != before[name]} == given
    assert read_job_settings(RUN, job, file).system == RUN.system
    assert job_settings(put_on_top(RUN, job, nested(found), "kept"), job) == found


@pytest.mark.parametrize(
    "job, text, message",
    [
        ("committor", "free_energy:\n  sweeps: 4\n", "line 2: free_energy.sweeps: has no effect on 'committor'"),
        (
            "committor",
            "committor:\n  band: [0.3, 0.7]\n\nshooting: {max_shots: 4}\n",
            "line 4: shooting.max_shots:",
        ),
        (
            "committor",
            "sooting: {time_limit: 7 ps}\n",
            "line 1: sooting.time_limit: unknown key; did you mean 's",
        ),
        ("committor", "shooting: {time_limt: 7 ps}\n", "shooting.time_limt: unknown key; did you mean 'time_limit'?"),
        ("committor", "shooting.time_limit: 7 ps\n", "line 1: shooting.time_limit: unknown key"),
        ("committor", "shooting: 7 ps\n", "line 1: shooting: Input should be a valid dictionary"),
        ("committor", "paths:\n", "line 1: paths: has no effect on 'committor'"),
        ("committor", "shooting: {time_limit: 7}\n", "line 1: shooting.time_limit: 7 has no unit"),
        ("committor", "shooting: {frame_interval: 1.5 fs}\n", r"shooting.frame_interval \(0.0015 ps\) is not a whole"),
        ("committor", "seed: 3\n", "line 1: seed: unknown key"),
        ("path-ensemble", "shooting: {frame_interval: 2 fs}\n", "shooting.frame_interval: has no effect"),
        ("free-energy", "paths: {count: 3}\n", "paths.count: has no effect on 'free-energy'"),
        ("free-energy", "paths: {length: 1.0005 ps}\n", r"paths.length \(1.0005 ps\) is not a whole number of time st"),
        ("free-energy", "system: {temperature: 310 K}\n", "system.temperature: has no effect on 'free-energy'"),
        ("calibrate", "windows: {frames: 30, count: 4}\n", "windows.count: has no effect on 'calibrate'"),
        ("train", "denoiser: {check_points: 3}\n", "denoiser.check_points: has no effect on 'train'"),
        ("train", "paths: {count: 3}\n", "paths.count: has no effect on 'train'"),
    ],
)
def test_settings_without_effect_are_refused(job, text, message, file):
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        read_job_settings(RUN, job, file)
    assert str(caught.value).startswith(f"{file}: ")


def test_message_says_which_are_possible(file):
    file.write_text("paths: {count: 3}\n")
    with pytest.raises(ConfigError) as caught:
        read_job_settings(RUN, "committor", file)
    assert str(caught.value).splitlines()[-1] == (
        "'committor' takes committor: band, confidence; shooting: frame_interval, time_limit; all other settings are "
        "those of the run"
    )


def test_training_takes_the_whole_section_with_the_defaults_of_its_network(file):
    perceptron = RUN.model_copy(update={"denoiser": read(file, RUN, "denoiser: {kind: potential, steps: 7}\n")})
    assert perceptron.denoiser.steps == 7
    changed = read(file, perceptron, "denoiser: {network: message_passing}\n")
    assert (changed.network, changed.width, changed.steps) == ("message_passing", 16, 2500)
    assert read(file, RUN, "denoiser: potential\n").kind == "potential"


def read(file, settings, text):
    file.write_text(text)
    return read_job_settings(settings, "train", file).denoiser
