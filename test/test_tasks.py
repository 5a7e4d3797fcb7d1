"""Tasks are data: what the file says is what MMSense is asked, and a wrong entry is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmsense_ros.anchors import ACTIVITIES, OBJECT_LABELS
from mmsense_ros.errors import ConfigError
from mmsense_ros.tasks import FAMILIES, load_tasks

ENTRY = "{family: channel-centric, instruction: where, head: beam, unit: beam index, loss: cross-entropy, metric: dba"


def test_the_shipped_tasks_cover_every_family() -> None:
    tasks = {task.name: task for task in load_tasks()}
    assert {task.family for task in tasks.values()} == set(FAMILIES)
    assert tasks["objects"].labels == tasks["traffic"].labels == OBJECT_LABELS
    assert tasks["activity"].labels == ACTIVITIES


def test_a_task_is_added_without_code(tmp_path: Path) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(f"uplink: {ENTRY}}}\ndownlink: {ENTRY}, labels: [a, b]}}\n")
    assert [(task.name, task.labels) for task in load_tasks(path)] == [("uplink", ()), ("downlink", ("a", "b"))]


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "map task names"),
        ("beam: [", "YAML"),
        ("beam: {head: beam}", "task 'beam' needs"),
        (f"beam: {ENTRY}, colour: red}}", "nothing else"),
        (f"beam: {ENTRY.replace('head: beam', 'head: laser')}}}", "head 'laser' is not one of"),
        (f"beam: {ENTRY.replace('channel-centric', 'magic')}}}", "family 'magic' is not one of"),
    ],
)
def test_a_wrong_file_is_named_with_the_remedy(tmp_path: Path, text: str, named: str) -> None:
    path = tmp_path / "tasks.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=named) as caught:
        load_tasks(path)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="absent.yaml"):
        load_tasks(tmp_path / "absent.yaml")
