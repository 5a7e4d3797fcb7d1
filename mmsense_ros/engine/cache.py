"""Built engines on disk, and other small things that take long to make: found again only by all that they depend on, written so that a
crash leaves none broken.

An engine is two files: `<key>.engine`, and `<key>.json` that says what it was built from and for and its SHA-256. Both are written
beside their place, synchronized and renamed, the engine first: one without its JSON does not exist.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from mmsense_ros.share import cache_folder

log = logging.getLogger(__name__)

PATIENCE = 5.0  #: [s] between two words about what is waited for
Opened = TypeVar("Opened")


class UnusableEngineError(Exception):
    """What an opener raises for a built engine that does not fit this machine, or is damaged."""


@dataclass(frozen=True)
class Entry:
    """A built engine: its file, what it was `made` from and for, its size [bytes] and how long it took to build [s]."""

    path: Path
    made: dict[str, str]
    size: int
    seconds: float


class EngineCache:
    """The engines in `folder`, or what else `kind` names, in files that end so; several processes may share it."""

    def __init__(self, folder: Path, kind: str = "engine") -> None:
        self.folder, self.kind = Path(folder), kind

    def open(self, wanted: Mapping[str, str], build: Callable[[], bytes], opens: Callable[[bytes], Opened]) -> Opened:
        """What `opens` makes of the engine made for `wanted`; it is built, and kept, if there is none that is whole and fits.

        A folder that cannot be written costs a warning and the building next time. `opens` raises UnusableEngineError for an engine to
        be built anew; if it does so for one just built, that goes to the caller.
        """
        found = self._opened(wanted, opens)
        if found is not None:
            return found
        with self._alone(key(wanted)) as waited:
            if waited and (found := self._opened(wanted, opens)) is not None:
                return found
            began = time.monotonic()
            plan = build()
            opened = opens(plan)
            self._keep(wanted, plan, time.monotonic() - began)
            return opened

    def entries(self) -> list[Entry]:
        """All engines that are whole, newest first; what is not is left out."""
        found = []
        for note in sorted(self.folder.glob("*.json"), key=lambda path: path.stat().st_mtime, reverse=True):
            try:
                said = json.loads(note.read_text())
                path = note.with_suffix(f".{self.kind}")
                found.append(Entry(path, said["made"], path.stat().st_size, said["seconds"]))
            except (OSError, ValueError, KeyError, TypeError):
                log.warning("%s is damaged, or its %s is missing; it is built anew when it is wanted", note, self.kind)
        return found

    def _opened(self, wanted: Mapping[str, str], opens: Callable[[bytes], Opened]) -> Opened | None:
        path = self.folder / f"{key(wanted)}.{self.kind}"
        try:
            plan = _read(path, wanted)
            return None if plan is None else opens(plan)
        except (UnusableEngineError, OSError, ValueError, KeyError, TypeError) as error:
            log.warning("the %s %s cannot be used (%s); it is built anew", self.kind, path, error)
            return None

    def _keep(self, wanted: Mapping[str, str], plan: bytes, seconds: float) -> None:
        path = self.folder / f"{key(wanted)}.{self.kind}"
        said = {"made": dict(wanted), "sha256": hashlib.sha256(plan).hexdigest(), "seconds": round(seconds, 2)}
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stale in (
                path.with_suffix(".json"),
                *self.folder.glob(f"{path.stem}.*.part"),
            ):  # of an engine before, of a crash
                stale.unlink(missing_ok=True)
            _write(path, plan)
            _write(path.with_suffix(".json"), json.dumps(said, indent=1).encode())
            log.info("kept the %s as %s (%.1f MB)", self.kind, path, len(plan) / 1e6)
        except OSError as error:
            fault = f"the {self.kind} cannot be kept in {self.folder} ({error}) and will be built again next time"
            log.warning("%s", fault)

    @contextmanager
    def _alone(self, name: str) -> Iterator[bool]:
        """Only one process at a time gets past, one that had to wait with True; where locks do not work, all do."""
        waited, lock = False, None
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            lock = open(self.folder / f"{name}.lock", "w")
            said = -PATIENCE
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    waited = True
                if time.monotonic() - said >= PATIENCE:
                    said = time.monotonic()
                    log.info("another process builds this %s; waiting for it", self.kind)
                time.sleep(0.1)
        except OSError as error:
            log.debug("no lock in %s (%s)", self.folder, error)
        try:
            yield waited
        finally:
            if lock is not None:
                lock.close()


def default_folder() -> Path:
    """Where engines are kept unless somebody says otherwise."""
    return cache_folder() / "engines"


def key(made: Mapping[str, str]) -> str:
    """Name of an engine made from and for all of `made`."""
    return hashlib.sha256(json.dumps(dict(made), sort_keys=True).encode()).hexdigest()[:24]


def _read(path: Path, wanted: Mapping[str, str]) -> bytes | None:
    """The engine's bytes, None if there is none; ValueError if it is not what its JSON says or `wanted` names."""
    note = path.with_suffix(".json")
    if not note.is_file():
        return None
    said = json.loads(note.read_text())
    if said["made"] != dict(wanted):
        raise ValueError("it was made for something else")
    plan = path.read_bytes()
    if hashlib.sha256(plan).hexdigest() != said["sha256"]:
        raise ValueError("its contents have changed")
    return plan


def _write(path: Path, content: bytes) -> None:
    """All of `content` at `path`, or OSError and what was there before."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name, suffix=".part")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
