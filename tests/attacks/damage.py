"""Damage the files of a finished run, one at a time, and run what reads them.

A file is emptied, cut, filled with zeros, changed in one bit, deleted, or replaced by another of its kind. What reads
it must refuse it by its name, or come to the results that it comes to without damage. The exit status is 1 if anything
fails in another way, is refused without the name of the file, or changes results without a word.
"""

from __future__ import annotations

import argparse
import logging
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import MDAnalysis
import numpy as np
import yaml
from kill import POTENTIAL, SETTINGS, SYSTEM, finish, jobs, same, timeless

from spacetime_tps import (
    calibrate,
    compute_free_energy,
    export_run,
    measure_committor,
    run,
    sample_path_ensemble,
    train,
)
from spacetime_tps.edit_distance import EditDistance
from spacetime_tps.errors import SpacetimeError
from spacetime_tps.runs.layout import EXPORT, LOCK, PARTS, REPORTS, STAGES, SUMMARY

KINDS = ("empty", "half", "zeros", "bit", "deleted", "neighbour")
AFTER = ("path-ensemble", "committor", "free-energy", "train", "calibrate")


@dataclass(frozen=True)
class Reader:
    """A job that reads a run.

    Attributes
    ----------
    name : str
    job : callable
        Given the folder of the run; returns its results.
    reads : tuple of str
        Parts whose files it reads, besides the beginning.
    writes : tuple of str
        Files and folders that it writes.
    """

    name: str
    job: Callable[[Path], Any]
    reads: tuple[str, ...]
    writes: tuple[str, ...]


def readers(folder: Path) -> list[Reader]:
    """All readers, with options for which they are fast; their --config files are in a folder."""
    settings, short = folder / "settings.yaml", folder / "short.yaml"
    short.write_text(yaml.safe_dump({"denoiser": POTENTIAL | {"steps": 10, "validation_interval": 5}}))
    stages = tuple(name for files in STAGES.values() for name in files)
    moves = {"moves": 12, "chains": 2, "keep_every": 3}
    shots: dict[str, Any] = {"shots": 8, "max_frames": 6, "source": "reactive"}
    windows = {"windows": 14, "frames": 30, "paths": 4}
    points = {"points": 3, "windows": 4, "frames": 20}
    few = {"points": 1, "windows": 4, "frames": 10}

    def exporter(to: str, what: str) -> Callable[[Path], Any]:
        return lambda path: {**export_run(path, to, what=what).to_json(), "folder": "", "run": ""}

    return [
        Reader(
            "run",
            lambda path: run(SYSTEM, path, config=settings, resume=True, workers=1),
            tuple(STAGES),
            (*stages, SUMMARY),
        ),
        Reader(
            "path-ensemble",
            lambda path: sample_path_ensemble(path, **moves, resume=True, workers=1),
            ("reactive", "path-ensemble"),
            PARTS["path-ensemble"],
        ),
        Reader(
            "committor",
            lambda path: measure_committor(path, **shots, resume=True, workers=1),
            ("reactive", "committor"),
            PARTS["committor"],
        ),
        Reader(
            "free-energy",
            lambda path: compute_free_energy(path, **windows, resume=True, workers=1),
            ("samples", "geodesics", "free-energy"),
            PARTS["free-energy"],
        ),
        Reader(
            "calibrate",
            lambda path: calibrate(path, **few, overwrite=True, workers=1),
            ("samples", "denoiser", "geodesics"),
            PARTS["calibrate"],
        ),
        Reader(
            "calibrate --resume",
            lambda path: calibrate(path, **points, resume=True, workers=1),
            ("calibrate",),
            PARTS["calibrate"],
        ),
        Reader("train", lambda path: train(path, config=short, overwrite=True), ("samples", "train"), PARTS["train"]),
        Reader("export reactive", exporter("xtc", "reactive"), ("reactive",), (EXPORT,)),
        Reader("export paths", exporter("xtc", "paths"), ("paths",), (EXPORT,)),
        Reader("export path_ensemble", exporter("xtc", "path_ensemble"), ("path-ensemble",), (EXPORT,)),
        Reader("export geodesic", exporter("plumed", "low_variance"), ("geodesics",), (EXPORT,)),
        Reader("edit distance", edit_distances, ("denoiser", "geodesics"), ()),
    ]


def edit_distances(path: Path) -> Any:
    """Between the structures that the run keeps."""
    universe = MDAnalysis.Universe(str(STRUCTURES[0]))
    universe.load_new(np.stack([MDAnalysis.Universe(str(file)).atoms.positions for file in STRUCTURES]))
    return EditDistance.from_run(universe, path, 7.0, points=16, knots=2).run().results.distances.tolist()


def _said(results: Any) -> Any:
    """What results say, wall times aside."""
    return timeless(results.to_json() if hasattr(results, "to_json") else results)


FEW_SWEEPS = {"free_energy": {"sweeps": 3}}
"""Settings on top of those of the other attacks: free energies are computed anew many times."""

STRUCTURES: list[Path] = []
"""Those of the undamaged run."""


@dataclass
class Outcome:
    """What has come of all damages."""

    counts: Counter[str] = field(default_factory=Counter)
    damages: int = 0
    faults: list[str] = field(default_factory=list)

    @property
    def table(self) -> str:
        """Counts in a text."""
        kinds = ("refused by name", "unchanged", "refused without the name", "traceback", "silent change")
        return "\n".join([f"damages {self.damages}", *(f"{kind} {self.counts[kind]}" for kind in kinds)])


class Attack:
    """A finished run, what every reader makes of it, and what has come of damages."""

    def __init__(self, folder: Path, names: tuple[str, ...], seed: int) -> None:
        self.folder, self.rng, self.outcome = folder, random.Random(seed), Outcome()
        self.base = folder / "run"
        known = jobs(folder)
        (folder / "settings.yaml").write_text(yaml.safe_dump(SETTINGS | FEW_SWEEPS))
        for name in ("run", *names):
            status, text = finish(known[name].command(self.base))
            if status != 0:
                raise SystemExit(f"{name} fails undamaged:\n{text}")
        STRUCTURES[:] = sorted((self.base / "inputs").glob("*.pdb"))
        self.readers = [
            reader for reader in readers(folder) if not set(reader.reads) & set(AFTER) or set(reader.reads) & set(names)
        ]
        if "train" not in names:
            self.readers = [reader for reader in self.readers if reader.name != "train"]
        self.whole: dict[str, tuple[Path, Any]] = {}
        for reader in self.readers:
            copy = self._copy(f"whole-{reader.name.replace(' ', '-')}")
            begun = time.monotonic()
            self.whole[reader.name] = copy, reader.job(copy)
            print(f"{reader.name}: {time.monotonic() - begun:.1f} s undamaged", flush=True)

    def plan(self, count: int) -> list[tuple[str, str]]:
        """Files and kinds of damage, at random, all of them at most once."""
        files = sorted(str(path.relative_to(self.base)) for path in self.base.rglob("*") if path.is_file())
        every = [(name, kind) for name in files for kind in KINDS if name != LOCK]
        self.rng.shuffle(every)
        return [(name, kind) for name, kind in every if kind != "neighbour" or self._neighbour(name)][:count]

    def damage(self, name: str, kind: str) -> None:
        """Damage a file in one way, and count what each of its readers makes of it."""
        self.outcome.damages += 1
        part = self._part(name)
        for reader in self.readers:
            if part is not None and part != "beginning" and part not in reader.reads:
                continue
            copy = self._copy("damaged")
            self._hurt(copy / name, kind)
            verdict, text = self._verdict(reader, copy, name)
            self.outcome.counts[verdict] += 1
            if verdict not in ("refused by name", "unchanged"):
                self.outcome.faults.append(f"{name}, {kind}, {reader.name}: {verdict}\n{text}")
                print(f"FAULT: {self.outcome.faults[-1]}", flush=True)

    def _verdict(self, reader: Reader, copy: Path, name: str) -> tuple[str, str]:
        try:
            results = reader.job(copy)
        except SpacetimeError as error:
            named = Path(name).name in str(error)
            return "refused by name" if named else "refused without the name", str(error)
        except Exception:
            return "traceback", traceback.format_exc()
        whole, expected = self.whole[reader.name]
        unequal = [file for file in self._written(reader, whole) if not self._same(whole / file, copy / file)]
        if unequal or _said(results) != _said(expected):
            return "silent change", f"these differ: {', '.join(unequal) or 'the returned results'}"
        return "unchanged", ""

    @staticmethod
    def _same(one: Path, other: Path) -> bool:
        if not other.is_file():
            return False
        return one.name == "export.json" or same(one, other)

    @staticmethod
    def _written(reader: Reader, folder: Path) -> list[str]:
        """Files that a reader writes; but journals, which have the same records in the order in which they came."""
        paths = [path for name in reader.writes for path in ((folder / name), *(folder / name).rglob("*"))]
        return sorted(str(path.relative_to(folder)) for path in paths if path.is_file() and path.suffix != ".jsonl")

    @staticmethod
    def _part(name: str) -> str | None:
        if name.startswith(f"{REPORTS}/"):
            return Path(name).stem
        for part, files in PARTS.items():
            if any(name == file or name.startswith(f"{file}/") for file in files):
                return part
        return "results" if name == SUMMARY else None

    def _copy(self, name: str) -> Path:
        copy = self.folder / name
        shutil.rmtree(copy, ignore_errors=True)
        return Path(shutil.copytree(self.base, copy))

    def _neighbour(self, name: str) -> Path | None:
        """Another file of the same kind and other content, of the same folder if there is one."""
        path = self.base / name
        found = [
            other
            for other in (*sorted(path.parent.glob(f"*{path.suffix}")), *sorted(self.base.rglob(f"*{path.suffix}")))
            if other != path and other.is_file() and other.read_bytes() != path.read_bytes()
        ]
        return found[0] if found else None

    def _hurt(self, path: Path, kind: str) -> None:
        content = bytearray(path.read_bytes())
        if kind == "deleted":
            path.unlink()
            return
        if kind == "neighbour":
            neighbour = self._neighbour(str(path.relative_to(self.folder / "damaged")))
            assert neighbour is not None
            content = bytearray(neighbour.read_bytes())
        elif kind == "bit" and content:
            content[self.rng.randrange(len(content))] ^= 1 << self.rng.randrange(8)
        elif kind != "bit":
            content = {"empty": bytearray(), "half": content[: len(content) // 2], "zeros": bytearray(len(content))}[
                kind
            ]
        path.write_bytes(content)


def attack(folder: Path, names: tuple[str, ...], count: int, seed: int) -> Outcome:
    """Damage a run with the jobs of these names after it so many times."""
    logging.disable(logging.CRITICAL)
    try:
        attacked = Attack(folder, names, seed)
        plan = attacked.plan(count)
        for index, (name, kind) in enumerate(plan):
            begun = time.monotonic()
            attacked.damage(name, kind)
            print(f"{index + 1}/{len(plan)}: {name}, {kind}: {time.monotonic() - begun:.1f} s", flush=True)
    finally:
        logging.disable(logging.NOTSET)
    return attacked.outcome


def main() -> None:
    """Run the attack of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=400, help="damages in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        outcome = attack(Path(folder), AFTER, options.count, options.seed)
    print(outcome.table)
    sys.exit(bool(outcome.faults))


if __name__ == "__main__":
    main()
