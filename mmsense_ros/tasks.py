"""What MMSense is asked: the tasks, as data in config/tasks.yaml."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import yaml

from mmsense_ros.errors import ConfigError
from mmsense_ros.share import shared_file

FAMILIES = ("channel-centric", "environment-aware", "human-centered")
HEADS = ("beam", "blockage", "pathloss", "objects", "traffic", "people", "activity")


@dataclass(frozen=True)
class Task:
    """One question: its family, an example instruction, the form of its answer (`head`), labels, unit, loss and metric."""

    name: str
    family: str
    instruction: str
    head: str
    unit: str
    loss: str
    metric: str
    labels: tuple[str, ...] = ()


def load_tasks(path: Path | None = None) -> tuple[Task, ...]:
    """Tasks of a YAML file (default: the package's config/tasks.yaml), in its order.

    Raises ConfigError, naming the file, the task and the remedy.
    """
    path = Path(path) if path is not None else shared_file("config/tasks.yaml")
    try:
        entries = yaml.safe_load(path.read_text())
    except (OSError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML ({error}); see config/tasks.yaml for an example") from error
    if not isinstance(entries, dict) or not entries:
        raise ConfigError(f"{path} must map task names to their entries; see config/tasks.yaml for an example")
    return tuple(_task(path, str(name), entry) for name, entry in entries.items())


def _task(path: Path, name: str, entry: object) -> Task:
    known = {field.name for field in fields(Task)} - {"name"}
    needed = known - {"labels"}
    if not isinstance(entry, dict) or not needed <= set(entry) <= known:
        raise ConfigError(f"{path}: task '{name}' needs {', '.join(sorted(needed))} and may have labels, nothing else")
    for key, allowed in (("family", FAMILIES), ("head", HEADS)):
        if entry[key] not in allowed:
            raise ConfigError(f"{path}: task '{name}': {key} '{entry[key]}' is not one of {', '.join(allowed)}")
    return Task(name=name, **{**entry, "labels": tuple(entry.get("labels", ()))})
