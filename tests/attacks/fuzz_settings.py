"""Settings damaged by keys and by bytes: each is accepted or refused by name, and soon.

    python tests/attacks/fuzz_settings.py --count 10000

It mutates the shipped system.yaml files, the config.yaml of runs, and --config files of runs and jobs, and reads them
in this process as the commands do. It ends with 1 if anything but a SpacetimeError comes out, or one input takes more
than 5 s of processor time.
"""

from __future__ import annotations

import argparse
import copy
import random
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from spacetime_tps.errors import SpacetimeError
from spacetime_tps.settings.estimate import check_estimate, estimate_run, estimate_surface_run
from spacetime_tps.settings.files import load_settings, open_run
from spacetime_tps.settings.jobs import job_settings, nested, put_on_top, read_job_settings
from spacetime_tps.settings.shipped import find_system, shipped_systems
from spacetime_tps.settings.surface import SurfaceRunSettings

MOST_SECONDS = 5.0
CONFIGS = (
    {"paths": {"count": 8, "length": "0.5 ps"}, "samples": {"length": "20 ps"}},
    {"denoiser": {"kind": "potential", "network": "message_passing", "pretrained": "a.safetensors"}},
    {"coordinates": "torsions", "geodesics": {"variance_bound": 0.1, "region": None}},
    {"samples": {"method": "molecular_dynamics", "length": "20 ps", "trajectories_per_state": 1}},
    {"samples": {"method": "files", "trajectories": ["a.dcd", "b.dcd"], "weights": ["a.txt", "b.npy"], "stride": 2}},
)
JOB_CONFIGS = {
    "committor": {"committor": {"band": [0.3, 0.7], "confidence": 0.9}, "shooting": {"time_limit": "10 ps"}},
    "path-ensemble": {"shooting": {"time_limit": "10 ps"}},
    "free-energy": {"free_energy": {"sweeps": 4, "friction": "20 / ps"}, "paths": {"length": "2 ps"}},
    "calibrate": {"calibration": {"log_snr_margin": 1}, "windows": {"replicas": 4, "equilibration": "5 ps"}},
    "train": {"denoiser": {"kind": "potential", "network": "message_passing", "steps": 100}},
}
KEYS = ("x", "1", "<<", "kind", "method", "π", "\U0001f9ec", "a.b", "", " ", "__class__", "seed", "on", "x" * 300)
VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 10**9, 10**12, 10**30, 10**400, -(10**30), 1e-300, 1e300, 1e308, 0.5),
    *(float("nan"), float("inf"), -float("inf"), [], {}, [[]], [None], {"a": 1}, {"kind": None}, {"method": []}),
    *("", " ", "text", "null", "\0", "\ud800", "٣", "½", "\u202e", "a" * 20_000, "../" * 400, "a/" * 3000, "~", "/"),
    *("/dev/zero", "a\nb", "%s{0}", "${HOME}", "[/bold]", "!!python/name:os.system", "*a", "&a", "2001-99-99"),
    *("1", "300", "nan K", "inf ps", "1e999 K", "-1 ps", "0 ps", "1 K*9**9**9**9", "9" * 100_000, "1 nm**1e9"),
    *("1e-300 ps", "1e300 ps", "1e15 ps", "1e-300 fs", "(((1 ps)))", "1 ps + 1 ps", "1 parsnip", "1/0 ps", "1 %", "ps"),
    *("1e308 km", "5 degC", "1 dB", "1 ps**-9", "1 1/ps", "1 1/nm**2", "180 deg", "1e9 deg", "1 rad", "0 nm", "1 µs"),
    *("potential", "mixture", "torsions", "cartesian", "files", "replica_exchange", "message_passing", "phi"),
)
TEXTS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(f"b{i}: &b{i} [{'*a,' * 9}]\n" for i in range(9)),
    "l0: &l0 [x,x,x,x,x,x,x,x,x]\n" + "".join(f"l{i}: &l{i} [{f'*l{i - 1},' * 9}]\n" for i in range(1, 10)),
    *("a: &a [*a]\n", "a: &a {<<: *a}\n", "? [a]\n: 1\n", "? {a: b}\n: 1\n", "null: 1\n", "1: 2\n", "2001-01-01: 1\n"),
    *("a: !!python/object/apply:os.system [ls]\n", "!!set {a, b}\n", "a: !!binary x\n", "%YAML 9.9\n---\n", "---\n"),
    *("x: " + "[" * 5000, "x: " + "{a: " * 5000, "\n".join(" " * i + "a:" for i in range(500)), "? " * 5000),
    *("x: 0x" + "f" * 5000 + "\n", "x: 0b_\n", "x: 1:2:3:4:5\n", "x: =\n", "x: ._\n", "\t", "\x00", "\ufeff", "\x85"),
    *('x: "\\ud800"\n', 'x: "\\U99999999"\n', 'x: "\\x00"\n', "x: '" + "y" * 200_000 + "'\n", "# " + "z" * 2_000_000),
    *("x: [" + "1," * 30_000 + "]\n", "".join(f"k{i}: {i}\n" for i in range(15_000)), "<<: 1\n", "<<: [{a: 1}, 2]\n"),
)


class TooLong(BaseException):
    """An input that has not been read after many times the time that it may take."""


@dataclass(frozen=True)
class Case:
    """Files to read: ``text`` in the place of a system.yaml, a --config on top of ``system``, or a config.yaml.

    Other kinds are jobs, whose --config it is.
    """

    kind: str
    system: str
    text: bytes


@dataclass
class Counts:
    """What has come of the inputs."""

    accepted: int = 0
    refused: int = 0
    failures: list[str] = field(default_factory=list)
    slowest: float = 0.0
    slowest_case: Case | None = None

    @property
    def inputs(self) -> int:
        """Number of inputs."""
        return self.accepted + self.refused + len(self.failures)


def originals() -> list[tuple[str, str, dict[str, Any]]]:
    """Kind of file, system and content of what is damaged."""
    found: list[tuple[str, str, dict[str, Any]]] = []
    for name in shipped_systems():
        found.append(("system", name, yaml.safe_load(find_system(name).read_text())))
        stored = load_settings(find_system(name)).model_dump(mode="json", exclude_none=True)
        found.append(("run", name, stored | {"seed": 0, "versions": {"openmm": "8.5"}}))
    found += [("config", "alanine_dipeptide", content) for content in CONFIGS]
    found += [(job, "alanine_dipeptide", content) for job, content in JOB_CONFIGS.items()]
    found.append(("config", "c_channel", {"paths": {"count": 8, "steps": 100}, "surface": {"kt": 2}}))
    return found


def make_case(rng: random.Random, contents: list[tuple[str, str, dict[str, Any]]]) -> Case:
    """One damaged file."""
    kind, system, content = rng.choice(contents)
    how = rng.random()
    if how < 0.65:
        content = copy.deepcopy(content)
        for _ in range(rng.choice((1, 1, 1, 2, 3, 8))):
            change_key(rng, content)
    try:
        text = yaml.dump(content, sort_keys=False, allow_unicode=rng.random() < 0.5, width=rng.choice((80, 10**6)))
    except Exception:  # what YAML cannot write is none of our inputs
        text = yaml.safe_dump(contents[0][2])
    data = text.encode("utf-8", errors="surrogatepass")
    if 0.6 < how < 0.9:
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            data = change_bytes(rng, data)
    elif how >= 0.9:
        data = change_lines(rng, data)
    return Case(kind, system, data)


def change_key(rng: random.Random, content: dict[str, Any]) -> None:
    """Delete, rename, replace, swap, or nest one value anywhere in the content."""
    place: Any = content
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return
        key = rng.choice(keys)
        if isinstance(place[key], dict | list) and place[key] and rng.random() < 0.8:
            place = place[key]
        else:
            break
    action = rng.randrange(7)
    if action == 0:
        del place[key]
    elif action == 1 and isinstance(place, dict):
        place[rng.choice((*KEYS, *(1, None, 1.5, True, (1, 2))))] = place.pop(key)
    elif action == 2 and isinstance(place, dict):
        place[rng.choice(KEYS)] = rng.choice(VALUES)
    elif action == 3:
        other = rng.choice(keys)
        place[key], place[other] = place[other], place[key]
    elif action == 4:
        nested: Any = place[key]
        for _ in range(rng.choice((1, 2, 30, 200))):
            nested = [nested] if rng.random() < 0.5 else {"a": nested}
        place[key] = nested
    elif action == 5 and isinstance(place[key], dict | list):
        place[key] = place[key] * 50 if isinstance(place[key], list) else list(place[key].items())
    else:
        place[key] = copy.deepcopy(rng.choice(VALUES))


def change_bytes(rng: random.Random, data: bytes) -> bytes:
    """Flip, insert, delete, repeat or cut bytes."""
    at = rng.randrange(len(data) + 1)
    end = min(len(data), at + rng.choice((1, 1, 2, 10, 200)))
    action = rng.randrange(5)
    if action == 0 and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if action == 1:
        return data[:at] + bytes(rng.randrange(256) for _ in range(end - at)) + data[at:]
    if action == 2:
        return data[:at] + data[end:]
    if action == 3:
        return data[:end] + data[at:end] * rng.choice((1, 3, 1000)) + data[end:]
    return (
        data[:at] if rng.random() < 0.1 else data[:at] + rng.choice(b"{}[],:&*!|>'\"%@`#?-\n\t ").to_bytes() + data[at:]
    )


def change_lines(rng: random.Random, data: bytes) -> bytes:
    """Repeat, swap or drop a line, or put hostile YAML between two."""
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    action = rng.randrange(4)
    if action == 0:
        lines.insert(rng.randrange(len(lines)), lines[at])
    elif action == 1:
        other = rng.randrange(len(lines))
        lines[at], lines[other] = lines[other], lines[at]
    elif action == 2:
        del lines[at]
    else:
        lines.insert(rng.choice((0, at, len(lines))), rng.choice(TEXTS).encode("utf-8", errors="surrogatepass"))
    return b"".join(lines)


def read(case: Case, folder: Path) -> None:
    """Read the files of a case as the commands do, and what a run would write of them.

    Raises
    ------
    SpacetimeError
        If they are refused, with a message that can be printed.
    """
    path = folder / ("config.yaml" if case.kind != "system" else "system.yaml")
    path.write_bytes(case.text)
    if case.kind == "run":
        settings, _ = open_run(folder)
    elif case.kind == "config":
        settings = load_settings(find_system(case.system), path)
    elif case.kind in JOB_CONFIGS:
        settings = read_job_settings(load_settings(find_system(case.system)), case.kind, path)
    else:
        settings = load_settings(path)
    if case.kind in JOB_CONFIGS:
        values = job_settings(settings, case.kind)
        assert job_settings(put_on_top(settings, case.kind, nested(values), "request"), case.kind) == values
    surface = isinstance(settings, SurfaceRunSettings)
    check_estimate(estimate_surface_run(settings) if surface else estimate_run(settings, atoms=22, dimension=30))
    written = settings.model_dump(mode="json", exclude_none=True) | {"seed": 0, "versions": {}}
    (folder / "config.yaml").write_text(yaml.safe_dump(written, sort_keys=False))
    assert open_run(folder) == (settings, 0), "a run would not read its own config.yaml"


@contextmanager
def alarm(seconds: float) -> Iterator[None]:
    """Stop what takes longer."""

    def stop(*_: object) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def fuzz(count: int, seed: int) -> Counts:
    """Read that many damaged files; the same seed makes the same files."""
    counts, contents = Counts(), originals()
    with tempfile.TemporaryDirectory() as name:
        for number in range(count):
            case = make_case(random.Random(f"{seed} {number}"), contents)
            start, refused = time.process_time(), False
            try:
                with alarm(12 * MOST_SECONDS):
                    try:
                        read(case, Path(name))
                    except SpacetimeError as error:
                        refused = True
                        str(error).encode()  # a message that can be printed
            except (Exception, TooLong) as error:
                last = traceback.extract_tb(error.__traceback__)[-1]
                where = f"{Path(last.filename).name}:{last.lineno}"
                counts.failures.append(
                    f"input {number}: {type(error).__name__}: {str(error)[:200]} ({where})\n{show(case)}"
                )
            else:
                counts.accepted += not refused
                counts.refused += refused
            seconds = time.process_time() - start
            if seconds > counts.slowest:
                counts.slowest, counts.slowest_case = seconds, case
    return counts


def show(case: Case) -> str:
    """The case, to be read again."""
    text = ascii(case.text)
    return f"  {case.kind} of {case.system}: {text if len(text) < 3000 else text[:3000] + '…'}"


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of inputs (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the mutations (default 0)")
    arguments = parser.parse_args()
    counts = fuzz(arguments.count, arguments.seed)
    for failure in counts.failures[:20]:
        print(failure)
    print(
        f"{counts.inputs} inputs: {counts.accepted} accepted, {counts.refused} refused, {len(counts.failures)} others; "
        f"slowest {counts.slowest:.2f} s of processor time"
    )
    if counts.slowest > MOST_SECONDS and counts.slowest_case is not None:
        print(f"too slow:\n{show(counts.slowest_case)}")
    return 1 if counts.failures or counts.slowest > MOST_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())
