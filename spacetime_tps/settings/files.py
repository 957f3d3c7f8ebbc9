"""Settings from YAML files: reading, putting one file on top of another, and errors that name the key."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.settings.base import Settings
from spacetime_tps.settings.run import RunSettings, TorsionRunSettings, spelled_out
from spacetime_tps.settings.safe_yaml import Where, load_yaml
from spacetime_tps.settings.shipped import is_file
from spacetime_tps.settings.surface import SurfaceRunSettings

MOST_MISTAKES = 20
"""Mistakes of one file that are listed."""
MOST_CHARACTERS = 300
"""Characters of a mistake's description that are shown."""


@dataclass(frozen=True)
class StoredRun:
    """What the ``config.yaml`` of a run holds.

    Attributes
    ----------
    content : dict
        The settings, as in YAML.
    seed : int
        Seed of the run.
    versions : dict
        Versions of the packages that began it, by name.
    places : mapping
        Where each value stands in the file, by the keys that lead to it.
    """

    content: dict[str, Any]
    seed: int
    versions: dict[str, str]
    places: Mapping[Where, str]


def read_yaml(path: Path) -> dict[str, Any]:
    """Mapping in a YAML file, by the one reader that all settings go through (:func:`load_yaml`).

    Raises
    ------
    ConfigError
        If the file is missing, is not YAML, is not a mapping, repeats a key or is larger than settings can be.
    """
    return load_yaml(path).content


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


def parse_settings(
    content: dict[str, Any], source: str, places: Mapping[Where, str] | None = None
) -> RunSettings | SurfaceRunSettings:
    """Validated settings, of a molecule or of a model surface.

    Parameters
    ----------
    content : dict
        Keys and values as read from YAML.
    source : str
        Where they came from, for error messages.
    places : mapping, optional
        Where each value stands, such as "line 3", by the keys that lead to it.

    Raises
    ------
    ConfigError
        With a line for each wrong key, value or unit.
    """
    model: type[RunSettings | SurfaceRunSettings] = SurfaceRunSettings
    if "surface" not in content:
        content = spelled_out(content)
        coordinates = content["coordinates"]
        torsions = isinstance(coordinates, dict) and coordinates.get("kind") == "torsions"
        model = TorsionRunSettings if torsions else RunSettings
    try:
        return model.model_validate(content)
    except ValidationError as error:
        lines = _explain(error, content, places or {})
        raise ConfigError("\n".join([f"{source}: settings are not valid", *lines])) from error


def _explain(error: ValidationError, content: dict[str, Any], places: Mapping[Where, str]) -> list[str]:
    """A line for each key that is wrong."""
    messages: dict[Where, list[str]] = {}
    for item in error.errors(include_url=False):
        where = _keys(item["loc"], content)
        if len(messages) == MOST_MISTAKES and where not in messages:
            continue
        message = item["msg"].removeprefix("Value error, ")
        if item["type"] == "extra_forbidden":
            message = "unknown key" + did_you_mean(str(item["loc"][-1]))
        elif item["type"] == "missing":
            message = "is missing"
        messages.setdefault(where, []).append(message)
    lines = []
    for where, found in messages.items():
        place = next((places[key] for key in _prefixes(where) if key in places and _holds(content, key)), None)
        text = " or: ".join(dict.fromkeys(found))
        text = text if len(text) <= MOST_CHARACTERS else text[:MOST_CHARACTERS] + "…"
        lines.append(f"  {place + ': ' if place else ''}{'.'.join(map(str, where)) or 'settings'}: {text}")
    if len(messages) == MOST_MISTAKES:
        lines.append("  … (mend these first)")
    return lines


def _keys(location: tuple[str | int, ...], content: Any) -> Where:
    """Keys of the file that lead to a mistake: pydantic's location without the names of alternatives."""
    keys: list[str | int] = []
    here = content
    for part in location:
        if isinstance(here, dict) and part not in here and part in (here.get("kind"), here.get("method")):
            continue
        if not isinstance(here, dict) and not (isinstance(here, list) and isinstance(part, int)):
            break  # here is the value, and what follows are the types that it might have had
        keys.append(part)
        here = _item(here, part)
    return tuple(keys)


def _item(content: Any, key: str | int) -> Any:
    """Item of a mapping or list, None if there is none."""
    if isinstance(content, dict):
        return content.get(key)
    return content[key] if isinstance(content, list) and isinstance(key, int) and key < len(content) else None


def _prefixes(where: Where) -> list[Where]:
    return [where[:length] for length in range(len(where), 0, -1)]


def _holds(content: Any, where: Where) -> bool:
    """Whether the content has that key; where another file has replaced a section, its old keys are gone."""
    for key in where:
        if not (isinstance(content, dict) and key in content) and _item(content, key) is None:
            return False
        content = _item(content, key)
    return True


def did_you_mean(key: str) -> str:
    """A hint at the key that is most like an unknown one; empty if none is."""
    known = {name for model in all_models() for name in model.model_fields}
    close = difflib.get_close_matches(key, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def all_models(model: type[Settings] = Settings) -> list[type[Settings]]:
    """All classes of settings: a class, and those that are derived from it."""
    return [model, *(found for child in model.__subclasses__() for found in all_models(child))]


def load_settings(system_file: Path, config_file: Path | None = None) -> RunSettings | SurfaceRunSettings:
    """Settings of a ``system.yaml``, with those of ``config_file`` on top.

    Raises
    ------
    ConfigError
        If a file cannot be read or a setting is wrong; the message names the key.
    """
    read = load_yaml(system_file)
    content, source = _with_absolute_paths(read.content, system_file), str(system_file)
    if config_file is None:
        return parse_settings(content, source, {where: f"line {line}" for where, line in read.lines.items()})
    places = {where: f"{system_file}, line {line}" for where, line in read.lines.items()}
    read = load_yaml(config_file)
    places |= {where: f"{config_file}, line {line}" for where, line in read.lines.items()}
    override = _with_absolute_paths(read.content, config_file)
    for key in ("seed", "versions"):  # a config.yaml of an earlier run has these too
        override.pop(key, None)
    if "surface" not in content:
        content = spelled_out(content)
    return parse_settings(merge(content, override), f"{system_file} with {config_file}", places)


def read_stored(config: Path) -> StoredRun:
    """What the ``config.yaml`` of a run holds.

    Raises
    ------
    OutputError
        If no run has written it.
    ConfigError
        If it cannot be read.
    """
    read = load_yaml(config)
    content = dict(read.content)
    if not {"seed", "versions"} <= content.keys():
        raise OutputError(f"{config} was not written by a run (it has no seed or no versions); give the folder of one")
    seed, versions = content.pop("seed"), content.pop("versions")
    if not isinstance(seed, int) or isinstance(seed, bool) or seed < 0:
        raise OutputError(f"{config} was not written by a run (its seed is no number from 0 on)")
    if not isinstance(versions, dict):
        raise OutputError(f"{config} was not written by a run (its versions are no mapping)")
    return StoredRun(content, seed, versions, {where: f"line {line}" for where, line in read.lines.items()})


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
    if not is_file(config):
        raise OutputError(f"{output} holds no run (it has no config.yaml); give the folder of one")
    stored = read_stored(config)
    return parse_settings(_with_absolute_paths(stored.content, config), str(config), stored.places), stored.seed


def _with_absolute_paths(content: dict[str, Any], file: Path) -> dict[str, Any]:
    """Content in which file names are relative to nothing: the working directory never matters."""
    folder = file.parent

    def absolute(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return str((folder / value).resolve())
        except (OSError, ValueError, RuntimeError) as error:  # RuntimeError: links that lead to themselves
            raise ConfigError(f"{file}: {value[:50]!r} cannot be the name of a file ({error})") from error

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
                absolute(name) if isinstance(name, str) and is_file(folder / name) else name
                for name in system["force_field"]
            ]
    if isinstance(samples, dict):
        for key in ("trajectories", "weights"):
            if isinstance(samples.get(key), list):
                samples[key] = [absolute(path) for path in samples[key]]
        if "folder" in samples:
            samples["folder"] = absolute(samples["folder"])
    return content
