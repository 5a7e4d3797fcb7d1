"""What all tests share: the installed package is tested, and ROS processes of one test never hear those of another."""

from __future__ import annotations

import importlib.machinery
import os
import socket
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def _prefer_installed_package() -> None:
    """Hide the source tree, which has no built messages, where an installed mmsense_ros can be imported instead."""
    elsewhere = [entry for entry in sys.path if Path(entry or ".").resolve() != ROOT.resolve()]
    if importlib.machinery.PathFinder.find_spec("mmsense_ros", elsewhere):
        sys.path[:] = elsewhere


_prefer_installed_package()


@pytest.fixture
def ros_environment(tmp_path: Path):
    """Environment of processes that hear one another over DDS and nobody else: a free domain, this machine only."""
    domain, reservation = _reserve_domain()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ROS_DOMAIN", "RMW_"))}
    environment.update(
        ROS_DOMAIN_ID=str(domain),
        ROS_AUTOMATIC_DISCOVERY_RANGE="LOCALHOST",
        ROS_LOG_DIR=str(tmp_path / "ros_log"),
        PYTHONSAFEPATH="1",  # the working directory may be the source tree, which has no built messages
        FASTDDS_DEFAULT_PROFILES_FILE=str(ROOT / "config" / "fastdds.xml"),
    )
    with reservation:
        yield environment


def _reserve_domain() -> tuple[int, socket.socket]:
    """A domain id that no test of this machine holds; the bound socket marks it, so that parallel runs differ."""
    for domain in range(1, 101):
        reservation = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            reservation.bind(("127.0.0.1", 28000 + domain))
        except OSError:
            reservation.close()
            continue
        return domain, reservation
    raise RuntimeError("all 100 ROS domains are taken: other test runs are still going on")
