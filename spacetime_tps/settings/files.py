"""Settings from YAML files: reading, putting one file on top of another, and errors that name the key."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.settings.denoiser import Settings, denoiser_kind
from spacetime_tps.settings.run import RunSettings, settings_class, spelled_out
from spacetime_tps.settings.surface import SurfaceRunSettings


def read_yaml(path: Path) -> dict[str, Any]:
    """Mapping in a YAML file.

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML or is not a mapping.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error})") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not valid YAML ({error})") from error
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys such as 'system:' and 'samples:', found {type(content).__name__}")
    return content


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """Base settings with those of ``override`` on top, key by key.

    A section that changes its ``method`` or ``kind`` replaces the old one as a whole, and so do mappings whose keys are
    names that the user gives: states, structures and collective variables.
    """
    merged = dict(base)
    for key, value in override.items():
        old = merged.get(key)
        if (
            isinstance(old, dict)
            and isinstance(value, dict)
            and key not in ("states", "structures", "collective_variables")
            and all(value.get(tag, old.get(tag)) == old.get(tag, value.get(tag)) for tag in ("method", "kind"))
        ):
            merged[key] = merge(old, value)
        else:
            merged[key] = value
    return merged


def parse_settings(content: dict[str, Any], source: str) -> RunSettings | SurfaceRunSettings:
    """Validated settings, of a molecule or of a model surface.

    Parameters
    ----------
    content : dict
        Keys and values as read from YAML.
    source : str
        Where they came from, for error messages.

    Raises
    ------
    ConfigError
        With a line for each wrong key, value or unit.
    """
    try:
        model = SurfaceRunSettings if "surface" in content else settings_class(content)
        return model.model_validate(content)
    except ValidationError as error:
        raise ConfigError("\n".join([f"{source}: settings are not valid", *_explain(error)])) from error


def _explain(error: ValidationError) -> list[str]:
    tags = {"replica_exchange", "molecular_dynamics", "files", "cartesian", "torsions", "mixture", "potential"}
    lines = []
    for item in error.errors():
        where = ".".join(str(part) for part in item["loc"] if part not in tags) or "settings"
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key" + _did_you_mean(str(item["loc"][-1]))
        elif item["type"] == "missing":
            message = "is missing"
        lines.append(f"  {where}: {message}")
    return lines


def _did_you_mean(key: str) -> str:
    known = {name for model in _all_models(Settings) for name in model.model_fields}
    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _all_models(model: type[Settings]) -> list[type[Settings]]:
    return [model, *(found for child in model.__subclasses__() for found in _all_models(child))]


def load_settings(system_file: Path, config_file: Path | None = None) -> RunSettings | SurfaceRunSettings:
    """Settings of a ``system.yaml``, with those of ``config_file`` on top.

    Raises
    ------
    ConfigError
        If a file cannot be read or a setting is wrong; the message names the key.
    """
    content, source = _with_absolute_paths(read_yaml(system_file), system_file.parent), str(system_file)
    if config_file is not None:
        override = _with_absolute_paths(read_yaml(config_file), config_file.parent)
        for key in ("seed", "versions"):  # a config.yaml of an earlier run has these too
            override.pop(key, None)
        if "surface" not in content:
            content["coordinates"] = spelled_out(content.get("coordinates", {}))
            content["denoiser"] = denoiser_kind(content.get("denoiser", {}))
        content, source = merge(content, override), f"{system_file} with {config_file}"
    return parse_settings(content, source)


def open_run(output: Path) -> tuple[RunSettings | SurfaceRunSettings, int]:
    """Settings and seed of the run in a folder.

    Raises
    ------
    OutputError
        If the folder holds no run.
    ConfigError
        If its settings cannot be read.
    """
    config = output / "config.yaml"
    if not config.is_file():
        raise OutputError(f"{output} holds no run (it has no config.yaml); give the folder of one")
    content = read_yaml(config)
    if not {"seed", "versions"} <= content.keys():
        raise OutputError(f"{config} was not written by a run (it has no seed or no versions); give the folder of one")
    seed = int(content.pop("seed"))
    del content["versions"]
    return parse_settings(_with_absolute_paths(content, output), str(config)), seed


def _with_absolute_paths(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Content in which file names are relative to nothing: the working directory never matters."""

    def absolute(value: Any) -> Any:
        return str((folder / value).resolve()) if isinstance(value, str) else value

    content = {key: dict(value) if isinstance(value, dict) else value for key, value in content.items()}
    system, samples, surface, denoiser = (
        content.get(section) for section in ("system", "samples", "surface", "denoiser")
    )
    if isinstance(surface, dict) and "grid" in surface:
        surface["grid"] = absolute(surface["grid"])
    if isinstance(denoiser, dict) and "pretrained" in denoiser:
        denoiser["pretrained"] = absolute(denoiser["pretrained"])
    if isinstance(system, dict):
        if isinstance(system.get("structures"), dict):
            system["structures"] = {name: absolute(path) for name, path in system["structures"].items()}
        if isinstance(system.get("force_field"), list):
            system["force_field"] = [
                absolute(name) if isinstance(name, str) and (folder / name).is_file() else name
                for name in system["force_field"]
            ]
    if isinstance(samples, dict):
        for key in ("trajectories", "weights"):
            if isinstance(samples.get(key), list):
                samples[key] = [absolute(path) for path in samples[key]]
    return content
