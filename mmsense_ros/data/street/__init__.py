"""The street simulator: one 3-D scene from which every sensor and the link are computed."""

from mmsense_ros.data.street.conditions import PRESETS, Conditions
from mmsense_ros.data.street.phrases import describe
from mmsense_ros.data.street.street import Street, StreetConfig

__all__ = ["PRESETS", "Conditions", "Street", "StreetConfig", "describe"]
