"""Journals give back what was written, as objects too."""

import pytest

from spacetime_tps.errors import OutputError
from spacetime_tps.runs.journal import Journal


def test_rows_are_objects_again(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path).appending() as appender:
        for number in range(2):
            appender.add({"number": number})
    assert Journal.read(path).rows(lambda record: record["number"]) == [0, 1]


def test_rows_of_another_version_are_refused_with_their_line(tmp_path):
    path = tmp_path / "journal.jsonl"
    with Journal(path).appending() as appender:
        appender.add({"number": 1})
        appender.add({"count": 2})
    with pytest.raises(OutputError, match=r"journal\.jsonl: line 2 is not what this version writes \(KeyError"):
        Journal.read(path).rows(lambda record: record["number"])
