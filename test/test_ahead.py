"""What is made ahead comes in order, with its maker's exceptions, and is not made for nobody."""

from __future__ import annotations

import os
import threading
import time

import pytest

from mmsense_ros.evaluation.ahead import ahead


@pytest.fixture(params=[1, 2])
def cores(request, monkeypatch):
    """So many cores for this process."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)))
    return request.param


def test_order_and_end(cores):
    assert list(ahead(iter(range(100)), depth=3)) == list(range(100))
    assert list(ahead(iter(()))) == []


@pytest.mark.parametrize("cores", [2], indirect=True)
def test_it_is_made_in_another_thread_before_it_is_asked_for(cores):
    made = []

    def items():
        for k in range(10):
            made.append((k, threading.current_thread()))
            yield k

    got = ahead(items(), depth=4)
    assert next(got) == 0
    limit = time.monotonic() + 5
    while len(made) < 6 and time.monotonic() < limit:  # four wait, the sixth cannot be handed over
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 6 and made[0][1] is not threading.current_thread()
    got.close()
    assert not made[0][1].is_alive()


@pytest.mark.parametrize("cores", [1], indirect=True)
def test_on_one_core_it_is_made_when_it_is_asked_for(cores):
    made = []
    got = ahead((made.append(threading.current_thread()) or k for k in range(3)))
    assert next(got) == 0 and made == [threading.current_thread()]


def test_what_its_maker_raises(cores):
    def items():
        yield 1
        raise ValueError("no more")

    got = ahead(items())
    assert next(got) == 1
    with pytest.raises(ValueError, match="no more"):
        next(got)
