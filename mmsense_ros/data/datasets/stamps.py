"""Stamps for samples of drive-bys, whose files say little or nothing of when they were taken."""

from __future__ import annotations

import numpy as np

from mmsense_ros.snapshot import NANOSECONDS

EPOCH = 1_700_000_000 * NANOSECONDS  #: stamp of the first sample of data without a date
GAP = 5.0  #: [s] at least, between one drive's last sample and the next one's first


def runs(drives: np.ndarray) -> list[slice]:
    """The stretches of consecutive samples (N,) of one drive."""
    cuts = np.flatnonzero(drives[1:] != drives[:-1]) + 1
    return [slice(a, b) for a, b in zip([0, *cuts], [*cuts, len(drives)], strict=True)]


def drive_stamps(drives: np.ndarray, rate: float, clock: np.ndarray | None = None) -> np.ndarray:
    """(N,) int64 [ns] of samples of the drives (N,), by `clock` (N,) [s] or else evenly, `rate` a second; drives GAP apart."""
    seconds = np.zeros(len(drives))
    end = -GAP
    for run in runs(drives):
        if clock is None:
            within, start = np.arange(run.stop - run.start) / rate, end + GAP
        else:
            within, start = clock[run] - clock[run.start], max(end + GAP, clock[run.start] - clock[0])
        seconds[run] = start + within
        end = seconds[run.stop - 1]
    return EPOCH + np.rint(seconds * NANOSECONDS).astype(np.int64)


def clock_of(words: list[str], drives: np.ndarray) -> np.ndarray | None:
    """Time of day (N,) [s] of columns such as "['17-04-05-250']" (hours, minutes, seconds, fraction of a second).

    None if one cannot be read, or the clock stands or goes back within a drive.
    """
    try:
        parts = ["".join(c if c.isdigit() else " " for c in word).split() for word in words]
        clock = np.array([3600 * int(h) + 60 * int(m) + float(f"{int(s)}.{f}") for h, m, s, f in parts])
    except ValueError:
        return None
    return clock if all((np.diff(clock[run]) > 0).all() for run in runs(drives)) else None
