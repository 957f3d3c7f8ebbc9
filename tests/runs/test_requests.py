"""What jobs that follow a run refuse."""

import pytest

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.requests import begun_folder, check_options, check_request


def test_numbers():
    check_options({"windows": (2, 2), "seed": (None, 0)})
    with pytest.raises(ConfigError, match="--seed must be at least 0, not -1"):
        check_options({"windows": (2, 2), "seed": (-1, 0)})


def test_requests_are_resumed_and_not_mixed(tmp_path):
    folder, request = tmp_path / "job", {"moves": 3, "seed": 1}
    check_request(folder, request, resume=False, overwrite=False)
    with pytest.raises(OutputError, match="holds nothing to resume"):
        check_request(folder, request, resume=True, overwrite=False)
    with begun_folder(folder, request) as partial:
        (partial / "first.txt").write_text("first")
    assert sorted(path.name for path in folder.iterdir()) == ["first.txt", "request.json"]
    check_request(folder, request, resume=True, overwrite=False)
    check_request(folder, request, resume=False, overwrite=True)
    with pytest.raises(OutputError, match="take --resume to go on with it, or --overwrite"):
        check_request(folder, request, resume=False, overwrite=False)
    with pytest.raises(OutputError, match="was begun with moves 3, not 4"):
        check_request(folder, request | {"moves": 4}, resume=True, overwrite=False)
    with pytest.raises(OutputError, match="exclude each other"):
        check_request(folder, request, resume=True, overwrite=True)


def test_what_fails_while_it_begins_replaces_nothing(tmp_path):
    folder = tmp_path / "job"
    with begun_folder(folder, {"seed": 1}) as partial:
        (partial / "kept.txt").write_text("kept")
    with pytest.raises(OSError), begun_folder(folder, {"seed": 2}):
        raise OSError("disk full")
    assert (folder / "kept.txt").is_file() and '"seed": 1' in (folder / "request.json").read_text()
    with begun_folder(folder, {"seed": 2}):
        pass
    assert [path.name for path in folder.iterdir()] == ["request.json"]
