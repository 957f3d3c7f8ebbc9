"""Checkpoints: what is written is read again, whatever interrupts, and damage is refused."""

import json

import numpy as np
import pytest

from spacetime_tps.errors import OutputError
from spacetime_tps.path_ensemble.checkpoint import Checkpoint
from spacetime_tps.path_ensemble.moves import Path
from spacetime_tps.path_ensemble.results import MoveRow
from spacetime_tps.path_ensemble.sampling import Chain, Chains
from spacetime_tps.runs import layout


def path_of(frames: int) -> Path:
    rng = np.random.default_rng(frames)
    positions, velocities = rng.random((2, frames, 2, 3))
    return Path(positions, velocities, rng.random(frames), np.arange(frames))


def row(move: int, chain: int) -> MoveRow:
    return MoveRow(move, chain, "accepted", "both", 1, 3, 0.1 + 0.2, 1, {"phi": 1 / 3}, True, 10, "", "")


@pytest.fixture
def chains() -> Chains:
    """Two chains after three moves, with paths of unequal length, one of them stored and new."""
    first, second = Chain(path_of(3), 1, 2, "path_0000.trr", 2), Chain(path_of(5), 4, 0, "", -1)
    rows = tuple(row(move, chain) for move in range(1, 4) for chain in range(2))
    return Chains((first, second), 3, 1, rows, {"path_0000.trr": path_of(3)})


def assert_equal(one: Chains, other: Chains) -> None:
    assert (one.done, one.stored, len(one.chains)) == (other.done, other.stored, len(other.chains))
    for a, b in zip(one.chains, other.chains, strict=True):
        assert (a.crossing_frame, a.reference, a.kept, a.kept_born) == (
            b.crossing_frame,
            b.reference,
            b.kept,
            b.kept_born,
        )
        for name in ("positions", "velocities", "weights", "born"):
            np.testing.assert_array_equal(getattr(a.path, name), getattr(b.path, name))


def test_what_is_written_is_read(tmp_path, chains):
    checkpoint = Checkpoint.begin(tmp_path, 0.1)
    saved = checkpoint.save(chains, 1.5)
    assert (saved.new_rows, saved.new_paths) == ((), {})
    again, loaded, seconds = Checkpoint.load(tmp_path, 0.1)
    assert_equal(loaded, chains)
    assert seconds == 1.5
    assert again.rows == list(chains.new_rows) == checkpoint.rows
    again.save(loaded, 2.0)
    assert Checkpoint.load(tmp_path, 0.1)[0].rows == list(chains.new_rows)


def test_a_save_that_was_interrupted_is_made_again(tmp_path, chains):
    """Half of the moves are in the journal already: none is written twice."""
    checkpoint = Checkpoint.begin(tmp_path, 0.1)
    with checkpoint.journal.appending() as appender:
        for moved in chains.new_rows[:3]:
            appender.add(moved.to_json())
    checkpoint.save(chains, 0.0)
    assert Checkpoint.load(tmp_path, 0.1)[0].rows == list(chains.new_rows)


def test_moves_after_the_chains_are_dropped(tmp_path, chains):
    checkpoint = Checkpoint.begin(tmp_path, 0.1)
    checkpoint.save(chains, 0.0)
    with checkpoint.journal.appending() as appender:
        appender.add(row(4, 0).to_json())
    assert Checkpoint.load(tmp_path, 0.1)[0].rows == list(chains.new_rows)


@pytest.mark.parametrize(
    "name", [layout.ENSEMBLE_CHECKPOINT, layout.ENSEMBLE_JOURNAL, "path_0000.trr", "chains_000003.npz"]
)
def test_damage_is_refused_by_name(tmp_path, chains, name):
    Checkpoint.begin(tmp_path, 0.1).save(chains, 0.0)
    content = (tmp_path / name).read_bytes()
    for damaged in (None, b"", content[: len(content) // 2]):
        if damaged is None:
            (tmp_path / name).unlink()
        else:
            (tmp_path / name).write_bytes(damaged)
        with pytest.raises(OutputError, match=name):
            Checkpoint.load(tmp_path, 0.1)


def test_a_checksum_that_differs_names_the_file_and_its_checkpoint(tmp_path, chains):
    """Either of them may be the damaged one."""
    Checkpoint.begin(tmp_path, 0.1).save(chains, 0.0)
    path = tmp_path / layout.ENSEMBLE_CHECKPOINT
    content = json.loads(path.read_bytes())
    content["files"]["path_0000.trr"]["sha256"] = "0" * 64
    path.write_text(json.dumps(content))
    with pytest.raises(OutputError, match=r"path_0000\.trr is missing, or not the file that .*checkpoint\.json tells"):
        Checkpoint.load(tmp_path, 0.1)
