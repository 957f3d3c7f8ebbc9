"""From outcomes to committors, by hand."""

import json

import numpy as np
import pytest

from spacetime_tps.committor.candidates import ChosenFrames
from spacetime_tps.committor.core import committor_result, decided_shots, frame_committors
from spacetime_tps.committor.results import CommittorRequest, ShotRow
from spacetime_tps.statistics.intervals import wilson_interval

NAMES = ("left", "right")
REQUEST = CommittorRequest("reactive", 4, None, (0.4, 0.6), 0.95, 1, {"committor.band": [0.4, 0.6]})


def shots_of(*outcomes: str) -> list[ShotRow]:
    """A shot for each letter, by frame: A, B, n for none, f for failed; shot n takes n + 1 ps and ten evaluations."""
    ends = {"A": "A", "B": "B", "n": "none", "f": "failed"}
    return [
        ShotRow(frame, shot, ends[letter], shot + 1.0, 10, "it broke" if letter == "f" else "")
        for frame, of_frame in enumerate(outcomes)
        for shot, letter in enumerate(of_frame)
    ]


def measured(*outcomes: str, states=None):
    count = len(outcomes)
    chosen = ChosenFrames(np.zeros((count, 1, 3)), np.array(["a.trr"] * count), np.arange(count) + 5)
    states = np.full(count, -1) if states is None else np.array(states)
    predicted = np.full(count, np.nan)
    predicted[0] = 0.25
    shots = shots_of(*outcomes)
    rows = frame_committors(chosen, states, predicted, shots, NAMES, 0.95)
    return committor_result("toy", 300.0, REQUEST, rows, shots, np.random.SeedSequence(0))


def test_rows():
    """Four shots, two without an end: p_B of the two others, and an interval in which both may have gone anywhere."""
    first, second = measured("AnBf", "nnff").frames
    assert (first.source, first.index, first.predicted, second.predicted) == ("a.trr", 5, 0.25, None)
    assert (first.shots, first.reached_a, first.reached_b, first.undecided, first.failed) == (4, 1, 1, 1, 1)
    assert (first.p_b, first.mean_time_ps) == (0.5, 2.0)
    assert (first.low, first.high) == (wilson_interval(1, 4, 0.95)[0], wilson_interval(3, 4, 0.95)[1])
    assert (second.p_b, second.low, second.high, second.mean_time_ps) == (None, 0.0, 1.0, None)


def test_frames_in_a_state_are_not_shot_from():
    result = measured("", "AB", "", states=[0, -1, 1])
    assert [(row.state, row.p_b, row.low, row.high) for row in result.frames[::2]] == [
        ("left", 0.0, 0.0, 0.0),
        ("right", 1.0, 1.0, 1.0),
    ]
    assert result.in_a_state == 2
    assert [array.tolist() for array in decided_shots(result.frames)] == [[1.0], [2.0]]


def test_result():
    result = measured("AABB", "AAAB", "BBfn", "nnff")
    assert result.outcomes == {"A": 5, "B": 5, "none": 3, "failed": 3}
    assert result.evaluations == 160
    assert result.transition_states == (0,)
    assert result.histogram.frames == 3  # the last has no decided shot
    assert result.histogram.mean == pytest.approx((0.5 + 0.25 + 1) / 3)
    assert result.interval == "Wilson, 95 %"


def test_too_few_shots_are_not_tested():
    assert measured("AB", "A").histogram is None


def test_json():
    """It is what JSON gives back, and rows of shots come back whole."""
    result = measured("AABB", "AAAB")
    content = result.to_json()
    assert json.loads(json.dumps(content)) == content
    assert content["request"]["settings"] == {"committor.band": [0.4, 0.6]}
    assert content["histogram"]["standard_deviation"] == result.histogram.standard_deviation
    assert content["frames"][1]["p_b"] == 0.25
    row = shots_of("f")[0]
    assert ShotRow.from_json(json.loads(json.dumps(row.to_json()))) == row
