"""Prints how well beams are predicted on real DeepSense 6G measurements, as markdown: `python docs/results_real.py [FOLDER]`.

FOLDER (default ../shared/real/deepsense6g_power beside the repository) holds scenario*_{unit1_pwr_60ghz,unit1_loc,unit2_loc,seq_index}_*.npy.
Three splits of the drive-bys, 60 % to learn from; about half a minute on one core.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

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
FIGURES = {
    "top1": "top-1",
    "top2": "top-2",
    "top3": "top-3",
    "top5": "top-5",
    "dba": "DBA",
    "power_loss_db": "power loss (dB)",
    "coverage": "coverage of the 90 % set",
    "set_size": "its beams of 64",
}


def table(folder: Path) -> str:
    """Mean and standard deviation over SEEDS: the mean scenario first, then each scenario."""
    runs = {
        scenario: [compare(deepsense.load(folder, scenario), seed) for seed in SEEDS]
        for scenario in deepsense.scenarios(folder)
    }
    lines = [f"| scenario | beams by | {' | '.join(FIGURES.values())} |", "|---|---|" + "---|" * len(FIGURES)]
    for title, chosen in {"mean": list(runs), **{str(scenario): [scenario] for scenario in runs}}.items():
        for name, words in PREDICTORS.items():
            cells = []
            for figure in FIGURES:
                by_seed = np.mean([[run[name][figure] for run in runs[scenario]] for scenario in chosen], axis=0)
                digits = 1 if figure == "set_size" else 2 if figure == "power_loss_db" else 3
                cells.append(f"{by_seed.mean():.{digits}f} ± {by_seed.std(ddof=1):.{digits}f}")
            lines.append(f"| {title} | {words} | {' | '.join(cells)} |")
        if len(chosen) == 1 and chosen[0] in GIVEN:
            told = dict(zip(("top1", "top3", "top5"), GIVEN[chosen[0]]))
            cells = [f"{told[figure]:.2f}" if figure in told else "-" for figure in FIGURES]
            lines.append(f"| {title} | 5 nearest positions, as given with the data | {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    try:
        print(table(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER))
    except MMSenseError as error:
        sys.exit(str(error))
