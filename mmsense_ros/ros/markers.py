"""What was sensed as markers for rviz2: vehicles, people, the beam fan, the beams to sweep; red where the link is blocked."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Vector3
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from mmsense_ros.codebook import Codebook
from mmsense_ros.evaluation.panel import vehicle_colour
from mmsense_ros.messages.types import header
from mmsense_ros.ros.types import RclpyTypes
from mmsense_ros.sensing import SensedObject, SensedPerson, Sensing

REACH = 30.0  #: [m] length of the likeliest beam's wedge
CLEAR, BLOCKED, PERSON, WHITE = (0.2, 0.85, 0.45), (0.95, 0.15, 0.1), (1.0, 0.75, 0.1), (1.0, 1.0, 1.0)
TEXT_HEIGHT = 0.8  #: [m]
FAINT = 0.05  #: beams less likely than this part of the likeliest are not drawn

Colour = tuple[float, float, float]


class Markers:
    """Builds one MarkerArray after another: ids are places in the lists, and those no longer taken are deleted."""

    def __init__(self, codebook: Codebook) -> None:
        self._codebook = codebook
        self._shown: set[tuple[str, int]] = set()

    def array(self, sensing: Sensing, lifetime: float) -> MarkerArray:
        """Markers of `sensing`; each vanishes after `lifetime` [s] if nothing follows."""
        head = header(RclpyTypes(), sensing.stamp, sensing.frame_id)
        seconds = int(lifetime)
        life = Duration(sec=seconds, nanosec=int((lifetime - seconds) * 1e9))
        markers = [*self._fan(sensing), *_objects(sensing.objects), *_people(sensing.people)]
        for marker in markers:
            marker.header, marker.lifetime = head, life
        shown = {(marker.ns, marker.id) for marker in markers}
        gone = [Marker(header=head, ns=ns, id=number, action=Marker.DELETE) for ns, number in sorted(self._shown - shown)]
        self._shown = shown
        return MarkerArray(markers=gone + markers)

    def _fan(self, sensing: Sensing) -> Iterator[Marker]:
        """A wedge a likely beam, as long and as solid as it is likely; the sweep set as rays; the best beam now and ahead."""
        beam, azimuths = sensing.beam, self._codebook.azimuths
        half = self._codebook.half_view / self._codebook.beams
        share = beam.probabilities / beam.probabilities.max()
        colour = _mix(CLEAR, BLOCKED, sensing.blockage)
        wedges = _marker("beam_fan", 0, Marker.TRIANGLE_LIST, WHITE, 1.0, (1.0, 1.0, 1.0))
        for index in np.flatnonzero(share > FAINT):
            length = REACH * float(share[index])
            wedges.points += [Point(), _at(length, azimuths[index] - half), _at(length, azimuths[index] + half)]
            wedges.colors += [_rgba(colour, 0.15 + 0.5 * float(share[index]))] * 3
        yield wedges
        rays = _marker("sweep_set", 0, Marker.LINE_LIST, WHITE, 0.6, (0.06, 0.0, 0.0))
        for index in beam.sweep_set:
            rays.points += [_at(REACH, azimuths[index]), _at(REACH + 2.0, azimuths[index])]
        yield rays
        ahead = _mix(CLEAR, BLOCKED, sensing.blockage_ahead)
        for name, forecast, shade in (("beam", beam, colour), ("beam_ahead", sensing.beam_ahead, ahead)):
            arrow = _marker(name, 0, Marker.ARROW, shade, 0.9 if name == "beam" else 0.4, (0.25, 0.6, 0.8))
            arrow.points = [Point(), _at(REACH, azimuths[forecast.best])]
            yield arrow
        words = f"beam {beam.best}  blocked {sensing.blockage:.0%}" + "".join(
            f"\n{state.modality} missing" for state in sensing.modalities if not state.available
        )
        yield _text("link", 0, words, Point(z=1.5), colour)


def _objects(objects: tuple[SensedObject, ...]) -> Iterator[Marker]:
    for number, thing in enumerate(objects):
        colour = tuple(channel / 255 for channel in vehicle_colour(thing.label))
        box = _marker("objects", number, Marker.CUBE, colour, 0.3 + 0.6 * thing.score, thing.size)
        box.pose.position = _point(thing.position)
        box.pose.orientation.z, box.pose.orientation.w = math.sin(thing.yaw / 2), math.cos(thing.yaw / 2)
        yield box
        arrow = _marker("velocities", number, Marker.ARROW, colour, 0.9, (0.15, 0.35, 0.4))
        arrow.points = [_point(thing.position), _point(np.add(thing.position, thing.velocity))]
        yield arrow
        words = f"{thing.label} {math.hypot(*thing.velocity[:2]):.0f} m/s"
        above = np.add(thing.position, (0.0, 0.0, thing.size[2] / 2 + TEXT_HEIGHT))
        yield _text("object_labels", number, words, _point(above), WHITE)


def _people(people: tuple[SensedPerson, ...]) -> Iterator[Marker]:
    for number, person in enumerate(people):
        body = _marker("people", number, Marker.CYLINDER, PERSON, 0.3 + 0.6 * person.score, (0.6, 0.6, 1.75))
        body.pose.position = _point(person.position)
        yield body
        yield _text("people_labels", number, person.activity, _point(np.add(person.position, (0.0, 0.0, 1.6))), PERSON)


def _marker(ns: str, number: int, kind: int, colour: Colour, alpha: float, size: tuple[float, float, float]) -> Marker:
    marker = Marker(ns=ns, id=number, type=kind, action=Marker.ADD, color=_rgba(colour, alpha))
    marker.scale = Vector3(**dict(zip("xyz", map(float, size), strict=True)))
    return marker


def _text(ns: str, number: int, words: str, place: Point, colour: Colour) -> Marker:
    marker = _marker(ns, number, Marker.TEXT_VIEW_FACING, colour, 1.0, (0.0, 0.0, TEXT_HEIGHT))
    marker.text, marker.pose.position = words, place
    return marker


def _at(distance: float, azimuth: float) -> Point:
    return Point(x=distance * math.cos(azimuth), y=distance * math.sin(azimuth))


def _point(xyz: np.ndarray | tuple[float, float, float]) -> Point:
    x, y, z = map(float, xyz)
    return Point(x=x, y=y, z=z)


def _rgba(colour: Colour, alpha: float) -> ColorRGBA:
    red, green, blue = map(float, colour)
    return ColorRGBA(r=red, g=green, b=blue, a=float(alpha))


def _mix(first: Colour, second: Colour, share: float) -> Colour:
    return tuple(a + (b - a) * share for a, b in zip(first, second, strict=True))
