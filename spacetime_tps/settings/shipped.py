"""Where the shipped ``systems/`` and ``forcefields/`` are, in a wheel and in an editable install alike."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from spacetime_tps.errors import ConfigError


def data_folder(kind: str) -> Path:
    """Folder of the shipped ``"systems"`` or ``"forcefields"``.

    A wheel carries them as package data; in a source tree they lie beside the package.
    """
    package = Path(str(files("spacetime_tps")))
    packaged = package / "data" / kind
    return packaged if packaged.is_dir() else package.parent / kind


def shipped_systems() -> list[str]:
    """Names of the systems that can be run without writing any YAML."""
    return sorted(path.parent.name for path in data_folder("systems").glob("*/system.yaml"))


def is_file(path: Path) -> bool:
    """Whether there is such a file; a name that no file can have (too long, with a NUL character) is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def find_system(name: str) -> Path:
    """Path of the ``system.yaml`` of a shipped system, or of the one the user names.

    Parameters
    ----------
    name : str
        Name of a shipped system, a ``system.yaml`` or the folder that holds one.

    Raises
    ------
    ConfigError
        If there is no such system.
    """
    given = Path(name)
    for candidate in (given, given / "system.yaml", data_folder("systems") / name / "system.yaml"):
        if is_file(candidate):
            return candidate.resolve()
    raise ConfigError(
        f"unknown system {name!r}: it is neither a file, nor a folder with a system.yaml, nor a shipped system "
        f"({', '.join(shipped_systems())})"
    )
