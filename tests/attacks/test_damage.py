"""Damaged files of a finished run are refused by name, or make no difference."""

import importlib.util
import sys
from pathlib import Path

import pytest


@pytest.fixture
def damage(monkeypatch):
    """The attack, which shares its settings with another one in the same folder."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    spec = importlib.util.spec_from_file_location("damage", Path(__file__).with_name("damage.py"))
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "damage", module)
    spec.loader.exec_module(module)
    return module


def check(damage, folder: Path, names: tuple[str, ...], count: int) -> None:
    outcome = damage.attack(folder, names, count, seed=0)
    assert outcome.faults == []
    assert outcome.damages == count
    assert outcome.counts["refused by name"] > outcome.damages / 4


def test_a_few_damages(damage, tmp_path):
    check(damage, tmp_path, ("path-ensemble",), 12)


@pytest.mark.attack
def test_many_damages(damage, tmp_path):
    check(damage, tmp_path, damage.AFTER, 400)
