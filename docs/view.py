"""Draws docs/view.png: a simulated moment in the Rerun viewer, `python docs/view.py`. Needs a Vulkan driver, in software will do."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import cv2
from rerun.experimental import ViewerClient

from mmsense_ros.data.street.simulate import simulate
from mmsense_ros.view.bag import run
from mmsense_ros.view.outlet import Outlet

SEED, SECONDS, FRAME = 3001, 4.0, 95
PORT = 9977
BAR, WIDTH = 37, 1400  #: [px] of the window's title bar, left out, and of the picture


def main(picture: Path) -> None:
    """Simulate, perceive, save, and have a viewer without a window show what was saved."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "street.rrd"
        run(simulate(Path(folder) / "street", seconds=SECONDS, seed=SEED), Outlet(save=file))
        viewer = ViewerClient.spawn(headless=True, port=PORT, detach_process=False)
        try:
            viewer.open(str(file))
            while viewer.get_state().loading:
                time.sleep(0.2)
            viewer.set_time("frame", sequence=FRAME, play_state="paused")
            time.sleep(3)  # for labels and axes to settle
            viewer.save_screenshot(str(picture))
        finally:
            viewer.quit()
    image = cv2.imread(str(picture))[BAR:]
    image = cv2.resize(image, (WIDTH, image.shape[0] * WIDTH // image.shape[1]), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(picture), image, (cv2.IMWRITE_PNG_COMPRESSION, 9))


if __name__ == "__main__":
    main(Path(__file__).parent / "view.png")
