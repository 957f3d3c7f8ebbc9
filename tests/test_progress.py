"""Progress without a terminal: when a line is due and what it says; nothing else is written."""

import io
import logging
import os
import re
import subprocess
import sys

import pytest

from spacetime_tps import progress
from spacetime_tps.progress import configure_logging, log, progress_line, track


@pytest.mark.parametrize(
    "done, total, seconds, line",
    [
        (0, 10, 29.9, None),
        (3, 10, 29.9, None),
        (0, 10, 30.0, "shooting: 0 %, time left not known yet"),
        (3, 10, 30.0, "shooting: 30 %, 70 s left"),
        (1, 3, 60.0, "shooting: 33 %, 2 min left"),
        (1, 1000, 30.0, "shooting: 0 %, 8 h 20 min left"),
        (999, 1000, 3600.0, "shooting: 99 %, 4 s left"),
        (10, 10, 60.0, None),
    ],
)
def test_line(done, total, seconds, line):
    assert progress_line("shooting", done, total, seconds) == line


def test_times_are_as_exact_as_they_can_be():
    left = [progress_line("x", 1, 2, seconds).split(", ")[1] for seconds in (30, 99.4, 99.6, 5969, 6001, 36000)]
    assert left == ["30 s left", "99 s left", "2 min left", "99 min left", "1 h 40 min left", "10 h 00 min left"]


@pytest.fixture
def written(monkeypatch):
    """What is written to standard error, which is no terminal."""
    stream, handlers, level = io.StringIO(), logging.root.handlers[:], log.level
    monkeypatch.setattr(sys, "stderr", stream)
    configure_logging()
    yield stream
    logging.root.handlers[:] = handlers
    log.setLevel(level)


def test_fast_work_writes_nothing(written):
    assert list(track(iter("abc"), "fast", 3)) == ["a", "b", "c"]
    assert written.getvalue() == ""


def test_lines_come_while_no_item_does(written, monkeypatch):
    """Also of brackets; they end when the work is left, finished or not."""
    monkeypatch.setattr(progress, "INTERVAL", 0.02)

    def items():
        for item in range(4):
            while len(written.getvalue().splitlines()) <= item:  # a line comes though the item does not
                pass
            yield item

    shown = track(items(), "curve [/bold]", 4)
    assert [next(shown), next(shown)] == [0, 1]
    shown.close()
    lines = written.getvalue().splitlines()
    assert len(lines) >= 2
    assert all(re.fullmatch(r"\[\d\d:\d\d:\d\d\] INFO curve \[/bold\]: \d+ %, .+", line) for line in lines)


def test_nothing_is_shown_unless_asked():
    """Without logging, as in a library, there is neither a bar nor a line."""
    code = "from spacetime_tps.progress import track; print(list(track([1, 2], 'x', 2)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (result.stdout, result.stderr) == ("[1, 2]\n", "")


@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_on_a_terminal_there_is_a_bar():
    """Its description is shown as it is; the log goes beside it."""
    code = """
import time
from spacetime_tps.progress import configure_logging, log, track
configure_logging()
for item in track(range(3), "curve [/bold]:dog:", 3):
    time.sleep(0.2)
log.info("results in %s", "out[/bold]")
"""
    ours, theirs = os.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen([sys.executable, "-c", code], stderr=theirs, env=environment)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # how Linux says that the other side is closed
        pass
    os.close(ours)
    assert process.wait() == 0
    assert b"curve [/bold]:dog:" in shown and b"1/3" in shown and b"\x1b[" in shown
    assert b"results in out[/bold]" in re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown)
