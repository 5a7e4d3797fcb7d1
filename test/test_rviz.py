"""The rviz2 view: every topic, type, frame and plugin it names is there to be shown."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from mmsense_ros.calibration import ANTENNA_FRAME, Calibration
from mmsense_ros.data.topics import INPUTS
from mmsense_ros.messages.lidar import lidar_message
from mmsense_ros.messages.radar import radar_points_message
from mmsense_ros.messages.types import RosbagTypes
from mmsense_ros.share import shared_file
from mmsense_ros.snapshot import LIDAR, RADAR, LidarReading, RadarPoints

#: What plugins_description.xml of rviz_default_plugins (Jazzy, Kilted) lists, without the prefix, and the types displays take.
DISPLAYS = {
    "AccelStamped": "geometry_msgs/msg/AccelStamped", "Axes": "", "Camera": "sensor_msgs/msg/Image",
    "CameraInfo": "sensor_msgs/msg/CameraInfo", "DepthCloud": "sensor_msgs/msg/Image", "Effort": "sensor_msgs/msg/JointState",
    "FluidPressure": "sensor_msgs/msg/FluidPressure", "Grid": "", "GridCells": "nav_msgs/msg/GridCells",
    "Illuminance": "sensor_msgs/msg/Illuminance", "Image": "sensor_msgs/msg/Image",
    "InteractiveMarkers": "visualization_msgs/msg/InteractiveMarkerUpdate", "LaserScan": "sensor_msgs/msg/LaserScan",
    "Map": "nav_msgs/msg/OccupancyGrid", "Marker": "visualization_msgs/msg/Marker",
    "MarkerArray": "visualization_msgs/msg/MarkerArray", "Odometry": "nav_msgs/msg/Odometry", "Path": "nav_msgs/msg/Path",
    "PointCloud": "sensor_msgs/msg/PointCloud", "PointCloud2": "sensor_msgs/msg/PointCloud2",
    "PointStamped": "geometry_msgs/msg/PointStamped", "Polygon": "geometry_msgs/msg/PolygonStamped",
    "Pose": "geometry_msgs/msg/PoseStamped", "PoseArray": "geometry_msgs/msg/PoseArray",
    "PoseWithCovariance": "geometry_msgs/msg/PoseWithCovarianceStamped", "Range": "sensor_msgs/msg/Range",
    "RelativeHumidity": "sensor_msgs/msg/RelativeHumidity", "RobotModel": "", "TF": "tf2_msgs/msg/TFMessage",
    "Temperature": "sensor_msgs/msg/Temperature", "TwistStamped": "geometry_msgs/msg/TwistStamped",
    "Wrench": "geometry_msgs/msg/WrenchStamped",
}  # fmt: skip
TOOLS = {
    "MoveCamera", "PublishPoint", "Select", "SetGoal", "Measure", "FocusCamera", "SetInitialPose", "Interact",
}  # fmt: skip
VIEWS = {"FPS", "Orbit", "TopDownOrtho", "XYOrbit", "ThirdPersonFollower"}
TRANSFORMERS = {"AxisColor", "FlatColor", "Intensity", "RGB8", "RGBF32"}
PREFIX = "rviz_default_plugins/"


@pytest.fixture(scope="module")
def view() -> dict:
    return yaml.safe_load(shared_file("config/mmsense.rviz").read_text())["Visualization Manager"]


@pytest.fixture(scope="module")
def shown(view) -> dict[str, dict]:
    """Displays by name."""
    return {display["Name"]: display for display in view["Displays"]}


def test_every_plugin_is_one_of_rviz2s(view):
    panels = yaml.safe_load(shared_file("config/mmsense.rviz").read_text())["Panels"]
    assert {panel["Class"] for panel in panels} <= {
        f"rviz_common/{name}" for name in ("Displays", "Views", "Time", "Selection")
    }
    assert {display["Class"] for display in view["Displays"]} <= {PREFIX + name for name in DISPLAYS}
    assert {tool["Class"] for tool in view["Tools"]} <= {PREFIX + name for name in TOOLS}
    assert view["Views"]["Current"]["Class"] in {PREFIX + name for name in VIEWS}


@pytest.mark.ros
def test_every_topic_is_one_of_the_nodes_and_of_the_displays_type(view):
    pytest.importorskip("rclpy", reason="needs ROS 2")
    from mmsense_ros.ros.outputs import TOPICS
    from mmsense_ros.ros.parameters import SOURCES

    known = {topic.replace("~", "/sense"): {kind} for topic, kind in TOPICS.items()}
    for kind, topic in (source for sources in SOURCES.values() for source in sources):
        known.setdefault(f"/{topic}", set()).add(kind)
    asked = {
        display["Topic"]["Value"]: display["Class"].removeprefix(PREFIX) for display in view["Displays"] if "Topic" in display
    }
    assert asked
    for topic, display in asked.items():
        assert DISPLAYS[display] in known.get(topic, ()), topic
    assert {"/sense/markers", "/sense/overlay", *(next(iter(INPUTS[name].topics)) for name in (RADAR, LIDAR))} <= asked.keys()


def test_every_frame_is_one_of_the_calibrations(view):
    frames = Calibration.load(shared_file("config/calibration.yaml")).frames
    assert view["Global Options"]["Fixed Frame"] == ANTENNA_FRAME
    named = {view["Views"]["Current"]["Target Frame"]} | {
        display["Reference Frame"] for display in view["Displays"] if "Reference Frame" in display
    }
    assert named <= set(frames)


def test_clouds_are_coloured_by_fields_that_they_have(shown):
    points, ones = np.ones((1, 3), np.float32), np.ones(1, np.float32)
    clouds = {
        "LiDAR": lidar_message(RosbagTypes(), LidarReading(0, "lidar", points, ones)),
        "Radar": radar_points_message(RosbagTypes(), RadarPoints(0, "radar", points, ones, ones)),
    }
    for name, cloud in clouds.items():
        assert shown[name]["Color Transformer"] in TRANSFORMERS
        assert shown[name]["Channel Name"] in {field.name for field in cloud.fields}
        assert shown[name]["Min Intensity"] < shown[name]["Max Intensity"]  # read only if they are not computed:
        assert shown[name]["Autocompute Intensity Bounds"] is False


def test_reliability_asked_for_is_offered(view):
    """The node's publishers are reliable and volatile; drivers may be best effort."""
    for display in view["Displays"]:
        if "Topic" in display:
            assert display["Topic"]["Durability Policy"] == "Volatile"
            ours = display["Topic"]["Value"].startswith("/sense/")
            assert ours or display["Topic"]["Reliability Policy"] == "Best Effort"
