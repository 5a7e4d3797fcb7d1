"""What was sensed as markers for rviz2: vehicles, people, the beam fan, the beams to sweep, the gates; red where the link is blocked."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from mmsense_ros.codebook import Codebook
from mmsense_ros.data.rosbag import message_class, typestore
from mmsense_ros.evaluation import ink
from mmsense_ros.evaluation.panel import vehicle_colour
from mmsense_ros.messages.types import RosbagTypes, header
from mmsense_ros.sensing import SensedObject, SensedPerson, Sensing
from mmsense_ros.snapshot import NANOSECONDS

TYPES = RosbagTypes()  # built and serialized they cost a third of what rclpy's do
ARRAY = "visualization_msgs/msg/MarkerArray"
Marker = message_class("visualization_msgs/msg/Marker")
Point, Vector = message_class("geometry_msgs/msg/Point"), message_class("geometry_msgs/msg/Vector3")
Pose, Quaternion = message_class("geometry_msgs/msg/Pose"), message_class("geometry_msgs/msg/Quaternion")
Rgba = message_class("std_msgs/msg/ColorRGBA")

REACH, RIM = 30.0, 2.0  #: [m] length of the likeliest beam's wedge; by how much the rays of the sweep set are longer
FAINT = 0.05  #: beams less likely than this part of the likeliest are not drawn
LETTER, SMALL = 0.65, 0.65  #: [m] height of what is written below the array, and over things
BOARD, LINE = (0.0, 0.0, -1.4), 0.9  #: [m] where the first line below the array stands, and the distance of lines
PERSON_SIZE = (0.6, 0.6, 1.75)  #: [m]
ORIGIN = Point(x=0.0, y=0.0, z=0.0)
UPRIGHT = Quaternion(x=0.0, y=0.0, z=0.0, w=1.0)
HERE = Pose(position=ORIGIN, orientation=UPRIGHT)
NOTHING: Sequence[Any] = ()
UNSEEN = Rgba(r=0.0, g=0.0, b=0.0, a=0.0)


class Markers:
    """Builds one MarkerArray after another: ids are places in the lists, and those no longer taken are deleted."""

    def __init__(self, codebook: Codebook) -> None:
        self._azimuths, self._half = codebook.azimuths, codebook.half_view / codebook.beams
        self._shown: set[tuple[str, int]] = set()
        self._serialize([_marker("", 0, Marker.CUBE)], 0, "", 0.0)  # the first call takes 60 ms: not while an answer waits

    def array(self, sensing: Sensing, lifetime: float) -> bytes:
        """Markers of `sensing` as CDR, which a publisher takes as it is; each vanishes after `lifetime` [s] if nothing follows."""
        markers = [*self._fan(sensing), *_board(sensing), *_objects(sensing.objects), *_people(sensing.people)]
        shown = {(marker.ns, marker.id) for marker in markers}
        gone = [_marker(ns, number, Marker.CUBE) for ns, number in sorted(self._shown - shown)]
        for marker in gone:
            marker.action = Marker.DELETE
        self._shown = shown
        return self._serialize(gone + markers, sensing.stamp, sensing.frame_id, lifetime)

    def _serialize(self, markers: list[Any], stamp: int, frame_id: str, lifetime: float) -> bytes:
        seconds, nanoseconds = divmod(round(lifetime * NANOSECONDS), NANOSECONDS)
        head, life = header(TYPES, stamp, frame_id), TYPES("builtin_interfaces/msg/Duration", sec=seconds, nanosec=nanoseconds)
        for marker in markers:
            marker.header, marker.lifetime = head, life
        return bytes(typestore().serialize_cdr(TYPES(ARRAY, markers=markers), ARRAY))

    def _fan(self, sensing: Sensing) -> Iterator[Any]:
        """A wedge a likely beam, as long and as solid as it is likely; the sweep set as rays; the best beam now and ahead."""
        beam, colour = sensing.beam, ink.risk(sensing.blockage)
        share = beam.probabilities / beam.probabilities.max()
        points, colours = [], []
        for index in np.flatnonzero(share > FAINT):
            length, azimuth = REACH * float(share[index]), self._azimuths[index]
            points += [ORIGIN, _at(length, azimuth - self._half), _at(length, azimuth + self._half)]
            colours.append(_rgba(colour, 0.15 + 0.4 * float(share[index])))  # one a triangle
        white, size = _rgba(ink.PAPER, 1.0), (1.0, 1.0, 1.0)
        yield _marker("beam_fan", 0, Marker.TRIANGLE_LIST, white, size, points=points, colors=colours)
        rays = [point for index in beam.sweep_set for point in (ORIGIN, _at(REACH + RIM, self._azimuths[index]))]
        yield _marker("sweep_set", 0, Marker.LINE_LIST, _rgba(ink.PAPER, 0.5), (0.04, 0.0, 0.0), points=rays)
        ahead = ink.risk(sensing.blockage_ahead)
        for name, forecast, shade in (
            ("beam", beam, _rgba(colour, 0.9)),
            ("beam_ahead", sensing.beam_ahead, _rgba(ahead, 0.4)),
        ):
            tip = _at(REACH, self._azimuths[forecast.best])
            yield _marker(name, 0, Marker.ARROW, shade, (0.1, 0.5, 0.9), points=[ORIGIN, tip])


def _board(sensing: Sensing) -> Iterator[Any]:
    """What is written below the array, a line each: the link, the sensors' gates, the instruction."""
    x, y, z = BOARD
    beam = sensing.beam
    blocked = f"blocked {sensing.blockage:.0%}, in {sensing.beam_ahead.horizon:g} s {sensing.blockage_ahead:.0%}"
    words = f"beam {beam.best} ({beam.probabilities.max():.0%}), sweep {len(beam.sweep_set)}, {blocked}"
    yield _text("link", 0, words, (x, y, z), ink.risk(sensing.blockage), LETTER)
    for number, state in enumerate(sensing.modalities):
        z -= LINE
        words = f"{state.modality} {state.gate:.0%}" if state.available else f"{state.modality} missing"
        colour = ink.MODALITY.get(state.modality, ink.PAPER) if state.available else ink.BLOCKED
        yield _text("gates", number, words, (x, y, z), colour, LETTER)
    if sensing.instruction:
        yield _text("instruction", 0, sensing.instruction, (x, y, z - LINE), ink.PAPER, LETTER)


def _objects(objects: Sequence[SensedObject]) -> Iterator[Any]:
    """A box and a name with the speed for each vehicle; where all of them will be in a second, as lines of one marker."""
    ways, colours = [], []
    for number, thing in enumerate(objects):
        colour = vehicle_colour(thing.label)
        turn = Quaternion(x=0.0, y=0.0, z=math.sin(thing.yaw / 2), w=math.cos(thing.yaw / 2))
        pose, shade = Pose(position=_point(*thing.position), orientation=turn), _rgba(colour, 0.3 + 0.5 * thing.score)
        yield _marker("objects", number, Marker.CUBE, shade, thing.size, pose)
        (x, y, z), (vx, vy, vz) = thing.position, thing.velocity
        words, top = f"{thing.label} {math.hypot(vx, vy):.0f} m/s", z + thing.size[2] / 2 + SMALL
        yield _text("object_labels", number, words, (x, y, top), colour)
        ways += [pose.position, _point(x + vx, y + vy, z + vz)]
        colours += [_rgba(colour, 1.0)] * 2
    if ways:
        white, size = _rgba(ink.PAPER, 1.0), (0.1, 0.0, 0.0)
        yield _marker("velocities", 0, Marker.LINE_LIST, white, size, points=ways, colors=colours)


def _people(people: Sequence[SensedPerson]) -> Iterator[Any]:
    for number, person in enumerate(people):
        x, y, z = person.position
        pose, shade = Pose(position=_point(x, y, z), orientation=UPRIGHT), _rgba(ink.PERSON, 0.4 + 0.5 * person.score)
        yield _marker("people", number, Marker.CYLINDER, shade, PERSON_SIZE, pose)
        yield _text("people_labels", number, person.activity, (x, y, z + PERSON_SIZE[2] / 2 + SMALL), ink.PERSON)


@lru_cache(maxsize=1)
def _unused() -> dict[str, Any]:
    """The fields that no marker here needs."""
    nothing, nowhere = np.zeros(0, np.uint8), header(TYPES, 0, "")
    return {
        "frame_locked": False,
        "texture_resource": "",
        "texture": TYPES("sensor_msgs/msg/CompressedImage", header=nowhere, format="", data=nothing),
        "uv_coordinates": NOTHING,
        "mesh_resource": "",
        "mesh_file": TYPES("visualization_msgs/msg/MeshFile", filename="", data=nothing),
        "mesh_use_embedded_materials": False,
    }


def _marker(
    ns: str,
    number: int,
    kind: int,
    colour: Any = UNSEEN,
    size: tuple[float, float, float] = (1.0, 1.0, 1.0),
    pose: Any = HERE,
    points: Sequence[Any] = NOTHING,
    colors: Sequence[Any] = NOTHING,
    text: str = "",
) -> Any:
    x, y, z = size
    return Marker(
        header=None,  # and lifetime: the same for a whole array
        ns=ns,
        id=number,
        type=kind,
        action=Marker.ADD,
        pose=pose,
        scale=Vector(x=x, y=y, z=z),
        color=colour,
        lifetime=None,
        points=points,
        colors=colors,
        text=text,
        **_unused(),
    )


def _text(
    ns: str, number: int, words: str, place: tuple[float, float, float], colour: ink.Colour, height: float = SMALL
) -> Any:
    pose = Pose(position=_point(*place), orientation=UPRIGHT)
    return _marker(ns, number, Marker.TEXT_VIEW_FACING, _rgba(colour, 1.0), (0.0, 0.0, height), pose, text=words)


def _at(distance: float, azimuth: float) -> Any:
    return Point(x=distance * math.cos(azimuth), y=distance * math.sin(azimuth), z=0.0)


def _point(x: float, y: float, z: float) -> Any:
    return Point(x=float(x), y=float(y), z=float(z))


def _rgba(colour: ink.Colour, alpha: float) -> Any:
    red, green, blue = colour
    return Rgba(r=red / 255, g=green / 255, b=blue / 255, a=alpha)
