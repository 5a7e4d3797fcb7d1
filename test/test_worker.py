"""The inference worker: the newest job wins, every job is accounted for, faults come back, it ends."""

from __future__ import annotations

import threading
import time

import pytest

from mmsense_ros.ros.worker import Worker


class Gate:
    """Work that starts and ends when the test says so."""

    def __init__(self) -> None:
        self.started, self.open = threading.Semaphore(0), threading.Semaphore(0)

    def __call__(self, job: int) -> int:
        self.started.release()
        assert self.open.acquire(timeout=10)
        if job < 0:
            raise ValueError(job)
        return 10 * job


@pytest.fixture
def bench():
    """A worker, its gate and a semaphore released by each announcement."""
    gate, ready = Gate(), threading.Semaphore(0)
    worker = Worker(gate, ready.release)
    yield worker, gate, ready
    gate.open.release(100)
    assert worker.stop()


def test_only_the_newest_waits_and_the_others_are_counted(bench):
    worker, gate, ready = bench
    worker.submit(1)
    assert gate.started.acquire(timeout=10)
    for job in (2, 3, 4, 5):
        worker.submit(job)
    gate.open.release(2)
    for _ in range(2):
        assert ready.acquire(timeout=10)
    assert worker.take() == [(1, 10), (5, 50)]
    assert worker.overwritten == 3
    assert worker.take() == []


def test_jobs_of_one_burst_are_all_done_in_order_but_not_late():
    gate, ready = Gate(), threading.Semaphore(0)
    worker = Worker(gate, ready.release, patience=0.2)
    worker.submit(1)
    assert gate.started.acquire(timeout=10)
    worker.submit(2)
    worker.submit(3)
    gate.open.release()
    assert gate.started.acquire(timeout=10)  # 2
    time.sleep(0.25)  # 3 has waited too long now, but nothing newer is there
    gate.open.release()
    assert gate.started.acquire(timeout=10)  # 3
    worker.submit(4)
    time.sleep(0.25)
    worker.submit(5)  # overtakes 4
    gate.open.release(2)
    for _ in range(4):
        assert ready.acquire(timeout=10)
    assert worker.stop()
    assert [job for job, _ in worker.take()] == [1, 2, 3, 5]
    assert worker.overwritten == 1


def test_submitting_never_waits_for_the_work(bench):
    worker, gate, _ = bench
    worker.submit(1)
    assert gate.started.acquire(timeout=10)
    for job in range(1000):  # the worker is held at the gate: a submit that waited would never return
        worker.submit(job)
    assert worker.overwritten == 999


def test_a_failure_is_handed_back_and_the_next_job_is_done(bench):
    worker, gate, ready = bench
    gate.open.release(2)
    worker.submit(-1)
    assert ready.acquire(timeout=10)
    worker.submit(2)
    assert ready.acquire(timeout=10)
    (failed, error), (done, result) = worker.take()
    assert failed == -1 and isinstance(error, ValueError)
    assert (done, result) == (2, 20)


def test_a_discarded_job_is_not_done(bench):
    worker, gate, ready = bench
    worker.submit(1)
    assert gate.started.acquire(timeout=10)
    worker.submit(2)
    worker.discard()
    gate.open.release()
    assert ready.acquire(timeout=10)
    worker.submit(3)
    assert gate.started.acquire(timeout=10)
    gate.open.release()
    assert ready.acquire(timeout=10)
    assert worker.take() == [(1, 10), (3, 30)]


def test_stopping_during_work_waits_for_it_and_announces_nothing():
    gate, ready = Gate(), threading.Semaphore(0)
    worker = Worker(gate, ready.release)
    worker.submit(1)
    assert gate.started.acquire(timeout=10)
    assert not worker.stop(timeout=0.01)
    gate.open.release()
    assert worker.stop(timeout=10)
    assert not ready.acquire(blocking=False)
    assert worker.take() == []


def test_begin_comes_first_and_in_the_workers_thread():
    begun: list[str] = []
    done = threading.Event()
    worker = Worker(lambda job: begun.copy(), done.set, begin=lambda: begun.append(threading.current_thread().name))
    worker.submit(1)
    assert done.wait(10) and worker.take() == [(1, ["inference"])]
    assert worker.stop()
