"""Driving a synchronizer by hand in milliseconds, or by a whole stream."""

from __future__ import annotations

from dataclasses import dataclass

from mmsense_ros.bench.streams import START
from mmsense_ros.snapshot import CAMERA
from mmsense_ros.sync import replay

MS = 1_000_000


@dataclass(frozen=True)
class Tick:
    """A reading that is nothing but its stamp."""

    stamp: int


def emitted(messages, synchronizer):
    """[(when, snapshot)] of a stream run through a synchronizer; each reading is its `Message`."""
    return list(replay(synchronizer, ((message.arrival, message.sensor, message.stamp, message) for message in messages)))


def stamps_of(messages, sensor=CAMERA):
    return [message.stamp for message in messages if message.sensor == sensor]


def waits_ms(output):
    return [(now - snapshot.readings[CAMERA].arrival) / MS for now, snapshot in output]


def push(synchronizer, sensor, stamp_ms, arrival_ms):
    """Push a Tick; returns the snapshots as (stamp, {partner: stamp}) in ms."""
    base = START // MS
    return plain(synchronizer.push(sensor, START + stamp_ms * MS, Tick(START + stamp_ms * MS), (base + arrival_ms) * MS))


def plain(snapshots):
    def ms(stamp):
        return round((stamp - START) / MS)

    return [(ms(s.stamp), {n: ms(r.stamp) for n, r in s.readings.items() if n != CAMERA}) for s in snapshots]


def at(ms):
    return START + ms * MS
