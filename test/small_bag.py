"""A tiny recorded street, made by hand: camera 10 Hz, radar and LiDAR 10 Hz, one car and one walker, a beam that is known."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from mmsense_ros.data.rosbag import BagWriter, message_class

START = 1_000_000_000_000
PERIOD = 100_000_000
CAMERA, RADAR, LIDAR = "/camera/image_raw", "/radar/points", "/lidar/points"
SENSORS = {"camera": CAMERA, "radar": RADAR, "lidar": LIDAR}
TRUTH = ("/truth/beam_power", "/truth/beam_power_noise_free", "/truth/sensing")
OPTICAL = (-0.5, 0.5, -0.5, 0.5)  #: quaternion x y z w of an optical frame (z ahead, x right) in a body frame (x ahead, y left)


def build(kind: str, /, **fields: Any) -> Any:
    """A message of this type."""
    return message_class(kind)(**fields)


def header(stamp: int, frame: str) -> Any:
    time = build("builtin_interfaces/msg/Time", sec=stamp // 10**9, nanosec=stamp % 10**9)
    return build("std_msgs/msg/Header", stamp=time, frame_id=frame)


def image(stamp: int) -> Any:
    pixels = np.full((48, 64, 3), 80, np.uint8)
    return build(
        "sensor_msgs/msg/Image", header=header(stamp, "camera_optical"), height=48, width=64, encoding="rgb8", is_bigendian=0,
        step=192, data=pixels.reshape(-1),
    )  # fmt: skip


def cloud(stamp: int, frame: str, names: tuple[str, ...], points: np.ndarray) -> Any:
    fields = [build("sensor_msgs/msg/PointField", name=name, offset=4 * k, datatype=7, count=1) for k, name in enumerate(names)]
    step = 4 * len(names)
    return build(
        "sensor_msgs/msg/PointCloud2", header=header(stamp, frame), height=1, width=len(points), fields=fields,
        is_bigendian=False, point_step=step, row_step=step * len(points), data=points.astype("<f4").reshape(-1).view(np.uint8),
        is_dense=True,
    )  # fmt: skip


def beam_power(stamp: int, power: np.ndarray) -> Any:
    return build(
        "mmsense_ros/msg/BeamPower", header=header(stamp, "antenna_array"), codebook="ula16x64", terminal="vehicle_1",
        power=power.astype(np.float32),
    )  # fmt: skip


def beam(stamp: int, best: int, horizon: float) -> Any:
    return build(
        "mmsense_ros/msg/BeamPrediction", header=header(stamp, "antenna_array"), codebook="ula16x64", codebook_size=64,
        horizon=horizon, beams=np.array([best], np.uint16), probabilities=np.ones(1, np.float32),
        sweep_set=np.array([best], np.uint16), coverage=1.0, expected_power_loss=0.0, sweep_saving=63 / 64,
    )  # fmt: skip


def truth(stamp: int, best: int, blocked: bool) -> Any:
    point, vector = "geometry_msgs/msg/Point", "geometry_msgs/msg/Vector3"
    car = build(
        "mmsense_ros/msg/DetectedObject", label="car", position=build(point, x=20.0, y=5.0, z=-1.0),
        velocity=build(vector, x=8.0, y=0.0, z=0.0), size=build(vector, x=4.0, y=2.0, z=1.5), yaw=0.0, score=1.0,
    )  # fmt: skip
    walker = build(
        "mmsense_ros/msg/DetectedPerson", position=build(point, x=10.0, y=-3.0, z=-1.0), activity="walk",
        activity_probability=1.0, score=1.0,
    )  # fmt: skip
    counts = [build("mmsense_ros/msg/TrafficCount", label=k, count=float(k == "car")) for k in ("car", "van", "bus", "truck")]
    return build(
        "mmsense_ros/msg/SensingResult", header=header(stamp, "antenna_array"), instruction="predict the beam for the red car", modalities=[],
        beam=beam(stamp, best, 0.0), beam_ahead=beam(stamp, best, 0.5), horizon=0.5, blockage=float(blocked),
        blockage_ahead=float(blocked), pathloss=90.0, objects=[car], people=[walker], traffic=counts, engine="", precision="",
        latencies=[],
    )  # fmt: skip


def tf_static() -> Any:
    vector, quaternion = "geometry_msgs/msg/Vector3", "geometry_msgs/msg/Quaternion"
    transforms = []
    for frame, (x, y, z, w) in {"camera_optical": OPTICAL, "radar": (0, 0, 0, 1), "lidar": (0, 0, 0, 1)}.items():
        pose = build(
            "geometry_msgs/msg/Transform", translation=build(vector, x=0.0, y=0.0, z=0.0),
            rotation=build(quaternion, x=float(x), y=float(y), z=float(z), w=float(w)),
        )  # fmt: skip
        parent = header(START, "antenna_array")
        transforms.append(build("geometry_msgs/msg/TransformStamped", header=parent, child_frame_id=frame, transform=pose))
    return build("tf2_msgs/msg/TFMessage", transforms=transforms)


def camera_info() -> Any:
    roi = build("sensor_msgs/msg/RegionOfInterest", x_offset=0, y_offset=0, height=0, width=0, do_rectify=False)
    k = np.array([32.0, 0, 32, 0, 32, 24, 0, 0, 1])
    return build(
        "sensor_msgs/msg/CameraInfo", header=header(START, "camera_optical"), height=48, width=64, distortion_model="plumb_bob",
        d=np.zeros(5), k=k, r=np.eye(3).reshape(-1), p=np.insert(k, (3, 6, 9), 0.0), binning_x=0, binning_y=0, roi=roi,
    )  # fmt: skip


def powers(best: int) -> np.ndarray:
    """Linear power (64,) that halves with every beam away from `best`: 3.01 dB a beam."""
    return 0.5 ** np.abs(np.arange(64) - best)


def write_bag(
    path: Path,
    best: Collection[int] = (20,) * 10,
    leave_out: Collection[str] = (),
    storage: str = "mcap",
    rename: Mapping[str, str] = MappingProxyType({}),
    seed: int = 0,
    compress: bool = False,
) -> Path:
    """One frame for each entry of `best`, the strongest beam then; the line of sight is blocked in odd frames."""
    rng = np.random.default_rng(seed)
    messages = [(START - 5, "/tf_static", tf_static()), (START - 4, "/camera/camera_info", camera_info())]
    words = build("std_msgs/msg/String", data="predict the beam for the red car")
    messages.append((START - 3, "/instruction", words))
    for k, strongest in enumerate(best):
        stamp = START + k * PERIOD
        points = rng.uniform((5, -5, -1, -3, 5), (40, 5, 1, 3, 30), (60, 5))
        messages += [
            (stamp + 1_000_000, RADAR, cloud(stamp, "radar", ("x", "y", "z", "velocity", "intensity"), points)),
            (stamp + 2_000_000, LIDAR, cloud(stamp, "lidar", ("x", "y", "z", "intensity"), points[:, :4].clip(0))),
            (stamp + 3_000_000, CAMERA, image(stamp)),
            (stamp + 4_000_000, TRUTH[0], beam_power(stamp, powers(strongest))),
            (stamp + 4_000_000, TRUTH[1], beam_power(stamp, powers(min(strongest + 1, 63)))),
            (stamp + 4_000_000, TRUTH[2], truth(stamp, strongest, bool(k % 2))),
        ]
    with BagWriter(path, storage, compress) as bag:
        for log_time, topic, message in messages:
            if topic not in leave_out:
                bag.write(rename.get(topic, topic), message, log_time)
    return path
