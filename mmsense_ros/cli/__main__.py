"""`python -m mmsense_ros.cli`: the command line where its script is not on the path, such as under torchrun."""

from __future__ import annotations

import sys

from mmsense_ros.cli import main

if __name__ == "__main__":
    sys.exit(main())
