"""One process at a time works in a run's folder."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spacetime_tps.errors import OutputError
from spacetime_tps.runs.layout import LOCK
from spacetime_tps.writing import told


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run's folder while this one works in it.

    The lock is the operating system's: it goes when the process ends, however it ends. The file that stays has no
    meaning without it.

    Raises
    ------
    OutputError
        If another process works there; the message names its host and its process id. Also if the folder cannot be
        written to.
    """
    path = folder / LOCK
    with told(path, "made"):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(descriptor, 200).decode(errors="replace").strip() or "another process"
            raise OutputError(
                f"{folder} is in use by {holder}; wait until it has finished, or take another folder"
            ) from error
        with told(path):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
        yield
    finally:
        os.close(descriptor)
