"""The attacks, small here and long behind the marker ``attack``."""

import importlib.util
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the attacks look into /proc")


def load(name: str):
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(f"attacks_{name}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def check_kills(folder: Path, names: list[str], count: int) -> None:
    attacked = load("kill").attack(folder, names, count, seed=0)
    counts = attacked.counts.values()
    assert [fault for each in counts for fault in each.faults] == []
    assert sum(each.orphans for each in counts) == 0
    assert sum(each.kills for each in counts) == sum(each.resumed for each in counts) > 0


def test_a_few_kills(tmp_path):
    check_kills(tmp_path, ["run"], 3)


@pytest.mark.attack
def test_many_kills(tmp_path):
    check_kills(tmp_path, list(load("kill").jobs(tmp_path)), 120)


@pytest.mark.attack
def test_soak(tmp_path):
    soak = load("soak")
    assert soak.faults(soak.soak(tmp_path, 100)) == []


def test_a_short_soak(tmp_path):
    """Memory aside, nothing is left of three jobs."""
    soak = load("soak")
    readings = soak.soak(tmp_path, 3)
    for name in ("descriptors", "children", "threads", "semaphores"):
        assert getattr(readings[2], name) <= getattr(readings[0], name)
