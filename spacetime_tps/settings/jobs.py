"""Settings of the jobs that follow a run: which of them a job goes by, and a file that replaces those of the run."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spacetime_tps.errors import ConfigError
from spacetime_tps.settings.denoiser import PotentialSettings
from spacetime_tps.settings.files import MOST_MISTAKES, all_models, did_you_mean, merge, parse_settings
from spacetime_tps.settings.run import RunSettings
from spacetime_tps.settings.safe_yaml import Where, load_yaml
from spacetime_tps.settings.windows import CalibrationSettings, CommittorSettings, FreeEnergySettings

POSSIBLE: Mapping[str, tuple[str, ...]] = {
    "committor": (
        *(f"committor.{key}" for key in CommittorSettings.model_fields),
        "shooting.frame_interval",
        "shooting.time_limit",
    ),
    # shooting.frame_interval is that of the reactive trajectories, which the first paths are
    "path-ensemble": ("shooting.time_limit",),
    "free-energy": (*(f"free_energy.{key}" for key in FreeEnergySettings.model_fields), "paths.length"),
    "calibrate": (
        *(f"calibration.{key}" for key in CalibrationSettings.model_fields),
        "windows.replicas",
        "windows.equilibration",
        "windows.frame_interval",
    ),
    "train": tuple(
        f"denoiser.{key}" for key in PotentialSettings.model_fields if key not in ("pretrained", "check_points")
    ),
}
"""Settings that a job reads and that may differ from those of the run, by job.

Others are of what the run has made already: its molecule, samples, denoiser and geodesics.
"""


def read_job_settings(settings: RunSettings, job: str, config: Path) -> RunSettings:
    """Settings of a run with those of a job's own file on top; of ``train`` they take the place of the whole section.

    Parameters
    ----------
    settings : RunSettings
        Of the run.
    job : str
        Name of the job: a key of :data:`POSSIBLE`.
    config : Path
        The YAML file.

    Raises
    ------
    ConfigError
        If the file cannot be read, or a setting in it is wrong or has no effect on the job; the message names the line.
    """
    read = load_yaml(config)
    places = {where: f"line {line}" for where, line in read.lines.items()}
    return put_on_top(settings, job, read.content, str(config), places)


def put_on_top(
    settings: RunSettings,
    job: str,
    content: dict[str, Any],
    source: str,
    places: Mapping[Where, str] | None = None,
) -> RunSettings:
    """Settings of a run with others on top, all of which have an effect on a job.

    Parameters
    ----------
    settings : RunSettings
        Of the run.
    job : str
        Name of the job.
    content : dict
        The others by section and key, as read from YAML.
    source : str
        Where they came from, for error messages.
    places : mapping, optional
        Where each value stands, such as "line 3", by the keys that lead to it.

    Raises
    ------
    ConfigError
        If one of them is wrong or has no effect on the job.
    """
    if isinstance(content.get("denoiser"), str):
        content = content | {"denoiser": {"kind": content["denoiser"]}}
    _check_effect(job, content, source, places or {})
    base = settings.model_dump(mode="json", exclude_none=True)
    if job == "train":  # defaults depend on the network, so that none of another network may stay
        base["denoiser"] = {"kind": "potential"}
    changed = parse_settings(merge(base, content), source, places)
    assert isinstance(changed, RunSettings)  # it has no surface
    step = settings.system.time_step
    for section, key in (("shooting", "frame_interval"), ("paths", "length")):
        value = getattr(getattr(changed, section), key)
        if (section, key) in _given(content) and abs(round(value / step) * step - value) > 1e-6 * value:
            raise ConfigError(
                f"{source}: {section}.{key} ({value:g} ps) is not a whole number of time steps of {step:g} ps"
            )
    return changed


def job_settings(settings: RunSettings, job: str) -> dict[str, object]:
    """Values of the settings that a job goes by, as in YAML, by names such as ``shooting.time_limit``."""
    content = settings.model_dump(mode="json")
    return {name: content[section][key] for name in POSSIBLE[job] for section, key in [name.split(".")]}


def nested(values: Mapping[str, object]) -> dict[str, dict[str, object]]:
    """The same values by section and key, as a YAML file has them."""
    content: dict[str, dict[str, object]] = {}
    for name, value in values.items():
        section, _, key = name.partition(".")
        content.setdefault(section, {})[key] = value
    return content


def _by_section(job: str) -> str:
    """The settings that a job takes, in words."""
    sections = nested(dict.fromkeys(POSSIBLE[job]))
    return "; ".join(f"{section}: {', '.join(keys)}" for section, keys in sections.items())


def _given(content: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Section and key of all settings of a file; a section that is empty or no mapping stands alone."""
    return [
        where
        for section, values in content.items()
        for where in ([(section, key) for key in values] if isinstance(values, dict) and values else [(section,)])
    ]


def _check_effect(job: str, content: Mapping[str, Any], source: str, places: Mapping[Where, str]) -> None:
    """Refuse settings that a job does not go by.

    Raises
    ------
    ConfigError
        With a line for each of them, and the names of those that the job goes by.
    """
    possible = [tuple(name.split(".")) for name in POSSIBLE[job]]
    sections, known = {where[:1] for where in possible}, {name for model in all_models() for name in model.model_fields}
    lines = []
    for where in _given(content):
        if where in possible or where in sections:
            continue
        unknown = [key for key in where if key not in known]
        text = f"unknown key{did_you_mean(unknown[0])}" if unknown else f"has no effect on '{job}'"
        lines.append(f"  {places[where] + ': ' if where in places else ''}{'.'.join(where)}: {text}")
    if lines:
        more = ["  … (mend these first)"] if len(lines) > MOST_MISTAKES else []
        raise ConfigError(
            "\n".join(
                [
                    f"{source}: settings are not valid",
                    *(lines[:MOST_MISTAKES] + more),
                    f"'{job}' takes {_by_section(job)}; all other settings are those of the run",
                ]
            )
        )
