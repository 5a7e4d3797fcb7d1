"""The Fast DDS profile of this package, as environment variables: without it images between processes are lost."""

from __future__ import annotations

import os

from mmsense_ros.share import shared_file

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")  #: of Fast DDS 3 and 2 (Jazzy)


def use_profile() -> None:
    """Name the profile to this process, before rclpy opens, and to those it starts; a profile that the user named stays."""
    if not any(os.environ.get(variable) for variable in PROFILE_VARIABLES):
        os.environ.update(dict.fromkeys(PROFILE_VARIABLES, str(shared_file("config/fastdds.xml"))))
