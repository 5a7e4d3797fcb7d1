"""Draws docs/maps.png: one simulated moment as camera image, radar map and LiDAR map, `python docs/maps.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mmsense_ros.data.street import Street
from mmsense_ros.sensors import build_maps
from mmsense_ros.sensors.grid import PolarGrid
from mmsense_ros.snapshot import CAMERA, LIDAR, RADAR, Snapshot

SEED, MOMENT, SHOWN = 2, 12.0, 40.0  # [m] of range are shown


def main(picture: Path) -> None:
    """The street's vehicles are ringed in both maps: the same thing lies in the same column of each."""
    street, grid = Street(SEED, seconds=MOMENT + 1), PolarGrid()
    readings = {CAMERA: street.camera(MOMENT), RADAR: street.radar(MOMENT), LIDAR: street.lidar(MOMENT)}
    maps = build_maps(Snapshot(readings[CAMERA].stamp, readings), street.calibration, grid, (160, 120))
    figure, (image, radar, lidar) = plt.subplots(1, 3, figsize=(13, 4.2), layout="constrained", width_ratios=(1.45, 1, 1))
    image.imshow(readings[CAMERA].image)
    image.set(title="camera", xticks=[], yticks=[])
    view = np.rad2deg(grid.half_view)
    extent = (view, -view, 0, grid.max_range)
    radar.imshow(maps[RADAR][0], origin="lower", aspect="auto", extent=extent, cmap="magma")
    radar.set(title="radar: power over noise", ylabel="range [m]")
    height = np.where(maps[LIDAR][2] > 0, maps[LIDAR][0], np.nan)
    lidar.imshow(height, origin="lower", aspect="auto", extent=extent, cmap="viridis")
    lidar.set(title="LiDAR: height of the highest point", facecolor="0.12")
    for axis in (radar, lidar):
        axis.set(xlabel="azimuth [deg] = beam", ylim=(0, SHOWN))
        for vehicle in street.truth(MOMENT).vehicles:
            x, y, _ = vehicle.position
            if vehicle.in_view and np.hypot(x, y) < SHOWN:
                azimuth = np.rad2deg(np.arctan2(y, x))
                axis.plot(azimuth, np.hypot(x, y), "o", ms=16, mfc="none", mec="white", mew=1.2)
                axis.annotate(
                    f"{vehicle.colour} {vehicle.label}", (azimuth, np.hypot(x, y) + 2), color="white", fontsize=8, ha="center"
                )
    figure.savefig(picture, dpi=110)


if __name__ == "__main__":
    main(Path(__file__).parent / "maps.png")
