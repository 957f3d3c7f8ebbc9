"""One process at a time works in a run's folder, and a lock does not outlive its process."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from spacetime_tps.errors import OutputError
from spacetime_tps.runs.lock import locked

HOLD = """
import sys, time
from pathlib import Path
from spacetime_tps.runs.lock import locked
with locked(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that has the folder locked."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "locked\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_the_second_process_is_refused_at_once(holder, tmp_path):
    asked = [sys.executable, "-c", HOLD, str(tmp_path)]
    done = subprocess.run(asked, capture_output=True, text=True, timeout=60)
    assert done.returncode != 0
    text = f"{tmp_path} is in use by process {holder.pid} on {socket.gethostname()}; wait until it has finished"
    assert text in done.stderr
    with pytest.raises(OutputError, match=f"process {holder.pid} on {socket.gethostname()}"), locked(tmp_path):
        pass


def test_a_killed_process_leaves_the_folder_free(holder, tmp_path):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with locked(tmp_path):
        assert (tmp_path / ".lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}\n"


def test_the_lock_goes_with_the_work(tmp_path):
    for _ in range(2):
        with locked(tmp_path), pytest.raises(OutputError, match=f"in use by process {os.getpid()}"), locked(tmp_path):
            pass


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / ".lock").symlink_to(tmp_path / "other")
    with pytest.raises(OutputError, match=r"\.lock cannot be made"), locked(tmp_path):
        pass
    assert not (tmp_path / "other").exists()
