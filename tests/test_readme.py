"""What README and docstrings show works: commands, options, names, and Python that is run."""

import argparse
import doctest
import importlib
import os
import pydoc
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import spacetime_tps
from spacetime_tps.cli.app import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMAND = "spacetime-tps"
RUN = "runs/alanine_dipeptide"


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)


def lines_of_commands() -> Iterator[list[str]]:
    """Words of every command line: those of the bash blocks, and those in the text that begin with our command."""
    in_text = re.findall(rf"`((?:{COMMAND}|bash) [^`]+)`", re.sub(r"^```.*?^```$", "", README, flags=re.DOTALL | re.M))
    for line in (*"\n".join(blocks("bash")).splitlines(), *in_text):
        if words := shlex.split(line.replace("…", ""), comments=True):
            yield words


COMMANDS = list(lines_of_commands())


def ours() -> Any:
    """The command line as typer's group of commands."""
    return typer.main.get_command(app)


@pytest.fixture
def benchmarks(script, monkeypatch) -> argparse.ArgumentParser:
    """The parser of the program of the benchmarks, which ends once it has one."""
    made: list[argparse.ArgumentParser] = []

    def stop(parser: argparse.ArgumentParser, arguments=None, namespace=None):
        made.append(parser)
        raise SystemExit

    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(argparse.ArgumentParser, "parse_args", stop)
        script("run").main([])
    return made[0]


def test_readme_shows_commands():
    shown = {words[1] for words in COMMANDS if Path(words[0]).name == COMMAND}
    assert {"run", "path-ensemble", "committor", "free-energy", "export", "train", "calibrate"} <= shown


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_lines_can_be_parsed(words, benchmarks):
    """The subcommand is there, and its options are with values of their kind; nothing is run."""
    program, *arguments = words
    if Path(program).name == COMMAND:
        ours().commands[arguments[0]].make_context(arguments[0], arguments[1:])
    else:
        assert Path(program).name in ("bash", "python")
        assert (ROOT / arguments[0]).is_file()
        if arguments[0] == "scripts/benchmarks/run.py":
            benchmarks.parse_args(arguments[1:])


def test_options_in_the_text_exist(benchmarks):
    known = {option for command in ours().commands.values() for each in command.params for option in each.opts}
    known |= {option for action in benchmarks._actions for option in action.option_strings} | {"--help"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README)) <= known


def test_names_in_the_text_exist():
    """Whole names from the package on, and those of modules and functions from one of its rooms on."""
    names = set(re.findall(r"\bspacetime_tps(?:\.[a-z_]\w*)+", README))
    names |= {f"spacetime_tps.{name}" for name in re.findall(r"`((?:\w+\.)+\w+)`", README) if is_module(name)}
    assert len(names) > 3
    assert {name for name in names if pydoc.locate(name) is None} == set()


def is_module(name: str) -> bool:
    """Whether a dotted name begins with a room and a module of it; settings have dotted names too."""
    room, module, *_ = name.split(".")
    return (ROOT / "spacetime_tps" / room / f"{module}.py").is_file()


def test_files_in_the_text_exist():
    links = re.findall(r"\]\(((?:scripts|systems|docs|tests|forcefields)/[^)#]+)\)", README)
    scripts = re.findall(r"\b((?:scripts|systems|tests)/[\w./]+\.(?:py|sh|yaml))\b", README)
    assert links and scripts
    assert {name for name in (*links, *scripts) if not (ROOT / name).exists()} == set()


SMALL = {
    "samples": {
        "temperatures": ["300 K", "1000 K", "1300 K"],
        "length": "50 ps",
        "exchange_interval": "0.2 ps",
        "frame_interval": "0.2 ps",
        "discard": "4 ps",
        "weights": "mbar",
    },
    "denoiser": {"components": [1], "check_points": 0},
    "geodesics": {
        "points": 32,
        "knots": 12,
        "graph_samples": 60,
        "channels": 1,
        "graph_levels": 8,
        "variance_bound": "0.01 nm**2",
        "region": None,
    },
    "paths": {"count": 4, "count_region_avoiding": 0, "length": "0.512 ps", "baseline_snr": []},
    "shooting": {"reactive": 1, "max_shots": 64, "batch": 8},
}
"""Seconds in the place of the demo's minutes."""


@pytest.fixture
def demo(tmp_path) -> Path:
    """A folder like a checkout after the demo, but that its run is small."""
    config = tmp_path / "small.yaml"
    config.write_text(yaml.safe_dump(SMALL))
    spacetime_tps.run("alanine_dipeptide", tmp_path / RUN, config=config, seed=3, workers=2)
    (tmp_path / "systems").symlink_to(ROOT / "systems")
    return tmp_path


@pytest.mark.slow
def test_python_of_the_readme_runs(demo):
    """As one script: a block may go on with what one before it has made."""
    (demo / "readme.py").write_text("\n".join(blocks("python")), encoding="utf-8")
    ended = subprocess.run(
        [sys.executable, "readme.py"],
        cwd=demo,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout


EXAMPLES = sorted(
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in (ROOT / "spacetime_tps").rglob("*.py")
    if ">>>" in path.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", EXAMPLES)
def test_examples_in_docstrings(module):
    result = doctest.testmod(importlib.import_module(module))
    assert result.attempted > 0
    assert result.failed == 0
