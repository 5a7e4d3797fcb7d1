"""KITTI and View-of-Delft as bags; on real frames, maps look as a street does, and labels lie where the sensors see things."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.datasets.convert import convert
from mmsense_ros.data.datasets.kitti import Kitti
from mmsense_ros.data.recording import Recording
from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.engine import SHIPPED_MODEL, EngineOptions
from mmsense_ros.errors import BagError, CalibrationError, MMSenseError
from mmsense_ros.messages.header import stamp_of
from mmsense_ros.messages.sensing import sensing_of
from mmsense_ros.perception import Perception
from mmsense_ros.sensors import build_maps
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import Snapshot

FRAMES = Path(__file__).parent.parent.parent / "shared" / "real" / "view_of_delft"
NAMES = ("00549", "01047")
real = pytest.mark.skipif(not FRAMES.is_dir(), reason="needs ../shared/real/view_of_delft")

CALIBRATION = """P2: 100 0 80 6 0 100 60 0 0 0 1 0
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.1 1 0 0 -0.3
"""  #: camera 0.3 m ahead of the LiDAR and 0.1 m below it; camera 2 lies 0.06 m to the left of camera 0
LABELS = """Car 0.00 0 0 0 0 0 0 1.5 1.8 4.0 -2.0 1.6 19.7 -1.5707963 1
Van 0.00 3 0 0 0 0 0 2.0 2.0 5.0 0.0 1.6 30.0 0.0
Truck 0.00 0 0 0 0 0 0 3.0 2.5 9.0 60.0 1.6 10.0 0.0
Pedestrian 0.00 1 0 0 0 0 0 1.8 0.6 0.8 3.0 1.6 9.7 0.3
Cyclist 0.00 0 0 0 0 0 0 1.8 0.6 1.8 3.0 1.6 9.7 0.3
DontCare -1 -1 -10 0 0 1 1 -1 -1 -1 -1000 -1000 -1000 -10
"""


def training(folder: Path, names: tuple[str, ...], image: str = ".png", columns: int = 4) -> Path:
    """Writes image_2, velodyne, calib and label_2 of these frames."""
    rng = np.random.default_rng(0)
    for kind in ("image_2", "velodyne", "calib", "label_2"):
        (folder / kind).mkdir(parents=True)
    for name in names:
        cv2.imwrite(str(folder / "image_2" / (name + image)), rng.integers(0, 255, (120, 160, 3), np.uint8))
        points = rng.uniform(0, 30, (50, columns)).astype("<f4")
        points[:, 3] = np.linspace(0, 1, 50)
        points.tofile(folder / "velodyne" / f"{name}.bin")
        (folder / "calib" / f"{name}.txt").write_text(CALIBRATION)
        (folder / "label_2" / f"{name}.txt").write_text(LABELS)
    return folder


def test_kitti_without_a_radar(tmp_path: Path) -> None:
    base = training(tmp_path / "kitti" / "training", ("000000", "000001", "000007"))
    tally = convert(Kitti(tmp_path / "kitti", rate=5.0), tmp_path / "bag", strict=True)
    assert tally.left_out == {"Cyclist": 3}
    with Recording(tmp_path / "bag", drop=["radar"]) as recording:
        moments = list(recording.moments())
        for name, moment in zip(("000000", "000001", "000007"), moments, strict=True):
            readings = moment.snapshot.readings
            np.testing.assert_array_equal(
                readings["camera"].image, cv2.imread(str(base / "image_2" / f"{name}.png"))[..., ::-1]
            )
            points = np.fromfile(base / "velodyne" / f"{name}.bin", "<f4").reshape(-1, 4)
            np.testing.assert_array_equal(readings["lidar"].xyz, points[:, :3])
            np.testing.assert_array_equal(readings["lidar"].intensity, points[:, 3])
        assert [moment.snapshot.stamp - moments[0].snapshot.stamp for moment in moments] == [0, 200_000_000, 1_400_000_000]
        np.testing.assert_allclose(recording.calibration.antenna_from("camera_optical")[:3, 3], [0.3, 0.06, -0.1], atol=1e-9)
        np.testing.assert_array_equal(np.reshape(recording.camera_info.k, (3, 3)), [[100, 0, 80], [0, 100, 60], [0, 0, 1]])
        assert (recording.camera_info.width, recording.camera_info.height) == (160, 120)


def test_labels_become_truth_in_the_array_frame(tmp_path: Path) -> None:
    training(tmp_path / "training", ("000003",))
    convert(Kitti(tmp_path), tmp_path / "bag", strict=True)
    with BagReader(tmp_path / "bag") as bag:
        (truth,) = (sensing_of(message.message) for message in bag.messages(["/truth/sensing"]))
        (image,) = (message.message for message in bag.messages(["/camera/image_raw"]))
    (car,) = truth.objects  # the van is hidden, the truck out of view
    assert (car.label, car.size) == ("car", (4.0, 1.8, 1.5)) and np.isnan(car.velocity).all()
    assert car.position == pytest.approx((20.0, 2.0, -1.7 + 0.75)) and car.yaw == pytest.approx(0, abs=1e-6)  # drives away
    (person,) = truth.people
    assert person.position == pytest.approx((10.0, -3.0, -0.8)) and person.activity == ""
    assert truth.traffic == {"car": 1, "van": 0, "truck": 0}
    assert np.isnan([truth.blockage, truth.pathloss]).all() and not len(truth.beam.probabilities)
    assert truth.stamp == stamp_of(image)


def release(folder: Path) -> Path:
    """View-of-Delft's layout of two frames."""
    training(folder / "lidar" / "training", NAMES, ".jpg")
    for kind in ("velodyne", "calib"):
        (folder / "radar" / "training" / kind).mkdir(parents=True)
    for number, name in enumerate(NAMES):
        rows = np.arange(21, dtype="<f4").reshape(3, 7) + number
        rows.tofile(folder / "radar" / "training" / "velodyne" / f"{name}.bin")
        (folder / "radar" / "training" / "calib" / f"{name}.txt").write_text(
            CALIBRATION.replace("-0.1 1 0 0 -0.3", "-0.6 1 0 0 2.0")
        )
    return folder


def test_the_release_of_view_of_delft(tmp_path: Path) -> None:
    convert(Kitti(release(tmp_path / "vod")), tmp_path / "bag", "sqlite3", strict=True)
    with Recording(tmp_path / "bag") as recording:
        moments = list(recording.moments())
        assert [moment.snapshot.missing for moment in moments] == [(), ()]
        radar = moments[1].snapshot.readings["radar"]
        np.testing.assert_array_equal(radar.xyz, [(1, 2, 3), (8, 9, 10), (15, 16, 17)])
        np.testing.assert_array_equal(radar.velocity, [5, 12, 19])
        np.testing.assert_array_equal(radar.intensity, [34, 41, 48])  # dB over RCS_FLOOR
        np.testing.assert_allclose(recording.calibration.antenna_from("radar")[:3, 3], [2.3, 0, 0.5], atol=1e-9)


@pytest.mark.parametrize(
    ("name", "content", "error"),
    [
        ("lidar/training/image_2/01047.jpg", None, BagError),
        ("lidar/training/velodyne/01047.bin", b"1234567", BagError),
        ("radar/training/velodyne/01047.bin", b"12345678", BagError),
        ("lidar/training/label_2/01047.txt", b"Car 1 2\n", BagError),
        ("lidar/training/calib/01047.txt", b"P2: 1 2\n", CalibrationError),
        ("radar/training/calib/01047.txt", None, CalibrationError),
        ("lidar/training/calib/01047.txt", CALIBRATION.replace("0 -1 0 0 0 0 -1", "0 0 0 0 0 0 0").encode(), CalibrationError),
        ("lidar/training/calib/01047.txt", CALIBRATION.replace("-0.3", "-0.4").encode(), CalibrationError),
    ],
)
def test_damaged_frames_are_named(tmp_path: Path, name: str, content: bytes | None, error: type[MMSenseError]) -> None:
    file = release(tmp_path / "vod") / name
    file.unlink() if content is None else file.write_bytes(content)
    tally = convert(Kitti(tmp_path / "vod"), tmp_path / "bag")
    assert len(tally.skipped) == 1 and f"{file} " in tally.skipped[0] and "; " in tally.skipped[0]
    lost = sum(tally.messages.values())
    assert lost == (5 if error is CalibrationError else 8 if "image" in name else 9)  # a frame without a calibration is none
    with pytest.raises(error, match=file.name):
        convert(Kitti(tmp_path / "vod"), tmp_path / "strict", strict=True)


def test_a_folder_without_frames_or_calibrations_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match="holds no frames of KITTI"):
        Kitti(tmp_path)
    training(tmp_path / "training", ("000001",))
    shutil.rmtree(tmp_path / "training" / "calib")
    with pytest.raises(CalibrationError, match=r"000001.txt lacks 12 numbers for P2"):
        Kitti(tmp_path)


@pytest.fixture(scope="module")
def delft(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Snapshot], Calibration, np.ndarray]:
    """Snapshots of the real frames, read back from their bag, where their sensors are, and the camera's intrinsics."""
    bag = tmp_path_factory.mktemp("delft") / "bag"
    convert(Kitti(FRAMES), bag, strict=True)
    with Recording(bag) as recording:
        snapshots = [moment.snapshot for moment in recording.moments()]
        return snapshots, recording.calibration, np.reshape(recording.camera_info.k, (3, 3))


@real
def test_real_frames_are_as_measured(delft) -> None:
    snapshots, _, _ = delft
    assert [snapshot.missing for snapshot in snapshots] == [(), ()]
    for name, snapshot in zip(NAMES, snapshots, strict=True):
        image = cv2.imread(str(FRAMES / name / "camera.jpg"))
        np.testing.assert_array_equal(snapshot.readings["camera"].image, image[..., ::-1])
        lidar = np.fromfile(FRAMES / name / "lidar.bin", "<f4").reshape(-1, 4)
        np.testing.assert_array_equal(snapshot.readings["lidar"].xyz, lidar[:, :3])
        radar = np.fromfile(FRAMES / name / "radar.bin", "<f4").reshape(-1, 7)
        np.testing.assert_array_equal(snapshot.readings["radar"].xyz, radar[:, :3])
        np.testing.assert_array_equal(snapshot.readings["radar"].velocity, radar[:, 4])
    assert snapshots[1].stamp - snapshots[0].stamp == (1047 - 549) * 100_000_000


@real
@pytest.mark.parametrize("number", range(len(NAMES)))
def test_maps_of_a_real_street(delft, number: int) -> None:
    snapshots, calibration, _ = delft
    maps = build_maps(snapshots[number], calibration, PolarGrid(), (160, 120))
    assert {name: values.shape for name, values in maps.items()} == {
        "camera": (3, 120, 160),
        "radar": (3, 128, 64),
        "lidar": (3, 128, 64),
    }
    assert all(np.isfinite(values).all() for values in maps.values())
    height, intensity, density = maps["lidar"]
    met = density > 0
    assert met.sum() > 1000 and 0 <= intensity.min() and intensity.max() <= 1
    # The road nearby lies about 1.8 m below the LiDAR; nothing in a street of houses rises beyond 30 m.
    assert -2.3 < 4 * np.median(height[16:24, 24:40][met[16:24, 24:40]]) < -1.2
    assert 4 * height.max() < 30
    assert np.abs(maps["radar"][1]).max() < 3


@real
@pytest.mark.parametrize("number", range(len(NAMES)))
def test_radar_and_lidar_meet_the_same_things(delft, number: int) -> None:
    snapshots, calibration, _ = delft
    maps = build_maps(snapshots[number], calibration, PolarGrid(), (160, 120))
    seen = cv2.dilate((maps["lidar"][2] > 0).astype(np.uint8), np.ones((5, 3), np.uint8)) > 0
    echoes = maps["radar"][0] > 0.2
    together = seen[echoes].mean()
    assert together > 0.7
    assert together > seen[echoes[:, ::-1]].mean() + 0.05  # left is left


@real
@pytest.mark.parametrize("number", range(len(NAMES)))
def test_lidar_points_of_a_labelled_thing_lie_in_its_box_of_the_image(delft, number: int) -> None:
    snapshots, calibration, matrix = delft
    camera_from_lidar = np.linalg.inv(calibration.antenna_from("camera_optical")) @ calibration.antenna_from("lidar")
    points = (camera_from_lidar[:3, :3] @ snapshots[number].readings["lidar"].xyz.T + camera_from_lidar[:3, 3:]).T
    pixels = points @ matrix.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    checked = 0
    for line in (FRAMES / NAMES[number] / "labels.txt").read_text().splitlines():
        words = line.split()
        left, top, right, bottom = map(float, words[4:8])
        height, x, y, z = float(words[8]), *map(float, words[11:14])
        near = (np.hypot(points[:, 0] - x, points[:, 2] - z) < 0.3) & (points[:, 1] < y - 0.2) & (points[:, 1] > y - height)
        if near.sum() < 10 or left <= 1 or right >= 1935 or bottom >= 1215:
            continue
        u, v = pixels[near].T
        assert ((u > left - 15) & (u < right + 15) & (v > top - 15) & (v < bottom + 15)).mean() > 0.8, line
        checked += 1
    assert checked


@real
def test_real_labels_stand_where_the_lidar_meets_them(delft, tmp_path: Path) -> None:
    snapshots, _, _ = delft
    convert(Kitti(FRAMES / NAMES[0]), tmp_path / "bag")
    with BagReader(tmp_path / "bag") as bag:
        (truth,) = (sensing_of(message.message) for message in bag.messages(["/truth/sensing"]))
    assert truth.people
    for thing in (*truth.objects, *truth.people):
        apart = np.linalg.norm(snapshots[0].readings["lidar"].xyz - thing.position, axis=1)
        assert (apart < 1.0).sum() >= 10, thing


@real
@pytest.mark.skipif(not SHIPPED_MODEL.exists(), reason="the shipped weights are not there yet")
def test_real_frames_are_perceived(delft) -> None:
    snapshots, calibration, _ = delft
    pytest.importorskip("onnxruntime")
    perception = Perception.open(calibration, options=EngineOptions("onnxruntime"))
    try:
        for snapshot in snapshots:
            sensing = perception(snapshot, "predict the beam")
            assert all(modality.available for modality in sensing.modalities)
            assert sensing.beam.probabilities.sum() == pytest.approx(1, abs=1e-3)
    finally:
        perception.close()
