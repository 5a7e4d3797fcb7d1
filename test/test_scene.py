"""The picture of the rviz2 view is drawn from messages: every kind that the node sends, where it stands, and nothing it cannot draw."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")
DOCS = Path(__file__).resolve().parents[1] / "docs"
if not DOCS.is_dir():
    pytest.skip("docs/ is not here", allow_module_level=True)
sys.path.insert(0, str(DOCS))

from scene import KINDS, Scene
from test_markers import BUS, CODEBOOK, sensing

from mmsense_ros.data.rosbag import typestore
from mmsense_ros.ros.markers import ARRAY, Markers

pytestmark = pytest.mark.ros
NIGHT = (0, 0, 0)


def sent(**changes) -> list:
    return typestore().deserialize_cdr(Markers(CODEBOOK).array(sensing(**changes), 0.5), ARRAY).markers


def test_every_kind_of_marker_is_drawn():
    markers = sent(instruction="serve the red bus")
    assert {marker.type for marker in markers} == set(KINDS)
    for kind in KINDS:
        scene = Scene((320, 180), np.array([-30.0, 0, 20]), np.array([15.0, 0, 0]), NIGHT)
        for marker in markers:
            if marker.type == kind:
                scene.add_marker(marker)
        assert scene.draw().any(), kind


def test_a_box_is_seen_where_it_stands():
    scene = Scene((320, 180), np.array([0.0, 0, 1]), np.array([50.0, 0, 1]), NIGHT)
    (box,) = (marker for marker in sent() if marker.ns == "objects")
    scene.add_marker(box)
    rows, columns = np.nonzero(scene.draw().any(axis=2))
    x, y, z = BUS.position
    focal = 90 / np.tan(np.radians(22.5))
    assert columns.mean() == pytest.approx(160 - focal * y / x, abs=6) and rows.mean() == pytest.approx(
        90 - focal * (z - 1) / x, abs=6
    )
    assert np.ptp(columns) == pytest.approx(focal * BUS.size[0] / (x - BUS.size[1] / 2), abs=4)  # it stands across


def test_a_kind_that_it_cannot_draw_is_an_error():
    (marker, *_) = sent()
    marker.type = marker.MESH_RESOURCE
    with pytest.raises(KeyError):
        Scene((32, 18), np.zeros(3), np.ones(3), NIGHT).add_marker(marker)
