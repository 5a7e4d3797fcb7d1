"""`mmsense view`: what the Rerun recording of a small bag holds is what was recorded and sensed."""

from __future__ import annotations

import math
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rerun", reason="the extra `view` is not installed")

import cv2
import rerun as rr
import small_bag
from parrot import SHAPES, Parrot, blank_outputs
from rerun.chunk import RrdReader
from rrd import Rrd

from mmsense_ros import cli, perception
from mmsense_ros.anchors import AnchorGrid
from mmsense_ros.calibration import Calibration
from mmsense_ros.codebook import Codebook
from mmsense_ros.data.recording import Recording
from mmsense_ros.data.street.radar import CHIRP, RX, SAMPLES, Scatterers, adc_cube
from mmsense_ros.errors import ModelError
from mmsense_ros.evaluation import ink
from mmsense_ros.model_card import ModelCard
from mmsense_ros.perception import Perception
from mmsense_ros.sensing import BeamForecast, ModalityState, SensedObject, Sensing
from mmsense_ros.snapshot import CameraReading, LidarReading, RadarCube, Snapshot
from mmsense_ros.view.answers import REACH, fan, ray, shapes
from mmsense_ros.view.outlet import Outlet
from mmsense_ros.view.scene import Scene, words

BEST = (20, 21, 30, 20, 20)
SENSED, TRUTH = "/antenna_array/sensed", "/antenna_array/truth"
CODEBOOK = Codebook()


def answers() -> dict[str, np.ndarray]:
    """Beam 20, then 21; a car half a metre from the true one; a walker; a blocked link."""
    outputs = blank_outputs()
    outputs["beam"][0, :, [20, 21]] = 9.0, 8.0
    outputs["blockage"][0] = 8.0, -8.0
    grid = AnchorGrid()
    car, walker = ("objects", (20.5, 5.0, -1.0), slice(11, 13), 1), ("people", (10.0, -3.0, -1.0), slice(1, 3), 0)
    for name, place, box, label in (car, walker):
        (cell,), (offset,) = grid.locate(np.array([place]))
        outputs[name][0, cell, 0], outputs[name][0, cell, label], outputs[name][0, cell, box] = 5.0, 5.0, offset
    outputs["activity"][0, cell, 1] = 5.0
    return outputs


@pytest.fixture
def parrot(monkeypatch) -> None:
    """The parrot in the place of the shipped model."""
    monkeypatch.setattr(perception, "open_engine", lambda *_: Parrot(answers(), SHAPES))
    monkeypatch.setattr(perception.ModelCard, "load", lambda _: ModelCard(sweep_threshold=(0.8, 0.8)))


def saved(bag: Path, *options: str) -> Rrd:
    file = bag.parent / "deep" / "street.rrd"
    assert cli.main(["view", str(bag), "--save", str(file), *options]) == 0
    return Rrd(file)


def forecast(beam: int) -> BeamForecast:
    probabilities = np.zeros(64, np.float32)
    probabilities[[beam, beam + 1, beam + 2]] = 0.8, 0.19, 0.01
    return BeamForecast(0.0, probabilities, np.array([beam, beam + 1]), 0.9, 0.3)


def sensing(**changes) -> Sensing:
    states = tuple(ModalityState(name, name != "radar", 0.5, 0.0) for name in ("camera", "radar", "lidar"))
    answer = Sensing(7_000_000_250, "antenna_array", "serve the bus", states, forecast(10), forecast(30), 0.0, 0.0, 90.0)
    return replace(answer, **changes)


def numbers(batch: rr.ComponentColumn) -> np.ndarray:
    """Rows of a shape's component."""
    return np.array(batch.as_arrow_array().to_pylist())


def test_what_was_sensed_is_there_frame_by_frame(tmp_path, parrot):
    bag = small_bag.write_bag(tmp_path / "bag", BEST)
    found = saved(bag)
    with Recording(bag) as recording:
        sense = Perception.open(recording.calibration)
        expected = [(moment, sense(moment.snapshot, moment.instruction)) for moment in recording.moments()]
    assert len(expected) == len(BEST)
    stamps = [moment.snapshot.stamp for moment, _ in expected]
    for name in ("objects", "velocities", "people", "fan", "sweep", "beam", "beam_ahead"):
        rows = found.rows[f"{SENSED}/{name}"]
        assert [row["frame"] for row in rows] == list(range(len(BEST))), name
        assert [row["stamp"] for row in rows] == stamps, name
    for row, (_, answer) in zip(found.rows[f"{SENSED}/objects"], expected, strict=True):
        (car,) = answer.objects
        np.testing.assert_allclose(row["Boxes3D:centers"], [car.position], atol=1e-5)
        np.testing.assert_allclose(2 * np.array(row["Boxes3D:half_sizes"]), [car.size], atol=1e-5)
        x, y, z, w = row["Boxes3D:quaternions"][0]
        assert (x, y, 2 * math.atan2(z, w)) == pytest.approx((0, 0, car.yaw), abs=1e-5)
        assert row["Boxes3D:labels"] == [f"car {math.hypot(*car.velocity[:2]):.0f} m/s"]
    for row, (_, answer) in zip(found.rows[f"{SENSED}/people"], expected, strict=True):
        np.testing.assert_allclose(row["Boxes3D:centers"], [answer.people[0].position], atol=1e-5)
        assert row["Boxes3D:labels"] == [answer.people[0].activity]
    assert found.values("/figures/beam/now", "Scalars:scalars") == [[20.0]] * len(BEST)
    for name, index in (("camera", 0), ("radar", 1), ("lidar", 2)):
        gates = [[answer.modalities[index].gate] for _, answer in expected]
        np.testing.assert_allclose(found.values(f"/figures/gate/{name}", "Scalars:scalars"), gates, atol=1e-6)
    assert all(value[0] > 0 for value in found.values("/figures/latency_ms/total", "Scalars:scalars"))
    assert "predict the beam for the red car" in found.values("/said", "TextDocument:text")[-1][0]


def test_the_truth_is_there_where_it_was_recorded(tmp_path, parrot):
    found = saved(small_bag.write_bag(tmp_path / "bag", BEST))
    assert found.values("/figures/beam/truth", "Scalars:scalars") == [[float(best)] for best in BEST]
    assert found.values("/figures/blockage/truth", "Scalars:scalars") == [[float(k % 2)] for k in range(len(BEST))]
    assert found.values(f"{TRUTH}/objects", "Points3D:positions") == [[[20.0, 5.0, -1.0]]] * len(BEST)
    assert found.values(f"{TRUTH}/people", "Points3D:labels") == [["walk"]] * len(BEST)
    (tip,) = found.values(f"{TRUTH}/beam", "Arrows3D:vectors")[2]
    assert math.atan2(tip[1], tip[0]) == pytest.approx(CODEBOOK.azimuths[BEST[2]], abs=1e-6)


def test_without_truth_none_is_shown(tmp_path, parrot):
    found = saved(small_bag.write_bag(tmp_path / "bag", BEST, leave_out=small_bag.TRUTH))
    assert not [path for path in found.rows if "truth" in path]
    assert len(found.rows[f"{SENSED}/objects"]) == len(BEST)


def test_readings_lie_in_their_sensors_frames(tmp_path, parrot):
    poses = {"lidar": np.eye(4), "radar": np.eye(4), "camera_optical": np.eye(4)}
    poses["lidar"][:3] = [[0, -1, 0, 1], [1, 0, 0, 2], [0, 0, 1, 3]]
    Calibration.from_matrices(poses).save(tmp_path / "poses.yaml")
    bag = small_bag.write_bag(tmp_path / "bag", BEST)
    found = saved(bag, "--calibration", str(tmp_path / "poses.yaml"))
    transform = found.static["/antenna_array/lidar"]
    np.testing.assert_allclose(transform["Transform3D:translation"], [[1, 2, 3]], atol=1e-6)
    np.testing.assert_allclose(np.reshape(transform["Transform3D:mat3x3"], (3, 3)).T, poses["lidar"][:3, :3], atol=1e-6)
    with Recording(bag) as recording:
        snapshots = [moment.snapshot for moment in recording.moments()]
    for name in ("lidar", "radar"):
        clouds = found.values(f"/antenna_array/{name}", "Points3D:positions")
        assert len(clouds) == len(BEST)
        for cloud, snapshot in zip(clouds, snapshots, strict=True):
            np.testing.assert_allclose(cloud, snapshot.readings[name].xyz)
    assert found.static["/antenna_array"]["ViewCoordinates:xyz"] == [[5, 4, 1]]  # forward, left, up


def test_boxes_project_into_the_image(tmp_path, parrot):
    found = saved(small_bag.write_bag(tmp_path / "bag", BEST))
    camera, lens = found.static["/antenna_array/camera"], found.static["/antenna_array/camera/image"]
    rotation = np.reshape(camera["Transform3D:mat3x3"], (3, 3)).T  # stored column by column
    matrix = np.reshape(lens["Pinhole:image_from_camera"], (3, 3)).T
    (x, y, z), *_ = found.values(f"{SENSED}/objects", "Boxes3D:centers")[0]
    u, v, depth = matrix @ rotation.T @ ([x, y, z] - np.array(camera["Transform3D:translation"][0]))
    assert depth == pytest.approx(x, rel=1e-5)  # the optical frame looks along the boresight
    assert (u / depth, v / depth) == pytest.approx((32 - 32 * y / x, 24 - 32 * z / x), abs=1e-3)
    assert lens["Pinhole:resolution"] == [[64.0, 48.0]]
    blob = found.values("/antenna_array/camera/image", "EncodedImage:blob")
    assert len(blob) == len(BEST)
    image = cv2.imdecode(np.frombuffer(bytes(blob[0][0]), np.uint8), cv2.IMREAD_COLOR)
    assert image.shape == (48, 64, 3) and np.abs(image.astype(int) - 80).max() < 3


def test_every_view_looks_at_something(tmp_path, parrot):
    found = saved(small_bag.write_bag(tmp_path / "bag", BEST))
    paths = {*found.rows, *found.static}
    assert len(found.origins) == 7
    for origin in found.origins:
        assert any(f"{path}/".startswith(f"/{origin.strip('/')}/") for path in paths), origin


def test_seconds_and_a_missing_sensor(tmp_path, parrot):
    bag = small_bag.write_bag(tmp_path / "bag", BEST, leave_out=[small_bag.CAMERA, "/camera/camera_info"])
    found = saved(bag, "--drop", "camera", "--seconds", "0.25")
    assert len(found.rows["/said"]) == 3
    assert "camera missing" in found.values("/said", "TextDocument:text")[0][0]


def test_a_reading_is_logged_once_and_taken_away_when_missing(tmp_path):
    cloud = LidarReading(1, "lidar", np.ones((4, 3), np.float32), np.linspace(0, 1, 4, dtype=np.float32))
    image = CameraReading(1, "camera", np.zeros((4, 6, 3), np.uint8))
    poses = Calibration.from_matrices({"lidar": np.eye(4)})
    with Outlet(tmp_path / "a.rrd").open("a") as stream:
        scene = Scene(stream, CODEBOOK)
        for readings in ({"lidar": cloud, "camera": image}, {"lidar": cloud}, {}, {"lidar": cloud}):
            scene.log(Snapshot(1, readings), sensing(), poses)
    found = Rrd(tmp_path / "a.rrd")
    lidar = found.rows["/antenna_array/lidar"]
    assert [row["frame"] for row in lidar] == [0, 2, 3]
    assert [len(row.get("Points3D:positions") or ()) for row in lidar] == [4, 0, 4]
    assert lidar[1]["Clear:is_recursive"] == [False]
    assert [row["frame"] for row in found.rows["/antenna_array/camera/image"]] == [0, 1]


def test_a_radar_that_gives_only_cubes_is_seen_by_its_detections(tmp_path):
    car = Scatterers(*(np.array([value]) for value in (20.0, 0.3, 6.0, 10.0, 0.0)))
    adc = adc_cube(car, np.zeros((RX, SAMPLES), np.complex64), np.random.default_rng(0))
    with Outlet(tmp_path / "a.rrd").open("a") as stream:
        cube = Snapshot(1, {"radar": RadarCube(1, "radar", adc, CHIRP)})
        Scene(stream, CODEBOOK).log(cube, sensing(), Calibration.from_matrices({"radar": np.eye(4)}))
    (points,) = Rrd(tmp_path / "a.rrd").values("/antenna_array/radar", "Points3D:positions")
    place = [20 * math.cos(0.3), 20 * math.sin(0.3), 0]
    assert 0 < len(points) < 10 and min(math.dist(point, place) for point in points) < 0.6


def test_answers_about_another_codebook_are_refused(tmp_path):
    with pytest.raises(ModelError, match="64 beams.*32.*--model"), Outlet(tmp_path / "a.rrd").open("a") as stream:
        Scene(stream, Codebook(beams=32)).log(Snapshot(1, {}), sensing(), Calibration({}))


def test_the_camera_is_logged_once_for_every_change(tmp_path):
    poses = Calibration.from_matrices({"camera_optical": np.eye(4)})
    info = small_bag.camera_info()
    with Outlet(tmp_path / "a.rrd").open("a") as stream:
        scene = Scene(stream, CODEBOOK)
        scene.camera(replace(info, k=np.zeros(9)), poses)
        scene.camera(info, Calibration({}))
        for width in (64, 64, 128):
            scene.camera(replace(info, width=width), poses)
    chunks = [
        chunk for chunk in RrdReader(tmp_path / "a.rrd").stream().to_chunks() if chunk.entity_path.endswith("camera/image")
    ]
    assert sum(chunk.num_rows for chunk in chunks) == 2


def test_the_fan_is_as_long_as_beams_are_likely():
    mesh = fan(forecast(10).probabilities, CODEBOOK, ink.CLEAR)
    corners = numbers(mesh.vertex_positions).reshape(-1, 3, 3)
    assert len(corners) == 2  # the third beam is too unlikely
    assert (corners[:, 0] == 0).all()
    np.testing.assert_allclose(np.linalg.norm(corners[:, 1], axis=1), [REACH, REACH * 0.19 / 0.8], rtol=1e-5)
    azimuths = np.arctan2(corners[..., 1:, 1], corners[..., 1:, 0]).mean(axis=1)
    np.testing.assert_allclose(azimuths, CODEBOOK.azimuths[[10, 11]], atol=1e-3)


def test_the_sweep_set_is_marked():
    strips = numbers(dict(shapes(sensing(), CODEBOOK))["sweep"].strips)
    np.testing.assert_allclose(np.arctan2(strips[..., 1], strips[..., 0])[:, 0], CODEBOOK.azimuths[[10, 11]], atol=1e-6)


@pytest.mark.parametrize(("blockage", "redder"), [(0.0, False), (1.0, True)])
def test_it_is_red_where_blocked(blockage, redder):
    drawn = dict(shapes(sensing(blockage=blockage), CODEBOOK))
    for colour in (numbers(drawn["fan"].vertex_colors)[0], numbers(drawn["beam"].colors)[0]):
        red, green = int(colour) >> 24, int(colour) >> 16 & 255
        assert (red > green) == redder
    assert numbers(drawn["beam"].labels).tolist() == [f"beam 10  blocked {blockage:.0%}"]
    assert ray(3, CODEBOOK, ink.CLEAR).labels is None


def test_what_is_gone_is_drawn_as_nothing():
    bus = SensedObject("bus", (20.0, -4.0, -2.0), (3.0, 4.0, 0.0), (12.0, 2.5, 3.0), 0.1, 0.9)
    for objects in ((), (bus,)):
        drawn = dict(shapes(sensing(objects=objects), CODEBOOK))
        assert len(drawn["objects"].centers.as_arrow_array()) == len(objects)
        assert len(drawn["velocities"].vectors.as_arrow_array()) == len(objects)


def test_words_name_the_missing_sensor():
    said = words(sensing())
    assert said.startswith("**serve the bus**") and "*radar missing*" in said and "camera missing" not in said


class TestRefusals:
    """One line, exit code 2, and what to do."""

    @staticmethod
    def refused(capsys, *arguments: object) -> str:
        assert cli.main(["view", *map(str, arguments)]) == 2
        said = capsys.readouterr().err.strip()
        assert said.startswith("mmsense view: ") and "\n" not in said and "Traceback" not in said
        return said

    def test_neither_a_bag_nor_live(self, capsys):
        assert "BAG" in self.refused(capsys) and "--live" in self.refused(capsys, "bag", "--live")

    def test_a_file_and_browsers(self, capsys):
        assert "--serve" in self.refused(capsys, "bag", "--save", "a.rrd", "--serve")

    def test_a_bag_that_is_not_there(self, capsys, tmp_path):
        assert "gone does not exist" in self.refused(capsys, tmp_path / "gone", "--save", tmp_path / "a.rrd")
        assert not (tmp_path / "a.rrd").exists()

    def test_no_display(self, capsys, tmp_path, parrot, monkeypatch):
        for name in ("DISPLAY", "WAYLAND_DISPLAY"):
            monkeypatch.delenv(name, raising=False)
        said = self.refused(capsys, small_bag.write_bag(tmp_path / "bag", (20,)))
        assert "no display" in said and "--save" in said and "--serve" in said

    def test_a_file_that_cannot_be_written(self, capsys, tmp_path, parrot):
        bag = small_bag.write_bag(tmp_path / "bag", (20,))
        assert "cannot be written" in self.refused(capsys, bag, "--save", tmp_path)

    def test_without_ros(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "mmsense_ros.ros.viewer", None)
        said = self.refused(capsys, "--live", "--save", "a.rrd")
        assert "needs ROS 2" in said and "mmsense_ros[ros]" in said

    def test_without_rerun(self, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "mmsense_ros.view.outlet", None)
        assert "mmsense_ros[view]" in self.refused(capsys, "bag", "--save", "a.rrd")
