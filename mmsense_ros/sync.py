"""`Synchronizer`: sensor readings in, snapshots out. It knows no ROS, owns no clock and no thread, and calls nobody back.

One sensor is the reference (the camera): each of its frames becomes a snapshot, with the reading nearest in stamp, at most
`max_age` away, of every other sensor, its partners; who has none is missing from it. A reading may serve several frames, so
that a 10 Hz LiDAR completes 30 Hz snapshots. Frames leave in the order of their stamps, each once.

A frame stamped `t` waits for a partner only while that can help:
1. not at all once the partner has shown a stamp at or after `t`: nothing nearer can follow;
2. with an older reading at hand, only for one that the partner's learned period foretells before the deadline (`max_wait`
   after the frame came in) and that is nearer to `t` by more than the wait for it costs; a quarter period overdue, it is lost;
3. with none at hand, until the deadline, unless the partner is dead, that is, was awaited in vain and silent for three
   periods. The dead delay nothing and live again with their next message. A required partner is always awaited.

A stamp that leaves its sensor's course by more than `max_jump` is held back until the next one tells a fault (it is dropped)
from a clock that jumped. If the clock jumped back, as when a bag loops, everything starts anew.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from mmsense_ros.errors import ConfigError
from mmsense_ros.snapshot import CAMERA, MODALITIES, NANOSECONDS, Reading, Snapshot

LATE = "late"  # its place in the order had passed when it came
UNMATCHED = "unmatched"  # a partner's reading, nearest to no frame
INCOMPLETE = "incomplete"  # a frame for which a required sensor had nothing
ZERO = "zero stamp"
ABSURD = "absurd stamp"  # negative, or off the sensor's course
DUPLICATE = "duplicate"  # a stamp seen before
OVERFLOW = "overflow"  # the queue was full
RESET = "reset"  # waiting when the clock jumped
RESTAMPED = "restamped"  # not lost: its zero or absurd stamp was replaced by the arrival time

_NEVER = -(1 << 62)
_DEAD_AFTER = 3  # periods


@dataclass(frozen=True)
class SensorSync:
    """How one sensor is matched.

    `offset` [s] is added to its stamps where they are compared (a LiDAR that stamps the start of a 0.1 s sweep: 0.05).
    `max_age` [s] is the largest distance to the reference's stamp, older or newer; by default a 10 Hz sensor may lose a message
    without being missed. A frame for which a `required` sensor has nothing makes no snapshot.
    """

    offset: float = 0.0
    max_age: float = 0.2
    required: bool = False


@dataclass(frozen=True)
class SyncConfig:
    """Settings of a `Synchronizer`, times in seconds; raises ConfigError where they make no sense.

    `max_wait` is a frame's deadline, counted from its arrival: 0 never waits, more brings stamps closer together. `queue`
    bounds the readings kept of each sensor. `stamp_policy`: "reject" drops zero and negative stamps; "arrival" replaces them,
    and all that are more than `max_jump` from it, by the arrival time, so it needs sensors on the arrival clock. Once the
    reference is silent for `stand_in`, the first other sensor that is alive leads in its place, unless it is required.
    """

    reference: str = CAMERA
    sensors: Mapping[str, SensorSync] = field(default_factory=lambda: {name: SensorSync() for name in MODALITIES})
    max_wait: float = 0.05
    max_jump: float = 0.5
    stand_in: float = 0.5
    queue: int = 32
    stamp_policy: Literal["reject", "arrival"] = "reject"

    def __post_init__(self) -> None:
        if self.reference not in self.sensors:
            known = ", ".join(self.sensors)
            raise ConfigError(f"sync: reference '{self.reference}' is not among the sensors; choose one of {known}")
        if self.stamp_policy not in ("reject", "arrival"):
            raise ConfigError(f"sync: stamp_policy '{self.stamp_policy}' is unknown; choose 'reject' or 'arrival'")
        if self.max_wait < 0 or self.max_jump <= 0 or self.stand_in <= 0 or self.queue < 2:
            raise ConfigError("sync: need max_wait >= 0, max_jump > 0, stand_in > 0 and queue >= 2")
        for name, sensor in self.sensors.items():
            if not sensor.max_age > 0:
                raise ConfigError(f"sync: max_age of '{name}' is {sensor.max_age}; it must be above 0 s")


class _Stream:
    """What is kept of one sensor: parallel lists sorted by stamp (offset applied), and its learned rhythm. All in ns."""

    __slots__ = ("name", "offset", "max_age", "required", "capacity", "drops", "stamps", "readings", "arrivals",
                 "matched", "newest", "heard", "period", "dead", "suspect")  # fmt: skip

    def __init__(self, name: str, sensor: SensorSync, config: SyncConfig) -> None:
        self.name = name
        self.offset = _ns(sensor.offset)
        self.max_age = _ns(sensor.max_age)
        self.required = sensor.required
        self.capacity = config.queue
        self.drops: Counter[str] = Counter()
        self.period = 0  # 0 until two readings came; survives a reset
        self.stamps: list[int] = []
        self.readings: list[Reading] = []
        self.arrivals: list[int] = []
        self.matched: list[bool] = []
        self.clear()

    def clear(self) -> None:
        """Forget everything but the period."""
        self.forget(len(self.stamps))
        self.newest = self.heard = _NEVER
        self.dead = False
        self.suspect: tuple[int, Reading, int] | None = None

    def append(self, stamp: int, reading: Reading, arrival: int) -> None:
        """Keep a reading newer than all before; learn the period."""
        error = stamp - self.newest - self.period
        if self.period:
            # Slow and clipped upwards, so that lost messages hardly lengthen it.
            self.period += error >> 2 if error < 0 else min(error >> 3, self.period >> 4)
        elif self.newest != _NEVER:
            self.period = error
        self.newest = stamp
        self.heard = arrival
        self.dead = False
        self.stamps.append(stamp)
        self.readings.append(reading)
        self.arrivals.append(arrival)
        self.matched.append(False)

    def insert(self, index: int, stamp: int, reading: Reading, arrival: int) -> None:
        """Keep a reading that came out of order."""
        self.stamps.insert(index, stamp)
        self.readings.insert(index, reading)
        self.arrivals.insert(index, arrival)
        self.matched.insert(index, False)

    def forget(self, count: int, reason: str = "") -> None:
        """Drop the oldest `count`; those never matched are counted as `reason`, if one is given."""
        if reason:
            unmatched = self.matched[:count].count(False)
            if unmatched:
                self.drops[reason] += unmatched
        del self.stamps[:count], self.readings[:count], self.arrivals[:count], self.matched[:count]

    def nearest(self, moment: int) -> int:
        """Index of the reading nearest to `moment` (of two as near, the older), -1 if none is within `max_age`."""
        stamps = self.stamps
        index = bisect_left(stamps, moment)
        if index == len(stamps) or (index and moment - stamps[index - 1] <= stamps[index] - moment):
            index -= 1
        return index if index >= 0 and abs(stamps[index] - moment) <= self.max_age else -1

    def worth_waiting_until(self, moment: int, asked: int, deadline: int) -> int:
        """Until when a frame of `moment` that came in at `asked` should wait for this sensor, whose readings are all older."""
        age = moment - self.newest
        if age > self.max_age:
            return deadline if self.required or not self.dead else _NEVER
        period = self.period or self.max_age
        after = age // period + 1  # the number of periods to the first reading after the moment
        for periods in (after, after - 1):
            due = self.heard + periods * period
            if due <= deadline and age - abs(periods * period - age) > max(0, due - asked):
                return min(due + (period >> 2), deadline)
        return _NEVER


class Synchronizer:
    """Turns readings that come in one by one into snapshots; bounded memory, O(log queue) a reading.

    Give every message to `push` and call `poll` at the moment that `deadline` names; both return the snapshots that are ready,
    oldest first. Stamps and arrivals are nanoseconds of clocks that tick alike (ROS time) but may differ in their zero. For one
    thread. `counters[sensor][reason]` counts what was lost, `resets[reason]` the restarts: every message pushed is emitted, or
    matched, or queued, or counted once (`RESTAMPED`, no loss, comes on top).
    """

    def __init__(self, config: SyncConfig = SyncConfig()) -> None:
        self.config = config
        self._streams = {name: _Stream(name, sensor, config) for name, sensor in config.sensors.items()}
        self._chosen = self._streams[config.reference]
        self._lead(self._chosen)
        self._stand_in = _ns(config.stand_in)
        self._max_wait = _ns(config.max_wait)
        self._jump = _ns(config.max_jump)
        self._restamps = config.stamp_policy == "arrival"
        self._now = self._last = self._ripe = self._began = _NEVER
        self.counters: dict[str, Counter[str]] = {name: stream.drops for name, stream in self._streams.items()}
        self.resets: Counter[str] = Counter()

    def push(self, sensor: str, stamp: int, reading: Reading, arrival: int) -> list[Snapshot]:
        """Take one reading; raises ConfigError if `sensor` is not in the configuration."""
        stream = self._streams.get(sensor)
        if stream is None:
            raise ConfigError(f"sync: no sensor '{sensor}' is configured; add it to SyncConfig.sensors")
        self._advance(arrival)
        if stamp <= 0 or self._restamps and abs(stamp - arrival) > self._jump:
            if not self._restamps:
                stream.drops[ABSURD if stamp else ZERO] += 1
                return []
            stream.drops[RESTAMPED] += 1
            stamp = arrival
            reading = replace(reading, stamp=arrival)
        stamp += stream.offset
        if 0 < stamp - stream.newest <= self._jump and stream.suspect is None:
            stream.append(stamp, reading, arrival)
        elif not self._admit(stream, stamp, reading, arrival):
            return []
        released: list[Snapshot] = []
        if arrival - self._reference.heard > self._stand_in or stream is self._chosen is not self._reference:
            self._elect(arrival, released)
        if len(stream.stamps) > stream.capacity and stream is not self._reference:
            stream.forget(1, OVERFLOW)
        return released + self._drain() if self._reference.stamps else released

    def poll(self, now: int) -> list[Snapshot]:
        """Emit what waits for nothing any more at `now` [ns, arrival clock]."""
        self._advance(now)
        return self._drain() if self._reference.stamps and now >= self._ripe else []

    def deadline(self) -> int | None:
        """The moment [ns, arrival clock] from which `poll` would release a frame; None if none is waiting."""
        return self._ripe if self._reference.stamps else None

    def flush(self) -> list[Snapshot]:
        """The streams have ended: emit every frame that still waits, with what is there, and keep nothing."""
        snapshots: list[Snapshot] = []
        while self._reference.stamps:
            self._emit(snapshots)
        self._clear(UNMATCHED, ABSURD)
        return snapshots

    def reset(self, reason: str) -> None:
        """Drop all that waits (counted) and start anew: the next snapshot may be older than the last."""
        self.resets[reason] += 1
        self._clear(RESET, RESET)

    def _clear(self, queued: str, suspected: str) -> None:
        for stream in self._streams.values():
            if stream.suspect is not None:
                stream.drops[suspected] += 1
            stream.forget(len(stream.stamps), queued)
            stream.clear()
        self._last, self._began = _NEVER, self._now
        self._lead(self._chosen)

    def _advance(self, now: int) -> None:
        if now < self._now - self._jump:
            self.reset("arrival clock jumped back")
        if now - self._now > self._stand_in:
            self._began = now  # where all were silent, none is missing
        self._now = now

    def _lead(self, stream: _Stream) -> None:
        """Make `stream` the reference, the others its partners."""
        self._reference = stream
        self._partners = tuple(other for other in self._streams.values() if other is not stream)

    def _elect(self, now: int, released: list[Snapshot]) -> None:
        """Let the first sensor that is alive stand in for a silent reference, and the chosen one lead again once it is back."""
        if self._chosen.required or now - max(self._chosen.heard, self._began) <= self._stand_in:
            leader = self._chosen
        else:
            leader = next(
                (stream for stream in self._streams.values() if now - stream.heard <= self._stand_in), self._reference
            )
        if leader is self._reference:
            return
        while self._reference.stamps:
            self._emit(released)
        self._lead(leader)
        leader.forget(bisect_right(leader.stamps, self._last), UNMATCHED)

    def _admit(self, stream: _Stream, stamp: int, reading: Reading, arrival: int) -> bool:
        """Judge a reading that does not simply follow its predecessor; True if it was kept."""
        step = stamp - stream.newest
        if stream.newest == _NEVER or -self._jump <= step <= self._jump + max(0, arrival - stream.heard):
            if stream.suspect is not None:
                stream.suspect = None
                stream.drops[ABSURD] += 1
            if step > 0:
                stream.append(stamp, reading, arrival)
                return True
            return self._insert(stream, stamp, reading, arrival)
        suspect, stream.suspect = stream.suspect, (stamp, reading, arrival)
        if suspect is None:
            return False
        if not 0 < stamp - suspect[0] <= self._jump + max(0, arrival - suspect[2]):
            stream.drops[ABSURD] += 1
            return False
        stream.suspect = None
        others = []
        if step < 0:
            # The other sensors' held readings belong to the new time too.
            others = [(other, other.suspect) for other in self._streams.values() if other.suspect is not None]
            for other, _ in others:
                other.suspect = None
            self.reset("stamps jumped back")
        for jumped, held in [(stream, suspect), (stream, (stamp, reading, arrival)), *others]:
            jumped.append(*held)
        return True

    def _insert(self, stream: _Stream, stamp: int, reading: Reading, arrival: int) -> bool:
        """Sort in a reading that is not newer than its predecessor; False if it came twice or too late."""
        stamps = stream.stamps
        index = bisect_left(stamps, stamp)
        if stamp in (stream.newest, *stamps[index : index + 1]):
            stream.drops[DUPLICATE] += 1
            return False
        passed = stamp <= self._last if stream is self._reference or not stamps else index == 0 and stamps[0] <= self._last
        if passed:
            stream.drops[LATE] += 1
            return False
        stream.insert(index, stamp, reading, arrival)
        return True

    def _drain(self) -> list[Snapshot]:
        """Emit from the oldest frame on until one has to wait."""
        snapshots: list[Snapshot] = []
        frames = self._reference
        while frames.stamps:
            moment, asked = frames.stamps[0], frames.arrivals[0]
            if moment <= self._last:  # a stand-in has led beyond it
                frames.forget(1, LATE)
                continue
            # A frame that was overtaken must not hold the others beyond their deadlines.
            deadline = (asked if len(frames.arrivals) == 1 else min(frames.arrivals)) + self._max_wait
            ripe = _NEVER
            for partner in self._partners:
                if partner.newest < moment:
                    until = partner.worth_waiting_until(moment, asked, deadline)
                    if until > ripe:
                        ripe = until
            if ripe > self._now and len(frames.stamps) <= frames.capacity:
                self._ripe = ripe
                break
            self._emit(snapshots)
        return snapshots

    def _emit(self, snapshots: list[Snapshot]) -> None:
        """Move the oldest frame, with its partners, to `snapshots`, or count it if a required one is missing."""
        frames = self._reference
        moment, asked = frames.stamps[0], frames.arrivals[0]
        readings = {frames.name: frames.readings[0]}
        frames.forget(1)
        self._last = moment
        complete = True
        for partner in self._partners:
            index = partner.nearest(moment)
            if index >= 0:
                readings[partner.name] = partner.readings[index]
                partner.matched[index] = True
            else:
                complete = complete and not partner.required
                if self._now >= asked + self._max_wait and self._now - partner.heard > _DEAD_AFTER * partner.period:
                    partner.dead = True
            # The newest reading at or before this moment is nearer to all later ones than those before it.
            if len(partner.stamps) > 1 and partner.stamps[1] <= moment:
                partner.forget(bisect_left(partner.stamps, moment + 1) - 1, UNMATCHED)
        if complete:
            snapshots.append(Snapshot(moment - frames.offset, readings, asked))
        else:
            frames.drops[INCOMPLETE] += 1


def replay(synchronizer: Synchronizer, messages: Iterable[tuple[int, str, int, Reading]]) -> Iterator[tuple[int, Snapshot]]:
    """Run recorded `(arrival, sensor, stamp, reading)` through a synchronizer as if live.

    Yields each snapshot with the moment it was emitted [ns, arrival clock]; waits end at their deadlines between messages,
    and all that is left is flushed at the end.
    """
    now = _NEVER
    for arrival, sensor, stamp, reading in messages:
        while (due := synchronizer.deadline()) is not None and due <= arrival:
            for snapshot in synchronizer.poll(due):
                yield due, snapshot
        now = arrival
        for snapshot in synchronizer.push(sensor, stamp, reading, arrival):
            yield now, snapshot
    while (due := synchronizer.deadline()) is not None:
        for snapshot in synchronizer.poll(due):
            yield due, snapshot
    synchronizer.flush()


def _ns(seconds: float) -> int:
    return round(seconds * NANOSECONDS)
