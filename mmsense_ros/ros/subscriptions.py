"""One sensor topic: its messages become readings; what is wrong is said once in the log, and in diagnostics until mended."""

from __future__ import annotations

import re
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.event_handler import SubscriptionEventCallbacks
from rclpy.node import Node
from rclpy.qos import QoSCompatibility, QoSProfile, qos_check_compatible
from rclpy.subscription import Subscription

from mmsense_ros.errors import MMSenseError
from mmsense_ros.messages.camera import camera_reading
from mmsense_ros.messages.lidar import lidar_reading
from mmsense_ros.messages.radar import radar_cube, radar_points
from mmsense_ros.ros.diagnostics import Latencies, Meter, Status
from mmsense_ros.ros.parameters import CUBE, SensorSettings
from mmsense_ros.ros.types import message_class
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, Reading

PATIENCE = 1.0  #: [s] a sensor may be silent, or three of its periods if that is longer

Deliver = Callable[[str, Reading], None]  #: may raise MMSenseError: the reading counts as rejected


class SensorTopic:
    """Subscribed from construction until `close`. For the executor's thread.

    Of the sensor's sources, (type, topic) each, the first is taken until the graph shows that only another one is published.
    """

    def __init__(self, node: Node, settings: SensorSettings, deliver: Deliver) -> None:
        self.name, self._settings = settings.name, settings
        self.received = 0
        self.rejected: Counter[str] = Counter()  #: by fault, numbers left out
        self._node, self._deliver = node, deliver
        self._meter, self._latencies = Meter(), Latencies()
        self._fault = ""  # of the last message; empty if it was good
        self._said: set[str] = set()
        self._opened = time.monotonic()
        self._open(*settings.sources[0])

    def close(self) -> None:
        """Unsubscribe."""
        self._node.destroy_subscription(self._subscription)

    def follow(self) -> None:
        """Change to another source if only that is published."""
        offered = {
            topic: {p.topic_type for p in self._node.get_publishers_info_by_topic(topic)} for _, topic in self._settings.sources
        }
        if self._type in offered[self._source]:
            return
        for kind, topic in self._settings.sources:
            if kind in offered[topic]:
                self.close()
                self._open(kind, topic)
                self._node.get_logger().info(f"{self.name}: {kind} on {self.topic}")
                return

    def status(self, drops: Counter[str]) -> Status:
        """Health for diagnostics; `drops` are the synchronizer's, by reason."""
        now = time.monotonic()
        rate, silence = self._meter.rate(now), now - max(self._meter.last, self._opened)
        values = {"topic": self.topic, "type": self._type, "received": self.received, "rate [Hz]": round(rate, 2)}
        values["age [s]"] = round(now - self._meter.last, 3) if self.received else "nan"
        values |= self._latencies.values()
        values |= {f"rejected: {fault}": count for fault, count in self.rejected.items()}
        values |= {f"dropped: {reason}": count for reason, count in drops.items() if count}
        if silence > max(PATIENCE, 3 / rate if rate else 0.0):
            fault = self._graph_fault() or f"{self.topic} is silent for {silence:.1f} s; check the sensor"
            self._say(fault)
            return Status.error(self.name, fault, values)
        if self._fault:
            return Status.warning(self.name, self._fault, values)
        return Status.ok(self.name, f"{rate:.1f} Hz", values)

    def _open(self, kind: str, topic: str) -> None:
        self._type, self._source, self.topic = kind, topic, self._node.resolve_topic_name(topic)
        self._convert = _converter(self.name, kind, self._settings.doppler_sign)
        events = SubscriptionEventCallbacks(
            incompatible_qos=lambda _: self._say(self._graph_fault()), use_default_callbacks=False
        )
        self._subscription = subscribe(self._node, message_class(kind), topic, self._take, self._settings.qos, events)

    def _take(self, message: Any) -> None:
        came, began = self._node.get_clock().now().nanoseconds, time.perf_counter()
        self.received += 1
        self._meter.tick(time.monotonic())
        try:
            reading = self._convert(message, topic=self.topic)
            decoding = 1e3 * (time.perf_counter() - began)
            self._latencies.add({"delivery": (came - reading.stamp) / 1e6, "decoding": decoding})
            self._deliver(self.name, reading)
        except MMSenseError as error:
            self._reject(str(error))
        except Exception:  # nothing that a sensor sends may stop the others
            self._reject(f"{self.topic}: a {self._type} cannot be read; report this: {traceback.format_exc(limit=-2)}")
        else:
            self._fault = ""

    def _reject(self, fault: str) -> None:
        self._fault = fault
        self.rejected[_kind(fault)] += 1
        self._say(fault)

    def _say(self, fault: str) -> None:
        """Log each kind of fault once."""
        if fault and _kind(fault) not in self._said:
            self._said.add(_kind(fault))
            self._node.get_logger().error(fault)

    def _graph_fault(self) -> str:
        """Why nothing can come, as far as the graph of nodes tells; empty if it does not."""
        publishers = self._node.get_publishers_info_by_topic(self._source)
        if not publishers:
            return f"{self.topic} has no publisher; start the {self.name}'s driver, or remap the topic"
        wanted, welcome = self._type, " or ".join(dict(self._settings.sources))
        others = sorted({p.topic_type for p in publishers} - {wanted})
        if others and all(p.topic_type != wanted for p in publishers):
            fault = f"{self.topic} is published as {', '.join(others)}, which is not {welcome}"
            return f"{fault}; remap the topic, or see {self.name}.type"
        for publisher in publishers:
            verdict, why = qos_check_compatible(publisher.qos_profile, self._settings.qos)
            if publisher.topic_type == wanted and verdict == QoSCompatibility.ERROR:
                reason = why.strip().rstrip(".;")
                fault = f"{self.topic} is offered by {publisher.node_name} with another QoS than asked for ({reason})"
                return f"{fault}; set {self.name}.reliability to {publisher.qos_profile.reliability.name.lower()}"
        return ""


def subscribe(
    node: Node,
    kind: type,
    topic: str,
    callback: Callable[[Any], None],
    qos: QoSProfile,
    events: SubscriptionEventCallbacks | None = None,
) -> Subscription:
    """A subscription, through message_filters where it is installed, so that other filters can be put before the callback."""
    try:
        from message_filters import Subscriber
    except ImportError:
        return node.create_subscription(kind, topic, callback, qos, event_callbacks=events)
    subscriber = Subscriber(node, kind, topic, qos_profile=qos, event_callbacks=events)
    subscriber.registerCallback(callback)
    return subscriber.sub


def _converter(sensor: str, kind: str, doppler_sign: int) -> Callable[..., Reading]:
    if sensor == RADAR:
        return partial(radar_cube if kind == CUBE else radar_points, doppler_sign=doppler_sign)
    return {CAMERA: camera_reading, LIDAR: lidar_reading}[sensor]


def _kind(fault: str) -> str:
    """A fault without its numbers, so that the same one is known again."""
    return re.sub(r"-?\d+(\.\d+)?", "#", fault)
