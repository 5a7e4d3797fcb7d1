"""One inference thread with a slot for the latest job: under overload old work is dropped, and latency does not grow."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Worker(Generic[Job, Result]):
    """Runs `work(job)` in its own thread and hands `(job, result or exception)` to `take()`, announced by `ready()`.

    `submit` never blocks: a job still waiting in the slot is overwritten and counted in `overwritten`. `ready` is called from
    the worker's thread and must only wake somebody up.
    """

    def __init__(self, work: Callable[[Job], Result], ready: Callable[[], None]) -> None:
        self._work, self._ready = work, ready
        self._changed = threading.Condition()
        self._slot: Job | None = None
        self._done: list[tuple[Job, Result | Exception]] = []
        self._stopping = False
        self.overwritten = 0
        self.finished = 0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Make `job` the next one."""
        with self._changed:
            if self._slot is not None:
                self.overwritten += 1
            self._slot = job
            self._changed.notify()

    def take(self) -> list[tuple[Job, Result | Exception]]:
        """All results since the last call, oldest first."""
        with self._changed:
            done, self._done = self._done, []
            return done

    def discard(self) -> None:
        """Forget the job that waits."""
        with self._changed:
            self._slot = None

    def stop(self, timeout: float = 5.0) -> bool:
        """End the thread after the job at hand; False if that takes longer than `timeout` [s]."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._slot is not None)
                if self._stopping:
                    return
                job, self._slot = self._slot, None
            try:
                result: Result | Exception = self._work(job)
            except Exception as error:  # whatever it is, the executor's thread decides
                result = error
            with self._changed:
                if self._stopping:
                    return
                self._done.append((job, result))
                self.finished += 1
            self._ready()
