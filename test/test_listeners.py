"""Before anything is published, whoever publishes knows of all who listen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2")

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue

from mmsense_ros.ros import process
from mmsense_ros.ros.process import MARKERS, RESULTS, NodeFailed, Reports, await_listeners

pytestmark = pytest.mark.ros


class Discovery:
    """Stands in for the executor, the node's reports and a publisher: each round something else is found."""

    topic_name = "/camera/image_raw"

    def __init__(self, rounds: list[tuple[int, dict[str, int]]]) -> None:
        self._rounds, self.round = rounds, 0
        self._hear = lambda _: None
        self.reports = Reports(self)

    def create_subscription(self, kind, topic, callback, depth) -> None:
        assert (kind, topic) == (DiagnosticArray, "/diagnostics")
        self._hear = callback

    def get_subscription_count(self) -> int:
        return self._rounds[self.round][0]

    def spin_once(self, timeout_sec: float) -> None:
        self.round += self.round < len(self._rounds) - 1
        values = [KeyValue(key=f"listeners: {topic}", value=str(count)) for topic, count in self._rounds[self.round][1].items()]
        self._hear(DiagnosticArray(status=[DiagnosticStatus(name="sense: perception", values=values)]))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(process, "START_LIMIT", 0.3)
    monkeypatch.setattr(process, "spin_for", lambda seconds, executor: executor.spin_once(seconds))


def test_the_last_to_be_found_is_waited_for():
    found = Discovery(
        [(0, {}), (2, {}), (2, {RESULTS: 2, MARKERS: 0}), (1, {RESULTS: 2, MARKERS: 1}), (2, {RESULTS: 2, MARKERS: 1})]
    )
    await_listeners(found, [(found, 2)], found.reports, {RESULTS: 2, MARKERS: 1})
    assert found.round == 4


def test_who_is_not_found_is_named():
    found = Discovery([(1, {RESULTS: 2})])
    with pytest.raises(NodeFailed, match=f"not all who should listen to {MARKERS} did"):
        await_listeners(found, [(found, 1)], found.reports, {RESULTS: 2, MARKERS: 1})
    with pytest.raises(NodeFailed, match=f"listen to {found.topic_name}, {MARKERS} did"):
        await_listeners(found, [(found, 2)], found.reports, {RESULTS: 2, MARKERS: 1})


def test_a_process_that_has_ended_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(process, "START_LIMIT", 60.0)
    found, failure = Discovery([(0, {})]), NodeFailed("the node ended with exit code 3: out of luck")
    ended = SimpleNamespace(poll=lambda: 3, failure=lambda: failure)
    with pytest.raises(NodeFailed, match="out of luck"):
        await_listeners(found, [(found, 1)], found.reports, {RESULTS: 1}, ended)
