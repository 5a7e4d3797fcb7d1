"""Prepared streets: made once, written as shards, read back as they were."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra `train`")
pytest.importorskip("lightning", reason="training needs the extra `train`")

from small_streets import stand_in, write_recipe

from mmsense_ros.codebook import Codebook
from mmsense_ros.data.street.wordings import meant_by
from mmsense_ros.errors import ConfigError
from mmsense_ros.training.prepare import decibels, layout, prepare, prepare_street
from mmsense_ros.training.recipe import Data, load_recipe
from mmsense_ros.training.shards import Prepared, write_shard


def test_splits_never_share_a_street_and_are_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streets, recipe = stand_in(monkeypatch), load_recipe(write_recipe(tmp_path))
    folders = prepare(recipe, tmp_path / "data")
    assert sorted(streets) == [1000, 1001, 1002, 1003, 1004]
    assert len(Prepared(*folders["train"])) == 24 and len(Prepared(*folders["test"])) == 12
    prepare(recipe, tmp_path / "data")
    assert len(streets) == 5
    (folders["train"][0] / "street-00001.arrow").unlink()
    prepare(recipe, tmp_path / "data")
    assert streets[5:] == [1001]
    prepare(replace(recipe, data=replace(recipe.data, seed=9)), tmp_path / "data")
    assert len(streets) == 11


@pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="streets need the extra `sim`")
def test_a_simulated_street_is_prepared_as_it_is(tmp_path: Path) -> None:
    settings = Data(snapshots=4, seconds=6.0, targets=3, phrases=2)
    shard = tmp_path / "split" / "street-00007.arrow"
    shard.parent.mkdir()
    prepare_street(shard, 7, 3, settings, 0.5)
    data = Prepared(shard.parent)
    everything = np.arange(len(data))
    assert data.served.any() and data.camera[everything].std() > 10
    assert data.lidar[everything].any() and data.radar_cube[everything].any()
    assert (data.street == 7).all() and (np.diff(data.time) > 0).all() and 0 < data.time[0] and data.time[-1] < 5.5
    assert (data.terminals[data.served] >= 0).all()
    for row, slot in zip(*np.nonzero(data.served & (data.blocked[..., 0] == 0))):
        vehicle = data.objects[row, data.terminals[row, slot]]
        points_at = Codebook().beam_of(np.arctan2(vehicle[3], vehicle[2]))
        assert abs(points_at - data.power[row, slot, 0].argmax()) <= 3
        assert all(meant_by(phrase.decode()) for phrase in data.phrases[row, slot])
    prepare_street(tmp_path / "again.arrow", 7, 3, settings, 0.5)
    assert (tmp_path / "again.arrow").read_bytes() == shard.read_bytes()


def test_a_shard_gives_back_what_was_written(tmp_path: Path) -> None:
    settings, rng = Data(targets=2, phrases=2), np.random.default_rng(0)
    written = []
    for number in range(3):
        arrays = layout(5, settings)
        for array in arrays.values():
            array[...] = rng.integers(0, 100, array.shape).astype(array.dtype)
        written.append(arrays)
        write_shard(tmp_path / f"street-{number}.arrow", arrays)
    data, index = Prepared(tmp_path), np.array([14, 0, 5, 9, 5])
    for name in written[0]:
        truth = np.concatenate([arrays[name] for arrays in written])
        np.testing.assert_array_equal(getattr(data, name)[index], truth[index])
    assert data.camera[index].dtype == np.uint8 and data.lidar[index].dtype == np.float16
    assert len(data) == len(data.camera) == 15


def test_missing_and_damaged_shards_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no prepared snapshots.*mmsense train"):
        Prepared(tmp_path)
    (tmp_path / "street-00000.arrow").write_bytes(b"half a shard")
    with pytest.raises(ConfigError, match="street-00000.arrow is damaged.*delete it"):
        Prepared(tmp_path)


def test_decibels_are_below_the_best_beam() -> None:
    np.testing.assert_allclose(decibels(np.array([1e-9, 1e-10, 0.0])), [0, -10, -60])
