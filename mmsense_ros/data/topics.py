"""What is read from a bag, on which topics it is expected, and as which types: other people's topics are given by `INPUT=TOPIC`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from mmsense_ros.data.rosbag import BagReader
from mmsense_ros.errors import BagError
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, RADAR

CAMERA_INFO, INSTRUCTION, TF_STATIC = "/camera/camera_info", "/instruction", "/tf_static"
ANSWERED = "/sense/instruction"  #: where the node tells which instruction it answers, a parameter too
TRUTH_POWER, TRUTH_NOISE_FREE, TRUTH_SENSING = "/truth/beam_power", "/truth/beam_power_noise_free", "/truth/sensing"
IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CLOUD, CUBE = "sensor_msgs/msg/PointCloud2", "mmsense_ros/msg/RadarCube"
TERMINAL_FIX, BASE_FIX = "/terminal/fix", "/base/fix"
BEAM_POWER, FIX = "mmsense_ros/msg/BeamPower", "sensor_msgs/msg/NavSatFix"


@dataclass(frozen=True)
class Input:
    """One thing that is read: the topics it is expected on, best first, each with the types it may have there."""

    topics: Mapping[str, tuple[str, ...]]

    @property
    def types(self) -> tuple[str, ...]:
        """All types it may have."""
        return tuple(dict.fromkeys(kind for kinds in self.topics.values() for kind in kinds))

    def home(self, kind: str) -> str:
        """The topic on which the node expects it as `kind`."""
        return next(topic for topic, kinds in self.topics.items() if kind in kinds and topic != ANSWERED)


INPUTS: dict[str, Input] = {
    CAMERA: Input({"/camera/image_raw": (IMAGE, COMPRESSED_IMAGE), "/camera/image_raw/compressed": (COMPRESSED_IMAGE,)}),
    RADAR: Input({"/radar/points": (CLOUD,), "/radar/cube": (CUBE,)}),
    LIDAR: Input({"/lidar/points": (CLOUD,)}),
    "camera_info": Input({CAMERA_INFO: ("sensor_msgs/msg/CameraInfo",)}),
    "instruction": Input({ANSWERED: ("std_msgs/msg/String",), INSTRUCTION: ("std_msgs/msg/String",)}),
    "tf_static": Input({TF_STATIC: ("tf2_msgs/msg/TFMessage",)}),
    "power": Input({TRUTH_POWER: (BEAM_POWER,)}),
    "noise_free": Input({TRUTH_NOISE_FREE: (BEAM_POWER,)}),
    "truth": Input({TRUTH_SENSING: ("mmsense_ros/msg/SensingResult",)}),
    "terminal_fix": Input({TERMINAL_FIX: (FIX,)}),
    "base_fix": Input({BASE_FIX: (FIX,)}),
}
TRUTHS = ("power", "noise_free", "truth")


def topics_of(bag: BagReader, given: Mapping[str, str], without: Collection[str] = ()) -> dict[str, str]:
    """Input -> the topic it is read from, of several only the first that holds messages.

    Raises BagError, with the remedy, if one of `given` is not there, has the wrong type, or a sensor that is not in `without` is
    missing.
    """
    counts, topics = bag.topics, {}
    for name, entry in INPUTS.items():
        expected = (given[name],) if name in given else tuple(entry.topics)
        topic = next((topic for topic in expected if counts.get(topic)), None)
        if topic is not None:
            if (kind := bag.types[topic]) not in entry.types:
                fault = f"{bag.path}: {topic} holds {kind}, {name} is read from {' or '.join(entry.types)}"
                raise BagError(f"{fault}; name the right one: --topic {name}=TOPIC")
            topics[name] = topic
        elif (name in given or name in MODALITIES) and name not in without:
            fault = f"{bag.path} has no messages on {' or '.join(expected)}"
            leave = f", or go without it: --drop {name}" if name in MODALITIES else ""
            raise BagError(f"{fault}; name its topic: --topic {name}=TOPIC (--inspect lists them){leave}")
    return topics
