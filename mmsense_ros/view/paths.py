"""Where in a Rerun recording things are; the sensors lie below the antenna array, each in its own frame."""

from __future__ import annotations

from mmsense_ros.calibration import ANTENNA_FRAME

STREET = ANTENNA_FRAME  #: x along boresight, y left, z up; everything that has a place is below it
SENSED, TRUTH = f"{STREET}/sensed", f"{STREET}/truth"
IMAGE = f"{STREET}/camera/image"
FIGURES = "figures"
SAID = "said"
STAMP, FRAME = "stamp", "frame"  #: timelines
