"""One inference thread that does the latest job: under overload old work is dropped, and latency does not grow."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")
Result = TypeVar("Result")


class Worker(Generic[Job, Result]):
    """Runs `work(job)` in its own thread and hands `(job, result or exception)` to `take()`, announced by `ready()`.

    `submit` never blocks: a newer job overwrites the one that waits, counted in `overwritten`, unless that one has waited for
    less than `patience` [s]: jobs that come in one burst are done one after another. `ready` is called from the worker's
    thread and must only wake somebody up. `begin` is called once in that thread, first of all.
    """

    def __init__(
        self,
        work: Callable[[Job], Result],
        ready: Callable[[], None],
        patience: float = 0.0,
        begin: Callable[[], None] = lambda: None,
    ) -> None:
        self._work, self._ready, self._patience, self._begin = work, ready, patience, begin
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, Job]] = deque()  # since when [s, monotonic]
        self._done: list[tuple[Job, Result | Exception]] = []
        self._stopping = False
        self.overwritten = 0
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        self._thread.start()

    def submit(self, job: Job) -> None:
        """Make `job` the next one."""
        with self._changed:
            now = time.monotonic()
            self._waiting.append((now, job))
            self._overwrite(now)
            self._changed.notify()

    def take(self) -> list[tuple[Job, Result | Exception]]:
        """All results since the last call, oldest first."""
        with self._changed:
            done, self._done = self._done, []
            return done

    def discard(self) -> None:
        """Forget the jobs that wait."""
        with self._changed:
            self._waiting.clear()

    def stop(self, timeout: float = 5.0) -> bool:
        """End the thread after the job at hand; False if that takes longer than `timeout` [s]."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _overwrite(self, now: float) -> None:
        """Drop what has waited too long and has been overtaken."""
        while len(self._waiting) > 1 and now - self._waiting[0][0] >= self._patience:
            self._waiting.popleft()
            self.overwritten += 1

    def _run(self) -> None:
        self._begin()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or self._waiting)
                if self._stopping:
                    return
                self._overwrite(time.monotonic())
                _, job = self._waiting.popleft()
            try:
                result: Result | Exception = self._work(job)
            except Exception as error:  # whatever it is, the executor's thread decides
                result = error
            with self._changed:
                if self._stopping:
                    return
                self._done.append((job, result))
            self._ready()
