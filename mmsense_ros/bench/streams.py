"""Deterministic sensor streams, good and bad, for the synchronizer's tests and benchmark: stamps and arrivals, no payload."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, NANOSECONDS, RADAR

START = 1_000 * NANOSECONDS


@dataclass(frozen=True)
class Rhythm:
    """A sensor's rate [Hz] and, in seconds, the standard deviation of its stamps and the mean and deviation of its latency."""

    rate: float
    jitter: float
    latency: float
    latency_jitter: float


RHYTHMS = {
    CAMERA: Rhythm(30.0, 0.001, 0.015, 0.002),
    RADAR: Rhythm(20.0, 0.001, 0.012, 0.003),
    LIDAR: Rhythm(10.0, 0.002, 0.030, 0.005),
}


class Message(NamedTuple):
    """One message: when it came in [ns], from which sensor, and its stamp [ns]."""

    arrival: int
    sensor: str
    stamp: int


def nominal(seconds: float = 60.0, seed: int = 1) -> list[Message]:
    """Camera 30 Hz, radar 20 Hz, LiDAR 10 Hz, each with its own phase, jitter and latency; in order of arrival."""
    random = Random(seed)
    messages = []
    for name, rhythm in RHYTHMS.items():
        phase, came = random.random() / rhythm.rate, 0.0
        for index in range(int(seconds * rhythm.rate)):
            stamp = phase + index / rhythm.rate + random.gauss(0.0, rhythm.jitter)
            came = max(came + 1e-6, stamp + abs(random.gauss(rhythm.latency, rhythm.latency_jitter)))
            messages.append(Message(START + round(came * NANOSECONDS), name, START + round(stamp * NANOSECONDS)))
    return sorted(messages)


def lossy(loss: float = 0.1, seed: int = 2) -> list[Message]:
    """The nominal streams with that share of all messages lost."""
    random = Random(seed)
    return [message for message in nominal(seed=seed) if random.random() >= loss]


def dying(sensor: str = LIDAR, seed: int = 3) -> list[Message]:
    """One sensor is silent from a third to two thirds of the time."""
    dead = range(START + 20 * NANOSECONDS, START + 40 * NANOSECONDS)
    return [message for message in nominal(seed=seed) if message.sensor != sensor or message.stamp not in dead]


def looping(loops: int = 3, seconds: float = 20.0) -> list[Message]:
    """A bag played again and again: the stamps start over, the arrivals go on."""
    length = round(seconds * NANOSECONDS)
    bag = nominal(seconds, seed=4)
    return [message._replace(arrival=message.arrival + loop * length) for loop in range(loops) for message in bag]


def badly_stamped(seed: int = 5) -> list[Message]:
    """Of fifty messages one has a zero stamp, one that of its predecessor, one an older one, one a stamp far in the future."""
    random = Random(seed)
    messages = []
    last: dict[str, int] = {}
    for arrival, sensor, stamp in nominal(seed=seed):
        fault = random.randrange(50)
        before = last.get(sensor, stamp)
        given = {0: 0, 1: before, 2: before - 3_000_000, 3: stamp + 10**15}.get(fault, stamp)
        messages.append(Message(arrival, sensor, given))
        last[sensor] = stamp
    return messages


def bursty(stall: float = 0.4, every: float = 5.0) -> list[Message]:
    """The receiver stalls now and then; what came meanwhile is handed over at once, one sensor after the other."""
    messages = []
    for arrival, sensor, stamp in nominal(seed=6):
        since = (arrival - START) % round(every * NANOSECONDS)
        held = max(0, round(stall * NANOSECONDS) - since)
        messages.append(Message(arrival + held, sensor, stamp))
    return sorted(messages, key=lambda message: (message.arrival, MODALITIES.index(message.sensor)))


def pausing(active: float = 1.0, every: float = 2.0) -> list[Message]:
    """All sensors fall silent together again and again, just after a camera frame: only a timer can release it."""
    kept: list[Message] = []
    for message in nominal(seed=7):
        paused = (message.arrival - START) % round(every * NANOSECONDS) > round(active * NANOSECONDS)
        if not paused:
            kept.append(message)
        elif kept[-1].sensor != CAMERA:
            while kept[-1].sensor != CAMERA:
                kept.pop()
    return kept


STREAMS: dict[str, Callable[[], list[Message]]] = {
    "nominal 30/20/10 Hz": nominal,
    "10 % loss": lossy,
    "LiDAR dies, comes back": dying,
    "bag loops": looping,
    "bad stamps": badly_stamped,
    "bursts": bursty,
    "pauses": pausing,
}
