"""Messages built here go over the wire as CDR and come back the same; with rclpy's classes they hold the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from mmsense_ros.codebook import Codebook
from mmsense_ros.data.rosbag import typestore
from mmsense_ros.errors import MessageError
from mmsense_ros.messages.camera import camera_info_message, camera_reading, image_message
from mmsense_ros.messages.lidar import lidar_message, lidar_reading
from mmsense_ros.messages.link import beam_power_message, quaternion, string_message, transforms_message
from mmsense_ros.messages.radar import radar_cube, radar_cube_message, radar_points, radar_points_message
from mmsense_ros.messages.sensing import CANDIDATES, beam_message, sensing_message, sensing_of
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.sensing import BeamForecast, ModalityState, SensedObject, SensedPerson, Sensing
from mmsense_ros.snapshot import CameraReading, Chirp, LidarReading, RadarCube, RadarPoints

STAMP = 1_732_370_400_987_654_321
CODEBOOK = Codebook()


def rclpy_types() -> Any:
    pytest.importorskip("mmsense_ros.msg", reason="the package's messages are not built here")
    from mmsense_ros.ros.types import RclpyTypes

    return RclpyTypes()


@pytest.fixture(params=["rosbags", "rclpy"])
def types(request: pytest.FixtureRequest) -> Any:
    return RosbagTypes() if request.param == "rosbags" else rclpy_types()


def sent(message: Any) -> Any:
    """The message as a subscriber gets it: through CDR, by whoever made its class."""
    if hasattr(message, "__msgtype__"):
        return typestore().deserialize_cdr(typestore().serialize_cdr(message, message.__msgtype__), message.__msgtype__)
    from rclpy.serialization import deserialize_message, serialize_message

    return deserialize_message(serialize_message(message), type(message))


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def test_an_image_survives(types: Any) -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 10, 3), dtype=np.uint8)
    after = camera_reading(sent(image_message(types, CameraReading(STAMP, "camera_optical", image))))
    np.testing.assert_array_equal(after.image, image)
    assert (after.stamp, after.frame_id) == (STAMP, "camera_optical")


def test_radar_points_survive(types: Any) -> None:
    before = RadarPoints(STAMP, "radar", numbers(7, 3), numbers(7), numbers(7))
    after = radar_points(sent(radar_points_message(types, before)))
    np.testing.assert_array_equal(
        np.c_[after.xyz, after.velocity, after.intensity], np.c_[before.xyz, before.velocity, before.intensity]
    )
    assert (after.stamp, after.frame_id) == (STAMP, "radar")


@pytest.mark.parametrize("count", [0, 9])
def test_a_sweep_survives_even_an_empty_one(types: Any, count: int) -> None:
    before = LidarReading(STAMP, "lidar", numbers(count, 3), np.linspace(0, 1, count, dtype=np.float32))
    after = lidar_reading(sent(lidar_message(types, before)))
    np.testing.assert_array_equal(after.xyz, before.xyz)
    np.testing.assert_array_equal(after.intensity, before.intensity)


def test_a_cube_survives(types: Any) -> None:
    adc = np.rint(1000 * numbers(2, 8, 4, 2)).view(np.complex64)[..., 0]
    before = RadarCube(STAMP, "radar", adc, Chirp(77e9, -17e12, 10e6, 60e-6, 0.5))
    after = radar_cube(sent(radar_cube_message(types, before)))
    np.testing.assert_array_equal(after.adc, adc)
    assert (after.stamp, after.frame_id, after.chirp) == (STAMP, "radar", before.chirp)


def test_intrinsics_survive(types: Any) -> None:
    matrix = np.array([[500.0, 0, 320], [0, 510, 240], [0, 0, 1]])
    after = sent(camera_info_message(types, STAMP, "camera_optical", matrix, 640, 480))
    np.testing.assert_array_equal(np.reshape(after.k, (3, 3)), matrix)
    np.testing.assert_array_equal(np.reshape(after.p, (3, 4)), np.c_[matrix, np.zeros(3)])
    assert (after.width, after.height, len(after.d)) == (640, 480, 5)


def test_a_sweep_of_beams_and_an_instruction_survive(types: Any) -> None:
    power = numbers(64) ** 2
    after = sent(beam_power_message(types, STAMP, "antenna_array", CODEBOOK, "vehicle_3", power))
    np.testing.assert_array_equal(after.power, power)
    assert (after.codebook, after.terminal) == ("ula16x64", "vehicle_3")
    assert sent(string_message(types, "serve the red bus")).data == "serve the red bus"


def test_transforms_survive(types: Any) -> None:
    if not isinstance(types, RosbagTypes):
        pytest.importorskip("tf2_msgs.msg", reason="tf2_msgs is not installed here")
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = [[0, 0, 1], [-1, 0, 0], [0, -1, 0]], [1, 2, 3]
    (after,) = sent(transforms_message(types, STAMP, "antenna_array", {"camera_optical": matrix})).transforms
    turn = after.transform.rotation
    np.testing.assert_allclose([turn.x, turn.y, turn.z, turn.w], [-0.5, 0.5, -0.5, 0.5])
    assert (after.header.frame_id, after.child_frame_id, after.transform.translation.z) == (
        "antenna_array",
        "camera_optical",
        3.0,
    )


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.6, 0, 0.8)])
@pytest.mark.parametrize("angle", [0.0, 1.0, np.pi / 2, np.pi, -3.0])
def test_every_rotation_has_its_quaternion(axis: tuple[float, float, float], angle: float) -> None:
    x, y, z = axis
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross  # Rodrigues
    found = np.array(quaternion(rotation))
    wanted = np.append(np.sin(angle / 2) * np.array(axis), np.cos(angle / 2))
    assert abs(found @ wanted) == pytest.approx(1)
    assert found[3] >= 0


def forecast(horizon: float) -> BeamForecast:
    powers = np.exp(-0.5 * ((np.arange(64) - 20 - 4 * horizon) / 2) ** 2)
    return BeamForecast(horizon, (powers / powers.sum()).astype(np.float32), np.array([20, 21, 19]), 0.9, 0.4)


def sensing() -> Sensing:
    return Sensing(
        stamp=STAMP, frame_id="antenna_array", instruction="serve the red bus",
        modalities=(ModalityState("camera", True, 1.0, 0.0), ModalityState("radar", False, 0.0, float("nan"))),
        beam=forecast(0.0), beam_ahead=forecast(0.5), blockage=0.25, blockage_ahead=0.5, pathloss=90.5,
        objects=(SensedObject("bus", (20.0, 5.0, -1.0), (8.0, 0.0, 0.0), (12.0, 2.5, 3.0), 0.5, 0.75),),
        people=(SensedPerson((10.0, -3.0, -1.0), "wave", 0.5, 0.875),),
        traffic={"car": 2.5, "bus": 1.0}, engine="openvino", precision="fp32", latency_ms={"maps": 2.5, "total": 8.0},
    )  # fmt: skip


def test_answers_survive(types: Any) -> None:
    before = sensing()
    message = sent(sensing_message(types, before, CODEBOOK))
    after = sensing_of(message)
    for name in ("stamp", "frame_id", "instruction", "blockage", "blockage_ahead", "pathloss", "objects", "people", "traffic",
                 "engine", "precision", "latency_ms"):  # fmt: skip
        assert getattr(after, name) == getattr(before, name), name
    assert after.modalities[0] == before.modalities[0]
    assert (after.modalities[1].available, after.modalities[1].gate) == (False, 0.0) and np.isnan(after.modalities[1].age)
    assert message.horizon == 0.5
    assert [after.beam.best, after.beam_ahead.best] == [20, 22]


def test_a_forecast_names_its_likeliest_beams(types: Any) -> None:
    before = forecast(0.0)
    after = sent(beam_message(types, before, STAMP, "antenna_array", CODEBOOK))
    assert list(after.beams) == list(before.ranked[:CANDIDATES])
    assert (np.diff(after.probabilities) <= 0).all()
    np.testing.assert_allclose(after.probabilities, before.probabilities[before.ranked[:CANDIDATES]])
    assert list(after.sweep_set) == [20, 21, 19]
    assert after.sweep_saving == pytest.approx(61 / 64)
    assert (after.codebook, after.codebook_size, after.coverage) == ("ula16x64", 64, pytest.approx(0.9))


def test_payloads_are_not_copied_for_bags() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    assert np.shares_memory(image_message(RosbagTypes(), CameraReading(0, "c", image)).data, image)


@pytest.mark.parametrize(
    "damage", [{"beams": [20, 64]}, {"sweep_set": [64]}, {"codebook_size": 0}, {"probabilities": [0.5]}, {"beams": []}]
)
def test_answers_about_beams_that_there_are_not_are_refused(damage: dict[str, Any]) -> None:
    message = sensing_message(RosbagTypes(), sensing(), CODEBOOK)
    for field, value in damage.items():
        setattr(message.beam_ahead, field, np.array(value) if isinstance(value, list) else value)
    with pytest.raises(MessageError, match="BeamPrediction.*; "):
        sensing_of(message)
