"""Many small main jobs in one process: what they leave in memory, descriptors, processes, threads and semaphores.

The exit status is 1 if memory after the tenth job grows by more than five percent, or anything else is left.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import shutil
import sys
import tempfile
import threading
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any

import yaml

import spacetime_tps

SYSTEM = "alanine_dipeptide"
WARM_UP = 10  # jobs after which memory has to stay
GROWTH = 0.05
SETTINGS: dict[str, Any] = {
    "samples": {
        "method": "molecular_dynamics",
        "length": "3 ps",
        "trajectories_per_state": 1,
        "frame_interval": "0.05 ps",
        "discard": "0.5 ps",
        "model_temperature": "700 K",
    },
    "denoiser": {"components": [1], "fits": 1, "check_points": 0},
    "geodesics": {"points": 8, "knots": 2, "graph_samples": 20, "channels": 1, "graph_levels": 2, "region": None},
    "paths": {"count": 1, "count_region_avoiding": 0, "length": "0.032 ps", "baseline_snr": ["5500 / nm**2"]},
    "shooting": {"reactive": 0},
}


@dataclass(frozen=True)
class Reading:
    """What this process holds: memory in MiB, and numbers of the rest."""

    memory: float
    descriptors: int
    children: int
    threads: int
    semaphores: int

    @classmethod
    def now(cls) -> Reading:
        """The present."""
        gc.collect()
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            memory=pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            children=len([path for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == os.getpid()]),
            threads=threading.active_count(),
            semaphores=sum("/dev/shm/sem." in line for line in Path("/proc/self/maps").read_text().splitlines()),
        )


def _parent(stat: Path) -> int:
    try:
        return int(stat.read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return -1


def soak(folder: Path, count: int) -> list[Reading]:
    """Run so many jobs, with one and two workers in turn; readings after each."""
    config = folder / "settings.yaml"
    config.write_text(yaml.safe_dump(SETTINGS))
    readings = []
    for number in range(count):
        spacetime_tps.run(SYSTEM, folder / "run", config=config, seed=number, workers=1 + number % 2)
        shutil.rmtree(folder / "run")
        readings.append(Reading.now())
        print(f"{number + 1:4}", *(f"{value:9.5g}" for value in astuple(readings[-1])), flush=True)
    return readings


def faults(readings: list[Reading]) -> list[str]:
    """What was left over between the end of the warming up and the end."""
    first, last = readings[min(WARM_UP, len(readings)) - 1], readings[-1]
    found = []
    if last.memory > (1 + GROWTH) * first.memory:
        found.append(f"memory has grown from {first.memory:.0f} to {last.memory:.0f} MiB")
    for name in ("descriptors", "children", "threads", "semaphores"):
        before, after = getattr(first, name), getattr(last, name)
        if after > before:
            found.append(f"{name} have grown from {before} to {after}")
    return found


def main() -> None:
    """Run the soak of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="jobs (default: %(default)s)")
    options = parser.parse_args()
    logging.getLogger("spacetime_tps").setLevel(logging.ERROR)
    print(" job       MiB descriptors children threads semaphores")
    with tempfile.TemporaryDirectory() as folder:
        found = faults(soak(Path(folder), options.count))
    print("\n".join(found) or "nothing is left over")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
