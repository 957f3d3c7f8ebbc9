"""What jobs that follow a run refuse."""

import pytest

from spacetime_tps.errors import ConfigError, OutputError
from spacetime_tps.runs.context import report_path
from spacetime_tps.runs.requests import (
    begun_folder,
    check_curve,
    check_options,
    check_request,
    check_room,
    open_molecule_run,
)


def test_a_run_must_have_come_so_far(begun):
    run = begun()
    assert open_molecule_run(run)[1] == 7
    with pytest.raises(OutputError, match=r"has not finished its stage 'samples' yet; go on with it by .*--resume"):
        open_molecule_run(run, "samples")
    report_path(run, "samples").parent.mkdir()
    report_path(run, "samples").write_text("{}")
    settings, _ = open_molecule_run(run, "samples")
    assert settings.system.name == "alanine_dipeptide"


def test_surfaces_are_refused(begun):
    with pytest.raises(OutputError, match="is a run on a model surface"):
        open_molecule_run(begun("c_channel"))


def test_curves_are_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no geodesic 'low_variance'; it has none"):
        check_curve(tmp_path, "low_variance")
    (tmp_path / "geodesics").mkdir()
    (tmp_path / "geodesics" / "unconstrained.npz").touch()
    check_curve(tmp_path, "unconstrained")
    with pytest.raises(ConfigError, match=r"it has unconstrained"):
        check_curve(tmp_path, "low_variance")


def test_numbers_and_room(tmp_path):
    check_options({"windows": (2, 2), "seed": (None, 0)})
    with pytest.raises(ConfigError, match="--seed must be at least 0, not -1"):
        check_options({"windows": (2, 2), "seed": (-1, 0)})
    check_room(tmp_path / "new", overwrite=False)
    check_room(tmp_path, overwrite=True)
    with pytest.raises(OutputError, match="is there already; take --overwrite"):
        check_room(tmp_path, overwrite=False)


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
