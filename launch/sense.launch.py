"""The sensing node on one unit's sensors: `ros2 launch mmsense_ros sense.launch.py`; --show-args lists the arguments."""

from __future__ import annotations

import importlib.util
import sys
import time
from pathlib import Path

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
from mmsense_ros.calibration import ANTENNA_FRAME, Calibration
from mmsense_ros.data.topics import ANSWERED, INSTRUCTION
from mmsense_ros.errors import BagError
from mmsense_ros.messages.link import quaternion
from mmsense_ros.ros.dds import PROFILE_VARIABLES
from mmsense_ros.share import shared_file

#: Topic arguments and the names by which the node knows what may come there.
TOPICS = {
    "camera": ("camera/image_raw", "camera/image_raw/compressed"),
    "camera_info": ("camera/camera_info",),
    "radar": ("radar/points", "radar/cube"),
    "lidar": ("lidar/points",),
    "instruction_topic": ("instruction",),
}
#: Arguments that are parameters of the node; empty leaves what params_file says.
PARAMETERS = {
    "model": "exported .onnx file (empty: the one shipped)",
    "engine": "what runs it: auto, tensorrt, openvino, onnxruntime or torch",
    "instruction": "what is wanted, in words, e.g. 'predict the beam for the red bus'",
    "calibration": "YAML file of the sensors' extrinsics (empty: /tf_static)",
}
RESULTS = ("sensing", "beam", "markers", "instruction")  #: of the node, what is recorded: the overlay can be drawn again
OTHER_TOPICS = ("/tf_static", "/diagnostics")
ROS2_BAG = importlib.util.find_spec("ros2bag") is not None
OTHERS = {
    "params_file": (str(shared_file("config/sense.yaml")), "YAML file with all parameters of the node"),
    "namespace": ("", "namespace of the node and its topics"),
    "use_sim_time": ("false", "take time from /clock; with bag, the replay publishes it"),
    "rviz": ("false", "also start rviz2"),
    "bag": ("", "rosbag2 to replay; all ends with it"),
    "record": ("false", "record inputs and results as a rosbag2: true, or the folder to write"),
    "profile": (str(shared_file("config/fastdds.xml")), "Fast DDS profile, unless the environment names one"),
}


def generate_launch_description() -> LaunchDescription:
    """Arguments from the tables above, then what they ask for."""
    texts = {name: ("", f"topic instead of {' or '.join(names)}") for name, names in TOPICS.items()}
    texts |= {name: ("", words) for name, words in PARAMETERS.items()} | OTHERS
    arguments = [DeclareLaunchArgument(name, default_value=value, description=words) for name, (value, words) in texts.items()]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[LaunchDescriptionEntity]:
    given = context.launch_configurations
    space = "/".join(["", *filter(None, given["namespace"].split("/"))])
    sim_time = {"use_sim_time": given["use_sim_time"].lower() == "true"}
    inputs = [(name, given[argument]) for argument, names in TOPICS.items() if given[argument] for name in names]
    chosen = {name: ParameterValue(given[name], value_type=str) for name in PARAMETERS if given[name]}
    actions: list[LaunchDescriptionEntity] = []
    if not any(context.environment.get(variable) for variable in PROFILE_VARIABLES):
        actions += [SetEnvironmentVariable(variable, given["profile"]) for variable in PROFILE_VARIABLES]
    actions.append(
        Node(
            package="mmsense_ros",
            executable="sense",
            name="sense",
            namespace=given["namespace"],
            parameters=[given["params_file"], chosen | sim_time],
            remappings=inputs,
            output="screen",
            on_exit=Shutdown(reason="sense has ended"),
        )
    )
    # Others name topics absolutely: what leads from those names to the node's.
    heard = {f"/{name}": given[argument] or f"{space}/{name}" for argument, names in TOPICS.items() for name in names}
    record = _folder(given["record"])
    rviz = given["rviz"].lower() == "true"
    if given["calibration"] and (rviz or record and ROS2_BAG):  # neither reads that file
        actions += _poses(given["calibration"])
    if record:
        topics = [*dict.fromkeys(heard.values()), *(f"{space}/sense/{name}" for name in RESULTS), *OTHER_TOPICS]
        # A replay is recorded by its own time: instructions are found again by it.
        by_clock = sim_time["use_sim_time"] or bool(given["bag"])
        actions.append(ExecuteProcess(cmd=_record(record, topics, given["calibration"], by_clock), output="screen"))
    if given["bag"]:
        told = {ANSWERED: heard[INSTRUCTION]}  # an instruction that was a parameter then
        replay = _replay(given["bag"], sim_time["use_sim_time"] or bool(record), heard | told, given["calibration"])
        actions.append(ExecuteProcess(cmd=replay, output="screen", on_exit=Shutdown(reason="the bag has ended")))
    if rviz:
        seen = heard | {f"/sense/{name}": f"{space}/sense/{name}" for name in ("overlay", "markers")}
        view = {"arguments": ["-d", str(shared_file("config/mmsense.rviz"))], "remappings": list(seen.items())}
        actions.append(Node(package="rviz2", executable="rviz2", parameters=[sim_time], **view))
    return actions


def _folder(record: str) -> str:
    """Where to record: by default a folder with the date in its name; empty if not wanted. Raises BagError if it exists."""
    if record.lower() in ("", "false"):
        return ""
    folder = time.strftime("mmsense_%Y_%m_%d-%H_%M_%S") if record.lower() == "true" else record
    if Path(folder).exists():
        raise BagError(f"{folder} exists already; remove it or choose another folder: record:=FOLDER")
    return folder


def _poses(calibration: str) -> list[Node]:
    """What tells rviz2 and `ros2 bag record` where the sensors are."""
    nodes = []
    for frame, matrix in Calibration.load(calibration).poses.items():
        values = zip(("x", "y", "z", "qx", "qy", "qz", "qw"), (*matrix[:3, 3], *quaternion(matrix[:3, :3])), strict=True)
        words = [word for name, value in values for word in (f"--{name}", f"{value:.9g}")]
        words += ["--frame-id", ANTENNA_FRAME, "--child-frame-id", frame]
        nodes.append(Node(package="tf2_ros", executable="static_transform_publisher", arguments=words))
    return nodes


def _record(folder: str, topics: list[str], calibration: str, by_clock: bool) -> list[str]:
    """A command that records these topics: `ros2 bag record`, or where that is missing our recorder."""
    if ROS2_BAG:
        return ["ros2", "bag", "record", "--output", folder, *["--use-sim-time"] * by_clock, "--topics", *topics]
    command = [sys.executable, "-m", "mmsense_ros.ros.recorder", folder, *topics]
    command += ["--calibration", calibration] if calibration else []
    return [*command, *["--ros-args", "-p", "use_sim_time:=true"] * by_clock]


def _replay(bag: str, clock: bool, topics: dict[str, str], calibration: str) -> list[str]:
    """A command that replays the bag on these topics: `ros2 bag play`, or where that is missing our player.

    A calibration that is given replaces the bag's /tf_static.
    """
    topics = topics | ({"/tf_static": "/bag/tf_static"} if calibration else {})
    rules = [f"{name}:={topic}" for name, topic in topics.items() if name != topic]
    if ROS2_BAG:
        return ["ros2", "bag", "play", bag, *["--clock"] * clock, *(["--remap", *rules] if rules else [])]
    command = [sys.executable, "-m", "mmsense_ros.ros.player", bag, "--listener", "sense", *["--clock"] * clock]
    return [*command, "--ros-args", *(word for rule in rules for word in ("-r", rule))]
