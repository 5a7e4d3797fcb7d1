"""Gathered DeepSense 6G arrays are read, or refused by name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mmsense_ros.data.deepsense import load, scenarios
from mmsense_ros.errors import BagError


def gather(folder: Path, **changes: np.ndarray | None) -> Path:
    """Writes a scenario 1 of 6 snapshots in 3 drive-bys, with `changes` by array."""
    arrays = {
        "unit1_pwr_60ghz": np.ones((6, 64)),
        "unit1_loc": np.tile([60.0, 20.0], (6, 1)),
        "unit2_loc": np.tile([60.001, 20.001], (6, 1)),
        "unit2_loc_cal": np.zeros((6, 2)),
        "seq_index": np.array([1, 1, 2, 2, 3, 3]),
    }
    for name, values in (arrays | changes).items():
        if values is not None:
            np.save(folder / f"scenario1_{name}_1-6.npy", values)
    return folder


def test_position_is_metres_east_and_north_of_the_base_station(tmp_path: Path) -> None:
    data = load(gather(tmp_path), 1)
    assert scenarios(tmp_path) == [1]
    assert data.position[0] == pytest.approx([111.32 / 2, 111.32])  # at 60 degrees north a degree of longitude is half as long
    assert data.power.shape == (6, 64) and data.drive.tolist() == [1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize(
    ("name", "values", "words"),
    [
        ("unit1_pwr_60ghz", np.zeros((6, 64)), "positive power"),
        ("unit1_pwr_60ghz", np.full((6, 64), np.nan), "finite"),
        ("unit1_pwr_60ghz", np.array(["a"]), "damaged"),
        ("unit2_loc", None, "0 files"),
        ("unit2_loc", np.ones((5, 2)), "there are 6 snapshots"),
        ("unit1_loc", np.ones((6, 3)), "there are 6 snapshots"),
        ("seq_index", np.ones(6, int), "fewer than 3 drive-bys"),
        ("seq_index", np.linspace(0, 1, 6), "damaged"),
    ],
)
def test_what_cannot_be_used_is_named_with_a_remedy(name: str, values: np.ndarray | None, words: str, tmp_path: Path) -> None:
    with pytest.raises(BagError, match=rf"scenario1_{name}_.*{words}.*; (gather|copy)"):
        load(gather(tmp_path, **{name: values}), 1)


def test_a_file_cut_short_or_a_folder_without_any_is_named(tmp_path: Path) -> None:
    with pytest.raises(BagError, match=f"{tmp_path} holds no .*; name a folder"):
        scenarios(tmp_path)
    file = gather(tmp_path) / "scenario1_unit2_loc_1-6.npy"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(BagError, match="unit2_loc_1-6.npy is missing or damaged .*; copy it again"):
        load(tmp_path, 1)
