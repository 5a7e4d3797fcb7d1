"""The simulated link against real ones: DeepSense 6G power sweeps, where they are at hand."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from mmsense_ros.evaluation.profile import best_to_median_db, offset_profile, simulated_power

REAL = Path(__file__).parents[1] / ".." / "shared" / "real" / "deepsense6g_power"


def test_profile_and_ratio_by_hand() -> None:
    power = np.array([[1.0, 4.0, 2.0, 1.0, 0.5], [0.5, 1.0, 1.0, 2.0, 8.0]])
    assert offset_profile(power, 2) == pytest.approx([1.0, (0.25 + 0.5 + 0.25) / 3, (0.25 + 0.125) / 2])
    assert best_to_median_db(power) == pytest.approx(np.median(10 * np.log10([4.0, 8.0])))


@pytest.mark.skipif(not REAL.is_dir(), reason="needs ../shared/real/deepsense6g_power")
@pytest.mark.skipif(find_spec("open3d") is None, reason="the street simulator needs the extra 'sim'")
def test_the_street_matches_at_least_two_real_scenarios() -> None:
    simulated = simulated_power(range(100, 120))
    profile, ratio = offset_profile(simulated), best_to_median_db(simulated)
    matched = []
    for file in sorted(REAL.glob("scenario*_unit1_pwr_60ghz_*.npy")):
        real = np.load(file)
        rms = float(np.sqrt(np.mean((offset_profile(real) - profile) ** 2)))
        if rms < 0.05 and abs(best_to_median_db(real) - ratio) < 1.0:
            matched.append(file.name.split("_")[0])
    assert len(matched) >= 2, (profile, ratio)
