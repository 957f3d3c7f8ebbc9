"""What a run without a reactive trajectory advises: one thing, by what happened."""

from typing import Any

import pytest

from spacetime_tps.cli.advice import advise


def summary(reactive: dict[str, Any] | None = None, hits: float | None = 80.0, message: str = "") -> dict[str, Any]:
    counts = {"reactive": 0, "shots": 40, "failed_shots": 0, "undecided_shots": 0, "message": None}
    paths = {} if hits is None else {"target_hit_percentage": hits}
    return {"reactive": counts | (reactive or {}), "paths": paths, "geodesics": {"low_variance": {"message": message}}}


@pytest.mark.parametrize(
    "found, reason, change",
    [
        (summary({"shots": 0}, hits=None, message="bound 0.02 would do"), "bound 0.02 would do", "variance_bound"),
        (summary({"shots": 0, "message": "no frame between the states"}), "no frame between", "this message names"),
        (summary({"failed_shots": 30}), "30 of 40 shots broke down", "smaller system.time_step"),
        (summary({"undecided_shots": 25}), "25 of 40 shots reached no state", "longer shooting.time_limit"),
        (summary(hits=0.0), "no annealed path reached the target", "longer paths.length"),
        (summary(), "all 40 shots ended in the same state", "shooting.max_shots"),
    ],
)
def test_says_what_to_change_first(found, reason, change):
    text = advise(found)
    assert text.startswith("no reactive trajectory was found: ")
    before, after = text.split("What to change first: ")
    assert reason in before and change in after
