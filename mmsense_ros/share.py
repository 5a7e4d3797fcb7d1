"""Where this package's shared files (config/, launch/) are, in a source tree, a virtual environment or a colcon workspace."""

from __future__ import annotations

from pathlib import Path


def shared_file(relative: str) -> Path:
    """Path of a shared file such as `config/tasks.yaml`; raises FileNotFoundError naming the places searched."""
    package = Path(__file__).parent
    places = [parent / "share" / "mmsense_ros" / relative for parent in package.parents] + [package.parent / relative]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"{relative} is not installed with mmsense_ros; searched " + ", ".join(map(str, places)))
