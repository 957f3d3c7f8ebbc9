"""Damaged trajectories, frame weights, denoisers and committor models: each is read or refused, and nothing else.

    python tests/attacks/fuzz_trajectories.py --count 5000 --seed 0

Good files are changed by bytes, cut, or renamed, and read by the package's own readers in child processes. A fault is
an error that is not a SpacetimeError, a read of more than five seconds, or the end of the interpreter. The exit status
is 1 if there is a fault; the file that made it can be kept by --keep.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import json
import logging
import pickle
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

KINDS = ("dcd", "xtc", "trr", "h5", "pdb", "gro", "nc", "weights.npy", "weights.txt", "safetensors", "json")
FRAMES = 6
LONGEST = 5.0  # s
BATCH = 500


@np.errstate(over="ignore")
def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """Some bytes changed, mostly near the beginning, where sizes stand."""
    out = bytearray(data)
    for _ in range(rng.integers(1, 4)):
        if not out:
            break
        reach = len(out) if rng.random() < 0.5 else min(len(out), 400)
        at = int(rng.integers(reach))
        match rng.integers(11):
            case 0:
                del out[at:]
            case 1:
                out[at] ^= 1 << rng.integers(8)
            case 2:
                for place in rng.integers(reach, size=rng.integers(1, 20)):
                    out[place] = rng.integers(256)
            case 3:
                place, number = at & ~3, int(rng.choice([0, 1, -1, 2**31 - 1, -(2**31), 65536, 10**9, 7]))
                out[place : place + 4] = number.to_bytes(4, str(rng.choice(["big", "little"])), signed=True)
            case 4:
                length = int(rng.integers(1, 200))
                out[at : at + length] = bytes(len(out[at : at + length]))
            case 5:
                out[at:at] = rng.bytes(rng.integers(1, 50))
            case 6:
                del out[at : at + int(rng.integers(1, 50))]
            case 8 | 9:  # another number in a text or a header of text
                digits = [place for place in range(at, min(at + 200, len(out))) if 48 <= out[place] < 58]
                if digits:
                    out[digits[0]] = int(rng.choice(list(b"0123456789-.e")))
            case 10:
                place, real = at & ~3, rng.choice([np.nan, np.inf, -np.inf, 1e300, 1e-300, -1.0])
                raw = np.array(real, dtype=str(rng.choice(["<f8", ">f8", "<f4", ">f4"]))).tobytes()
                out[place : place + len(raw)] = raw
            case 7:
                out += out[at : at + int(rng.integers(1, 500))]
    return bytes(out)


class Bench:
    """Good files of one small molecule, and what reads each kind."""

    def __init__(self, folder: Path) -> None:
        from spacetime_tps.committor.model import CommittorModel, Descriptors
        from spacetime_tps.denoisers import GaussianMixtureDenoiser
        from spacetime_tps.dynamics.system import MolecularSystem
        from spacetime_tps.runs.trajectories import write_hdf5
        from spacetime_tps.settings.files import load_settings
        from spacetime_tps.settings.shipped import find_system

        self.folder = folder
        self.molecule = MolecularSystem.from_settings(load_settings(find_system("alanine_dipeptide")).system)
        rng = np.random.default_rng(0)
        start = self.molecule.structures["c5"] - self.molecule.structures["c5"].mean(axis=0)
        frames = self.molecule.trajectory(
            start + rng.normal(0, 0.004, (FRAMES, *start.shape)), np.arange(FRAMES, dtype=float)
        )
        self.positions = frames.xyz.astype(float)
        for kind in ("dcd", "xtc", "trr", "pdb", "gro", "nc"):
            frames.save(str(folder / f"good.{kind}"))
        write_hdf5(folder / "good.h5", frames, np.arange(FRAMES, dtype=float))
        np.save(folder / "good.weights.npy", np.arange(FRAMES, dtype=float))
        np.savetxt(folder / "good.weights.txt", np.arange(FRAMES))
        x = rng.normal(size=(30, 3))
        GaussianMixtureDenoiser([0.4, 0.6], x[:2], np.stack([np.eye(3)] * 2)).save(folder / "good.safetensors", {})
        model = CommittorModel(Descriptors.of_molecule(self.molecule.variables, frames.topology), self.positions)
        (folder / "good.json").write_text(json.dumps(model.to_json()))
        self.good = {kind: (folder / f"good.{kind}").read_bytes() for kind in KINDS}
        self.pickled = pickle.dumps(Path("x"))

    def write(self, seed: int, index: int) -> tuple[str, Path]:
        """The damaged file of a number, and its kind."""
        rng = np.random.default_rng([seed, index])
        kind = KINDS[index % len(KINDS)]
        data = self.good[kind]
        if kind == "weights.npy" and rng.random() < 0.1:
            np.save(self.folder / "objects.npy", np.array([{"a": 1}] * FRAMES, dtype=object), allow_pickle=True)
            data = (self.folder / "objects.npy").read_bytes()
        ending = kind
        if kind in KINDS[:7] and rng.random() < 0.05:
            ending = str(rng.choice(KINDS[:7]))
        path = self.folder / f"bad_{index}.{ending}"
        path.write_bytes(mutated(data, rng))
        return kind, path

    def read(self, kind: str, path: Path) -> None:
        """As the package does; raises what it raises."""
        from spacetime_tps.committor.model import CommittorModel
        from spacetime_tps.denoisers import GaussianMixtureDenoiser, PotentialDenoiser, VonMisesMixtureDenoiser
        from spacetime_tps.errors import SpacetimeError
        from spacetime_tps.runs.hdf5 import read_hdf5, read_hdf5_energies
        from spacetime_tps.runs.trajectories import read_trr
        from spacetime_tps.runs.user_trajectories import load_frame_weights, load_user_trajectory

        if kind.startswith("weights"):
            load_frame_weights(path, FRAMES, 1)
        elif kind == "safetensors":
            for other in (PotentialDenoiser, VonMisesMixtureDenoiser):
                with contextlib.suppress(SpacetimeError):
                    other.load(path)
            GaussianMixtureDenoiser.load(path)
        elif kind == "json":
            CommittorModel.load(path)(self.positions)
        else:
            for read in {".trr": [read_trr], ".h5": [read_hdf5, read_hdf5_energies]}.get(path.suffix, []):
                with contextlib.suppress(SpacetimeError):
                    read(path)
            load_user_trajectory(path, self.molecule)


def read_batch(seed: int, first: int, last: int, keep: Path | None) -> None:
    """In a child: one line before and one after each file."""
    from spacetime_tps.errors import SpacetimeError

    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        bench = Bench(Path(name))
        for index in range(first, last):
            kind, path = bench.write(seed, index)
            if keep is not None:
                (keep / path.name).write_bytes(path.read_bytes())
            print(json.dumps({"index": index, "kind": kind}), flush=True)
            faulthandler.dump_traceback_later(4 * LONGEST, exit=True)
            began, outcome, told = time.perf_counter(), "read", ""
            try:
                bench.read(kind, path)
            except SpacetimeError as error:
                outcome = "refused"
                if path.name not in str(error) and kind != "json":
                    outcome, told = "fault", f"the message does not name the file: {error}"
            except BaseException:
                outcome, told = "fault", traceback.format_exc()
            faulthandler.cancel_dump_traceback_later()
            if (spent := time.perf_counter() - began) > LONGEST:
                outcome, told = "fault", f"{spent:.1f} s"
            print(json.dumps({"outcome": outcome, "told": told}), flush=True)
            path.unlink(missing_ok=True)


def attack(count: int, seed: int, keep: Path | None = None) -> tuple[Counter[tuple[str, str]], list[str]]:
    """Outcomes by kind of file, and what was told of each fault."""
    outcomes: Counter[tuple[str, str]] = Counter()
    faults: list[str] = []
    first = 0
    while first < count:
        last = min(first + BATCH, count)
        command = [sys.executable, __file__, "--batch", str(first), str(last), "--seed", str(seed)]
        command += ["--keep", str(keep)] if keep is not None else []
        child = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = [json.loads(line) for line in child.stdout.splitlines() if line.startswith("{")]
        begun, ended = lines[::2], lines[1::2]
        for one, end in zip(begun, ended, strict=False):
            outcomes[one["kind"], end["outcome"]] += 1
            if end["outcome"] == "fault":
                faults.append(f"{one['index']} ({one['kind']}): {end['told']}")
        if len(begun) > len(ended):  # the interpreter ended there
            outcomes[begun[-1]["kind"], "fault"] += 1
            faults.append(f"{begun[-1]['index']} ({begun[-1]['kind']}): ended with {child.returncode}\n{child.stderr}")
            first = begun[-1]["index"] + 1
            continue
        if child.returncode:
            faults.append(f"{first} to {last}: ended with {child.returncode} after the last file\n{child.stderr}")
        first = last
    return outcomes, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="number of files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder to keep all files in")
    parser.add_argument("--batch", type=int, nargs=2, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.batch:
        read_batch(asked.seed, *asked.batch, asked.keep)
        return 0
    outcomes, faults = attack(asked.count, asked.seed, asked.keep)
    print(f"{'kind':<12} {'read':>6} {'refused':>8} {'fault':>6}")
    for kind in KINDS:
        print(f"{kind:<12} {outcomes[kind, 'read']:>6} {outcomes[kind, 'refused']:>8} {outcomes[kind, 'fault']:>6}")
    for fault in faults:
        print(fault)
    print(f"{sum(outcomes.values())} files, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
