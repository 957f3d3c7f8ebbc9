"""Denoisers on disk: safetensors with the kind of denoiser and a JSON description of what it was made from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spacetime_tps.denoisers.base import Denoiser
from spacetime_tps.errors import GeometryError
from spacetime_tps.writing import write_bytes

_HEADER = "spacetime_tps"


def write(path: Path, kind: str, tensors: Mapping[str, Tensor], description: Mapping[str, Any]) -> None:
    """Write tensors; the file is there whole or not at all, and the same content makes the same file.

    Raises
    ------
    TypeError
        If the description is not JSON.
    """
    metadata = {_HEADER: json.dumps({"kind": kind, "description": description})}  # of several keys the order varies
    write_bytes(path, save({name: tensor.contiguous() for name, tensor in tensors.items()}, metadata))


def read(path: Path, *kinds: str) -> tuple[str, dict[str, Tensor], dict[str, Any]]:
    """Kind, tensors and description of a file written by :func:`write`.

    Raises
    ------
    GeometryError
        If the file is missing, damaged or of another kind than ``kinds``.
    """
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(_HEADER, "{}"))
            kind = header.get("kind", "")
            if kind not in kinds:
                raise KeyError(f"it does not hold a {' or '.join(kinds).replace('_', ' ')}")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return kind, tensors, dict(header["description"])
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise GeometryError(f"{path} is not a readable denoiser ({error})") from error


def load_denoiser(path: Path) -> tuple[Denoiser, dict[str, Any]]:
    """The denoiser of a file, of whichever kind the file says, and the description of what it was made from.

    Raises
    ------
    GeometryError
        If the file is missing, damaged or does not hold a denoiser.
    """
    from spacetime_tps.denoisers.mixture import GaussianMixtureDenoiser
    from spacetime_tps.denoisers.potential import PotentialDenoiser
    from spacetime_tps.denoisers.torus import VonMisesMixtureDenoiser

    loaders: dict[str, Callable[[Path], tuple[Denoiser, dict[str, Any]]]] = {
        "gaussian_mixture": GaussianMixtureDenoiser.load,
        "von_mises_mixture": VonMisesMixtureDenoiser.load,
        "potential": PotentialDenoiser.load,
    }
    kind, _, _ = read(path, *loaders)
    return loaders[kind](path)
