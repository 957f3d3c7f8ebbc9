"""Damaged settings are accepted or refused by name, and soon; see ``fuzz_settings.py``."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def fuzz_settings() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuzz_settings", Path(__file__).with_name("fuzz_settings.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look themselves up there
    spec.loader.exec_module(module)
    return module


def check(counts):
    assert not counts.failures, "\n".join(counts.failures[:5])
    assert counts.slowest < 5
    assert counts.accepted > counts.inputs / 50
    assert counts.refused > counts.inputs / 2


def test_a_few_hundred(fuzz_settings):
    check(fuzz_settings.fuzz(300, seed=1))


@pytest.mark.attack
def test_ten_thousand(fuzz_settings):
    check(fuzz_settings.fuzz(10_000, seed=0))
