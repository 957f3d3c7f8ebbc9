"""What benchmarks of several sections share: which of them are asked for, and one JSON file for all."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any


def one_of(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Reader of names of sections, separated by commas."""

    def read(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: the sections are {', '.join(known)}")
        return names

    return read


def write_section(file: Path, name: str, content: Any) -> None:
    """Put a section's figures into a JSON file, and leave the other sections' as they are."""
    known = json.loads(file.read_text()) if file.is_file() else {}
    partial = file.with_name(f"{file.name}.partial")
    partial.write_text(json.dumps(known | {name: content}, indent=2) + "\n")
    partial.replace(file)
