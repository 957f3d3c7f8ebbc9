"""What jobs that follow a run refuse, and the settings that they go by."""

import pytest

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.folder import Run
from spacetime_tps.runs.requests import begun_folder, check_options, check_request, take_settings
from spacetime_tps.settings.jobs import job_settings


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


def begin_with(run: Run, limit: str) -> dict[str, object]:
    """A committor that was begun with a time limit."""
    config = run.folder / "job.yaml"
    config.write_text(f"shooting: {{time_limit: {limit}}}\n")
    take_settings(run, "committor", config, resume=False)
    request = {"shots": 3, "settings": job_settings(run.settings, "committor")}
    with begun_folder(run.path("committor"), request):
        pass
    return request


def test_job_that_is_resumed_has_the_settings_that_it_was_begun_with(begun):
    folder = begun()
    request = begin_with(Run.open(folder), "7 ps")
    again = Run.open(folder)
    assert again.settings.shooting.time_limit == 5
    take_settings(again, "committor", None, resume=True)
    assert again.settings.shooting.time_limit == 7
    assert job_settings(again.settings, "committor") == request["settings"]
    other = Run.open(folder)
    take_settings(other, "committor", None, resume=False)
    assert other.settings.shooting.time_limit == 5
    asked = request | {"settings": job_settings(other.settings, "committor")}
    with pytest.raises(OutputError, match=r"was begun with shooting.time_limit 7.0 ps, not 5.0 ps"):
        check_request(folder / "committor", asked, resume=True, overwrite=False)
    check_request(folder / "committor", request, resume=True, overwrite=False)


@pytest.mark.parametrize("before, after", [("7.0 ps", "8.0 ps"), ("settings", "sittings"), ("{", "["), ("0.95", "NaN")])
def test_damaged_request_is_never_gone_on_with(begun, before, after):
    folder = begun()
    begin_with(Run.open(folder), "7 ps")
    file = folder / "committor" / "request.json"
    assert before in file.read_text()
    file.write_text(file.read_text().replace(before, after, 1))
    with pytest.raises(OutputError, match=r"request\.json is damaged"):
        take_settings(Run.open(folder), "committor", None, resume=True)
