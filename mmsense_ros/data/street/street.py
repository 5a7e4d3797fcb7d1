"""`Street`: one random street, from which every sensor, the link and the truth can be asked at any moment."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from mmsense_ros.calibration import Calibration
from mmsense_ros.codebook import Codebook
from mmsense_ros.data.street.bodies import Parts, boxes, person_parts, vehicle_parts
from mmsense_ros.data.street.camera import Camera
from mmsense_ros.data.street.conditions import Conditions
from mmsense_ros.data.street.layout import make_layout
from mmsense_ros.data.street.lidar import Lidar
from mmsense_ros.data.street.link import Link, LinkConfig, Obstacles, measure
from mmsense_ros.data.street.phrases import asking_for, names_of
from mmsense_ros.data.street.radar import CHIRP, Scatterers, adc_cube, still_echo
from mmsense_ros.data.street.raycast import Scene, rays_from
from mmsense_ros.data.street.traffic import PERSON_SIZE, Traffic
from mmsense_ros.sensors.radar import LIGHT
from mmsense_ros.snapshot import NANOSECONDS, CameraReading, LidarReading, RadarCube

EPOCH = 1_700_000_000 * NANOSECONDS  #: stamp of t = 0
MAX_RANGE, HALF_VIEW = 64.0, np.pi / 4
ANTENNA_HEIGHT = 0.3  #: [m] of a terminal's antenna above its vehicle's roof
RCS = {"car": 10.0, "van": 16.0, "bus": 40.0, "truck": 50.0}  #: [m^2]


@dataclass(frozen=True)
class StreetConfig:
    """Sizes of the sensors, the make of the link, and what all is seen through."""

    width: int = 640
    height: int = 480
    lidar_lines: int = 32
    lidar_steps: int = 900
    codebook: Codebook = field(default_factory=Codebook)
    link: LinkConfig = field(default_factory=LinkConfig)
    conditions: Conditions = field(default_factory=Conditions)


@dataclass(frozen=True)
class VehicleTruth:
    """A vehicle at one moment, in the antenna frame [m, m/s, rad]; `visible` 0..1 is the part of it that the array sees."""

    id: int
    label: str
    colour: str
    lane: str
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float
    in_view: bool
    visible: float


@dataclass(frozen=True)
class PersonTruth:
    """A person at one moment."""

    id: int
    position: tuple[float, float, float]
    velocity: tuple[float, float, float]
    activity: str
    in_view: bool
    visible: float


@dataclass(frozen=True)
class StreetTruth:
    """Everything on the street at `t` [s]."""

    t: float
    vehicles: tuple[VehicleTruth, ...]
    people: tuple[PersonTruth, ...]


@dataclass(frozen=True, eq=False)
class _Moment:
    truth: StreetTruth
    scene: Scene


class Street:
    """A street of which `seed` decides everything; `t` runs from 0 to `seconds`. Asking is repeatable, in any order."""

    def __init__(self, seed: int, config: StreetConfig = StreetConfig(), seconds: float = 60.0) -> None:
        self.seed, self.config, self.seconds = seed, config, seconds
        rng = np.random.default_rng([seed, 0])
        self.layout = make_layout(rng)
        self.traffic = Traffic(self.layout, rng, seconds)
        self._static, glazed = self._build()
        self._camera = Camera(
            self.layout,
            self._static,
            glazed,
            np.array([0.1, 0.15, -0.15]),
            rng.uniform(0.16, 0.24),
            config.width,
            config.height,
            rng,
            config.conditions,
            np.random.default_rng([seed, 8]),
        )
        self._lidar = Lidar(
            self._static, np.array([0.05, -0.1, 0.2]), config.lidar_lines, config.lidar_steps, config.conditions.extinction
        )
        self.radar_pose = np.eye(4)
        self.radar_pose[:3, 3] = 0.1, 0.0, -0.3
        place, rcs = self._still_scatterers(rng)
        self._clutter = still_echo(self._as_radar_sees(place, np.zeros_like(place), rcs))
        self._moments: OrderedDict[float, _Moment] = OrderedDict()
        self._truths: OrderedDict[float, tuple[list[VehicleTruth], list[PersonTruth]]] = OrderedDict()

    @cached_property
    def calibration(self) -> Calibration:
        """Where the sensors are."""
        return Calibration.from_matrices(
            {"camera_optical": self._camera.pose, "radar": self.radar_pose, "lidar": self._lidar.pose}
        )

    @property
    def camera_matrix(self) -> np.ndarray:
        """Intrinsics (3, 3) [pixels]."""
        return self._camera.matrix

    def camera(self, t: float) -> CameraReading:
        """The image taken at `t`."""
        return CameraReading(stamp(t), "camera_optical", self._camera.image(self._at(t).scene, self._noise(1, t)))

    def lidar(self, t: float) -> LidarReading:
        """The sweep taken at `t`."""
        return LidarReading(stamp(t), "lidar", *self._lidar.sweep(self._at(t).scene, self._noise(2, t)))

    def radar(self, t: float) -> RadarCube:
        """The frame that begins at `t`."""
        noise = self._noise(3, t)
        return RadarCube(
            stamp(t), "radar", adc_cube(self._as_radar_sees(*self._scatterers(t, noise)), self._clutter, noise), CHIRP
        )

    def truth(self, t: float) -> StreetTruth:
        """Everything on the street at `t`."""
        return self._at(t).truth

    def link(self, vehicle: int, t: float, astray: np.ndarray | None = None) -> Link:
        """The link to the vehicle with that id, as it would be if all of `truth(t).vehicles` stood elsewhere by `astray` (n, 2) [m].

        Raises KeyError if it is not on the street at `t`.
        """
        vehicles = self._truth(t)[0]
        index = next((i for i, v in enumerate(vehicles) if v.id == vehicle), None)
        if index is None:
            raise KeyError(f"vehicle {vehicle} is not on the street at {t} s")
        place = np.array([v.position for v in vehicles])
        if astray is not None:
            place[:, :2] += astray
        others = np.arange(len(vehicles)) != index
        terminal = place[index] + [0, 0, vehicles[index].size[2] / 2 + ANTENNA_HEIGHT]
        half, yaw = np.array([v.size for v in vehicles]) / 2, np.array([v.yaw for v in vehicles])
        obstacles = Obstacles(place[others], half[others], yaw[others])
        noise, config = self._noise(16 + vehicle, t), self.config
        return measure(terminal, obstacles, self._walls, config.codebook, config.link, noise, config.conditions.link_loss)

    def served(self, t: float) -> int | None:
        """Id of the vehicle that carries the terminal at `t`; None while no vehicle is in view."""
        return self._service[min(int(t / SERVICE_STEP), len(self._service) - 1)]

    def instruction(self, t: float) -> str:
        """What is asked at `t`: the beam of the served vehicle, which is named anew when its name comes to fit another."""
        return self._instructions[min(int(t / SERVICE_STEP), len(self._service) - 1)]

    @cached_property
    def _instructions(self) -> list[str]:
        """What is asked, every SERVICE_STEP."""
        asked: list[str] = []
        name, began = "", 0
        for step, served in enumerate(self._service):
            vehicles = {v.id: v for v in self._truth(step * SERVICE_STEP)[0]}
            if not step or served != self._service[step - 1]:
                name, began = "", step
            names = names_of(vehicles[served], vehicles.values()) if served is not None else []
            if names and name not in names:
                name = names[0]
            asked.append(asking_for(name, self._noise(4, began * SERVICE_STEP)) if names else "predict the beam")
        return asked

    @cached_property
    def _service(self) -> list[int | None]:
        """Who is served, every SERVICE_STEP: kept while in view, then handed over to the one that will stay longest."""
        served: list[int | None] = []
        rng = np.random.default_rng([self.seed, 5])
        for step in range(int(self.seconds / SERVICE_STEP) + 2):
            t = step * SERVICE_STEP
            here = {v.id: v for v in self._truth(t)[0] if v.in_view}
            last = served[-1] if served else None
            if last not in here:
                later = {v.id for v in self._truth(min(t + 3.0, self.seconds))[0] if v.in_view}
                moving = [v.id for v in here.values() if v.lane != "parked" and v.id in later]
                choice = moving or [v for v in here if v in later] or list(here)
                last = int(rng.choice(choice)) if choice else None
            served.append(last)
        return served

    def _noise(self, kind: int, t: float) -> np.random.Generator:
        """Noise of one measurement: the same whenever it is asked for."""
        return np.random.default_rng([self.seed, kind, stamp(t)])

    def _at(self, t: float) -> _Moment:
        moment = self._moments.get(t)
        if moment is None:
            moment = self._moments[t] = self._make(t)
            if len(self._moments) > 6:
                self._moments.popitem(last=False)
        return moment

    def _truth(self, t: float) -> tuple[list[VehicleTruth], list[PersonTruth]]:
        """Vehicles and people at `t`, their visibility not yet known (1)."""
        found = self._truths.get(t)
        if found is None:
            found = self._truths[t] = self._placed(t)
            if len(self._truths) > 8:
                self._truths.popitem(last=False)
        return found

    def _placed(self, t: float) -> tuple[list[VehicleTruth], list[PersonTruth]]:
        ground, along = -self.layout.height, self.layout.along
        heading = float(np.cos(along)), float(np.sin(along))
        driven, afoot = self.traffic.vehicles_at(t), self.traffic.people_at(t)
        s, d = np.array([(s, it.d) for it, s, *_ in (*driven, *afoot)]).T
        places = self.layout.place(s, d).tolist()
        vehicles, people = [], []
        for (v, _, speed), (x, y) in zip(driven, places[: len(driven)], strict=True):
            yaw = along if v.direction > 0 else along - np.pi
            velocity = (heading[0] * speed, heading[1] * speed, 0.0)
            position = (x, y, ground + v.size[2] / 2)
            vehicles.append(
                VehicleTruth(
                    v.id, v.label, v.colour, v.lane_name, position, velocity, v.size, _wrapped(yaw), in_view(x, y), 1.0
                )
            )
        for (p, _, speed, activity), (x, y) in zip(afoot, places[len(driven) :], strict=True):
            velocity = (heading[0] * speed, heading[1] * speed, 0.0)
            people.append(PersonTruth(p.id, (x, y, ground + p.height / 2), velocity, activity, in_view(x, y), 1.0))
        return vehicles, people

    def _make(self, t: float) -> _Moment:
        vehicles, people = self._truth(t)
        ground, along = -self.layout.height, self.layout.along
        by_id = {v.id: v for v in self.traffic.vehicles}
        parts = [
            vehicle_parts(by_id[v.id], np.array(v.position[:2]), ground, v.yaw, number) for number, v in enumerate(vehicles)
        ]
        for number, (person, truth) in enumerate(zip(self.traffic.people, people, strict=True), len(vehicles)):
            forward = truth.velocity[0] * np.cos(along) + truth.velocity[1] * np.sin(along)
            # Those who stand or wave face the roadside unit.
            yaw = (
                np.arctan2(-truth.position[1], -truth.position[0])
                if abs(forward) < 1e-6
                else along
                if forward > 0
                else along + np.pi
            )
            parts.append(person_parts(person, np.array(truth.position[:2]), ground, float(yaw), truth.activity, t, number))
        scene = Scene(Parts.joined(parts))
        seen = self._visibility(scene, [*vehicles, *people])
        vehicles = [replace(v, visible=float(seen[i])) for i, v in enumerate(vehicles)]
        people = [replace(p, visible=float(seen[len(vehicles) + i])) for i, p in enumerate(people)]
        return _Moment(StreetTruth(t, tuple(vehicles), tuple(people)), scene)

    def _visibility(self, scene: Scene, things: list) -> np.ndarray:
        """Part (n,) of points on each thing's upper half that the array sees past the others."""
        grid = np.array([[x, y, z] for x in (-0.4, 0.0, 0.4) for y in (-0.4, 0.4) for z in (-0.1, 0.35)])
        local = grid * np.array([getattr(thing, "size", PERSON_SIZE) for thing in things])[:, None, :]
        yaw = np.array([getattr(thing, "yaw", 0.0) for thing in things])
        cos, sin, none = np.cos(yaw), np.sin(yaw), np.zeros(len(yaw))
        turn = np.array([[cos, sin, none], [-sin, cos, none], [none, none, none + 1]]).transpose(2, 0, 1)
        target = local @ turn + np.array([thing.position for thing in things])[:, None, :]
        owner = np.repeat(np.arange(len(things)), len(grid))
        hits = scene.cast(rays_from(np.zeros(3), target.reshape(-1, 3)))
        mine = scene.parts.owner[np.where(np.isfinite(hits.distance), hits.part, 0)] == owner
        clear = ~np.isfinite(hits.distance) | (hits.distance >= 1.0) | mine
        return clear.reshape(len(things), len(grid)).mean(axis=1)

    def _scatterers(self, t: float, noise: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places (N, 3), velocities (N, 3) and radar cross sections (N,) of what moves, weaker where it is hidden."""
        truth = self._at(t).truth
        places, velocities, sections = [np.zeros((0, 3))], [np.zeros((0, 3))], [np.zeros(0)]
        spots = np.array([[x, y, -0.2] for x in (-0.48, -0.16, 0.16, 0.48) for y in (-0.48, 0.48)])
        for v in truth.vehicles:
            cos, sin = np.cos(v.yaw), np.sin(v.yaw)
            turn = np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])
            place = (spots * v.size) @ turn + v.position
            facing = (np.sign(spots[:, 1:2]) * turn[1] * -place).sum(axis=1) > 0
            strength = RCS[v.label] / len(spots) * np.where(facing, 1.0, 0.1) * noise.exponential(size=len(spots))
            places.append(place)
            velocities.append(np.tile(v.velocity, (len(spots), 1)))
            sections.append(strength * (0.02 + 0.98 * v.visible))
        for p in truth.people:
            sway = {"walk": 0.8, "run": 1.8, "wave": 0.9}.get(p.activity, 0.05)
            count = 4
            velocity = np.tile(p.velocity, (count, 1))
            velocity[1:] *= 1 + 0.6 * noise.uniform(-1, 1, (count - 1, 1))
            toward = np.array(p.position) / np.linalg.norm(p.position)
            velocity[1:] += toward * sway * noise.uniform(-1, 1, (count - 1, 1))
            places.append(np.array(p.position) + noise.normal(0, 0.12, (count, 3)))
            velocities.append(velocity)
            sections.append(np.array([0.6, 0.15, 0.15, 0.1]) * noise.exponential(size=count) * (0.02 + 0.98 * p.visible))
        return np.concatenate(places), np.concatenate(velocities), np.concatenate(sections)

    def _as_radar_sees(self, place: np.ndarray, velocity: np.ndarray, rcs: np.ndarray) -> Scatterers:
        """Scatterers of places (N, 3) and velocities (N, 3) in the antenna frame."""
        place = place - self.radar_pose[:3, 3]
        distance = np.linalg.norm(place, axis=1)
        # The array is horizontal: it sees the angle whose sine is y over the slant range.
        azimuth = np.arcsin(np.clip(place[:, 1] / distance, -1, 1))
        rcs = rcs * 10 ** (-2 * self.config.conditions.radar_loss * distance / 10_000)  # rain, there and back
        phase = np.mod(4 * np.pi * distance * CHIRP.start_frequency / LIGHT, 2 * np.pi)
        return Scatterers(distance, azimuth, (velocity * place).sum(axis=1) / distance, rcs, phase)

    def _still_scatterers(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Walls, poles and ground as the radar sees them: places (N, 3), cross sections (N,)."""
        azimuth = np.arcsin(rng.uniform(-0.85, 0.85, 160))
        elevation = rng.uniform(-0.45, 0.12, 160)
        direction = np.stack(
            [np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)], axis=1
        )
        hits = self._static.cast(rays_from(np.zeros(3), direction))
        met = np.isfinite(hits.distance) & (hits.distance < 75.0)
        ground = hits.part[met] == 0
        rcs = np.where(ground, 0.05, 2.0) * rng.exponential(size=int(met.sum()))
        return direction[met] * hits.distance[met, None], rcs

    def _build(self) -> tuple[Scene, np.ndarray]:
        """The scene of what never moves, and which of its boxes have windows; box 0 is the ground."""
        layout = self.layout
        blocks = [*layout.buildings, *layout.poles]
        ground = -layout.height
        parts = [boxes([[60.0, 0.0, ground - 0.05]], [[300.0, 300.0, 0.1]], 0.0, [(120, 120, 120)], 0)]
        for number, block in enumerate(blocks, 1):
            xy = layout.place(block.s, block.d)
            parts.append(boxes([[*xy, ground + block.size[2] / 2]], [block.size], layout.along, [block.colour], number))
        self._walls = []
        inward = -np.array([np.cos(layout.angle), np.sin(layout.angle)])
        for block in layout.buildings:
            face = layout.place(block.s, block.d - block.size[1] / 2)
            self._walls.append((face, inward, block.size[0] / 2, ground + block.size[2]))
        return Scene(Parts.joined(parts)), np.array([False, *(block.windows for block in blocks)])


SERVICE_STEP = 0.25  #: [s] how often it is checked who is served


def stamp(t: float) -> int:
    """Stamp [ns] of the moment `t` [s]."""
    return EPOCH + round(t * NANOSECONDS)


def in_view(x: float, y: float) -> bool:
    """Whether a point lies within the codebook's view and the maps' range."""
    return bool(np.hypot(x, y) < MAX_RANGE and abs(np.arctan2(y, x)) < HALF_VIEW)


def _wrapped(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)
