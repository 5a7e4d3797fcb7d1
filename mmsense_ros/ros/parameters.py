"""All parameters of the node: declared from one table, with description and range, and read as one `Settings`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor, SetParametersResult
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node
from rclpy.parameter import Parameter
from rclpy.qos import QoSProfile, QoSReliabilityPolicy

from mmsense_ros.engine import PRECISIONS, EngineOptions, engine_names
from mmsense_ros.errors import ConfigError
from mmsense_ros.snapshot import CAMERA, LIDAR, MODALITIES, RADAR
from mmsense_ros.sync import SensorSync, SyncConfig

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CLOUD, CUBE = "sensor_msgs/msg/PointCloud2", "mmsense_ros/msg/RadarCube"
#: Message types each sensor may come as and the topics they are expected on (remappable), best first.
SOURCES = {
    CAMERA: (
        (IMAGE, "camera/image_raw"),
        (COMPRESSED_IMAGE, "camera/image_raw"),
        (COMPRESSED_IMAGE, "camera/image_raw/compressed"),
    ),
    RADAR: ((CLOUD, "radar/points"), (CUBE, "radar/cube")),
    LIDAR: ((CLOUD, "lidar/points"),),
}


ENGINE_OPTIONS = (
    "precision",
    "threads",
    "cores",
    "cache",
    "workspace",
    "optimization",
    "dla",
)  #: of EngineOptions, beside its name


@dataclass(frozen=True)
class Declared:
    """One parameter. `low` and `high` bound numbers, `choices` texts; a `loose` text may look like a number; what is not `live` is
    fixed while configured."""

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    loose: bool = False
    live: bool = False
    read_only: bool = False

    def descriptor(self) -> ParameterDescriptor:
        """What `ros2 param describe` shows."""
        descriptor = ParameterDescriptor(description=self.description, read_only=self.read_only, dynamic_typing=self.loose)
        if self.choices:
            descriptor.additional_constraints = f"one of {', '.join(self.choices)}"
        elif not self.live and not self.read_only:
            descriptor.additional_constraints = "read when the node is configured"
        if self.low is not None and isinstance(self.default, float):
            descriptor.floating_point_range = [FloatingPointRange(from_value=self.low, to_value=self.high, step=0.0)]
        elif self.low is not None:
            descriptor.integer_range = [IntegerRange(from_value=int(self.low), to_value=int(self.high), step=1)]
        return descriptor


def _sensor(name: str) -> tuple[Declared, ...]:
    return (
        Declared(
            f"{name}.type", "auto", "message type it comes as; auto: what is published", choices=("auto", *dict(SOURCES[name]))
        ),
        Declared(
            f"{name}.reliability",
            "best_effort",
            "QoS asked for: reliable does not hear best-effort publishers",
            choices=("best_effort", "reliable"),
        ),
        Declared(f"{name}.depth", 5, "QoS depth: messages kept while the node is busy", 1, 100),
        Declared(f"{name}.offset", 0.0, "added to its stamps where they are compared [s], e.g. half a sweep", -1.0, 1.0),
        Declared(f"{name}.max_age", 0.2, "largest distance of its stamp to the reference's [s]", 0.001, 5.0),
        Declared(f"{name}.required", False, "whether there is no result without it"),
    )


PARAMETERS = (
    Declared("autostart", True, "whether the node configures and activates itself", read_only=True),
    Declared("hardware_id", "mmsense", "what /diagnostics calls this unit", read_only=True),
    Declared("instruction", "", "what is wanted, in words; the newest of this and the instruction topic counts", live=True),
    Declared("model", "", "exported .onnx file; empty: the one shipped"),
    Declared("engine", "auto", "what runs the model", choices=("auto", *engine_names())),
    Declared("precision", "auto", "numeric precision of the engine", choices=PRECISIONS),
    Declared("threads", 0, "threads of the engine; 0: its own choice", 0, 256),
    Declared("cores", "", "CPU cores that the engine's threads stay on, such as 2-3; empty: any", loose=True),
    Declared("cache", "", "folder of the engines that TensorRT built; empty: ~/.cache/mmsense_ros/engines"),
    Declared("workspace", 1024, "device memory TensorRT may use [MiB]", 16, 65536),
    Declared("optimization", 3, "how long TensorRT searches for a fast engine", 0, 5),
    Declared("dla", -1, "core of a Jetson's deep learning accelerator that runs the model; -1: the GPU", -1, 3),
    Declared("calibration", "", "YAML file of the sensors' extrinsics; empty: /tf_static, where tf2_msgs is installed"),
    Declared("sensors", list(MODALITIES), "sensors this unit has"),
    *_sensor(CAMERA),
    *_sensor(RADAR),
    Declared("radar.doppler_sign", 1, "1: its velocities are positive for what recedes, -1: for what comes nearer", -1, 1),
    *_sensor(LIDAR),
    Declared("sync.reference", CAMERA, "sensor whose every message makes a snapshot", choices=MODALITIES),
    Declared("sync.max_wait", 0.05, "how long a snapshot waits for the other sensors [s]", 0.0, 1.0),
    Declared("sync.max_jump", 0.5, "larger steps of a stamp are faults or a clock that jumped [s]", 0.01, 60.0),
    Declared("sync.stand_in", 0.5, "after so long without the reference, another sensor leads [s]", 0.05, 60.0),
    Declared("sync.queue", 32, "readings kept of each sensor", 2, 1000),
    Declared("sync.stamp_policy", "reject", "zero, absurd stamps: reject, or use the arrival", choices=("reject", "arrival")),
    Declared("markers.lifetime", 0.5, "after which a marker vanishes if nothing follows [s]", 0.05, 10.0, live=True),
    Declared("overlay.rate", 10.0, "most pictures a second on ~/overlay [Hz]", 0.1, 60.0, live=True),
    Declared("diagnostics.period", 1.0, "time between two reports on /diagnostics [s]", 0.1, 60.0),
)  # fmt: skip


@dataclass(frozen=True)
class SensorSettings:
    """How one sensor is listened to."""

    name: str
    sources: tuple[tuple[str, str], ...]  #: (type, topic), best first
    qos: QoSProfile
    doppler_sign: int


@dataclass(frozen=True)
class Settings:
    """The parameters that count from one configuration to the next."""

    model: str
    engine: EngineOptions
    calibration: str
    sensors: tuple[SensorSettings, ...]
    sync: SyncConfig
    diagnostics_period: float


def declare(node: Node) -> None:
    """Declare every parameter of PARAMETERS. Raises ConfigError if a given value has a wrong type or is out of range."""
    for entry in PARAMETERS:
        try:
            value = node.declare_parameter(entry.name, entry.default, entry.descriptor())
        except (InvalidParameterTypeException, InvalidParameterValueException) as error:
            raise ConfigError(f"parameter {entry.name}: {error}; it is: {entry.description}") from error
        verdict = check([value], configured=False)
        if not verdict.successful:
            raise ConfigError(f"parameter {verdict.reason}")


def check(parameters: Sequence[Parameter], configured: bool) -> SetParametersResult:
    """Whether these values may be set now; says why not. Ranges and read-only parameters are rclpy's to refuse."""
    table = {entry.name: entry for entry in PARAMETERS}
    for parameter in parameters:
        entry = table.get(parameter.name)
        if entry is None:
            continue
        if configured and not entry.live:
            reason = f"{entry.name} is read when the node is configured; deactivate it and clean it up first"
            return SetParametersResult(successful=False, reason=reason)
        if entry.choices and parameter.value not in entry.choices:
            reason = f"{entry.name} is '{parameter.value}'; choose one of {', '.join(entry.choices)}"
            return SetParametersResult(successful=False, reason=reason)
        if entry.loose and (isinstance(parameter.value, bool) or not isinstance(parameter.value, (str, int))):
            reason = f"{entry.name} is {parameter.value!r}; it is: {entry.description}"
            return SetParametersResult(successful=False, reason=reason)
        if entry.name == "sensors" and (not parameter.value or set(parameter.value) - set(MODALITIES)):
            reason = f"sensors is {list(parameter.value or ())}; name some of {', '.join(MODALITIES)}"
            return SetParametersResult(successful=False, reason=reason)
        if entry.name == "radar.doppler_sign" and parameter.value == 0:
            return SetParametersResult(successful=False, reason="radar.doppler_sign is 0; choose 1 or -1")
    return SetParametersResult(successful=True)


def read(node: Node) -> Settings:
    """The values now. Raises ConfigError where they make no sense together."""

    def value(name: str) -> Any:
        return node.get_parameter(name).value

    names = tuple(name for name in MODALITIES if name in value("sensors"))
    sensors, rules = [], {}
    for name in names:
        kind = value(f"{name}.type")
        reliability = QoSReliabilityPolicy[value(f"{name}.reliability").upper()]
        qos = QoSProfile(depth=value(f"{name}.depth"), reliability=reliability)
        sign = value("radar.doppler_sign") if name == RADAR else 1
        sources = tuple(source for source in SOURCES[name] if kind in ("auto", source[0]))
        sensors.append(SensorSettings(name, sources, qos, sign))
        rules[name] = SensorSync(value(f"{name}.offset"), value(f"{name}.max_age"), value(f"{name}.required"))
    sync = SyncConfig(
        reference=value("sync.reference"),
        sensors=rules,
        **{name: value(f"sync.{name}") for name in ("max_wait", "max_jump", "stand_in", "queue", "stamp_policy")},
    )
    options = {name: value(name) for name in ENGINE_OPTIONS}
    return Settings(
        model=value("model"),
        engine=EngineOptions(name=value("engine"), **options | {"cores": str(options["cores"])}),
        calibration=value("calibration"),
        sensors=tuple(sensors),
        sync=sync,
        diagnostics_period=value("diagnostics.period"),
    )
