"""SIGTERM and SIGHUP end a program as Ctrl-C does, and handlers are given back."""

import contextlib
import os
import signal
import sys
import threading
import time

import pytest
import typer

from spacetime_tps.cli.messages import refused
from spacetime_tps.interruption import Interruption, signals_interrupt
from spacetime_tps.processes import ENDING_SIGNALS

STATUS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}


def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(0.01)


@pytest.fixture
def handlers():
    """Those that the program had before are there afterwards."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING_SIGNALS}
    yield
    assert {signal.getsignal(number) for number in ENDING_SIGNALS} == {signal.default_int_handler}
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("name", STATUS)
def test_exit_status(handlers, name, capsys):
    with pytest.raises(typer.Exit) as caught, refused("go on with --resume"):
        send(getattr(signal, name))
    assert caught.value.exit_code == STATUS[name]
    assert "go on with --resume" in capsys.readouterr().out


def test_the_same_wish_twice(handlers):
    """A second signal at once, as from ``timeout`` and batch systems, does not disturb what is written at the end."""
    written = []
    with pytest.raises(Interruption, match="SIGTERM"), signals_interrupt():
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGTERM)
            written.append("checkpoint")
    assert written == ["checkpoint"]


def test_a_later_wish_counts(handlers, monkeypatch):
    monkeypatch.setattr("spacetime_tps.interruption._REPEATED", 0.0)
    with pytest.raises(Interruption, match="SIGINT"), signals_interrupt():
        try:
            send(signal.SIGTERM)
        finally:
            send(signal.SIGINT)


class Careless:
    """Is asked to end while it is destroyed."""

    def __del__(self) -> None:
        send(signal.SIGTERM)


def swallow() -> None:
    """As OpenMM does, with ``except:``, while it reads a force field."""
    with contextlib.suppress(BaseException):
        send(signal.SIGTERM)


@pytest.mark.parametrize("lose", [swallow, Careless])
def test_a_lost_signal_comes_again(handlers, lose, monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # pytest's keeps what it is told
    lost = []
    with pytest.raises(Interruption, match="SIGTERM"), signals_interrupt():
        lose()
        lost.append(lose)
        time.sleep(30)
    assert lost == [lose]


def test_what_is_written_at_the_end_may_take_time(handlers):
    """The signal is on its way all the while, and does not come again."""
    written = []
    with pytest.raises(Interruption), signals_interrupt():
        try:
            send(signal.SIGTERM)
        finally:
            time.sleep(1.6)
            written.append("checkpoint")
    assert written == ["checkpoint"]


def test_ignored_signals_stay_ignored():
    """As ``nohup`` asks."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with signals_interrupt():
            send(signal.SIGHUP)
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_in_another_thread_nothing_changes():
    entered = []

    def enter() -> None:
        with signals_interrupt():
            entered.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert entered == [signal.getsignal(signal.SIGTERM)]
