"""What /diagnostics says: rates, ages, drops by reason, the engine, and latencies that are percentiles, not averages."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

WINDOW = 5.0  #: [s] over which rates are taken
LATENCIES = 600  #: results over which percentiles are taken: 20 s at 30 Hz
PERCENTILES = (50, 95, 99)


class Meter:
    """Rate of events in the last WINDOW seconds; times are seconds of a clock that never jumps."""

    def __init__(self) -> None:
        self.last = float("-inf")
        self._times: deque[float] = deque(maxlen=1000)

    def tick(self, now: float) -> None:
        """An event happens."""
        self.last = now
        self._times.append(now)

    def rate(self, now: float) -> float:
        """Events a second [Hz]; 0 with fewer than two."""
        while self._times and self._times[0] < now - WINDOW:
            self._times.popleft()
        if len(self._times) < 2:
            return 0.0
        # A sensor that fell silent gets slower with every second.
        period = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        span = max(now - period, self._times[-1]) - self._times[0]
        return (len(self._times) - 1) / span if span > 0 else 0.0


class Latencies:
    """The last LATENCIES durations of each stage [ms]."""

    def __init__(self) -> None:
        self._stages: dict[str, deque[float]] = {}

    def add(self, stages: Mapping[str, float]) -> None:
        """Durations of one result."""
        for stage, duration in stages.items():
            self._stages.setdefault(stage, deque(maxlen=LATENCIES)).append(duration)

    def values(self) -> dict[str, float]:
        """Percentiles [ms] of each stage by the names they have in diagnostics."""
        return {
            f"{stage} p{percent} [ms]": round(float(duration), 2)
            for stage, durations in self._stages.items()
            for percent, duration in zip(PERCENTILES, np.percentile(durations, PERCENTILES), strict=True)
        }


@dataclass(frozen=True)
class Status:
    """Health of one part of the node; `level` is one of DiagnosticStatus."""

    level: bytes
    name: str
    message: str
    values: Mapping[str, Any]

    @classmethod
    def ok(cls, name: str, message: str, values: Mapping[str, Any]) -> Status:
        """All is well."""
        return cls(DiagnosticStatus.OK, name, message, values)

    @classmethod
    def warning(cls, name: str, message: str, values: Mapping[str, Any]) -> Status:
        """It works, but not as it should."""
        return cls(DiagnosticStatus.WARN, name, message, values)

    @classmethod
    def error(cls, name: str, message: str, values: Mapping[str, Any]) -> Status:
        """It does not work."""
        return cls(DiagnosticStatus.ERROR, name, message, values)


class Ledger:
    """What happened to snapshots since the node became active: every one is published, overwritten or failed, and counted."""

    def __init__(self) -> None:
        self.snapshots = self.published = 0
        self.incomplete: Counter[str] = Counter()  #: snapshots that went without this sensor
        self.latencies = Latencies()
        self.fault = ""  #: why the last snapshot was not answered; empty if it was
        self.refused = ""  #: why the last instruction is not followed; empty if it is
        self.failed = 0
        self._meter = Meter()
        self._overwritten_before = 0

    def publish(self, latency_ms: Mapping[str, float], now: float) -> None:
        """A result went out."""
        self.published += 1
        self.fault = ""
        self.latencies.add(latency_ms)
        self._meter.tick(now)

    def fail(self, fault: str) -> None:
        """A snapshot could not be answered."""
        self.failed += 1
        self.fault = fault

    def status(self, overwritten: int, engine: Mapping[str, str], now: float) -> Status:
        """Health of perception; `overwritten` snapshots waited for the engine when a newer one came."""
        fresh, self._overwritten_before = overwritten - self._overwritten_before, overwritten
        rate = self._meter.rate(now)
        values: dict[str, Any] = {
            **engine,
            "rate [Hz]": round(rate, 2),
            "snapshots": self.snapshots,
            "published": self.published,
            "dropped: overload": overwritten,
            "dropped: failed": self.failed,
        }
        values |= {f"without {name}": count for name, count in self.incomplete.items()}
        values |= self.latencies.values()
        if self.fault:
            return Status.error("perception", self.fault, values)
        if self.refused:
            return Status.warning("perception", self.refused, values)
        if fresh > 0:
            return Status.warning("perception", f"overload: {fresh} old snapshots dropped, {rate:.1f} results/s", values)
        if not rate:
            return Status.warning("perception", "no results: no snapshot comes together, see the sensors", values)
        return Status.ok("perception", f"{rate:.1f} results/s", values)


def diagnostic_array(stamp: Time, node: str, hardware_id: str, statuses: Iterable[Status]) -> DiagnosticArray:
    """The message; names are prefixed with the node's."""
    array = DiagnosticArray()
    array.header.stamp = stamp
    array.status = [
        DiagnosticStatus(
            level=status.level,
            name=f"{node}: {status.name}",
            message=status.message,
            hardware_id=hardware_id,
            values=[KeyValue(key=key, value=str(value)) for key, value in status.values.items()],
        )
        for status in statuses
    ]
    return array
