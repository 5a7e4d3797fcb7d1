"""LiDAR clouds of any layout become the same reading, lies are refused, and each point lands in its cell."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from clouds import LIES, changed, cloud, table

from mmsense_ros.errors import MessageError
from mmsense_ros.messages.lidar import lidar_message, lidar_reading
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.sensors.lidar import lidar_map
from mmsense_ros.snapshot import LidarReading

TOPIC = "/lidar/points"
GRID = PolarGrid()
ROWS = [[1, 2, 3, 0.5], [4, 5, 6, 0.25]]


@pytest.mark.parametrize("kind", ["<f4", "<f8", ">f4"])
@pytest.mark.parametrize(("height", "padding"), [(1, 0), (2, 0), (2, 5), (1, 3)])
def test_any_layout_gives_the_same_reading(kind: str, height: int, padding: int) -> None:
    reading = lidar_reading(cloud(table("x y z intensity", ROWS, kind), height, padding, kind[0] == ">", "/lidar"), TOPIC)
    np.testing.assert_array_equal(reading.xyz, [[1, 2, 3], [4, 5, 6]])
    np.testing.assert_array_equal(reading.intensity, [0.5, 0.25])
    assert reading.xyz.dtype == reading.intensity.dtype == np.float32
    assert (reading.stamp, reading.frame_id) == (5, "lidar")


def test_fields_lie_where_the_message_says() -> None:
    layout = {
        "names": ["ring", "z", "intensity", "y", "x"],
        "formats": ["<u2", "<f4", "u1", "<f4", "<f4"],
        "offsets": [0, 4, 9, 12, 20],
    }
    points = np.zeros(1, np.dtype({**layout, "itemsize": 32}))
    points[0] = (7, 3.0, 51, 2.0, 1.0)
    reading = lidar_reading(cloud(points), TOPIC)
    np.testing.assert_array_equal(reading.xyz, [[1, 2, 3]])
    np.testing.assert_allclose(reading.intensity, [0.2])


def test_intensities_that_count_to_255_are_scaled() -> None:
    rows = [[1, 2, 3, 255], [1, 2, 3, 0], [1, 2, 3, 51]]
    np.testing.assert_allclose(lidar_reading(cloud(table("x y z intensity", rows)), TOPIC).intensity, [1, 0, 0.2])


def test_intensities_of_other_units_stay_within_0_and_1() -> None:
    rows = [[1, 2, 3, 3000], [1, 2, 3, -5], [1, 2, 3, 51]]
    np.testing.assert_allclose(lidar_reading(cloud(table("x y z intensity", rows)), TOPIC).intensity, [1, 0, 0.2])


def test_a_field_without_a_name_is_not_taken_for_the_intensity() -> None:
    message = cloud(table("x y z intensity", ROWS))
    message.fields[3].name = ""
    np.testing.assert_array_equal(lidar_reading(message, TOPIC).intensity, [0, 0])


@pytest.mark.parametrize("kind", ["<f4", "<f8"])
def test_points_that_are_not_finite_are_dropped(kind: str) -> None:
    rows = [[np.nan, 0, 0, 1], [1, 2, 3, 1], [1, np.inf, 3, 1], [1, 2, -np.inf, 1], [7, 8, 9, np.nan]]
    if kind == "<f8":
        rows.append([1, 2, 1e300, 1])  # more than a float32 holds
    reading = lidar_reading(cloud(table("x y z intensity", rows, kind)), TOPIC)
    np.testing.assert_array_equal(reading.xyz, [[1, 2, 3]])
    assert len(reading.intensity) == 1


@pytest.mark.parametrize("fields", [{}, {"height": 0}, {"row_step": 0}, {"height": 0, "width": 5}])
def test_an_empty_cloud_is_an_empty_reading_and_an_empty_map(fields: dict[str, int]) -> None:
    reading = lidar_reading(changed(cloud(table("x y z intensity", [])), **fields), TOPIC)
    assert reading.xyz.shape == (0, 3) and reading.intensity.shape == (0,)
    assert not lidar_map(reading, np.eye(4), GRID).any()


@pytest.mark.parametrize(("lie", "said"), LIES)
def test_a_cloud_that_lies_is_refused_by_topic_and_reason(lie: dict[str, Any], said: str) -> None:
    with pytest.raises(MessageError, match=rf"^{TOPIC}.*{said}.*; "):
        lidar_reading(changed(cloud(table("x y z intensity", ROWS)), **lie), TOPIC)


def test_a_missing_field_is_named_with_those_there_are() -> None:
    with pytest.raises(MessageError, match=rf"^{TOPIC}.*field z.*x, y, intensity.*; "):
        lidar_reading(cloud(table("x y intensity", [[1, 2, 3]])), TOPIC)


def test_a_field_of_unknown_datatype_is_refused() -> None:
    message = cloud(table("x y z intensity", ROWS))
    message.fields[1].datatype = 9
    with pytest.raises(MessageError, match=rf"^{TOPIC}.*'y'.*datatype 9.*; "):
        lidar_reading(message, TOPIC)


def test_a_cloud_written_is_the_cloud_read() -> None:
    rng = np.random.default_rng(0)
    before = LidarReading(123_456_789_012, "lidar", rng.normal(size=(50, 3)).astype(np.float32), rng.random(50, np.float32))
    after = lidar_reading(lidar_message(RosbagTypes(), before), TOPIC)
    np.testing.assert_array_equal(after.xyz, before.xyz)
    np.testing.assert_array_equal(after.intensity, before.intensity)
    assert (after.stamp, after.frame_id) == (before.stamp, "lidar")


def reading(*points: tuple[float, float, float, float]) -> LidarReading:
    values = np.array(points, np.float32)
    return LidarReading(0, "lidar", values[:, :3], values[:, 3])


def test_a_cell_holds_the_highest_point_the_mean_intensity_and_the_density() -> None:
    # 10.2 m ahead, just left of boresight: row 20, column 31.
    height, intensity, density = lidar_map(
        reading((10.2, 0.1, -1, 0.2), (10.2, 0.1, 2, 0.8), (10.2, 0.1, 1, 0.5)), np.eye(4), GRID
    )
    assert height[20, 31] == pytest.approx(2 / 4)
    assert intensity[20, 31] == pytest.approx(0.5)
    assert density[20, 31] == pytest.approx(np.log(4) / 4)
    assert all(np.count_nonzero(channel) == 1 for channel in (height, intensity, density))


def test_a_point_below_the_antenna_is_not_taken_for_none() -> None:
    assert lidar_map(reading((10.2, 0.1, -3, 0.2)), np.eye(4), GRID)[0, 20, 31] == pytest.approx(-3 / 4)


@pytest.mark.parametrize(
    ("place", "cell"),
    [
        ((10.2, 10.1), (28, 0)),
        ((10.2, -10.1), (28, 63)),
        ((0.3, 0.0), (0, 32)),
        ((63.9, 0.01), (127, 31)),
        ((20.0, -5.0), (41, 41)),
    ],
)
def test_points_land_where_they_are(place: tuple[float, float], cell: tuple[int, int]) -> None:
    density = lidar_map(reading((*place, 0, 1)), np.eye(4), GRID)[2]
    assert [tuple(index) for index in np.argwhere(density)] == [cell]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("place", [(-5.0, 0.0), (5.0, 6.0), (5.0, -6.0), (64.1, 0.0), (0.0, 3.0), (1e12, 0.0)])
def test_points_out_of_view_are_left_out(place: tuple[float, float]) -> None:
    assert not lidar_map(reading((*place, 0, 1)), np.eye(4), GRID).any()


def test_extrinsics_move_and_turn_the_points() -> None:
    pose = np.array([[0, -1, 0, 20], [1, 0, 0, -10], [0, 0, 1, 2], [0, 0, 0, 1]], float)  # 20 m ahead, 10 m right, looking left
    moved = lidar_map(reading((5, 0, -1, 1)), pose, GRID)  # at x 20, y -5, z 1
    assert np.argwhere(moved[2]).tolist() == [[41, 41]]
    assert moved[0, 41, 41] == pytest.approx(1 / 4)
