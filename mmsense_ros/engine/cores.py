"""Which CPU cores an engine may use, so that others are left to those who feed it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from mmsense_ros.errors import EngineError


def numbers(cores: str) -> set[int]:
    """The cores that e.g. "0,2-3" names. Raises EngineError if it names none."""
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", cores):
        raise EngineError(f"cores {cores!r} cannot be read; write them as 0,2-3")
    ends = [[int(end) for end in part.split("-")] for part in cores.split(",")]
    return {core for part in ends for core in range(part[0], part[-1] + 1)}


def stay_on(cores: str) -> None:
    """Keeps the calling thread, and all threads it starts from now on, on `cores`; empty: on any.

    Raises EngineError for cores that are not there, or that this process may not use.
    """
    if not cores:
        return
    try:
        os.sched_setaffinity(0, numbers(cores))
    except AttributeError as error:
        raise EngineError("this system cannot keep threads on cores; leave cores empty") from error
    except (OSError, OverflowError, ValueError) as error:
        raise EngineError(f"cores {cores} cannot be used ({error}); this machine has 0-{(os.cpu_count() or 1) - 1}") from error


@contextmanager
def kept_on(cores: str) -> Iterator[None]:
    """What is done inside stays on `cores`, as for `stay_on`, and so do threads started there."""
    before = os.sched_getaffinity(0) if cores and hasattr(os, "sched_getaffinity") else set()
    stay_on(cores)
    try:
        yield
    finally:
        if before:
            os.sched_setaffinity(0, before)
