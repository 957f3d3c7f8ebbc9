"""Results go to JSON and come back the same; what is not theirs is refused by name."""

import json
from dataclasses import dataclass

import pytest

from spacetime_tps.errors import OutputError
from spacetime_tps.records import Record
from spacetime_tps.statistics.intervals import MeanSd


@dataclass(frozen=True)
class Part(Record):
    size: float | None
    name: str | None = None


@dataclass(frozen=True)
class Whole(Record):
    parts: dict[str, list[Part]]
    spread: MeanSd
    first: Part | None = None


WHOLE = Whole({"a": [Part(1.5, "x"), Part(None)]}, MeanSd(1.0, None, 0.5))


def test_only_what_is_none_by_default_is_left_out():
    parts = [{"size": 1.5, "name": "x"}, {"size": None}]
    assert WHOLE.to_json() == {"parts": {"a": parts}, "spread": {"mean": 1.0, "sd": None, "standard_error": 0.5}}


def test_comes_back_the_same():
    assert Whole.from_json(json.loads(json.dumps(WHOLE.to_json()))) == WHOLE


@pytest.mark.parametrize(
    "changed, place", [({"parts": {"a": [{"size": "wide"}]}}, r"parts\.a\.0\.size"), ({"spread": None}, "spread")]
)
def test_refuses_what_is_of_another_type(changed, place):
    with pytest.raises(OutputError, match=f"no results of the kind Whole: {place}: "):
        Whole.from_json(WHOLE.to_json() | changed)


def test_refuses_what_is_missing():
    with pytest.raises(OutputError, match="no results of the kind Part: size: Field required"):
        Part.from_json({"name": "x"})
