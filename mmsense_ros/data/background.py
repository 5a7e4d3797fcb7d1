"""A bag written in a thread of its own: whoever hands it messages never waits for the disk."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread

from mmsense_ros.data.rosbag import BagWriter
from mmsense_ros.errors import BagError

BUDGET = 128 << 20  #: [bytes] that may wait for the disk


class BackgroundWriter:
    """Writes the new rosbag2 `path`. At most `budget` bytes wait; what comes beyond is dropped and counted. Raises BagError."""

    def __init__(self, path: str | Path, budget: int = BUDGET) -> None:
        self._bag = BagWriter(path)
        self._budget, self._waiting, self._lock = budget, 0, Lock()
        self._fault: BagError | None = None
        self._entries: SimpleQueue[tuple[str, str, bytes, int] | None] = SimpleQueue()
        self.written: Counter[str] = Counter()  #: messages by topic
        self.dropped = 0  #: messages
        self._thread = Thread(target=self._run, name="bag", daemon=True)
        self._thread.start()

    def write_cdr(self, topic: str, type_name: str, data: bytes, log_time: int) -> None:
        """Have a serialized message appended that was received at `log_time` [ns]."""
        with self._lock:
            if self._waiting + len(data) > self._budget:
                self.dropped += 1
                return
            self._waiting += len(data)
        self._entries.put((topic, type_name, data, log_time))

    def check(self) -> None:
        """Raises BagError if the bag cannot be written any more."""
        if self._fault is not None:
            raise self._fault

    def close(self) -> None:
        """Write what waits, and the index. Raises BagError; then the bag must be reindexed before it can be read."""
        self._entries.put(None)
        self._thread.join()
        try:
            if self._fault is None:
                self._bag.close()
        except OSError as error:
            self._fail(error)
        if self._fault is not None:
            self._bag.abort()
            raise self._fault

    def _run(self) -> None:
        while (entry := self._entries.get()) is not None:
            try:
                if self._fault is None:
                    self._bag.write_cdr(*entry)
                    self.written[entry[0]] += 1
            except Exception as error:  # whatever it is, the other thread decides
                self._fail(error)
            with self._lock:
                self._waiting -= len(entry[2])

    def _fail(self, error: Exception) -> None:
        fault = f"{self._bag.path} cannot be written any more ({error})"
        self._fault = BagError(f"{fault}; make room, then `ros2 bag reindex` what there is")
