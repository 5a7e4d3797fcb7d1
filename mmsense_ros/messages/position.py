"""Where somebody is, by satellite."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mmsense_ros.messages.types import MessageTypes, header

GPS = 1  #: sensor_msgs/NavSatStatus SERVICE_GPS


def fix_message(types: MessageTypes, stamp: int, frame_id: str, latitude: float, longitude: float) -> Any:
    """A NavSatFix of degrees on WGS 84; altitude and accuracy are not known."""
    return types(
        "sensor_msgs/msg/NavSatFix",
        header=header(types, stamp, frame_id),
        status=types("sensor_msgs/msg/NavSatStatus", status=0, service=GPS),
        latitude=float(latitude),
        longitude=float(longitude),
        altitude=math.nan,
        position_covariance=types.numbers(np.zeros(9)),
        position_covariance_type=0,
    )
