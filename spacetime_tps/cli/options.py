"""Options that several commands share: each has one name, one meaning and one lowest value.

Numbers are checked while the command line is read, before anything large is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from spacetime_tps.cli.messages import refused
from spacetime_tps.errors import ConfigError


def at_least(least: int) -> Callable[[typer.CallbackParam, int | None], int | None]:
    """Callback of an option that refuses numbers below ``least``."""

    def check(option: typer.CallbackParam, number: int | None) -> int | None:
        from spacetime_tps.runs.requests import check_options

        with refused():
            check_options({str(option.name).replace("_", "-"): (number, least)})
        return number

    return check


def one_of(*choices: str) -> Callable[[typer.CallbackParam, str], str]:
    """Callback of an option that refuses all but some words."""

    def check(option: typer.CallbackParam, choice: str) -> str:
        with refused():
            if choice not in choices:
                raise ConfigError(f"--{option.name} must be {', '.join(choices[:-1])} or {choices[-1]}, not {choice!r}")
        return choice

    return check


def _rising(band: tuple[float, float] | None) -> tuple[float, float] | None:
    from spacetime_tps.runs.requests import check_band

    with refused():
        check_band(band)
    return band


Run = Annotated[Path, typer.Argument(help="Folder of a run.", show_default=False)]
Config = Annotated[
    Path | None,
    typer.Option(
        help="YAML file with settings that replace those of the system or run. Settings without effect are refused."
    ),
]
Seed = Annotated[
    int | None,
    typer.Option(help="Seed of all random numbers. By default the run's own; 0 for a new run.", callback=at_least(0)),
]
Workers = Annotated[
    int | None, typer.Option(help="Number of worker processes. By default one for each core.", callback=at_least(1))
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with work that was interrupted.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that are there already.")]
Band = Annotated[
    tuple[float, float] | None,
    typer.Option(
        help="Lowest and highest p_B of the transition states. By default committor.band of the settings.",
        callback=_rising,
    ),
]
TrustScripts = Annotated[
    bool, typer.Option("--trust-scripts", help="Let scripts in force-field files run that are not OpenMM's.")
]
Curve = Annotated[str, typer.Option(help="Name of the geodesic.")]
Windows = Annotated[int, typer.Option(help="Number of restrained windows along the geodesic.", callback=at_least(2))]
Frames = Annotated[
    int, typer.Option(help="Number of frames that each trajectory takes in each window.", callback=at_least(10))
]
