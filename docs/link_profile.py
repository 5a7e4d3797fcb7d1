"""Draws docs/link_profile.png: the simulated link's beams beside DeepSense 6G's, `python docs/link_profile.py FOLDER`.

FOLDER holds `scenario*_unit1_pwr_60ghz_*.npy`, (N, 64) linear power each.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from mmsense_ros.evaluation.profile import best_to_median_db, offset_profile, simulated_power


def main(folder: Path, picture: Path) -> None:
    """One line a scenario, and the simulator's."""
    figure, axis = plt.subplots(figsize=(7.5, 4.2), layout="constrained")
    for file in sorted(folder.glob("scenario*_unit1_pwr_60ghz_*.npy")):
        power = np.load(file)
        name = f"DeepSense 6G {file.name.split('_')[0].replace('scenario', 'scenario ')}"
        axis.plot(offset_profile(power, 12), color="0.65", lw=1)
        axis.annotate(f"{name[-1]}", (12, offset_profile(power, 12)[-1]), color="0.4", fontsize=8, va="center")
        print(f"{name}: best to median {best_to_median_db(power):.1f} dB")
    power = simulated_power(range(100, 130))
    axis.plot(
        offset_profile(power, 12),
        color="#d1495b",
        lw=2.5,
        label=f"simulated street (best to median {best_to_median_db(power):.1f} dB)",
    )
    axis.plot([], [], color="0.65", label="DeepSense 6G scenarios 1 to 7")
    axis.set(xlabel="beams from the best", ylabel="mean power / best beam's", ylim=(0, 1.02), xlim=(0, 12.5))
    axis.legend(frameon=False)
    axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(picture, dpi=130)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(__file__).parent / "link_profile.png")
