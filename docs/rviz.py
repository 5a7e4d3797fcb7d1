"""Draws docs/rviz.png: what rviz2 shows of a simulated street with config/mmsense.rviz, `python docs/rviz.py`.

The markers are the node's own, read back from their bytes; view, colours and sizes are those of the rviz2 file.
"""

from __future__ import annotations

import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import cv2
import numpy as np
import yaml
from scene import Scene

from mmsense_ros.calibration import Calibration
from mmsense_ros.data.recording import Moment, Recording
from mmsense_ros.data.rosbag import typestore
from mmsense_ros.data.street.simulate import simulate
from mmsense_ros.evaluation import ink
from mmsense_ros.evaluation.scenario import drawing
from mmsense_ros.perception import Perception
from mmsense_ros.ros.markers import ARRAY, Markers
from mmsense_ros.sensing import Sensing
from mmsense_ros.share import shared_file
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, RADAR

SEED, SECONDS, DOUBT = 3001, 6.0, 7  # [beams] to sweep, beyond which more shows no better
SIZE, INSET = (1600, 900), 560  # [px] of the picture, and width of the overlay in it


def main(picture: Path) -> None:
    """Of the moments at which the beam is in doubt, the one at which most else is sensed for sure."""
    view = yaml.safe_load(shared_file("config/mmsense.rviz").read_text())["Visualization Manager"]
    with TemporaryDirectory() as folder, Recording(simulate(Path(folder) / "street", SECONDS, SEED)) as recording:
        perception = Perception.open(recording.calibration)
        answered = [(moment, perception(moment.snapshot, moment.instruction)) for moment in recording.moments()]
        moment, sensing = max(answered, key=lambda entry: worth(*entry))
        scene = look(view, moment, sensing, recording.calibration, Markers(perception.card.codebook))
        overlay = drawing(recording, perception.card).draw(moment.snapshot.readings[CAMERA].image, sensing)
        perception.close()
    image = scene.draw()
    small = cv2.resize(overlay, (INSET, round(INSET * overlay.shape[0] / overlay.shape[1])), interpolation=cv2.INTER_AREA)
    image[16 : 16 + len(small), 16 : 16 + INSET] = small
    ink.outline(
        image, np.array([[15, 15], [16 + INSET, 15], [16 + INSET, 16 + len(small)], [15, 16 + len(small)]]), ink.LINE, 1, True
    )
    cv2.imwrite(str(picture), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def worth(moment: Moment, sensing: Sensing) -> tuple[bool, int, float]:
    """How much there is to be seen, by all sensors."""
    sure = sum(thing.score - 0.5 for thing in (*sensing.objects, *sensing.people))
    return len(moment.snapshot.readings) == len(MODALITIES), min(len(sensing.beam.sweep_set), DOUBT), sure


def look(view: dict[str, Any], moment: Moment, sensing: Sensing, calibration: Calibration, markers: Markers) -> Scene:
    """What the displays of `view` show, from where its camera stands."""
    orbit, displays = view["Views"]["Current"], {display["Name"]: display for display in view["Displays"]}
    focus, pitch, yaw = vector(orbit["Focal Point"]), orbit["Pitch"], orbit["Yaw"]
    back = np.array([math.cos(yaw) * math.cos(pitch), math.sin(yaw) * math.cos(pitch), math.sin(pitch)])
    scene = Scene(SIZE, focus + orbit["Distance"] * back, focus, colour(view["Global Options"]["Background Color"]))
    grid = displays["Street"]
    scene.add_grid(grid["Plane Cell Count"], grid["Cell Size"], vector(grid["Offset"]), colour(grid["Color"]))
    lidar, radar = moment.snapshot.readings[LIDAR], moment.snapshot.readings[RADAR]
    scene.add_points(
        placed(lidar.xyz, calibration, lidar.frame_id), shades(displays["LiDAR"], lidar.intensity), displays["LiDAR"]["Alpha"]
    )
    points = zip(placed(radar.xyz, calibration, radar.frame_id), shades(displays["Radar"], radar.velocity), strict=True)
    for place, shade in points:
        scene.add_sphere(place, displays["Radar"]["Size (m)"], (*(shade / 255), 1.0))

    for marker in typestore().deserialize_cdr(markers.array(sensing, lifetime=0.5), ARRAY).markers:
        scene.add_marker(marker)
    return scene


def placed(points: np.ndarray, calibration: Calibration, frame: str) -> np.ndarray:
    """Points (N, 3) of a sensor's frame in the antenna's."""
    pose = calibration.antenna_from(frame)
    return points @ pose[:3, :3].T + pose[:3, 3]


def shades(display: dict[str, Any], values: np.ndarray) -> np.ndarray:
    """Colours (N, 3) 0..255 of a cloud's channel (N,)."""
    low, high = display["Min Intensity"], display["Max Intensity"]
    share = np.clip((values - low) / (high - low), 0, 1)[:, None]
    first, last = (np.array(colour(display[name])) for name in ("Min Color", "Max Color"))
    return first + (last - first) * share


def colour(text: str) -> ink.Colour:
    """Of `18; 20; 28`."""
    red, green, blue = map(int, text.split(";"))
    return red, green, blue


def vector(entry: dict[str, float]) -> np.ndarray:
    """Of `{X: ..., Y: ..., Z: ...}`."""
    return np.array([float(entry[axis]) for axis in "XYZ"])


if __name__ == "__main__":
    main(Path(__file__).parent / "rviz.png")
