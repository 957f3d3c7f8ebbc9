"""Damaged files are read or refused, and nothing else."""

import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("fuzz_trajectories.py")


def attack(count: int, seed: int) -> None:
    command = [sys.executable, str(SCRIPT), "--count", str(count), "--seed", str(seed)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert f"{count} files, 0 faults" in ended.stdout


def test_some_damaged_files():
    attack(220, 100)


@pytest.mark.attack
def test_many_damaged_files():
    attack(5500, 101)
