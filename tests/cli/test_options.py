"""Options mean the same in all commands, and exclude each other in all."""

from collections import defaultdict

import pytest
import typer
from typer.testing import CliRunner

from spacetime_tps.cli.app import app

COMMANDS = typer.main.get_command(app).commands  # type: ignore[attr-defined]
JOBS = ("run", "train", "calibrate", "committor", "path-ensemble", "free-energy", "export")


def test_one_name_a_job():
    assert set(COMMANDS) == {*JOBS, "systems"}


def test_an_option_has_one_meaning():
    meanings = defaultdict(set)
    for command in COMMANDS.values():
        for option in command.params:
            meanings[option.name].add(option.help.split(".")[0])
    alike = {"paths"}  # "each way" is added where there are two ways
    assert {name: found for name, found in meanings.items() if len(found) > 1 and name not in alike} == {}
    assert len({meaning.split(" along")[0] for meaning in meanings["paths"]}) == 1
    assert {"seed", "workers", "resume", "overwrite", "run", "output", "frames"} <= meanings.keys()


def test_every_option_is_described_in_a_sentence():
    for command in COMMANDS.values():
        for option in command.params:
            if option.name != "help":
                assert option.help.endswith(".") and len(option.help.split()) > 3, (command.name, option.name)


@pytest.mark.parametrize("command", [name for name in JOBS if "resume" in {o.name for o in COMMANDS[name].params}])
def test_resume_and_overwrite_exclude_each_other(command, begun, tmp_path):
    folder = begun()
    before = sorted(folder.rglob("*"))
    target = ["alanine_dipeptide", "--output", str(folder)] if command == "run" else [str(folder)]
    result = CliRunner().invoke(app, [command, *target, "--resume", "--overwrite"])
    assert result.exit_code == 1
    assert "--resume and --overwrite exclude each other" in result.output
    assert sorted(folder.rglob("*")) == before
