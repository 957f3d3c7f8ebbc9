"""Kill small real jobs at random times, look for what they leave, resume them, and compare with uninterrupted ones.

A signal goes to the main process, to a worker or to the whole process group. Afterwards no process of the job may be
left for more than five seconds, the job must go on to its end, and its results must be those of a job that nothing has
happened to, wall times aside. The exit status is 1 if any of this fails.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mdtraj
import numpy as np
import yaml

from spacetime_tps.runs.hdf5 import read_hdf5_energies
from spacetime_tps.runs.layout import LOCK

SYSTEM = "alanine_dipeptide"
PATIENCE = 5.0  # seconds in which every process of a job has to end
LIMIT = 300.0  # seconds in which a job has to end
IMPORTING = 0.15  # share of the signals that come while a job is still importing
SETTINGS: dict[str, Any] = {
    "samples": {
        "temperatures": ["600 K", "1000 K", "1300 K"],
        "length": "20 ps",
        "exchange_interval": "0.2 ps",
        "frame_interval": "0.2 ps",
        "discard": "4 ps",
        "weights": "mbar",
    },
    "denoiser": {"components": [1], "fits": 1, "check_points": 0},
    "geodesics": {
        "end_snr": "4000 / nm**2",
        "points": 32,
        "knots": 12,
        "graph_samples": 60,
        "channels": 1,
        "graph_levels": 8,
        "variance_bound": "0.02 nm**2",
        "region": None,
    },
    "paths": {
        "count": 3,
        "count_region_avoiding": 0,
        "length": "8.192 ps",
        "frame_interval": "0.016 ps",
        "baseline_snr": ["5500 / nm**2"],
    },
    "shooting": {"reactive": 2, "max_shots": 64, "batch": 8},
}
POTENTIAL: dict[str, Any] = {
    "kind": "potential",
    "components": 2,
    "fits": 1,
    "width": 8,
    "depth": 1,
    "batch": 32,
    "steps": 120,
    "validation_interval": 10,
    "checkpoint_interval": 0,
}


@dataclass(frozen=True)
class Job:
    """A command on a run.

    Attributes
    ----------
    name : str
        What the command is called.
    options : tuple of str
    """

    name: str
    options: tuple[str, ...]

    def command(self, run: Path) -> list[str]:
        """The whole command line."""
        place = [SYSTEM, "--output", str(run)] if self.name == "run" else [str(run)]
        return [sys.executable, "-m", "spacetime_tps", self.name, *place, *self.options, "--workers", "2"]


def jobs(folder: Path) -> dict[str, Job]:
    """All jobs by name; their --config files are written to a folder."""
    settings, potential = folder / "settings.yaml", folder / "potential.yaml"
    moves = ("--moves", "12", "--chains", "2", "--keep-every", "3")
    settings.write_text(yaml.safe_dump(SETTINGS))
    potential.write_text(yaml.safe_dump({"denoiser": POTENTIAL}))
    return {
        "run": Job("run", ("--config", str(settings))),
        "path-ensemble": Job("path-ensemble", moves),
        "committor": Job("committor", ("--shots", "8", "--max-frames", "6", "--source", "reactive")),
        "free-energy": Job("free-energy", ("--windows", "14", "--frames", "30", "--paths", "4")),
        "train": Job("train", ("--config", str(potential))),
        "calibrate": Job("calibrate", ("--points", "3", "--windows", "4", "--frames", "20")),
    }


@dataclass
class Count:
    """What has come of the kills of one kind."""

    kills: int = 0
    orphans: int = 0
    resumed: int = 0
    unequal: int = 0
    faults: list[str] = field(default_factory=list)


def members(session: int) -> dict[int, tuple[int, str]]:
    """Processes of a session that are not zombies: their parents and command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        try:
            fields = (path / "stat").read_text().rsplit(")", 1)[1].split()
            line = (path / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(path.name)] = (int(fields[1]), line)
    return found


def wait_for(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether something becomes true in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def finish(command: list[str]) -> tuple[int, str]:
    """Exit status and output of a command that nothing happens to."""
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=LIMIT
    )
    return done.returncode, done.stdout


def kill_once(
    command: list[str], log: Path, target: str, number: int, share: float, length: float, early: bool
) -> tuple[bool, int | None, str, int]:
    """Start a command and send a signal to a part of it.

    Parameters
    ----------
    share : float
        Of ``length`` seconds of work, after which the signal comes; with ``early`` of the time before any work.

    Returns
    -------
    delivered : bool
        False if the command had ended before.
    status : int or None
        None if the command did not end.
    output : str
    orphans : int
        Processes that were left in the end; they have been killed.
    """
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        if not early:
            wait_for(lambda: log.stat().st_size > 0 or process.poll() is not None, LIMIT)
        time.sleep(share * length)
        victim = process.pid
        if target == "worker":
            spawned: list[int] = []

            def find_workers() -> bool:
                spawned[:] = [
                    pid
                    for pid, (parent, line) in members(process.pid).items()
                    if parent == process.pid and "spawn_main" in line
                ]
                return bool(spawned) or process.poll() is not None

            wait_for(find_workers, LIMIT)
            victim = random.choice(spawned) if spawned else 0
        delivered = victim != 0 and process.poll() is None
        if delivered:
            try:
                (os.killpg if target == "group" else os.kill)(victim, number)
            except ProcessLookupError:
                delivered = False
        try:
            status: int | None = process.wait(LIMIT if target == "worker" or not delivered else 60)
        except subprocess.TimeoutExpired:
            status = None
        wait_for(lambda: not members(process.pid), PATIENCE)
        left = members(process.pid)
    finally:
        for pid in members(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.wait()
    return delivered, status, log.read_text(errors="replace"), len(left)


def go_on(job: Job, run: Path) -> str:
    """Bring a job to its end; what was wrong, if it does not come there."""
    command = job.command(run)
    status, text = finish([*command, "--resume"])
    if status == 0:
        return ""
    if "to resume" not in text:
        return text
    begun = run.exists() if job.name == "run" else True
    status, text = finish([*command, *(["--overwrite"] if begun else [])])
    return "" if status == 0 else text


def differences(one: Path, other: Path) -> list[str]:
    """Names of files of two runs that do not say the same."""
    names = [
        {str(path.relative_to(run)) for path in run.rglob("*") if path.is_file() and path.name != LOCK}
        for run in (one, other)
    ]
    unequal = {name for name in names[0] & names[1] if not same(one / name, other / name)}
    return sorted((names[0] ^ names[1]) | unequal)


def same(one: Path, other: Path) -> bool:
    """Whether two files say the same, wall times aside."""
    if one.suffix == ".json":
        return bool(timeless(json.loads(one.read_text())) == timeless(json.loads(other.read_text())))
    if one.suffix == ".h5":  # has the date of each array inside
        first, second = mdtraj.load(str(one)), mdtraj.load(str(other))
        energies = np.array(read_hdf5_energies(one)), np.array(read_hdf5_energies(other))
        return all(map(np.array_equal, (first.xyz, first.time, energies[0]), (second.xyz, second.time, energies[1])))
    if one.suffix == ".npz":
        arrays = [np.load(path) for path in (one, other)]
        names, others = ({name for name in each if "seconds" not in name} for each in arrays)
        return names == others and all(np.array_equal(*(each[name] for each in arrays)) for name in names)
    return one.read_bytes() == other.read_bytes()


def timeless(content: Any) -> Any:
    """It without wall times, and without the checksums in reports, which are of files with times in them."""
    if isinstance(content, dict):
        return {
            key: timeless(value)
            for key, value in content.items()
            if "seconds" not in key and key not in ("files", "after", "checksum")
        }
    return [timeless(value) for value in content] if isinstance(content, list) else content


class Attack:
    """Jobs in a folder, what they come to undisturbed, and the counts of what happened when they were disturbed."""

    def __init__(self, folder: Path, names: list[str], seed: int) -> None:
        self.folder, self.rng = folder, random.Random(seed)
        self.jobs = {name: job for name, job in jobs(folder).items() if name in names}
        self.counts: dict[tuple[str, str, str], Count] = {}
        self.lengths: dict[str, tuple[float, float]] = {}
        self.base = folder / "base"
        self._undisturbed(jobs(folder)["run"], self.base, "run")
        for name, job in self.jobs.items():
            if name != "run":
                self._undisturbed(job, self._begin(name, f"whole-{name}"), name)

    def whole(self, name: str) -> Path:
        """The run in which a job was not disturbed."""
        return self.base if name == "run" else self.folder / f"whole-{name}"

    def _begin(self, name: str, copy: str) -> Path:
        run = self.folder / copy
        shutil.rmtree(run, ignore_errors=True)
        if name != "run":
            shutil.copytree(self.base, run)
        return run

    def _undisturbed(self, job: Job, run: Path, name: str) -> None:
        log, begun = self.folder / "log.txt", time.monotonic()
        with log.open("w") as file:
            process = subprocess.Popen(job.command(run), stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        wait_for(lambda: log.stat().st_size > 0 or process.poll() is not None, LIMIT)
        imported = time.monotonic()
        if process.wait(LIMIT) != 0:
            raise SystemExit(f"{name} fails undisturbed:\n{log.read_text()}")
        self.lengths[name] = imported - begun, time.monotonic() - imported

    def kill(self, name: str, target: str, signal_name: str) -> None:
        """Disturb one job once, bring it to its end, and count."""
        job, count = self.jobs[name], self.counts.setdefault((name, target, signal_name), Count())
        log = self.folder / "log.txt"
        for _ in range(5):
            run = self._begin(name, "disturbed")
            early = target != "worker" and self.rng.random() < IMPORTING
            length = self.lengths[name][0 if early else 1]
            delivered, status, output, orphans = kill_once(
                job.command(run), log, target, getattr(signal, signal_name), self.rng.random(), length, early
            )
            if delivered:
                break
        else:
            return
        count.kills += 1
        count.orphans += orphans
        if status is None:
            count.faults.append("it did not end")
        if "interrupted" in output and "Traceback" in output:
            count.faults.append(f"a traceback beside the message:\n{output}")
        wrong = go_on(job, run) if status != 0 or target != "worker" else ""
        if wrong:
            count.faults.append(f"it did not go on (exit status {status} when killed):\n{output}\n{wrong}")
            return
        count.resumed += 1
        unequal = differences(self.whole(name), run)
        count.unequal += bool(unequal)
        if unequal:
            count.faults.append(f"these differ: {', '.join(unequal)}")

    def table(self) -> str:
        """Counts by job, target and signal."""
        lines = [f"{'job':14} {'target':7} {'signal':8} {'kills':>6} {'orphans':>8} {'resumed':>8} {'unequal':>8}"]
        for (name, target, number), count in sorted(self.counts.items()):
            figures = f"{count.kills:6} {count.orphans:8} {count.resumed:8} {count.unequal:8}"
            lines.append(f"{name:14} {target:7} {number:8} {figures}")
        every = list(self.counts.values())
        sums = [sum(getattr(count, key) for count in every) for key in ("kills", "orphans", "resumed", "unequal")]
        return "\n".join([*lines, f"{'all':31} {sums[0]:6} {sums[1]:8} {sums[2]:8} {sums[3]:8}"])


KINDS = (
    *(("main", name) for name in ("SIGKILL", "SIGTERM", "SIGINT")),
    *(("group", name) for name in ("SIGINT", "SIGTERM", "SIGKILL")),
    *(("worker", name) for name in ("SIGKILL", "SIGTERM")),
)


def attack(folder: Path, names: list[str], count: int, seed: int) -> Attack:
    """Kill so many times, jobs and kinds in turn."""
    attacked = Attack(folder, names, seed)
    plan = [(name, *kind) for kind in KINDS for name in names]
    attacked.rng.shuffle(plan)
    for index in range(count):
        name, target, number = plan[index % len(plan)]
        count_of_kind = attacked.counts.setdefault((name, target, number), Count())
        before = len(count_of_kind.faults), count_of_kind.orphans
        attacked.kill(name, target, number)
        print(f"{index + 1}/{count}: {name}, {target}, {number}", flush=True)
        for fault in count_of_kind.faults[before[0] :]:
            print(f"FAULT: {fault}", flush=True)
        if count_of_kind.orphans > before[1]:
            print("FAULT: processes were left", flush=True)
    return attacked


def main() -> None:
    """Run the attack of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=48, help="kills in all (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", default="run,path-ensemble,committor,free-energy,train,calibrate")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        attacked = attack(Path(folder), options.jobs.split(","), options.count, options.seed)
    print(attacked.table())
    sys.exit(any(count.faults or count.orphans for count in attacked.counts.values()))


if __name__ == "__main__":
    main()
