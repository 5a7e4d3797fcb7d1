"""Who moves on the street: vehicles that keep their lanes and stop at a light, people who stand, walk, run or wave.

All motion is a function of time alone, so any moment can be asked for, in any order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmsense_ros.data.street.layout import Lane, Layout

REACH = 70.0  #: [m] things further along the road than this do not exist yet or any more
SIZES = {
    "car": (4.4, 1.8, 1.5),
    "van": (5.4, 2.0, 2.3),
    "bus": (11.0, 2.5, 3.2),
    "truck": (8.2, 2.4, 3.5),
}  #: [m] length, width, height
SHARES = {"car": 0.52, "van": 0.18, "bus": 0.16, "truck": 0.14}
COLOURS = {
    "red": (196, 38, 34), "blue": (36, 78, 178), "green": (34, 128, 62), "white": (232, 232, 228), "black": (34, 34, 38),
    "yellow": (232, 190, 36),
}  # fmt: skip
ACTIVITIES = {"stand": 0.0, "walk": 1.35, "run": 3.2, "wave": 0.0}  #: [m/s]
PERSON_SIZE = (0.45, 0.5, 1.75)
STEP = 0.1  #: [s] of the tables of motion
ACCELERATION = 2.0  #: [m/s^2]


@dataclass(frozen=True)
class Vehicle:
    """A vehicle: `start` is its s at t = 0 [m], `lane` -1 if it is parked at the far kerb."""

    id: int
    label: str
    colour: str
    lane: int
    lane_name: str
    size: tuple[float, float, float]
    start: float
    d: float
    direction: int


@dataclass(frozen=True, eq=False)
class Person:
    """A person: tables of s [m], speed along s [m/s] and activity every `STEP`, `phase` of their gait [rad]."""

    id: int
    d: float
    s: np.ndarray
    speed: np.ndarray
    activity: np.ndarray
    phase: float
    shirt: tuple[int, int, int]
    trousers: tuple[int, int, int]
    height: float


class Traffic:
    """All vehicles and people of a street between t = 0 and `seconds`."""

    def __init__(self, layout: Layout, rng: np.random.Generator, seconds: float) -> None:
        steps = int(np.ceil((seconds + 2.0) / STEP)) + 2
        self._times = np.arange(steps) * STEP
        self._speed = [_lane_speed(lane, self._times, rng) for lane in layout.lanes]
        self._progress = [np.concatenate([[0.0], np.cumsum((v[1:] + v[:-1]) * STEP / 2)]) for v in self._speed]
        self.vehicles: list[Vehicle] = []
        for index, lane in enumerate(layout.lanes):
            self._fill_lane(index, lane, self._progress[index][-1], rng)
        self._park(layout, rng)
        self.people = [_person(number, layout, self._times, rng) for number in range(int(rng.integers(3, 9)))]

    def vehicles_at(self, t: float) -> list[tuple[Vehicle, float, float]]:
        """Those on the street at `t`: each with its s [m] and its speed along s [m/s]."""
        progress = [float(np.interp(t, self._times, table)) for table in self._progress]
        speed = [float(np.interp(t, self._times, table)) for table in self._speed]
        found = []
        for v in self.vehicles:
            moved, pace = (progress[v.lane], speed[v.lane]) if v.lane >= 0 else (0.0, 0.0)
            s = v.start + v.direction * moved
            if abs(s) < REACH:
                found.append((v, s, v.direction * pace))
        return found

    def people_at(self, t: float) -> list[tuple[Person, float, float, str]]:
        """Everybody at `t`: s [m], speed along s [m/s] and activity."""
        index = min(int(t / STEP), len(self._times) - 1)
        names = tuple(ACTIVITIES)
        return [
            (p, float(np.interp(t, self._times, p.s)), float(p.speed[index]), names[p.activity[index]]) for p in self.people
        ]

    def _fill_lane(self, index: int, lane: Lane, travelled: float, rng: np.random.Generator) -> None:
        """A queue of vehicles long enough that the lane never runs dry."""
        s, end = -REACH, REACH + travelled
        busy = rng.uniform(10.0, 26.0)
        heavy = rng.uniform(0.6, 1.6)
        while s < end:
            label = _label(rng, heavy)
            length, width, height = (extent * rng.uniform(0.93, 1.07) for extent in SIZES[label])
            s += length / 2 + rng.uniform(3.5, 3.5 + busy)
            colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
            self.vehicles.append(
                Vehicle(
                    len(self.vehicles),
                    label,
                    colour,
                    index,
                    lane.name,
                    (length, width, height),
                    -lane.direction * s,
                    lane.d,
                    lane.direction,
                )
            )
            s += length / 2

    def _park(self, layout: Layout, rng: np.random.Generator) -> None:
        """Parked vehicles at the far kerb."""
        for s in np.arange(-42.0, 43.0, 12.0):
            if rng.random() < 0.3:
                label = "car" if rng.random() < 0.75 else "van"
                size = tuple(extent * rng.uniform(0.93, 1.07) for extent in SIZES[label])
                colour = list(COLOURS)[int(rng.integers(len(COLOURS)))]
                d = layout.far_kerb - 1.15
                self.vehicles.append(
                    Vehicle(len(self.vehicles), label, colour, -1, "parked", size, s + rng.uniform(-2, 2), d, 1)
                )


def _label(rng: np.random.Generator, heavy: float) -> str:
    weights = np.array([share * (heavy if label in ("bus", "truck") else 1.0) for label, share in SHARES.items()])
    return str(rng.choice(list(SHARES), p=weights / weights.sum()))


def _lane_speed(lane: Lane, times: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Speed over time: cruising, with stops for a red light in some lanes."""
    wanted = np.full(len(times), lane.speed)
    t = rng.uniform(4.0, 25.0)
    while t < times[-1] and rng.random() < 0.7:
        wanted[(times >= t) & (times < t + rng.uniform(4.0, 9.0))] = 0.0
        t += rng.uniform(18.0, 40.0)
    speed = np.empty_like(wanted)
    speed[0] = wanted[0]
    for index in range(1, len(times)):
        change = np.clip(wanted[index] - speed[index - 1], -ACCELERATION * STEP, ACCELERATION * STEP)
        speed[index] = speed[index - 1] + change
    return speed


def _person(number: int, layout: Layout, times: np.ndarray, rng: np.random.Generator) -> Person:
    """A person whose activity changes every few seconds, on one of the sidewalks."""
    activity = np.empty(len(times), np.int64)
    index = 0
    while index < len(times):
        until = index + int(rng.uniform(5.0, 14.0) / STEP)
        activity[index:until] = rng.integers(len(ACTIVITIES))
        index = until
    heading = 1 if rng.random() < 0.5 else -1
    pace = np.array(list(ACTIVITIES.values()))[activity] * rng.uniform(0.85, 1.15)
    # Back and forth between the ends of the sidewalk.
    reach = 28.0
    travelled = rng.uniform(0, 4 * reach) + np.concatenate([[0.0], np.cumsum(pace[:-1] * STEP)])
    folded = np.mod(travelled, 4 * reach)
    rising = folded < 2 * reach
    s = np.where(rising, folded, 4 * reach - folded) - reach
    side = layout.sidewalks[int(rng.random() < 0.6)]
    tint = [tuple(int(v) for v in rng.integers(40, 220, 3)) for _ in range(2)]
    return Person(
        number, side + rng.uniform(-0.9, 0.9), heading * s, heading * np.where(rising, pace, -pace), activity, rng.uniform(0, 2 * np.pi),
        tint[0], tint[1], rng.uniform(1.6, 1.9),
    )  # fmt: skip
