"""Prints how well beams are predicted on real DeepSense 6G measurements, as markdown: `python docs/results_real.py [FOLDER]`.

FOLDER (default ../shared/real/deepsense6g_power beside the repository) holds the scenarios' arrays as data/deepsense.py reads
them. Three splits of the drive-bys, 60 % to learn from; about half a minute on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from tables import BEAM, markdown

from mmsense_ros.data import deepsense
from mmsense_ros.errors import MMSenseError
from mmsense_ros.evaluation.positions import GIVEN, compare

SEEDS = (0, 1, 2)
FOLDER = Path(__file__).resolve().parents[2] / "shared" / "real" / "deepsense6g_power"
PREDICTORS = {
    "neighbours": "5 nearest positions",
    "position": "position, learned",
    "last beam": "last best beam, learned",
    "track": "position and the last two best beams, learned",
}
COLUMNS = {
    "top1": BEAM["top1"],
    "top2": ("top-2", 3),
    "top3": BEAM["top3"],
    "top5": ("top-5", 3),
    "dba": BEAM["dba"],
    "power_loss_db": BEAM["power_loss_db"],
    "coverage": ("coverage of the 90 % set", 3),
    "set_size": ("its beams of 64", 1),
}


def table(folder: Path = FOLDER) -> str:
    """The mean over the scenarios first, then each scenario, beside the figures that are given with the data."""
    runs = {
        scenario: [compare(deepsense.load(folder, scenario), seed) for seed in SEEDS]
        for scenario in deepsense.scenarios(folder)
    }
    rows = {}
    for name, words in PREDICTORS.items():
        rows[f"mean: {words}"] = [
            {figure: float(np.mean([run[seed][name][figure] for run in runs.values()])) for figure in COLUMNS}
            for seed in range(len(SEEDS))
        ]
    for scenario, seeds in runs.items():
        if scenario in GIVEN:
            rows[f"{scenario}: 5 nearest positions, as given with the data"] = [
                dict(zip(("top1", "top3", "top5"), GIVEN[scenario]))
            ]
        rows |= {f"{scenario}: {words}": [seed[name] for seed in seeds] for name, words in PREDICTORS.items()}
    return markdown("scenario: beams by", rows, COLUMNS)


if __name__ == "__main__":
    try:
        print(table(*map(Path, sys.argv[1:2])))
    except MMSenseError as error:
        sys.exit(str(error))
