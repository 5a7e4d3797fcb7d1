"""How sensor topics are subscribed: through message_filters where it is installed, with the same QoS and events."""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from rclpy.qos import QoSProfile

from mmsense_ros.ros.subscriptions import subscribe

pytestmark = pytest.mark.ros


class StandInNode:
    """Remembers its subscriptions."""

    def create_subscription(self, kind: type, topic: str, callback: Any, qos_profile: QoSProfile, **options: Any) -> Any:
        return SimpleNamespace(kind=kind, topic=topic, callback=callback, qos=qos_profile, options=options)


class Subscriber:
    """As message_filters' own: passes on what comes to all that registered."""

    def __init__(self, node: StandInNode, kind: type, topic: str, **options: Any) -> None:
        self.registered: list[Any] = []
        self.sub = node.create_subscription(kind, topic, lambda message: [call(message) for call in self.registered], **options)

    def registerCallback(self, callback: Any) -> None:
        self.registered.append(callback)


@pytest.mark.parametrize("installed", [True, False])
def test_messages_come_either_way(installed, monkeypatch):
    module = ModuleType("message_filters")
    if installed:
        module.Subscriber = Subscriber
    monkeypatch.setitem(sys.modules, "message_filters", module if installed else None)
    heard: list[str] = []
    subscription = subscribe(StandInNode(), str, "radar/points", heard.append, QoSProfile(depth=3), events="events")
    subscription.callback("a cloud")
    assert heard == ["a cloud"]
    assert (subscription.callback == heard.append) is not installed
    assert (subscription.kind, subscription.topic, subscription.qos.depth) == (str, "radar/points", 3)
    assert subscription.options == {"event_callbacks": "events"}
