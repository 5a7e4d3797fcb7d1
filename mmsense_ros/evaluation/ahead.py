"""Work done ahead: what an iterator makes, made in a thread while its consumer is busy with what came before."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from queue import Full, Queue
from threading import Event, Thread
from typing import Generic, TypeVar

T = TypeVar("T")
_PATIENCE = 0.1  #: [s] after which the thread looks whether anybody still listens


class _Maker(Thread, Generic[T]):
    """Puts what `items` makes in `made`, at last the exception that ended it, StopIteration if nothing went wrong."""

    def __init__(self, items: Iterator[T], depth: int) -> None:
        super().__init__(name="ahead", daemon=True)
        self.items, self.made, self.unwanted = items, Queue[tuple[T | None, BaseException | None]](depth), Event()

    def run(self) -> None:
        end: BaseException = StopIteration()
        try:
            for item in self.items:
                if not self._put(item, None):
                    return
        except BaseException as error:  # whatever it is, it is the consumer's
            end = error
        self._put(None, end)

    def close(self) -> None:
        self.unwanted.set()
        self.join()

    def _put(self, item: T | None, end: BaseException | None) -> bool:
        while not self.unwanted.is_set():
            try:
                self.made.put((item, end), timeout=_PATIENCE)
                return True
            except Full:
                continue
        return False


def ahead(items: Iterator[T], depth: int = 8) -> Iterator[T]:
    """The `items`, up to `depth` of them made before they are asked for; what their maker raises is raised here.

    A process that has one core to itself makes them when they are asked for: threads would only take turns on it.
    """
    if len(os.sched_getaffinity(0)) == 1:
        yield from items
        return
    maker = _Maker(items, depth)
    with closing(maker):
        maker.start()
        while True:
            item, end = maker.made.get()
            if isinstance(end, StopIteration):
                return
            if end is not None:
                raise end
            yield item
