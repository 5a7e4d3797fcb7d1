"""Draws docs/weather.png: what the camera sees of one moment in each of the simulator's conditions, `python docs/weather.py`."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from mmsense_ros.data.street import PRESETS, Street, StreetConfig

SEED, MOMENT = 7, 5.0  # [s]


def main(picture: Path) -> None:
    """Truth, and so every label, is the same in all of them."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.2), layout="constrained")
    for axis, (name, conditions) in zip(axes.flat, PRESETS.items(), strict=True):
        axis.imshow(Street(SEED, StreetConfig(conditions=conditions), seconds=MOMENT + 1).camera(MOMENT).image)
        axis.set(title=name, xticks=[], yticks=[])
    figure.savefig(picture, dpi=90)


if __name__ == "__main__":
    main(Path(__file__).parent / "weather.png")
