"""Prepared streets in bad weather: seen through it, true as on a clear day, and apart from the clear ones."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("datasets", reason="training needs the extra `train`")

from mmsense_ros.errors import ConfigError
from mmsense_ros.training.prepare import prepare_street, prepared_folders
from mmsense_ros.training.recipe import Data, Recipe
from mmsense_ros.training.shards import Prepared

STREET = Data(snapshots=2, seconds=4.0, targets=2, phrases=1)

simulated = pytest.mark.skipif(importlib.util.find_spec("open3d") is None, reason="streets need the extra `sim`")


def prepared(folder: Path, data: Data) -> Prepared:
    folder.mkdir()
    prepare_street(folder / "street-00000.arrow", 0, 3, data, 0.5)
    return Prepared(folder)


def test_weather_has_a_folder_of_its_own_and_a_clear_day_keeps_the_one_it_had(tmp_path: Path) -> None:
    clear, fog = (
        prepared_folders(Recipe(data=replace(Data(), weather=weather)), tmp_path)["test"] for weather in ("clear", "fog")
    )
    assert clear == [tmp_path / "ab18e07a5449" / "test"]
    assert fog != clear


@simulated
def test_fog_hides_what_is_there_all_the_same(tmp_path: Path) -> None:
    clear, fog = (prepared(tmp_path / weather, replace(STREET, weather=weather)) for weather in ("clear", "fog"))
    index = np.arange(2)
    np.testing.assert_array_equal(clear.objects[..., :12], fog.objects[..., :12])
    np.testing.assert_array_equal(clear.phrases, fog.phrases)
    assert fog.camera[index].std() < 0.8 * clear.camera[index].std()
    through_air, through_fog = ((data.lidar[index][:, :, 80:] > 0).sum() for data in (clear, fog))  # beyond 40 m
    assert through_fog < 0.5 * through_air


def test_a_weather_nobody_knows_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="weather 'hail' is not known"):
        prepare_street(tmp_path / "street.arrow", 0, 3, replace(STREET, weather="hail"), 0.5)
