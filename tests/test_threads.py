"""A job works on one thread and gives back what its caller had."""

import pytest
import torch
from threadpoolctl import threadpool_info, threadpool_limits

from spacetime_tps.threads import one_thread


def threads() -> list[int]:
    return [torch.get_num_threads(), *(library["num_threads"] for library in threadpool_info())]


@pytest.fixture
def three():
    """A caller that has asked for three threads."""
    before = torch.get_num_threads()
    with threadpool_limits(3):
        torch.set_num_threads(3)
        yield threads()
        torch.set_num_threads(before)


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
def test_threads_are_given_back(three, error):
    assert 3 in three
    try:
        with one_thread():
            assert set(threads()) == {1}
            if error is not None:
                raise error
    except (ValueError, KeyboardInterrupt):
        pass
    assert threads() == three


def test_a_function_on_one_thread(three):
    assert set(one_thread()(threads)()) == {1}
    assert threads() == three
