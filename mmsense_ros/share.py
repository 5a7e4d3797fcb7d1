"""Where this package's files are: shared ones (config/, launch/) in a source tree, virtual environment or colcon workspace; its cache."""

from __future__ import annotations

import os
from pathlib import Path


def shared_file(relative: str) -> Path:
    """Path of a shared file such as `config/tasks.yaml`; raises FileNotFoundError naming the places searched."""
    package = Path(__file__).parent
    places = [parent / "share" / "mmsense_ros" / relative for parent in package.parents] + [package.parent / relative]
    for place in places:
        if place.exists():
            return place
    raise FileNotFoundError(f"{relative} is not installed with mmsense_ros; searched " + ", ".join(map(str, places)))


def cache_folder() -> Path:
    """This package's folder by the XDG base directory specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")) / "mmsense_ros"
