"""The sensing node on one unit's sensors: `ros2 launch mmsense_ros sense.launch.py`; --show-args lists the arguments."""

from __future__ import annotations

import importlib.util
import sys

from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, SetEnvironmentVariable, Shutdown
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription, LaunchDescriptionEntity
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
    "engine": "what runs it: auto, openvino, onnxruntime or torch",
    "instruction": "what is wanted, in words, e.g. 'predict the beam for the red bus'",
    "calibration": "YAML file of the sensors' extrinsics (empty: /tf_static)",
}
OTHERS = {
    "params_file": (str(shared_file("config/sense.yaml")), "YAML file with all parameters of the node"),
    "namespace": ("", "namespace of the node and its topics"),
    "use_sim_time": ("false", "take time from /clock; with bag, the replay publishes it"),
    "rviz": ("false", "also start rviz2"),
    "bag": ("", "rosbag2 to replay; all ends with it"),
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
    if given["bag"]:
        replay = _replay(given["bag"], sim_time["use_sim_time"], heard)
        actions.append(ExecuteProcess(cmd=replay, output="screen", on_exit=Shutdown(reason="the bag has ended")))
    if given["rviz"].lower() == "true":
        seen = heard | {f"/sense/{name}": f"{space}/sense/{name}" for name in ("overlay", "markers")}
        view = {"arguments": ["-d", str(shared_file("config/mmsense.rviz"))], "remappings": list(seen.items())}
        actions.append(Node(package="rviz2", executable="rviz2", parameters=[sim_time], **view))
    return actions


def _replay(bag: str, clock: bool, topics: dict[str, str]) -> list[str]:
    """A command that replays the bag on these topics: `ros2 bag play`, or where that is missing our player."""
    rules = [f"{name}:={topic}" for name, topic in topics.items() if name != topic]
    if importlib.util.find_spec("ros2bag"):
        return ["ros2", "bag", "play", bag, *["--clock"] * clock, *(["--remap", *rules] if rules else [])]
    command = [sys.executable, "-m", "mmsense_ros.ros.player", bag, *["--clock"] * clock]
    return [*command, "--ros-args", *(word for rule in rules for word in ("-r", rule))]
