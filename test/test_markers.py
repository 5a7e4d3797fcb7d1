"""Markers for rviz2: where things are, the colour of a blocked link, and nothing that lingers."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from rclpy.serialization import deserialize_message
from visualization_msgs.msg import Marker, MarkerArray

from mmsense_ros.codebook import Codebook
from mmsense_ros.ros.markers import REACH, Markers
from mmsense_ros.sensing import BeamForecast, ModalityState, SensedObject, SensedPerson, Sensing

pytestmark = pytest.mark.ros
CODEBOOK = Codebook()
THERE = {"camera": True, "radar": False, "lidar": True}
BUS = SensedObject("bus", (20.0, -4.0, -2.0), (3.0, 4.0, 0.0), (12.0, 2.5, 3.0), math.pi / 2, 0.9)
WALKER = SensedPerson((8.0, 2.0, -3.0), "wave", 0.8, 0.7)


def forecast(beam: int, horizon: float = 0.0) -> BeamForecast:
    probabilities = np.zeros(64, np.float32)
    probabilities[[beam, beam + 1, beam + 2]] = 0.8, 0.19, 0.01
    return BeamForecast(horizon, probabilities, np.array([beam, beam + 1]), 0.9, 0.3)


def sensing(**changes) -> Sensing:
    answer = Sensing(
        stamp=7_000_000_250,
        frame_id="antenna_array",
        instruction="",
        modalities=tuple(ModalityState(name, there, there / 2, 0.0) for name, there in THERE.items()),
        beam=forecast(10),
        beam_ahead=forecast(30, 0.5),
        blockage=0.0,
        blockage_ahead=0.0,
        pathloss=90.0,
        objects=(BUS,),
        people=(WALKER,),
    )
    return replace(answer, **changes)


def shown(answer: Sensing, lifetime: float = 0.5, markers: Markers | None = None) -> MarkerArray:
    """What rviz2 gets."""
    return deserialize_message((markers or Markers(CODEBOOK)).array(answer, lifetime), MarkerArray)


def of(array: MarkerArray, ns: str) -> list[Marker]:
    return [marker for marker in array.markers if marker.ns == ns]


def rgb(marker: Marker) -> tuple[float, float, float]:
    return marker.color.r, marker.color.g, marker.color.b


def test_things_stand_where_they_were_sensed():
    array = shown(sensing())
    (box,) = of(array, "objects")
    assert (box.type, box.action) == (Marker.CUBE, Marker.ADD)
    assert (box.pose.position.x, box.pose.position.y, box.pose.position.z) == BUS.position
    assert (box.scale.x, box.scale.y, box.scale.z) == BUS.size
    assert 2 * math.atan2(box.pose.orientation.z, box.pose.orientation.w) == pytest.approx(BUS.yaw)
    (ways,) = of(array, "velocities")
    start, end = ways.points
    assert (start.x, start.y, end.x, end.y) == (20.0, -4.0, 23.0, 0.0)
    assert of(array, "object_labels")[0].text == "bus 5 m/s"
    assert of(array, "people")[0].pose.position.x == WALKER.position[0]
    assert of(array, "people_labels")[0].text == "wave"


def test_all_are_stamped_and_mortal():
    array = shown(sensing(), 1.25)
    for marker in array.markers:
        assert (marker.header.stamp.sec, marker.header.stamp.nanosec, marker.header.frame_id) == (7, 250, "antenna_array")
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 250_000_000)
    keys = [(marker.ns, marker.id) for marker in array.markers]
    assert len(set(keys)) == len(keys)


def test_the_fan_points_along_the_likely_beams():
    array = shown(sensing())
    (fan,) = of(array, "beam_fan")
    assert len(fan.points) == 3 * len(fan.colors) == 3 * 2  # the third beam is too unlikely to be drawn
    edge = fan.points[1:3]
    middle = math.atan2(edge[0].y + edge[1].y, edge[0].x + edge[1].x)
    assert middle == pytest.approx(CODEBOOK.azimuths[10], abs=1e-6)
    assert math.hypot(edge[0].x, edge[0].y) == pytest.approx(REACH)
    (rays,) = of(array, "sweep_set")
    assert [math.atan2(p.y, p.x) for p in rays.points[1::2]] == pytest.approx(list(CODEBOOK.azimuths[[10, 11]]))
    tips = {ns: of(array, ns)[0].points[1] for ns in ("beam", "beam_ahead")}
    assert math.atan2(tips["beam"].y, tips["beam"].x) == pytest.approx(CODEBOOK.azimuths[10])
    assert math.atan2(tips["beam_ahead"].y, tips["beam_ahead"].x) == pytest.approx(CODEBOOK.azimuths[30])


def test_a_blocked_link_is_red_and_a_missing_sensor_is_named():
    for ns in ("beam", "link"):
        clear, blocked = (rgb(of(shown(sensing(blockage=p)), ns)[0]) for p in (0.0, 1.0))
        assert clear[1] > 2 * clear[0] and blocked[0] > 2 * blocked[1]
    gates = {gate.text.split()[0]: gate for gate in of(shown(sensing()), "gates")}
    assert {name: gate.text for name, gate in gates.items()} == {
        "camera": "camera 50%",
        "radar": "radar missing",
        "lidar": "lidar 50%",
    }
    assert rgb(gates["radar"]) == pytest.approx(rgb(of(shown(sensing(blockage=1.0)), "beam")[0]))
    assert len({gate.pose.position.z for gate in gates.values()}) == 3  # none over another


def test_the_instruction_stands_below_the_array_if_there_is_one():
    assert not of(shown(sensing()), "instruction")
    (words,) = of(shown(sensing(instruction="serve the red bus")), "instruction")
    assert words.text == "serve the red bus" and words.type == Marker.TEXT_VIEW_FACING


def test_what_vanished_is_deleted_once():
    markers = Markers(CODEBOOK)
    shown(sensing(objects=(BUS, BUS), people=(WALKER,), instruction="serve the red bus"), markers=markers)
    second = shown(sensing(objects=(BUS,), people=()), markers=markers)
    gone = {(marker.ns, marker.id) for marker in second.markers if marker.action == Marker.DELETE}
    assert gone == {("objects", 1), ("object_labels", 1), ("people", 0), ("people_labels", 0), ("instruction", 0)}
    third = shown(sensing(objects=(BUS,), people=()), markers=markers)
    assert not [marker for marker in third.markers if marker.action == Marker.DELETE]
